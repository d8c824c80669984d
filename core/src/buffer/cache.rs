//! Keeps a thread's own small stock of idle buffers, a magazine for each class, and its share of the statistics.

mod shares;

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::exit;
use super::inner::Inner;
use super::magazine::{Counts, Magazine, increase};
use super::memory;
use super::slot::Slot;
use crate::check::Check;
use crate::options::ClearPolicy;
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
use crate::tls::Words;

pub(crate) use shares::most_kept;
use shares::shares;

/// Reasons why an owner must leave its cache alone; bits of [`ThreadCache::gate`].
pub(crate) const GATE_REVOKED: u32 = 1;
pub(crate) const GATE_WAITERS: u32 = 2;
pub(crate) const GATE_ORPHAN: u32 = 4;

/// A power of two, so that an index needs no check. The last magazine is never used.
pub(crate) const MAGAZINES: usize = 64;

/// A thread's cache of one pool.
///
/// The owner marks itself `busy` around each use and looks whether the cache is `open` for its pool; another thread
/// that raises a gate and runs a [barrier on all threads](sync::heavy_barrier) may use the cache once `busy` is 0 (an
/// asymmetric Dekker lock: the frequent side pays two plain stores). So idle memory of sleeping threads is never out
/// of reach.
#[repr(C, align(128))]
pub(crate) struct ThreadCache {
    pub pool_id: u64,
    /// What the thread counts for the other classes, the last for oversized leases. Indexed by class too.
    counts: Vec<Counts>,
    /// The pool, valid while the cache is in the registry's list.
    pub inner: *const Inner,
    /// The stripe of the depots that this thread uses.
    pub home: u32,
    /// How many gets until a lease is guarded; only in that mode.
    pub until_guarded: Cell<u32>,
    /// The gets and puts at the last look of `maintain`; guarded by the registry's lock.
    pub seen: Cell<u64>,
    /// The most bytes that the magazines of the thread's share hold, those of the first classes.
    pub budget: usize,
    /// Bytes asked for in gets, modulo 2^64. Apart from those of puts: a pair would otherwise wait for itself.
    requested: AtomicU64,
    /// Bytes given back in puts, modulo 2^64.
    returned: AtomicU64,
    /// The pool's address while no gate is raised, otherwise null: one load tells the owner both whether the cache is
    /// the right pool's and whether it may use it.
    open: AtomicPtr<Inner>,
    /// The same for the fast path of a get; always null where that serves none.
    serving: AtomicPtr<Inner>,
    busy: AtomicU32,
    /// See [`ThreadCache::mark`].
    mark: AtomicU32,
    gate: AtomicU32,
    /// How many classes share what the thread may keep, from the smallest.
    shared: u32,
    /// Whether the fast path of a get serves any.
    serves: bool,
    /// Stand here and not behind a pointer: it would be one load more on the way to each buffer.
    magazines: [Magazine; MAGAZINES],
    /// The capacity of the buffers that magazines beyond the share may hold, one each: see [`ThreadCache::lend`].
    lent: AtomicUsize,
    /// As `seen`, of the classes beyond the share.
    pub seen_beyond: Cell<u64>,
}

#[cfg(not(millpond_models))]
const _: () = {
    // What a pair stores into must not look like what it loads: processors compare the lower 12 bits of addresses first, and
    // a load that seems to meet a store waits for it. So these words, a magazine's and a slot's have offsets in their lines
    // that differ wherever one is stored and the other loaded, and only the magazine that is never used is a page apart from
    // them.
    assert!(std::mem::offset_of!(ThreadCache, requested) == 64);
    assert!(std::mem::offset_of!(ThreadCache, open) == 64 + 0x10);
    assert!(std::mem::offset_of!(ThreadCache, serving) == 64 + 0x18);
    assert!(std::mem::offset_of!(ThreadCache, busy) == 64 + 0x20);
    assert!(std::mem::offset_of!(ThreadCache, mark) == 64 + 0x24);
    assert!(std::mem::offset_of!(ThreadCache, magazines) == 128);
};

