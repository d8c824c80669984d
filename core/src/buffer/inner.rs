//! Holds a pool's state, and creates and destroys its buffers.

use std::sync::atomic::Ordering;

use super::BufferPool;
use super::cache::{self, Front, ThreadCache};
use super::classes::ClassTable;
use super::depot::{Depot, Doomed, Entry};
use super::lease::State;
use super::memory;
use super::quarantine::Quarantine;
use super::registry;
use super::slab::Slabs;
use super::slot::{MAPPED, SINGLE, UNTOUCHED};
use super::stock::Block;
use super::strong;
use crate::check::Check;
use crate::error::{Error, ErrorKind, Result};
use crate::inject::Injection;
use crate::options::{ClearPolicy, LimitPolicy, Name, Options};
use crate::sync::{self, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Condvar, Lock, Mutex};
use crate::tools;

/// Classes below this are cut from slabs; from here up each buffer has a mapping of its own.
const MAPPED_FROM: usize = 64 << 10;
/// From here up, clearing a buffer for the first time looks for pages that nobody touched.
const LOOK_FROM: usize = 256 << 10;
const STRIPES_MAX: usize = 16;
/// A cache for less than this is not worth what it takes from the depots.
const CACHE_MIN: usize = 16 << 10;
/// What a thread may keep when many others came before it.
const PART_MIN: usize = 64 << 10;

/// What a pool keeps for one size class; the last one is for oversized leases.
pub(crate) struct Class {
    pub depot: Depot,
    pub(super) slabs: Option<Lock<Slabs>>,
    pub counts: Counts,
}

/// Counts that cold paths keep, and what threads without a cache count.
#[derive(Default)]
pub(crate) struct Counts {
    pub gets: AtomicU64,
    pub puts: AtomicU64,
    pub allocations: AtomicU64,
    pub destroyed: AtomicU64,
    pub discarded: AtomicU64,
    pub detached: AtomicU64,
    pub leaked: AtomicU64,
    /// Buffers whose lease is over and whose memory somebody may still look at; see `held.rs`.
    pub held: AtomicU64,
}

/// Counts of the whole pool that cold paths keep.
#[derive(Default)]
pub(crate) struct PoolCounts {
    pub requested: AtomicU64,
    pub oversized_live_bytes: AtomicU64,
    pub oversized_requests: AtomicU64,
    pub peak_live_bytes: AtomicU64,
    pub lost: AtomicU64,
    pub trimmed_bytes: AtomicU64,
    pub double_puts: AtomicU64,
    pub stale_uses: AtomicU64,
    pub foreign_puts: AtomicU64,
    pub overruns: AtomicU64,
    pub exhausted: AtomicU64,
    pub unguarded: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    // Who sees the end of a lease counted must see its get counted too; pairs with the loads of the statistics.
    counter.fetch_add(n, Ordering::Release);
}

