//! Keeps a thread's own small stock of idle buffers, a magazine for each class, and its share of the statistics.

mod shares;
mod table;

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::inner::Inner;
use super::magazine::{self, Counts, Magazine, Uses};
use super::memory;
use super::slot::Slot;
use crate::check::Check;
use crate::options::ClearPolicy;
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicUsize};

pub(crate) use shares::most_kept;
use shares::shares;
pub(crate) use table::{
    FRONT_BITS, Front, at_front, at_front_of_library, end, find, for_each_own, front_of, has_mark, id_of, make_room,
    may_remember, number_of, remember,
};

/// Reasons why an owner must leave its cache alone; bits of [`ThreadCache::gate`].
pub(crate) const GATE_REVOKED: u32 = 1;
pub(crate) const GATE_WAITERS: u32 = 2;
pub(crate) const GATE_ORPHAN: u32 = 4;

/// A power of two, so that an index needs no check. The last magazine is never used.
pub(crate) const MAGAZINES: usize = 64;

/// A thread's cache of one pool.
///
/// The owner says where it is around each use, and looks whether the cache is `open` for its pool: it marks one magazine
/// ([`Uses::begin`](super::magazine::Uses::begin)) where it needs no more, or all of them (`busy`). Another thread that raises a
/// gate and runs a [barrier on all threads](sync::heavy_barrier) may use the cache once nothing is marked (an asymmetric Dekker
/// lock: the frequent side pays two plain stores). So idle memory of sleeping threads is never out of reach.
#[repr(C, align(128))]
pub(crate) struct ThreadCache {
    pub pool_id: u64,
    /// The pool, valid while the cache is in the registry's list.
    pub inner: *const Inner,
    /// The pool's address while no gate is raised, otherwise null: one load tells the owner both whether the cache is
    /// the right pool's and whether it may use it.
    open: AtomicPtr<Inner>,
    /// The same for the fast path of a get; always null where that serves none.
    serving: AtomicPtr<Inner>,
    busy: AtomicU32,
    /// See [`ThreadCache::mark`].
    mark: AtomicU32,
    gate: AtomicU32,
    /// The stripe of the depots that this thread uses.
    pub home: u32,
    /// How many gets until a lease is guarded; only in that mode.
    pub until_guarded: Cell<u32>,
    /// How many classes share what the thread may keep, from the smallest.
    shared: u32,
    /// Whether the fast path of a get serves any.
    serves: bool,
    /// Stand here and not behind a pointer: it would be one load more on the way to each buffer.
    magazines: [Magazine; MAGAZINES],
    /// The magazines' cells.
    _cells: Vec<magazine::Cell>,
    /// What the thread counts for gets and puts without a magazine, by class, the last for oversized leases.
    counts: Vec<Counts>,
    /// The gets and puts at the last look of `maintain`; guarded by the registry's lock.
    pub seen: Cell<u64>,
    /// As `seen`, of the classes beyond the share.
    pub seen_beyond: Cell<u64>,
    /// The most bytes that the magazines of the thread's share hold, those of the first classes.
    pub budget: usize,
    /// The capacity of the buffers that magazines beyond the share may hold, one each: see [`ThreadCache::lend`].
    lent: AtomicUsize,
    /// What [`ThreadCache::requested`] was when the owner was last seen to rest; guarded by the registry's lock.
    settled: Cell<u64>,
}

#[cfg(not(millpond_models))]
const _: () = {
    // Processors compare the lower 12 bits of addresses first, and a load that seems to meet a store waits for it. Only the
    // magazine that is never used is a page apart from the line that every use looks at.
    assert!(std::mem::offset_of!(ThreadCache, magazines) == 64);
    assert!(size_of::<Magazine>() == 64 && size_of::<Magazine>() * MAGAZINES == 4096);
};

/// Where the two words are that say for which pool a cache is open.
const OPEN: usize = std::mem::offset_of!(ThreadCache, open);
const SERVING: usize = std::mem::offset_of!(ThreadCache, serving);

