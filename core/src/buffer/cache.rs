//! Keeps a thread's own small stock of idle buffers, and its share of the statistics.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::inner::Inner;
use super::memory;
use super::slot::Slot;
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicU64};

/// Reasons why an owner must leave its cache alone; bits of [`ThreadCache::gate`].
pub(crate) const GATE_REVOKED: u32 = 1;
pub(crate) const GATE_WAITERS: u32 = 2;
pub(crate) const GATE_ORPHAN: u32 = 4;

/// The most entries of a magazine; half of it moves at a time.
const MAGAZINE_MAX: usize = 64;
/// Buffers above this go to the depot directly: a thread would hold too much.
pub(crate) const CACHED_MAX: usize = 256 << 10;

/// One class's idle buffers of one thread, and what the thread counts for the class.
///
/// The hot entry stands in front of the stack: a put followed by a get passes through it without the chain of
/// loads and stores through `len`. All fields are written by the owner only, or by a thread that revoked the cache;
/// they are atomics so that statistics may be read at any time.
#[repr(align(64))]
pub(crate) struct Magazine {
    hot_slot: AtomicPtr<Slot>,
    hot_data: AtomicPtr<u8>,
    len: AtomicU32,
    capacity: u32,
    counts: Counts,
    entries: Box<[UnsafeCell<Option<Entry>>]>,
}

/// What one thread counts for one class: written by the owner only, with plain loads and stores.
#[derive(Default)]
pub(crate) struct Counts {
    gets: AtomicU64,
    puts: AtomicU64,
}

/// A thread's cache of one pool.
///
/// The owner marks itself `busy` around each use and looks at `gate`; another thread that raises a gate and runs a
/// [barrier on all threads](sync::heavy_barrier) may use the cache once `busy` is 0 (an asymmetric Dekker lock:
/// the frequent side pays two plain stores). So idle memory of sleeping threads is never out of reach.
#[repr(C, align(128))]
pub(crate) struct ThreadCache {
    gate: AtomicU32,
    busy: AtomicU32,
    pub pool_id: u64,
    /// One for each cached class, from the smallest.
    pub magazines: Vec<Magazine>,
    /// Bytes asked for in gets, modulo 2^64. Apart from those of puts: a pair would otherwise wait for itself.
    requested: AtomicU64,
    /// Bytes given back in puts, modulo 2^64.
    returned: AtomicU64,
    /// What the thread counts for the other classes, the last for oversized leases. Indexed by class too.
    counts: Vec<Counts>,
    /// The pool, valid while the cache is in the registry's list.
    pub inner: *const Inner,
    /// The stripe of the depots that this thread uses.
    pub home: usize,
    /// The gets and puts at the last look of `maintain`; guarded by the registry's lock.
    pub seen: Cell<u64>,
    /// The most bytes that the magazines hold.
    pub budget: usize,
}

impl ThreadCache {
    /// Makes an empty cache that holds at most `budget` bytes. `None` without memory.
    pub(crate) fn new(inner: &Inner, home: usize, budget: usize) -> Option<Box<ThreadCache>> {
        let sizes = inner.table.sizes();
        let (cached_classes, share) = shares(sizes, budget);
        let mut magazines = Vec::new();
        magazines.try_reserve_exact(cached_classes).ok()?;
        for size in &sizes[..cached_classes] {
            // One of the share is the hot entry.
            let capacity = (share / size - 1).min(MAGAZINE_MAX);
            let mut entries = Vec::new();
            entries.try_reserve_exact(capacity).ok()?;
            entries.resize_with(capacity, || UnsafeCell::new(None));
            magazines.push(Magazine {
                hot_slot: AtomicPtr::new(std::ptr::null_mut()),
                hot_data: AtomicPtr::new(std::ptr::null_mut()),
                len: AtomicU32::new(0),
                capacity: capacity as u32,
                counts: Counts::default(),
                entries: entries.into_boxed_slice(),
            });
        }
        let mut counts = Vec::new();
        counts.try_reserve_exact(sizes.len() + 1).ok()?;
        counts.resize_with(sizes.len() + 1, Counts::default);
        let cache = ThreadCache {
            gate: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            pool_id: inner.id,
            magazines,
            requested: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            counts,
            inner,
            home,
            seen: Cell::new(0),
            budget,
        };
        memory::try_box(cache).ok()
    }