/// A pool. Alive while anybody can reach it: the users' handles, and one strong reference for each buffer, which
/// is how a lease outlives its pool's handles without counting anything at get and put.
pub(crate) struct Inner {
    pub references: strong::Counts,
    pub id: u64,
    /// What the pool's leases have in common.
    pub state: State,
    /// The place of the pool's caches at the front of threads' tables.
    pub front: Front,
    pub table: ClassTable,
    pub clear: ClearPolicy,
    /// Whether idle buffers are kept. Otherwise each get allocates and each put frees, for other tools to see.
    pub keeps: bool,
    /// Whether handles' leases have canaries: the pool was not made with its checks off.
    pub(super) canaries: bool,
    /// The mode, as `Check::to_bits`.
    pub(super) check: AtomicU64,
    /// What goes wrong on purpose, and whether anything does.
    pub(super) injection: Lock<Injection>,
    pub(super) injects: AtomicBool,
    /// Gets in a mode that guards some of them, of threads without a cache.
    pub sampled: AtomicU64,
    /// Buffers that come back later; see `quarantine.rs`.
    pub quarantine: Lock<Quarantine>,
    pub thread_cache_bytes: usize,
    pub name: Name,
    pub max_bytes: usize,
    pub max_retained_bytes: usize,
    pub on_limit: LimitPolicy,
    pub(super) alignment: usize,
    pub classes: Vec<Class>,
    pub counts: PoolCounts,
    /// Capacity of all buffers in existence, held against `max_bytes`.
    pub(crate) total_bytes: AtomicUsize,
    /// Capacity of the buffers in the depots. With `reserved_bytes` held against `max_retained_bytes`.
    depot_bytes: AtomicUsize,
    /// The most that the threads' caches, and the bindings' stocks without asking, can hold in all.
    reserved_bytes: AtomicUsize,
    /// What single magazines of large classes may hold beyond that, see [`Inner::lend`].
    pub(crate) lent_bytes: AtomicUsize,
    /// What the stocks hold beyond their shares, or once did.
    stock_bytes: AtomicUsize,
    closed: AtomicBool,
    /// How many `BufferPool` values name the pool.
    pub handles: AtomicUsize,
    /// The one that C owns, by `raw::retain`.
    pub raw_owned: Lock<Option<BufferPool>>,
    pub waiters: AtomicU32,
    /// Counts what may end a wait; its own lock, because waiting needs a condition variable.
    pub turn: Mutex<u64>,
    pub turned: Condvar,
    next_home: AtomicUsize,
}

/// Makes the classes of these sizes and the one for oversized leases. `None` without memory.
fn make_classes(sizes: &[usize], alignment: usize) -> Option<Vec<Class>> {
    let stripes = memory::cores().clamp(1, STRIPES_MAX).next_power_of_two();
    let mut classes = Vec::new();
    classes.try_reserve_exact(sizes.len() + 1).ok()?;
    for size in sizes {
        let slabs = (*size < MAPPED_FROM).then(|| Lock::new(Slabs::new(*size, alignment)));
        classes.push(Class { depot: Depot::new(stripes)?, slabs, counts: Counts::default() });
    }
    classes.push(Class { depot: Depot::new(1)?, slabs: None, counts: Counts::default() });
    Some(classes)
}

/// Why a buffer could not be created.
pub(crate) enum Refusal {
    Limit,
    Memory,
}

