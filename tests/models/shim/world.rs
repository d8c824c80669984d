//! Holds the atomics and locks of the present execution.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::engine::{RawAtomic, RawGuard, RawMutex};

/// A value that only the threads of one execution use, of which one runs at a time.
pub(super) struct Racy<T>(UnsafeCell<T>);

// SAFETY: loom and shuttle run a model's threads in turn on one thread of the system, and the models of a process run one
// after another (`explore`).
unsafe impl<T> Sync for Racy<T> {}

impl<T> Racy<T> {
    pub(super) const fn new(value: T) -> Racy<T> {
        Racy(UnsafeCell::new(value))
    }

    pub(super) fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// The most values that are remembered of a word since its last sequentially consistent store.
const SINCE_MAX: usize = 8;

/// One atomic of the execution.
pub(super) struct Atom {
    pub raw: RawAtomic,
    /// The values stored since the last sequentially consistent store, with that one's; see `Word::load`.
    since: [u64; SINCE_MAX],
    count: usize,
    /// Whether there was such a store, and whether the list is whole.
    pub consistent: bool,
    pub races: Option<Races>,
}

/// What makes loads of a word that is also stored into, while several threads run, depend on each other.
///
/// loom remembers one access to an atomic, the last, and runs a store also before that one. A load that another thread's
/// load followed is forgotten, and so would be the order in which the store comes before it: `a` loads, `b` loads, `b`
/// stores. So `b`'s load touches a second atomic, as `a`'s does: loom tries both orders of those, and then meets the store
/// behind `a`'s load, as the last access.
pub(super) struct Races {
    pub touched: RawAtomic,
    /// The threads that store into the word, a bit each.
    pub writers: u64,
}

impl Atom {
    fn new() -> Atom {
        Atom { raw: RawAtomic::new(0), since: [0; SINCE_MAX], count: 0, consistent: false, races: None }
    }

    /// Notes a store.
    pub fn stored(&mut self, value: u64, order: Ordering) {
        if order == Ordering::SeqCst {
            (self.count, self.consistent) = (0, true);
        }
        if let Some(place) = self.since.get_mut(self.count) {
            *place = value;
            self.count += 1;
        } else {
            self.consistent = false;
        }
    }

    /// Says whether a value was stored since the last sequentially consistent store, or by it.
    pub fn is_present(&self, value: u64) -> bool {
        self.since[..self.count].contains(&value)
    }

    /// Returns a value that was not stored lately.
    pub fn absent(&self) -> u64 {
        (1 << 63..).find(|value| !self.is_present(*value)).unwrap_or(0)
    }
}

/// A lock of the execution, with the guard of whoever has it.
pub(super) struct Latch {
    /// Above the mutex, which it refers to: fields are dropped in their order.
    pub guard: Option<RawGuard>,
    raw: Box<RawMutex>,
}

impl Latch {
    /// Returns the mutex, which stays until the next execution.
    pub fn raw(&self) -> &'static RawMutex {
        // SAFETY: in a box that nobody moves; the latch is dropped when the next execution begins, when no thread of this
        // one is left.
        unsafe { &*std::ptr::from_ref(&*self.raw) }
    }
}

struct World {
    atoms: Vec<Box<Atom>>,
    used: usize,
    latches: Vec<Box<Latch>>,
}

static WORLD: Racy<World> = Racy::new(World { atoms: Vec::new(), used: 0, latches: Vec::new() });
/// The number of the execution, from 1.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// How many atomics the execution with the most of them needed so far, in this model.
static MOST: AtomicU32 = AtomicU32::new(0);
/// How many are made before the threads are: loom wants the making of an atomic to come before all of its uses.
const ATOMS: usize = 400;

pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Begins an execution: every word and lock of the process is new.
pub(crate) fn begin() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the execution has one thread yet.
    let world = unsafe { &mut *WORLD.get() };
    world.used = 0;
    DRAWN.store(0, Ordering::Relaxed);
    // SAFETY: as in `trace`.
    unsafe { (*TRACE.get()).clear() };
    world.latches.clear();
    let count = match MOST.load(Ordering::Relaxed) as usize {
        0 => ATOMS,
        most => most + most / 4 + 32,
    };
    world.atoms.truncate(count);
    world.atoms.iter_mut().for_each(|atom| **atom = Atom::new());
    world.atoms.resize_with(count, || Box::new(Atom::new()));
    // SAFETY: as above.
    for (number, writers) in unsafe { &*WRITERS.get() } {
        if let Some(atom) = world.atoms.get_mut(*number as usize) {
            atom.races = Some(Races { touched: RawAtomic::new(0), writers: *writers });
        }
    }
}