    /// Begins a use by the owner; `false` when the cache is out of bounds for now. Ends with [`ThreadCache::leave`].
    #[inline(always)]
    pub(crate) fn enter(&self) -> bool {
        sync::light_store(&self.busy, 1);
        // Pairs with the exchange in `raise`: either the owner sees the gate here or the other thread sees `busy`.
        if self.gate.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.leave();
        false
    }

    #[inline(always)]
    pub(crate) fn leave(&self) {
        // Pairs with the acquire load in `wait_until_idle`: what the owner did is visible to whoever revokes.
        self.busy.store(0, Ordering::Release);
    }

    /// Raises a gate. After [`sync::heavy_barrier`] and [`ThreadCache::wait_until_idle`] the cache is the caller's.
    pub(crate) fn raise(&self, reason: u32) {
        self.gate.fetch_or(reason, Ordering::SeqCst);
    }

    /// Takes a gate away; what was done behind it is visible to the owner that sees it gone.
    pub(crate) fn lower(&self, reason: u32) {
        self.gate.fetch_and(!reason, Ordering::SeqCst);
    }

    pub(crate) fn wait_until_idle(&self) {
        let mut tries = 0;
        while self.busy.load(Ordering::SeqCst) != 0 {
            sync::relax(tries);
            tries = tries.saturating_add(1);
        }
    }

    #[inline(always)]
    pub(crate) fn is_cached(&self, class: usize) -> bool {
        class < self.magazines.len()
    }

    /// Takes an idle buffer and counts the get. Only between `enter` and `leave`.
    #[inline(always)]
    pub(crate) fn pop(&self, class: usize, len: usize) -> Option<Entry> {
        let magazine = self.magazines.get(class)?;
        let entry = magazine.pop()?;
        increase(&magazine.counts.gets, 1);
        increase(&self.requested, len as u64);
        Some(entry)
    }

    /// Keeps an idle buffer and counts the put; `false` when there is no room. Only between `enter` and `leave`.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, entry: Entry, len: usize) -> bool {
        let Some(magazine) = self.magazines.get(class) else {
            return false;
        };
        if !magazine.push(entry) {
            return false;
        }
        increase(&magazine.counts.puts, 1);
        increase(&self.returned, len as u64);
        true
    }

    /// Counts a get that no magazine served. Only between `enter` and `leave`.
    pub(crate) fn count_get(&self, class: usize, len: usize) {
        increase(&self.counts[class].gets, 1);
        increase(&self.requested, len as u64);
    }

    /// Counts a put that no magazine took. Only between `enter` and `leave`.
    pub(crate) fn count_put(&self, class: usize, len: usize) {
        increase(&self.counts[class].puts, 1);
        increase(&self.returned, len as u64);
    }

    pub(crate) fn gets(&self, class: usize) -> u64 {
        self.sum(class, |counts| &counts.gets)
    }

    pub(crate) fn puts(&self, class: usize) -> u64 {
        self.sum(class, |counts| &counts.puts)
    }

    fn sum(&self, class: usize, which: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        let direct = which(&self.counts[class]).load(Ordering::Relaxed);
        direct + self.magazines.get(class).map_or(0, |magazine| which(&magazine.counts).load(Ordering::Relaxed))
    }

    /// Returns the idle buffers of a class: exact while the owner rests.
    pub(crate) fn idle(&self, class: usize) -> usize {
        self.magazines.get(class).map_or(0, Magazine::idle)
    }

    /// Returns the bytes asked for in gets minus those of puts, modulo 2^64.
    pub(crate) fn requested(&self) -> u64 {
        self.requested.load(Ordering::Relaxed).wrapping_sub(self.returned.load(Ordering::Relaxed))
    }
}