impl Inner {
    pub(crate) fn new(id: u64, options: &Options) -> Result<Inner> {
        let checked = options.check()?;
        let alignment = options.alignment;
        let classes = make_classes(checked.table.sizes(), alignment).ok_or_else(registry::no_memory)?;
        Ok(Inner {
            references: strong::Counts::one(),
            id,
            state: State::of_pool(id, options.clear),
            front: cache::front_of(id),
            clear: options.clear,
            keeps: checked.keeps,
            // Behind a block of the allocator's there is no room for one.
            canaries: checked.check != Check::Off && checked.keeps,
            check: AtomicU64::new(checked.check.to_bits()),
            injection: Lock::new(checked.injection),
            injects: AtomicBool::new(checked.injection.is_active()),
            sampled: AtomicU64::new(0),
            quarantine: Lock::new(Quarantine::default()),
            thread_cache_bytes: checked.thread_cache_bytes,
            name: options.name.clone().unwrap_or_else(|| Name::of_number(cache::number_of(id))),
            max_bytes: checked.max_bytes,
            max_retained_bytes: checked.max_retained_bytes,
            on_limit: options.on_limit,
            alignment,
            table: checked.table,
            classes,
            counts: PoolCounts::default(),
            total_bytes: AtomicUsize::new(0),
            depot_bytes: AtomicUsize::new(0),
            reserved_bytes: AtomicUsize::new(0),
            lent_bytes: AtomicUsize::new(0),
            stock_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            raw_owned: Lock::new(None),
            waiters: AtomicU32::new(0),
            turn: Mutex::new(0),
            turned: Condvar::new(),
            next_home: AtomicUsize::new(0),
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Pairs with the store in `close`.
        self.closed.load(Ordering::SeqCst)
    }

    /// Marks the pool closed; `false` when it was already.
    pub(crate) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn has_waiters(&self) -> bool {
        // Pairs with the increment in `wait_for_put`.
        self.waiters.load(Ordering::SeqCst) != 0
    }

    /// Returns the class number under which a buffer of `capacity` bytes is counted.
    pub(crate) fn class_of_capacity(&self, capacity: usize) -> usize {
        self.table.index(capacity)
    }

    /// Returns the calling thread's cache, made now if it has none. `None` when it cannot have one.
    pub(crate) fn own_cache(&self) -> Option<&'static ThreadCache> {
        if let Some(cache) = cache::find(self.id)
            && !cache.is_orphan()
        {
            return Some(cache);
        }
        if self.is_closed() || self.goes_the_long_way() {
            return None;
        }
        if !sync::has_heavy_barrier() || !cache::may_remember() || !cache::make_room() {
            return None;
        }
        let home = self.next_home.fetch_add(1, Ordering::Relaxed);
        let (budget, reserved) = self.take_share(|budget| cache::most_kept(self.table.sizes(), budget));
        let Some(cache) = ThreadCache::new(self, home, budget) else {
            self.unreserve(reserved);
            return None;
        };
        if !registry::enlist(self, &cache) {
            self.unreserve(reserved);
            return None;
        }
        cache::remember(cache);
        cache::find(self.id)
    }

    /// Takes a new stock's share out of what may be retained, as [`Inner::take_share`].
    pub(crate) fn reserve_for_stock(&self) -> usize {
        if self.goes_the_long_way() {
            return 0;
        }
        // A share that holds no buffer is none.
        self.take_share(|budget| if budget < self.table.smallest() { 0 } else { budget }).1
    }

    /// Takes a new cache's share out of what may be retained: what the options say, or less where many threads
    /// share it, so that all caches together have at most half. Depots that are full make room. Returns the share, and what
    /// of it is `used`, which is what is taken.
    fn take_share(&self, used: impl Fn(usize) -> usize) -> (usize, usize) {
        let (mut budget, mut taken) = (0, 0);
        let _ = self.reserved_bytes.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |reserved| {
            budget = part_of(self.max_retained_bytes / 2, reserved).min(self.thread_cache_bytes);
            if budget < CACHE_MIN {
                budget = 0;
            }
            taken = used(budget);
            Some(reserved + taken)
        });
        let excess = self.excess();
        if excess > 0 {
            self.destroy_idle(excess);
        }
        (budget, taken)
    }

    /// Returns what threads' caches and stocks may hold in all.
    fn set_aside(&self) -> usize {
        [&self.reserved_bytes, &self.lent_bytes, &self.stock_bytes]
            .map(|bytes| bytes.load(Ordering::SeqCst))
            .iter()
            .sum()
    }

    /// Returns by how much more is kept, or may be, than may be retained. Who adds to one of the sums looks at all of them
    /// afterwards, so that of two who do so at a time one at least sees the other, and takes back what he added.
    fn excess(&self) -> usize {
        (self.depot_bytes.load(Ordering::SeqCst) + self.set_aside()).saturating_sub(self.max_retained_bytes)
    }

    /// Lets the calling thread, which is in its cache, keep one buffer of a class that its share does not reach: as long as it
    /// keeps no more than the options say, and all threads no more than a quarter of what may be retained in this way. Nothing
    /// is destroyed for it. `false` when it may not.
    pub(crate) fn lend(&self, cache: &ThreadCache, class: usize) -> bool {
        let size = self.table.sizes()[class];
        if cache.budget + cache.lent() + size > self.thread_cache_bytes {
            return false;
        }
        let most = self.max_retained_bytes / 4;
        let lent = |lent: usize| (lent + size <= most).then_some(lent + size);
        if self.lent_bytes.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lent).is_err() {
            return false;
        }
        if self.excess() > 0 {
            self.lent_bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        cache.lend(class, size);
        true
    }