impl ThreadCache {
    /// Makes an empty cache that holds at most `budget` bytes. `None` without memory.
    pub(crate) fn new(inner: &Inner, home: usize, budget: usize) -> Option<Box<ThreadCache>> {
        let sizes = inner.table.sizes();
        let (shared, kept) = shares(sizes, budget);
        // The hot entries have no cells, and classes beyond the share no other.
        let cells_of = kept.map(|count| count.saturating_sub(1));
        let count = cells_of.iter().sum();
        let mut cells = Vec::new();
        cells.try_reserve_exact(count).ok()?;
        cells.resize_with(count, magazine::Cell::default);
        let mut magazines = [const { Magazine::full() }; MAGAZINES];
        let mut rest = &cells[..];
        for (class, magazine) in magazines[..sizes.len().min(MAGAZINES - 1)].iter_mut().enumerate() {
            let (own, others) = rest.split_at(cells_of[class]);
            rest = others;
            // SAFETY: no other magazine has these, and the cache keeps them for as long as it has the magazines.
            *magazine = unsafe { Magazine::empty(own) };
            if class >= shared {
                magazine.close();
            }
        }
        let mut counts = Vec::new();
        counts.try_reserve_exact(sizes.len() + 1).ok()?;
        counts.resize_with(sizes.len() + 1, Counts::none);
        // What has to be cleared at get takes the long way, and where gets are counted for the next guarded lease.
        let serves = inner.clear != ClearPolicy::OnGet && !matches!(inner.check(), Check::Sample(_));
        let cache = ThreadCache {
            pool_id: inner.id,
            inner,
            open: AtomicPtr::default(),
            serving: AtomicPtr::default(),
            busy: AtomicU32::new(0),
            mark: AtomicU32::new(0),
            gate: AtomicU32::new(0),
            home: home as u32,
            until_guarded: Cell::new(if let Check::Sample(every) = inner.check() { every.get() } else { 0 }),
            shared: shared as u32,
            serves,
            magazines,
            _cells: cells,
            counts,
            seen: Cell::new(0),
            seen_beyond: Cell::new(0),
            budget: most_kept(sizes, budget),
            lent: AtomicUsize::new(0),
            settled: Cell::new(0),
        };
        cache.open();
        memory::try_box(cache).ok()
    }

    /// Begins a use of all by the owner; `false` when the cache is another pool's, or out of bounds for now. Ends with
    /// [`ThreadCache::leave`].
    #[inline(always)]
    pub(crate) fn enter(&self, pool: *const Inner) -> bool {
        self.begin();
        // Pairs with the exchange in `raise`: either the owner sees the gate here or the other thread sees `busy`.
        if self.has_at::<OPEN>(pool) {
            return true;
        }
        self.leave();
        false
    }