/// Adds to a counter that only the calling thread writes.
#[inline(always)]
fn increase(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Says how many classes, from the smallest, are cached with `budget` bytes, and how many bytes each may hold: the
/// same for all, and at least one buffer of the largest.
fn shares(sizes: &[usize], budget: usize) -> (usize, usize) {
    let small = sizes.iter().take_while(|size| **size <= CACHED_MAX).count();
    (1..=small)
        .rev()
        .map(|classes| (classes, budget / classes))
        .find(|(classes, share)| *share >= sizes[classes - 1])
        .unwrap_or((0, 0))
}

impl Magazine {
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Entry> {
        let slot = self.hot_slot.load(Ordering::Relaxed);
        // SAFETY: null or the address of a slot, as `push` stored it; slots live for ever.
        if let Some(slot) = unsafe { slot.as_ref() } {
            self.hot_slot.store(std::ptr::null_mut(), Ordering::Relaxed);
            let data = self.hot_data.load(Ordering::Relaxed);
            return Some(Entry { data, slot });
        }
        let len = self.len.load(Ordering::Relaxed);
        if len == 0 {
            return None;
        }
        self.len.store(len - 1, Ordering::Relaxed);
        let cell = self.entries.get(len as usize - 1)?;
        // SAFETY: only the cache's owner, or the thread that revoked it, touches the entries.
        unsafe { *cell.get() }
    }

    #[inline(always)]
    pub(crate) fn push(&self, entry: Entry) -> bool {
        let hot = self.hot_slot.load(Ordering::Relaxed);
        // SAFETY: null or the address of a slot, as this function stored it; slots live for ever.
        if let Some(slot) = unsafe { hot.as_ref() } {
            let len = self.len.load(Ordering::Relaxed);
            let Some(cell) = self.entries.get(len as usize) else {
                return false;
            };
            let data = self.hot_data.load(Ordering::Relaxed);
            // SAFETY: only the cache's owner, or the thread that revoked it, touches the entries.
            unsafe { *cell.get() = Some(Entry { data, slot }) };
            self.len.store(len + 1, Ordering::Relaxed);
        }
        self.hot_data.store(entry.data, Ordering::Relaxed);
        self.hot_slot.store(std::ptr::from_ref(entry.slot).cast_mut(), Ordering::Relaxed);
        true
    }

    /// Takes the `count` coldest entries out, the bottom of the stack.
    pub(crate) fn spill(&self, count: usize, mut take: impl FnMut(Entry)) {
        let len = self.len.load(Ordering::Relaxed) as usize;
        let count = count.min(len);
        for number in 0..len {
            let cell = &self.entries[number];
            // SAFETY: only the cache's owner, or the thread that revoked it, touches the entries.
            let entry = unsafe { *cell.get() };
            match (number < count, entry) {
                (true, Some(entry)) => take(entry),
                // SAFETY: as above; the cells differ because `count > 0` here.
                _ => unsafe { *self.entries[number - count].get() = entry },
            }
        }
        self.len.store((len - count) as u32, Ordering::Relaxed);
    }

    /// Says how many entries move at a time.
    pub(crate) fn batch(&self) -> usize {
        (self.capacity as usize).div_ceil(2)
    }

    /// Returns how many buffers stand here: exact while the owner rests.
    pub(crate) fn idle(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize + usize::from(!self.hot_slot.load(Ordering::Relaxed).is_null())
    }
}

/// Pools numbered below this are found with one load.
const INLINE: usize = 8;

/// The calling thread's caches, by the pool's number. Without a destructor, so that it can be read at any time of
/// the thread's life; [`Exit`] beside it has one.
struct Table {
    inline: [Cell<*const ThreadCache>; INLINE],
    more: Cell<*const Vec<Cell<*const ThreadCache>>>,
    ended: Cell<bool>,
}

/// Stands where a thread has no cache: no pool has its id or its address, so that nobody checks for null.
struct Nobody(ThreadCache);

// SAFETY: nothing ever enters or changes it: `pool_id` 0 and a null `inner` match no pool.
unsafe impl Sync for Nobody {}

static NOBODY: Nobody = Nobody(ThreadCache {
    gate: AtomicU32::new(GATE_ORPHAN),
    busy: AtomicU32::new(0),
    pool_id: 0,
    magazines: Vec::new(),
    requested: AtomicU64::new(0),
    returned: AtomicU64::new(0),
    counts: Vec::new(),
    inner: std::ptr::null(),
    home: 0,
    seen: Cell::new(0),
    budget: 0,
});

thread_local! {
    static TABLE: Table = const {
        Table {
            inline: [const { Cell::new(&raw const NOBODY.0) }; INLINE],
            more: Cell::new(std::ptr::null()),
            ended: Cell::new(false),
        }
    };
    static EXIT: Exit = const { Exit };
}

/// Gives the thread's caches up when the thread ends.
struct Exit;

impl Drop for Exit {
    fn drop(&mut self) {
        TABLE.with(|table| {
            table.ended.set(true);
            for cell in &table.inline {
                retire(cell.replace(nobody()));
            }
            let more = table.more.replace(std::ptr::null());
            if !more.is_null() {
                // SAFETY: made by `Box::into_raw` in `remember`; the table no longer names it.
                let more = unsafe { Box::from_raw(more.cast_mut()) };
                more.iter().for_each(|cell| retire(cell.get()));
            }
        });
    }
}

fn nobody() -> *const ThreadCache {
    &raw const NOBODY.0
}

fn retire(cache: *const ThreadCache) {
    if cache != nobody() {
        // SAFETY: the thread's table owned the cache, made by `Box::into_raw` in `remember`, and no longer names it.
        unsafe { super::registry::retire(cache) };
    }
}

/// Returns the number of a pool, the index into a thread's table: the upper 16 bits of its id.
#[inline(always)]
pub(crate) fn number_of(pool_id: u64) -> usize {
    (pool_id >> 48) as usize
}

/// Finds the calling thread's cache of a pool; any number is allowed.
#[inline(always)]
pub(crate) fn find(pool_id: u64) -> Option<&'static ThreadCache> {
    Some(at_number(number_of(pool_id))).filter(|cache| cache.pool_id == pool_id)
}