    /// Ends what was [lent](Inner::lend) to a cache that is the caller's now; the buffers go to the depots.
    pub(crate) fn end_loans(&self, cache: &ThreadCache, doomed: &mut Doomed) {
        // First, so that the depots have room for them.
        self.lent_bytes.fetch_sub(cache.take_loans(), Ordering::Relaxed);
        for class in cache.classes_beyond() {
            self.flush_class(cache, class, doomed);
            cache.magazines()[class].close();
        }
    }

    /// Gives back what `take_share` took.
    pub(crate) fn unreserve(&self, bytes: usize) {
        self.reserved_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Says whether a stock may keep one more buffer of `size` bytes beyond its share. Under the registry's lock.
    pub(crate) fn may_keep(&self, blocks: &[Block], size: usize) -> bool {
        let excess: usize = blocks.iter().map(|block| block.excess(self.table.sizes())).sum();
        // Only this function lets the stocks' excess grow, so what is noted here is never too little.
        self.stock_bytes.store(excess + size, Ordering::SeqCst);
        let granted = self.excess() == 0;
        if !granted {
            self.stock_bytes.store(excess, Ordering::Relaxed);
        }
        granted
    }

    /// Returns the stripe that the calling thread uses.
    pub(crate) fn home(&self) -> usize {
        cache::find(self.id).map_or(0, |cache| cache.home as usize)
    }

    /// Counts a get that no magazine counted.
    pub(crate) fn count_get(&self, class: usize, len: usize) {
        if let Some(cache) = cache::find(self.id)
            && cache.enter(self)
        {
            cache.count_get(class, len);
            cache.leave();
        } else {
            add(&self.classes[class].counts.gets, 1);
            add(&self.counts.requested, len as u64);
        }
    }

    /// Counts a put that no magazine counted.
    pub(crate) fn count_put(&self, class: usize, len: usize) {
        if let Some(cache) = cache::find(self.id)
            && cache.enter(self)
        {
            cache.count_put(class, len);
            cache.leave();
        } else {
            add(&self.classes[class].counts.puts, 1);
            self.count_returned(len);
        }
    }

    /// Takes the length of a lease that ended off the requested bytes.
    pub(crate) fn count_returned(&self, len: usize) {
        add(&self.counts.requested, (len as u64).wrapping_neg());
    }

    /// Takes up to `most` idle buffers of a class from the depot.
    pub(crate) fn take_idle(&self, class: usize, home: usize, most: usize, take: impl FnMut(Entry)) -> usize {
        let taken = self.classes[class].depot.take(home, most, take);
        if taken > 0 {
            self.depot_bytes.fetch_sub(taken * self.table.sizes()[class], Ordering::Relaxed);
        }
        taken
    }

    /// Gives idle buffers of a class to the depot, as many as may be retained; the others are doomed.
    pub(crate) fn give_idle(&self, class: usize, home: usize, entries: &[Entry], doomed: &mut Doomed) {
        entries.iter().copied().for_each(tools::close);
        let size = self.table.sizes()[class];
        let mut keep = 0;
        let _ = self.depot_bytes.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |bytes| {
            let room = self.max_retained_bytes.saturating_sub(bytes + self.set_aside());
            keep = (room / size).min(entries.len());
            Some(bytes + keep * size)
        });
        if keep > 0 {
            // More may have been set aside since the sum was made.
            let excess = self.excess().div_ceil(size).min(keep);
            self.depot_bytes.fetch_sub(excess * size, Ordering::Relaxed);
            keep -= excess;
        }
        entries[keep..].iter().for_each(|entry| doomed.push(*entry));
        let before = doomed.count;
        self.classes[class].depot.give(home, entries[..keep].iter().copied(), doomed);
        let rejected = doomed.count - before;
        if rejected > 0 {
            self.depot_bytes.fetch_sub(rejected * size, Ordering::Relaxed);
        }
    }