impl ThreadCache {
    /// Makes an empty cache that holds at most `budget` bytes. `None` without memory.
    pub(crate) fn new(inner: &Inner, home: usize, budget: usize) -> Option<Box<ThreadCache>> {
        let sizes = inner.table.sizes();
        let (shared, kept) = shares(sizes, budget);
        let mut magazines = [const { Magazine::full() }; MAGAZINES];
        for (class, magazine) in magazines[..sizes.len().min(MAGAZINES - 1)].iter_mut().enumerate() {
            *magazine = Magazine::empty(kept[class].max(1))?;
            if class >= shared {
                magazine.close();
            }
        }
        let mut counts = Vec::new();
        counts.try_reserve_exact(sizes.len() + 1).ok()?;
        counts.resize_with(sizes.len() + 1, Counts::default);
        // What has to be cleared at get takes the long way, and where gets are counted for the next guarded lease.
        let serves = inner.clear != ClearPolicy::OnGet && !matches!(inner.check(), Check::Sample(_));
        let cache = ThreadCache {
            open: AtomicPtr::default(),
            serving: AtomicPtr::default(),
            busy: AtomicU32::new(0),
            mark: AtomicU32::new(0),
            gate: AtomicU32::new(0),
            requested: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            shared: shared as u32,
            serves,
            pool_id: inner.id,
            counts,
            inner,
            home: home as u32,
            until_guarded: Cell::new(if let Check::Sample(every) = inner.check() { every.get() } else { 0 }),
            seen: Cell::new(0),
            budget: most_kept(sizes, budget),
            lent: AtomicUsize::new(0),
            seen_beyond: Cell::new(0),
            magazines,
        };
        cache.open();
        memory::try_box(cache).ok()
    }

    /// Begins a use by the owner; `false` when the cache is another pool's, or out of bounds for now. Ends with
    /// [`ThreadCache::leave`].
    #[inline(always)]
    pub(crate) fn enter(&self, pool: *const Inner) -> bool {
        self.enter_by(&self.open, pool)
    }

    /// As [`ThreadCache::enter`], for [`ThreadCache::pop`].
    #[inline(always)]
    pub(crate) fn enter_to_pop(&self, pool: *const Inner) -> bool {
        self.enter_by(&self.serving, pool)
    }

    #[inline(always)]
    fn enter_by(&self, open: &AtomicPtr<Inner>, pool: *const Inner) -> bool {
        sync::light_store(&self.busy, 1);
        // Pairs with the exchange in `raise`: either the owner sees the gate here or the other thread sees `busy`.
        if std::ptr::eq(open.load(Ordering::SeqCst), pool) {
            return true;
        }
        self.leave();
        false
    }

    /// As [`ThreadCache::enter`], by the pool's id. Returns the pool.
    #[inline(always)]
    pub(crate) fn enter_by_id(&self, pool_id: u64) -> Option<&Inner> {
        self.find_by_id(&self.open, pool_id)
    }

    /// As [`ThreadCache::enter_by_id`], for [`ThreadCache::pop`].
    #[inline(always)]
    pub(crate) fn enter_to_pop_by_id(&self, pool_id: u64) -> Option<&Inner> {
        self.find_by_id(&self.serving, pool_id)
    }

    #[inline(always)]
    fn find_by_id(&self, open: &AtomicPtr<Inner>, pool_id: u64) -> Option<&Inner> {
        sync::light_store(&self.busy, 1);
        // Pairs as in `enter_by`.
        let pool = open.load(Ordering::SeqCst);
        // SAFETY: null, or the pool of an open cache. That one is listed, and a pool ends its caches before it goes; it
        // cannot while the owner is busy.
        match unsafe { pool.as_ref() } {
            Some(pool) if pool.id == pool_id => Some(pool),
            _ => {
                self.leave();
                None
            }
        }
    }

    #[inline(always)]
    pub(crate) fn leave(&self) {
        // Pairs with the acquire load in `wait_until_idle`: what the owner did is visible to whoever revokes.
        self.busy.store(0, Ordering::Release);
    }

    /// Raises a gate. After [`sync::heavy_barrier`] and [`ThreadCache::wait_until_idle`] the cache is the caller's.
    /// Under the registry's lock, as [`ThreadCache::lower`].
    pub(crate) fn raise(&self, reason: u32) {
        self.gate.fetch_or(reason, Ordering::SeqCst);
        self.open.store(std::ptr::null_mut(), Ordering::SeqCst);
        self.serving.store(std::ptr::null_mut(), Ordering::SeqCst);
    }