/// How many words of chance the execution has drawn.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// Fills words with numbers that differ, and are the same when the execution is run again. `true`: always.
pub(crate) fn fill(words: &mut [u64]) -> bool {
    for word in words {
        let number = DRAWN.fetch_add(1, Ordering::Relaxed) + 1;
        *word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    true
}

/// Ends an execution.
pub(crate) fn end() {
    // SAFETY: the other threads have been joined.
    let used = unsafe { (*WORLD.get()).used };
    MOST.fetch_max(used as u32, Ordering::Relaxed);
}

/// The steps of the execution, where they are wanted: of one that failed, when it is run again.
static TRACE: Racy<Vec<String>> = Racy::new(Vec::new());

/// Notes a step.
pub(super) fn trace(step: impl FnOnce() -> String) {
    static WANTED: OnceLock<bool> = OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("MODELS_TRACE").is_some()) {
        let line = format!("{} {}", super::engine::thread(), step());
        // SAFETY: no reference to the list lives across a call into the engine.
        unsafe { (*TRACE.get()).push(line) };
    }
}

/// Prints the steps of the execution so far.
pub(crate) fn print_trace() {
    // SAFETY: as in `trace`.
    unsafe { (*TRACE.get()).iter() }.for_each(|line| eprintln!("{line}"));
}

/// Begins another model.
pub(crate) fn forget() {
    MOST.store(0, Ordering::Relaxed);
    // SAFETY: no execution is on.
    unsafe { (*WRITERS.get()).clear() };
    // SAFETY: as above.
    unsafe { (*FOUND.get()).clear() };
}

/// Which threads store into which atoms while several run: what the executions so far have found, and what the present
/// ones go by.
static FOUND: Racy<BTreeMap<u32, u64>> = Racy::new(BTreeMap::new());
static WRITERS: Racy<BTreeMap<u32, u64>> = Racy::new(BTreeMap::new());

/// Takes over what was found. `true`: there is something new, and the model must be explored anew.
#[cfg(loom)]
pub(crate) fn learn() -> bool {
    // SAFETY: no execution is on.
    let found = unsafe { &*FOUND.get() };
    // SAFETY: as above.
    let writers = unsafe { &mut *WRITERS.get() };
    let new = found != writers;
    writers.clone_from(found);
    new
}

/// Notes that a thread stores into an atom.
pub(super) fn written(number: u32) {
    if let Some(thread) = super::engine::racing_thread() {
        // SAFETY: no reference to the map lives across a call into the engine.
        let found = unsafe { &mut *FOUND.get() };
        *found.entry(number).or_default() |= 1 << thread;
    }
}

/// Returns the number of an atomic nobody has.
pub(super) fn adopt() -> u32 {
    // SAFETY: no reference into the world lives across a call into the engine.
    let world = unsafe { &mut *WORLD.get() };
    if cfg!(shuttle) && world.used == world.atoms.len() {
        world.atoms.push(Box::new(Atom::new()));
    }
    assert!(world.used < world.atoms.len(), "the execution needs more than {} atomics", world.used);
    world.used += 1;
    world.used as u32 - 1
}

/// Returns an atomic. The address stays until the next execution.
pub(super) fn atom(number: u32) -> *mut Atom {
    // SAFETY: as in `adopt`.
    let world = unsafe { &mut *WORLD.get() };
    &raw mut *world.atoms[number as usize]
}

/// Makes a lock and returns its number.
pub(super) fn make_latch() -> u32 {
    let raw = Box::new(RawMutex::new(()));
    // SAFETY: as in `adopt`.
    let world = unsafe { &mut *WORLD.get() };
    world.latches.push(Box::new(Latch { guard: None, raw }));
    world.latches.len() as u32 - 1
}

/// Returns a lock. The address stays until the next execution.
pub(super) fn latch(number: u32) -> *mut Latch {
    // SAFETY: as in `adopt`.
    let world = unsafe { &mut *WORLD.get() };
    &raw mut *world.latches[number as usize]
}