    /// Dooms up to `most` idle buffers of a class; see [`Depot::drain`].
    pub(crate) fn drain_idle(&self, class: usize, most: usize, seal: bool, doomed: &mut Doomed) {
        let before = doomed.count;
        self.classes[class].depot.drain(most, seal, doomed);
        self.count_drained(class, doomed.count - before);
    }

    /// Dooms what decays in a class; see [`Depot::decay`].
    pub(crate) fn decay_idle(&self, class: usize, doomed: &mut Doomed) {
        let before = doomed.count;
        self.classes[class].depot.decay(doomed);
        self.count_drained(class, doomed.count - before);
    }

    fn count_drained(&self, class: usize, count: usize) {
        if let Some(size) = self.table.sizes().get(class) {
            self.depot_bytes.fetch_sub(count * size, Ordering::Relaxed);
        }
    }

    /// Empties a cache that is the caller's into the depots.
    pub(crate) fn flush(&self, cache: &ThreadCache, doomed: &mut Doomed) {
        self.end_loans(cache, doomed);
        for class in 0..cache.classes_beyond().start {
            self.flush_class(cache, class, doomed);
        }
    }

    fn flush_class(&self, cache: &ThreadCache, class: usize, doomed: &mut Doomed) {
        while let Some(slot) = cache.magazines()[class].pop() {
            self.give_idle(class, cache.home as usize, &[Entry::of(slot)], doomed);
        }
    }

    /// Takes over the buffers and the counts of a cache that ends, after [`ThreadCache::wait_until_idle`].
    pub(crate) fn absorb(&self, cache: &ThreadCache, doomed: &mut Doomed) {
        self.unreserve(cache.budget);
        self.flush(cache, doomed);
        for (class, kept) in self.classes.iter().enumerate() {
            add(&kept.counts.gets, cache.gets(class));
            add(&kept.counts.puts, cache.puts(class));
        }
        add(&self.counts.requested, cache.settled());
    }

    /// Clears what a lease left behind, the first `dirty` bytes. A large mapping for one lease alone goes back to the system,
    /// which shows nobody what was in it: overwriting it would cost more than all the rest of such a put.
    #[inline]
    pub(crate) fn scrub(&self, entry: Entry, dirty: usize) {
        const GOES_BACK: u8 = SINGLE | MAPPED;
        let goes_back = dirty >= LOOK_FROM && entry.slot.flags() & GOES_BACK == GOES_BACK;
        if self.clear == ClearPolicy::OnPut && !goes_back {
            self.wipe(entry, dirty);
        }
    }

    /// Clears what a lease that becomes shorter left between two places of its buffer.
    pub(crate) fn scrub_between(&self, entry: Entry, from: usize, to: usize) {
        if self.clear != ClearPolicy::OnPut {
            return;
        }
        // SAFETY: the caller holds the buffer, and `from` and `to` are at most its capacity.
        let start = unsafe { entry.data.add(from) };
        let len = to - from;
        if entry.slot.flags() & UNTOUCHED != 0 && len >= LOOK_FROM {
            // SAFETY: as above; buffers with the flag stand in a mapping of their own.
            unsafe { memory::clear_resident(start, len) };
        } else {
            // SAFETY: as above.
            unsafe { memory::clear(start, len) };
        }
    }

    /// Overwrites the first `len` bytes of a buffer that is the caller's.
    pub(crate) fn wipe(&self, entry: Entry, len: usize) {
        tools::open(entry);
        if entry.slot.flags() & UNTOUCHED != 0 && len >= LOOK_FROM {
            return wipe_touched(entry, len);
        }
        // SAFETY: the caller holds the buffer, and `len` is at most its capacity and tail.
        unsafe { memory::clear(entry.data, len) };
    }