    /// Takes a gate away; what was done behind it is visible to the owner that sees it gone.
    pub(crate) fn lower(&self, reason: u32) {
        if self.gate.fetch_and(!reason, Ordering::SeqCst) == reason {
            self.open();
        }
    }

    fn open(&self) {
        self.open.store(self.inner.cast_mut(), Ordering::SeqCst);
        if self.serves {
            self.serving.store(self.inner.cast_mut(), Ordering::SeqCst);
        }
    }

    /// Says whether the cache has ended: its owner never gets in again.
    pub(crate) fn is_orphan(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & GATE_ORPHAN != 0
    }

    /// Returns the mark of the owner's leases. As long as it is not 0, who is not the owner ends none of them before the owner
    /// has lost it ([`registry::without_mark`](super::registry::without_mark)). So between `enter` and `leave` the owner needs no
    /// atomic operation for that: it is alone (biased locking; Kawachiya, Koseki and Onodera, "Lock Reservation", 2002).
    #[inline(always)]
    pub(crate) fn mark(&self) -> u16 {
        self.mark.load(Ordering::Relaxed) as u16
    }

    fn is_marked(&self, pool: *const Inner, mark: u16) -> bool {
        // Another pool may stand where the pool of a cache that ended was.
        !self.is_orphan() && std::ptr::eq(self.inner, pool) && self.mark() == mark
    }

    /// Gives a new cache its mark, 0 for none. Under the registry's lock.
    pub(crate) fn set_mark(&self, mark: u16) {
        self.mark.store(u32::from(mark), Ordering::Relaxed);
    }

    /// Takes the mark away for good. Only by whoever revoked the cache.
    pub(crate) fn lose_mark(&self) {
        self.mark.store(0, Ordering::Relaxed);
    }

    pub(crate) fn wait_until_idle(&self) {
        let mut tries = 0;
        while self.busy.load(Ordering::SeqCst) != 0 {
            sync::relax(tries);
            tries = tries.saturating_add(1);
        }
    }

    /// Lets the thread keep one buffer of a class that its share does not reach, of `size` bytes. Only between `enter` and
    /// `leave`, after [`Inner::lend`](super::inner::Inner) has set the bytes aside.
    pub(crate) fn lend(&self, class: usize, size: usize) {
        self.lent.store(self.lent() + size, Ordering::Relaxed);
        self.magazines[class].open();
    }

    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// Forgets what was lent. Returns how many bytes it was. Only by whoever revoked the cache, and who then empties and closes
    /// the magazines of the [classes beyond the share](ThreadCache::classes_beyond).
    pub(crate) fn take_loans(&self) -> usize {
        self.lent.swap(0, Ordering::Relaxed)
    }

