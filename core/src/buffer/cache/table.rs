//! Finds the calling thread's cache of a pool.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;

use super::{GATE_ORPHAN, MAGAZINES, ThreadCache};
use crate::buffer::exit;
use crate::buffer::inner::Inner;
use crate::buffer::magazine::Magazine;
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicUsize};
use crate::tls::Words;

/// Caches that are found with one load: those of pools whose numbers differ in the lowest bits.
const FRONT: usize = 1 << FRONT_BITS;
pub(crate) const FRONT_BITS: u32 = 3;

/// The calling thread's caches. Without a destructor, so that it can be read at any time of the thread's life;
/// `exit.rs` has [`end`] called instead.
#[repr(C, align(64))]
struct Table {
    ended: Cell<bool>,
    /// Puts the first two pools' words below where no line that a pair stores into has one: see [`ThreadCache`].
    _apart: u64,
    /// The cache used last of those that share a place: see [`front_of`].
    front: [Cell<*const ThreadCache>; FRONT],
    /// All caches, one for each pool number at most.
    all: UnsafeCell<ManuallyDrop<Vec<*const ThreadCache>>>,
}

/// Stands where a thread has no cache: it is open for no pool, so that nobody checks for null.
struct Nobody(ThreadCache);

// SAFETY: nobody writes anything but `busy` and the uses of magazines, atomically and to no effect; `open` is never a
// pool's address and `pool_id` no pool's id.
unsafe impl Sync for Nobody {}

static NOBODY: Nobody = Nobody(ThreadCache {
    pool_id: 0,
    inner: std::ptr::null(),
    open: AtomicPtr::new(std::ptr::null_mut()),
    serving: AtomicPtr::new(std::ptr::null_mut()),
    busy: AtomicU32::new(0),
    mark: AtomicU32::new(0),
    gate: AtomicU32::new(GATE_ORPHAN),
    home: 0,
    until_guarded: Cell::new(0),
    shared: 0,
    serves: false,
    magazines: [const { Magazine::full() }; MAGAZINES],
    _cells: Vec::new(),
    counts: Vec::new(),
    seen: Cell::new(0),
    seen_beyond: Cell::new(0),
    budget: 0,
    lent: AtomicUsize::new(0),
    settled: Cell::new(0),
});

sync::thread_words! {
    static TABLE: Table = const {
        Table {
            ended: Cell::new(false),
            _apart: 0,
            front: [const { Cell::new(&raw const NOBODY.0) }; FRONT],
            all: UnsafeCell::new(ManuallyDrop::new(Vec::new())),
        }
    };
}

/// Where `front` of the calling thread's table is.
static PLACES: Words = Words::new();

/// Gives the calling thread's caches up for good: it ends.
pub(crate) fn end() {
    let all = TABLE.with(|table| {
        table.ended.set(true);
        table.front.iter().for_each(|cell| cell.set(nobody()));
        // SAFETY: the thread's own, and nothing else refers to it: no function here keeps a reference.
        std::mem::take(unsafe { &mut **table.all.get() })
    });
    all.into_iter().for_each(retire);
}

fn nobody() -> *const ThreadCache {
    &raw const NOBODY.0
}

fn retire(cache: *const ThreadCache) {
    // SAFETY: the thread's table owned the cache, made by `Box::into_raw` in `remember`, and no longer names it.
    unsafe { crate::buffer::registry::retire(cache) };
}

/// Returns the id of the pool with a number, made of random bits. The lowest are the number's, which [`front_of`] takes there, and
/// one of the others is set, so that no id is 0.
pub(crate) fn id_of(number: usize, random: u64) -> u64 {
    let place = (FRONT - 1) as u64;
    (number as u64) << 48 | (random >> 16 & !place).max(place + 1) | (number as u64 & place)
}

/// Returns the number of a pool, the upper 16 bits of its id.
#[inline(always)]
pub(crate) fn number_of(pool_id: u64) -> usize {
    (pool_id >> 48) as usize
}

/// A place at the front of each thread's table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Front(usize);

impl Front {
    /// Returns the place with this number, of as many as there are.
    #[inline(always)]
    pub(crate) fn nth(number: usize) -> Front {
        Front(number % FRONT)
    }

    #[inline(always)]
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// Returns the place at the front of each thread's table where a pool's cache stands.
#[inline(always)]
pub(crate) fn front_of(pool_id: u64) -> Front {
    Front::nth(pool_id as usize)
}

/// Finds the calling thread's cache of a pool; any number is allowed.
#[inline(always)]
pub(crate) fn find(pool_id: u64) -> Option<&'static ThreadCache> {
    let cache = at_front(front_of(pool_id));
    if cache.pool_id == pool_id { Some(cache) } else { bring_to_front(pool_id) }
}