    pub(crate) fn closed_error(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            format_args!("pool \"{}\" is closed and hands out nothing more; open another pool", self.name),
        )
    }

    /// Counts what other threads were taking or giving at the moment of the fork as taken: the child has the buffers
    /// and nobody who knows them, as with their leases.
    pub(crate) fn settle_after_fork(&self) {
        let mut registry = registry::lock();
        if let Some(member) = registry.member(self.id) {
            for (class, kept) in self.classes.iter().enumerate() {
                let existing =
                    kept.counts.allocations.load(Ordering::Relaxed) - kept.counts.destroyed.load(Ordering::Relaxed);
                add(&kept.counts.gets, existing.saturating_sub(self.known(member, class)));
            }
        }
    }

    /// Forgets the waiting threads of the parent, which a child does not have.
    pub(crate) fn forget_waiters(&self) {
        if self.waiters.swap(0, Ordering::SeqCst) != 0
            && let Some(member) = registry::lock().member(self.id)
        {
            member.gate_for_waiters(false);
        }
    }

    pub(crate) fn lock_for_fork(&self) {
        self.injection.lock_for_fork();
        self.quarantine.lock_for_fork();
        for class in &self.classes {
            class.depot.lock_for_fork();
            if let Some(slabs) = &class.slabs {
                slabs.lock_for_fork();
            }
        }
    }

    /// # Safety
    /// As [`Lock::unlock_after_fork`].
    pub(crate) unsafe fn unlock_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.injection.unlock_after_fork() };
        // SAFETY: the caller's promise.
        unsafe { self.quarantine.unlock_after_fork() };
        for class in &self.classes {
            // SAFETY: the caller's promise.
            unsafe { class.depot.unlock_after_fork() };
            if let Some(slabs) = &class.slabs {
                // SAFETY: the caller's promise.
                unsafe { slabs.unlock_after_fork() };
            }
        }
    }
}

/// Returns the most that one more thread may keep when `reserved` bytes of what all may keep are taken: an eighth of the rest,
/// a sixteenth when less than half is left, so that later ones find something, and enough for small buffers as long as
/// there is any.
fn part_of(all: usize, reserved: usize) -> usize {
    let left = all.saturating_sub(reserved);
    let part = if left >= all / 2 { left / 8 } else { left / 16 };
    part.max(PART_MIN.min(all / 128)).min(left)
}

/// Overwrites of the first `len` bytes of a mapping what was ever touched. Apart from [`Inner::wipe`], which then needs no
/// stack.
#[inline(never)]
fn wipe_touched(entry: Entry, len: usize) {
    // SAFETY: as in `wipe`; buffers with the flag stand in a mapping of their own.
    unsafe { memory::clear_resident(entry.data, len) };
    if len * 2 >= entry.slot.capacity() {
        // Tenants use most of it: looking again would cost more than it saves.
        entry.slot.set_flags(entry.slot.flags() & !UNTOUCHED);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::unregister(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_leaves_something_to_those_that_come_later() {
        const ALL: usize = 128 << 20;
        for (reserved, part) in [
            (0, 16 << 20),
            (ALL / 2, 8 << 20),
            (ALL / 2 + 16, (4 << 20) - 1),
            (ALL - (1 << 20), 64 << 10),
            (ALL - 1000, 1000),
            (ALL, 0),
            (2 * ALL, 0),
        ] {
            assert_eq!(part_of(ALL, reserved), part, "{reserved}");
        }
        // Of little, too.
        assert_eq!((part_of(512 << 10, 0), part_of(512 << 10, 504 << 10)), (64 << 10, 4 << 10));
        let sizes = [512, 1024, 4096, 16384, 65536, 262_144, 1 << 20, 4 << 20, 16 << 20];
        let mut reserved = 0;
        for thread in 0..80 {
            let part = part_of(ALL, reserved);
            assert!(part >= 64 << 10, "{thread}");
            reserved += cache::most_kept(&sizes, part.min(32 << 20));
            assert!(reserved <= ALL);
        }
    }
}