    /// Takes an idle buffer out of a magazine and counts the get; that of a class that is not kept has none. Only between
    /// [`ThreadCache::enter_to_pop`] and `leave`, or between `enter` and `leave` by whoever looks himself after what the
    /// fast path leaves out.
    #[inline(always)]
    pub(crate) fn pop(&self, magazine: usize, len: usize) -> Option<&'static Slot> {
        let magazine = self.magazines[magazine % MAGAZINES].by_address();
        let slot = magazine.pop()?;
        magazine.counts.count_get();
        increase(&self.requested, len as u64);
        Some(slot)
    }

    /// Keeps an idle buffer and counts the put; `false` when there is no room. Only between `enter` and `leave`.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, slot: &'static Slot, len: usize) -> bool {
        // A class that is not kept has a magazine that takes nothing.
        let magazine = self.magazines[class % MAGAZINES].by_address();
        if !magazine.push(slot) {
            return false;
        }
        magazine.counts.count_put();
        increase(&self.returned, len as u64);
        true
    }

    /// Counts a get that no magazine served. Only between `enter` and `leave`.
    pub(crate) fn count_get(&self, class: usize, len: usize) {
        self.counts[class].count_get();
        increase(&self.requested, len as u64);
    }

    /// Counts a put that no magazine took. Only between `enter` and `leave`.
    pub(crate) fn count_put(&self, class: usize, len: usize) {
        self.counts[class].count_put();
        increase(&self.returned, len as u64);
    }

    pub(crate) fn gets(&self, class: usize) -> u64 {
        self.sum(class, |counts| &counts.gets)
    }

    pub(crate) fn puts(&self, class: usize) -> u64 {
        self.sum(class, |counts| &counts.puts)
    }

    /// Returns the magazine of a class, if there is one for it.
    pub(crate) fn magazine(&self, class: usize) -> Option<&Magazine> {
        self.magazines().get(class)
    }

    /// Returns the magazines, one for each class from the smallest, as many as there are.
    pub(crate) fn magazines(&self) -> &[Magazine] {
        // The last one of `counts` is that of oversized leases.
        &self.magazines[..self.counts.len().saturating_sub(1).min(MAGAZINES - 1)]
    }

    /// Returns the classes that the share does not reach and that have a magazine.
    pub(crate) fn classes_beyond(&self) -> Range<usize> {
        self.shared as usize..self.magazines().len()
    }

    fn sum(&self, class: usize, which: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        // Pairs with the store in `Counts::count_put`.
        let direct = which(&self.counts[class]).load(Ordering::Acquire);
        direct + self.magazine(class).map_or(0, |magazine| which(&magazine.counts).load(Ordering::Acquire))
    }

    /// Returns the idle buffers of a class: exact while the owner rests.
    pub(crate) fn idle(&self, class: usize) -> usize {
        self.magazine(class).map_or(0, Magazine::idle)
    }

    /// Returns the bytes asked for in gets minus those of puts, modulo 2^64.
    pub(crate) fn requested(&self) -> u64 {
        self.requested.load(Ordering::Relaxed).wrapping_sub(self.returned.load(Ordering::Relaxed))
    }
}

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

// SAFETY: `busy` is the only field that anybody writes, atomically and to no effect; `open` is never a pool's
// address and `pool_id` no pool's id.
unsafe impl Sync for Nobody {}

static NOBODY: Nobody = Nobody(ThreadCache {
    open: AtomicPtr::new(std::ptr::null_mut()),
    serving: AtomicPtr::new(std::ptr::null_mut()),
    busy: AtomicU32::new(0),
    mark: AtomicU32::new(0),
    gate: AtomicU32::new(GATE_ORPHAN),
    requested: AtomicU64::new(0),
    returned: AtomicU64::new(0),
    shared: 0,
    serves: false,
    pool_id: 0,
    counts: Vec::new(),
    inner: std::ptr::null(),
    home: 0,
    until_guarded: Cell::new(0),
    seen: Cell::new(0),
    budget: 0,
    lent: AtomicUsize::new(0),
    seen_beyond: Cell::new(0),
    magazines: [const { Magazine::full() }; MAGAZINES],
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
    unsafe { super::registry::retire(cache) };
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

/// Returns the place at the front of each thread's table where a pool's cache stands.
#[inline(always)]
pub(crate) fn front_of(pool_id: u64) -> usize {
    pool_id as usize % FRONT
}

/// Finds the calling thread's cache of a pool; any number is allowed.
#[inline(always)]
pub(crate) fn find(pool_id: u64) -> Option<&'static ThreadCache> {
    let cache = at_front(front_of(pool_id));
    if cache.pool_id == pool_id { Some(cache) } else { bring_to_front(pool_id) }
}

/// Returns the calling thread's cache at a place; it may be another pool's, or nobody's.
#[inline(always)]
pub(crate) fn at_front(front: usize) -> &'static ThreadCache {
    let cache = TABLE.with(|table| table.front[front % FRONT].get());
    // SAFETY: nobody's, or a cache that this thread's table owns. The reference is used before the thread calls
    // anything that could replace it, `remember` or its own end; callers do not keep it.
    unsafe { &*cache }
}

/// As [`at_front`], the faster way in a shared library.
#[inline(always)]
pub(crate) fn at_front_of_library(front: usize) -> &'static ThreadCache {
    // SAFETY: below the number of places.
    match unsafe { PLACES.load(front % FRONT) } {
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
        table.front[front_of(pool_id)].set(found);
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
        table.front[front_of(id)].set(cache);
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
                assert_eq!((number_of(id), front_of(id)), (number, number % 8));
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