/// Returns the calling thread's cache at a place; it may be another pool's, or nobody's.
#[inline(always)]
pub(crate) fn at_front(front: Front) -> &'static ThreadCache {
    // SAFETY: no front's number is above: only `nth` makes one.
    let cache = TABLE.with(|table| unsafe { table.front.get_unchecked(front.0) }.get());
    // SAFETY: nobody's, or a cache that this thread's table owns. The reference is used before the thread calls
    // anything that could replace it, `remember` or its own end; callers do not keep it.
    unsafe { &*cache }
}

/// As [`at_front`], the faster way in a shared library.
#[inline(always)]
pub(crate) fn at_front_of_library(front: Front) -> &'static ThreadCache {
    // SAFETY: as in `at_front`.
    match unsafe { PLACES.load(front.0) } {
        // SAFETY: as in `at_front`.
        Some(cache) => unsafe { &*cache },
        None => at_front(front),
    }
}

#[cold]
#[inline(never)]
fn bring_to_front(pool_id: u64) -> Option<&'static ThreadCache> {
    TABLE.with(|table| {
        // SAFETY: the thread's own; nobody changes it meanwhile.
        let all = unsafe { &**table.all.get() };
        // SAFETY: the table owns its caches.
        let mut caches = all.iter().map(|cache| unsafe { &**cache });
        let found = caches.find(|cache| cache.pool_id == pool_id)?;
        table.front[front_of(pool_id).0].set(found);
        Some(found)
    })
}

/// Says whether the thread may have caches: its end is not over, and will be noticed.
pub(crate) fn may_remember() -> bool {
    TABLE.with(|table| !table.ended.get()) && exit::watch()
}

/// Makes room for one cache more. `false`, and nothing done, without memory.
pub(crate) fn make_room() -> bool {
    // SAFETY: the thread's own, and nothing else refers to it.
    TABLE.with(|table| unsafe { &mut **table.all.get() }.try_reserve(1).is_ok())
}

/// Makes the thread own a cache, for which [`make_room`] was called; the one of an earlier pool with the same number
/// is given up.
pub(crate) fn remember(cache: Box<ThreadCache>) {
    let (id, cache) = (cache.pool_id, Box::into_raw(cache).cast_const());
    let before = TABLE.with(|table| {
        PLACES.learn((&raw const table.front).cast::<*const ThreadCache>());
        table.front[front_of(id).0].set(cache);
        // SAFETY: the thread's own, and nothing else refers to it.
        let all = unsafe { &mut **table.all.get() };
        // SAFETY: the table owns its caches.
        let place = all.iter().position(|other| number_of(unsafe { &**other }.pool_id) == number_of(id));
        match place {
            Some(place) => Some(std::mem::replace(&mut all[place], cache)),
            None => {
                all.push(cache);
                None
            }
        }
    });
    if let Some(before) = before {
        retire(before);
    }
}

/// Says whether the calling thread has a cache of a pool with this mark. The address may be stale.
pub(crate) fn has_mark(pool: *const Inner, mark: u16) -> bool {
    let mut found = false;
    // SAFETY: the thread's table owns its caches.
    for_each_own(|cache| found |= unsafe { &*cache }.is_marked(pool, mark));
    found
}

/// Calls `visit` with the address of each of the calling thread's caches.
pub(crate) fn for_each_own(visit: impl FnMut(*const ThreadCache)) {
    TABLE.with(|table| {
        // SAFETY: the thread's own; `visit` does not come back here.
        let all = unsafe { &**table.all.get() };
        all.iter().copied().for_each(visit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_whose_numbers_differ_in_the_lowest_bits_have_places_of_their_own() {
        for number in [0, 1, 7, 8, 9, 0xfffe, 0xffff] {
            for random in [0, u64::MAX, 0xabcd_ef01_2345_6789] {
                let id = id_of(number, random);
                assert_eq!((number_of(id), front_of(id).number()), (number, number % 8));
                assert!(id & 0xffff_ffff_fff8 != 0);
            }
            assert_ne!(id_of(number, 1 << 40), id_of(number, 1 << 41));
        }
    }

    #[test]
    fn a_mark_is_a_threads_own_until_its_cache_ends() {
        let pool = crate::BufferPool::new("marked").expect("a pool");
        drop(pool.get(100).expect("a lease"));
        let inner = pool.inner().as_ptr();
        let mark = find(pool.id()).expect("a cache").mark();
        assert!(mark != 0 && has_mark(inner, mark));
        assert!(!has_mark(inner, mark + 1) && !has_mark(std::ptr::null(), mark));
        assert!(!std::thread::scope(|scope| {
            let address = inner as usize;
            scope.spawn(move || has_mark(address as *const Inner, mark)).join().expect("no panic")
        }));
        pool.close().expect("open");
        assert!(!has_mark(inner, mark));
    }
}