/// Returns the calling thread's cache at a pool's number; it may be an earlier pool's, or nobody's.
#[inline(always)]
pub(crate) fn at_number(number: usize) -> &'static ThreadCache {
    let cache = TABLE.with(|table| match table.inline.get(number) {
        Some(cell) => cell.get(),
        None => find_more(table, number),
    });
    // SAFETY: nobody's, or a cache that this thread's table owns. The reference is used before the thread calls
    // anything that could replace it, `remember` or its own end; callers do not keep it.
    unsafe { &*cache }
}

#[cold]
#[inline(never)]
fn find_more(table: &Table, number: usize) -> *const ThreadCache {
    // SAFETY: null or the box made in `make_room`, owned by this thread's table.
    match unsafe { table.more.get().as_ref() } {
        Some(more) => more.get(number - INLINE).map_or(nobody(), Cell::get),
        None => nobody(),
    }
}

/// Says whether the thread may still have caches: not while its thread-local values are destroyed.
pub(crate) fn may_remember() -> bool {
    TABLE.with(|table| !table.ended.get()) && EXIT.try_with(|_| ()).is_ok()
}

/// Makes the thread own `cache`; one of an earlier pool with the same number is given up. `false`, and nothing
/// done, without memory.
pub(crate) fn make_room(pool_id: u64) -> bool {
    let number = number_of(pool_id);
    TABLE.with(|table| {
        if number < INLINE {
            return true;
        }
        let mut more = match table.more.replace(std::ptr::null()) {
            more if more.is_null() => Box::new(Vec::new()),
            // SAFETY: made by `Box::into_raw` below; the table no longer names it.
            more => unsafe { Box::from_raw(more.cast_mut()) },
        };
        let missing = (number - INLINE + 1).saturating_sub(more.len());
        let room = more.try_reserve(missing).is_ok();
        if room && missing > 0 {
            more.resize_with(number - INLINE + 1, || Cell::new(nobody()));
        }
        table.more.set(Box::into_raw(more));
        room
    })
}

/// Stores a cache at its place, which [`make_room`] has made, and gives up the one that stood there.
pub(crate) fn remember(cache: Box<ThreadCache>) {
    let number = number_of(cache.pool_id);
    let cache = Box::into_raw(cache).cast_const();
    let before = TABLE.with(|table| match table.inline.get(number) {
        Some(cell) => cell.replace(cache),
        None => {
            // SAFETY: `make_room` was called before; the box is owned by this thread's table.
            let more = unsafe { &*table.more.get() };
            more[number - INLINE].replace(cache)
        }
    });
    retire(before);
}

/// Calls `visit` with the address of each of the calling thread's caches.
pub(crate) fn for_each_own(mut visit: impl FnMut(*const ThreadCache)) {
    TABLE.with(|table| {
        table.inline.iter().for_each(|cell| visit(cell.get()));
        // SAFETY: null or the box made in `make_room`, owned by this thread's table.
        if let Some(more) = unsafe { table.more.get().as_ref() } {
            more.iter().for_each(|cell| visit(cell.get()));
        }
    });
}