    /// Loads one of the two words and says whether it is the pool's address: in one instruction where a compiler makes two of an
    /// atomic load and a comparison, which is a twentieth of a pair.
    #[inline(always)]
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(millpond_models)))]
    fn has_at<const WORD: usize>(&self, pool: *const Inner) -> bool {
        // SAFETY: reads a word of this cache; a load of this architecture is as ordered as the strictest atomic one.
        unsafe {
            std::arch::asm!(
                "cmp qword ptr [{cache} + {word}], {pool}",
                "jne {other}",
                cache = in(reg) self,
                word = const WORD,
                pool = in(reg) pool,
                other = label { return false },
                options(readonly, nostack),
            );
        }
        true
    }

    #[inline(always)]
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(millpond_models))))]
    fn has_at<const WORD: usize>(&self, pool: *const Inner) -> bool {
        let word = if WORD == OPEN { &self.open } else { &self.serving };
        std::ptr::eq(word.load(Ordering::SeqCst), pool)
    }

    #[inline(always)]
    fn begin(&self) {
        self.busy.store(1, Ordering::Relaxed);
        sync::light_barrier();
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
        self.begin();
        // Pairs as in `enter`.
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

    /// Waits until the owner, who is kept out or is the caller, has nothing begun that it may finish. Under the registry's lock.
    pub(crate) fn wait_until_idle(&self) {
        let mut tries = 0;
        let mut wait = || {
            sync::relax(tries);
            tries = tries.saturating_add(1);
        };
        while self.busy.load(Ordering::SeqCst) != 0 {
            wait();
        }
        let requested = self.all_counts().fold(0, |sum: u64, counts| {
            sum.wrapping_add_signed(loop {
                match counts.settled() {
                    Some(bytes) => break bytes,
                    None => wait(),
                }
            })
        });
        self.settled.set(requested);
    }

    /// Returns the bytes asked for in gets minus those of puts, modulo 2^64, as the last [`ThreadCache::wait_until_idle`] found
    /// them. Exact also while the owner tries to get in, as long as it is kept out.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.get()
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

    /// Returns a magazine by an address of which the compiler knows no parts: it then loads and stores all fields at a small
    /// distance from one register. Where it loaded one by an index instead, a processor that hands a store over to the next
    /// load did not do so at once: a pair took 3.9 instead of 3.5 ns on an Intel Xeon.
    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written by it")]
    fn magazine_at(&self, number: usize) -> &Magazine {
        let mut address = std::ptr::from_ref(self).wrapping_byte_add(number % MAGAZINES * size_of::<Magazine>());
        // SAFETY: no instruction at all.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags)) };
        let magazine = address.wrapping_byte_add(std::mem::offset_of!(ThreadCache, magazines)).cast::<Magazine>();
        // SAFETY: one of the magazines, whose number is below how many there are.
        unsafe { &*magazine }
    }

    /// Takes an idle buffer out of a magazine for a get of `pool`, and counts that. `None`: there is none, that of a class that
    /// is not kept never has one, or the fast path serves none of this pool now. By the owner, who is not in the cache.
    #[inline(always)]
    pub(crate) fn take(&self, pool: *const Inner, magazine: usize, len: usize) -> Option<&'static Slot> {
        self.use_for_get(pool, magazine, len, Magazine::pop)
    }

    /// Keeps an idle buffer of `pool` and counts the put; `false` when there is no room, or the cache is not open for this
    /// pool. By the owner, who is not in the cache.
    #[inline(always)]
    pub(crate) fn keep(&self, pool: *const Inner, class: usize, slot: &'static Slot, len: usize) -> bool {
        // A class that is not kept has a magazine that takes nothing.
        self.use_for_put(pool, class, len, |magazine| magazine.push(slot).then_some(())).is_some()
    }

    /// Uses one magazine alone as a get does, where the cache serves gets of `pool`; counts that if something came of it.
    #[inline(always)]
    pub(crate) fn use_for_get<T>(
        &self,
        pool: *const Inner,
        magazine: usize,
        len: usize,
        act: impl FnOnce(&Magazine) -> Option<T>,
    ) -> Option<T> {
        let magazine = self.magazine_at(magazine);
        self.use_one::<SERVING, T>(&magazine.counts.gets, pool, len, || act(magazine))
    }

    /// Uses one magazine alone as a put does, where the cache is open for `pool`; counts that if something came of it.
    #[inline(always)]
    pub(crate) fn use_for_put<T>(
        &self,
        pool: *const Inner,
        magazine: usize,
        len: usize,
        act: impl FnOnce(&Magazine) -> Option<T>,
    ) -> Option<T> {
        let magazine = self.magazine_at(magazine);
        self.use_one::<OPEN, T>(&magazine.counts.puts, pool, len, || act(magazine))
    }

    #[inline(always)]
    fn use_one<const WORD: usize, T>(
        &self,
        uses: &Uses,
        pool: *const Inner,
        len: usize,
        act: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let before = uses.begin(len);
        // Pairs with the exchange in `raise`: either the owner sees the gate here or the other thread sees what is begun.
        if self.has_at::<WORD>(pool)
            && let Some(done) = act()
        {
            uses.end();
            return Some(done);
        }
        uses.give_up(before);
        None
    }

    /// As [`ThreadCache::take`], between [`ThreadCache::enter_to_pop_by_id`] and `leave`, or between `enter` and `leave` by whoever
    /// looks himself after what the fast path leaves out.
    #[inline(always)]
    pub(crate) fn pop(&self, magazine: usize, len: usize) -> Option<&'static Slot> {
        let magazine = self.magazine_at(magazine);
        let slot = magazine.pop()?;
        magazine.counts.gets.add(len);
        Some(slot)
    }

    /// As [`ThreadCache::keep`], between `enter` and `leave`.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, slot: &'static Slot, len: usize) -> bool {
        let magazine = self.magazine_at(class);
        let pushed = magazine.push(slot);
        if pushed {
            magazine.counts.puts.add(len);
        }
        pushed
    }

    /// Counts a get that no magazine served. Only between `enter` and `leave`.
    pub(crate) fn count_get(&self, class: usize, len: usize) {
        self.counts[class].gets.add(len);
    }

    /// Counts a put that no magazine took. Only between `enter` and `leave`.
    pub(crate) fn count_put(&self, class: usize, len: usize) {
        self.counts[class].puts.add(len);
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

    fn sum(&self, class: usize, which: impl Fn(&Counts) -> &Uses) -> u64 {
        let direct = which(&self.counts[class]).count();
        direct + self.magazine(class).map_or(0, |magazine| which(&magazine.counts).count())
    }

    /// Returns the idle buffers of a class: exact while the owner rests.
    pub(crate) fn idle(&self, class: usize) -> usize {
        self.magazine(class).map_or(0, Magazine::idle)
    }

    /// Returns the bytes asked for in gets minus those of puts, modulo 2^64.
    pub(crate) fn requested(&self) -> u64 {
        self.all_counts().fold(0, |sum: u64, counts| sum.wrapping_add_signed(counts.requested()))
    }

    fn all_counts(&self) -> impl Iterator<Item = &Counts> {
        self.counts.iter().chain(self.magazines().iter().map(|magazine| &magazine.counts))
    }
}
