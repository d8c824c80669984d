//! Keeps the pool's record of each buffer, apart from the data, and the handles that name it.
//!
//! All slots of the process stand in one table, so that any 64-bit number can be looked up without knowing its
//! pool, and another pool's lease is told from a forged one. The table grows in place and never shrinks: a stale handle
//! always meets a slot, never unmapped memory.

mod key;

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

pub(crate) use self::key::fill_random;
use self::key::{KEY, draw_key, step_of};
use super::cache;
use super::guard;
use super::inner::Inner;
use super::memory;
#[cfg(not(millpond_models))]
use super::memory::{commit, reserve};
#[cfg(millpond_models)]
use crate::sync::primitives::{commit, reserve};
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Lock};

/// Bits of a handle that hold the slot's index; the nonce stands above them.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const NONCE_BITS: u32 = 64 - INDEX_BITS;
/// Bits of the nonce that are used: how many leases a slot serves before it is retired. All of them, or three in a
/// build that tests the retirement.
const GENERATION_BITS: u32 = if cfg!(millpond_short_generations) { 3 } else { NONCE_BITS };
/// The bits of a handle that change from one to the next.
const USED_MASK: u64 = u64::MAX >> (NONCE_BITS - GENERATION_BITS);
/// How many slots become usable at a time.
const SEGMENT: usize = if cfg!(millpond_models) { 4 } else { 4096 };

/// The class number of a buffer that is no member of a class: oversized.
pub(crate) const OVERSIZED: u8 = u8::MAX;

/// Facts about a buffer that do not change while it exists, in one word.
///
/// ```text
/// 63                                      16 15     8 7     0
/// +-----------------------------------------+--------+-------+
/// | capacity in bytes                       | flags  | class |
/// +-----------------------------------------+--------+-------+
/// ```
const FLAGS_SHIFT: u32 = 8;
const CAPACITY_SHIFT: u32 = 16;
/// The buffer has a mapping of its own; otherwise it is cut from a slab.
pub(crate) const MAPPED: u8 = 1;
/// The buffer belongs to one lease only and is destroyed at its put.
pub(crate) const SINGLE: u8 = 2;
/// The lease has pages of its own, see `guard.rs`.
pub(crate) const GUARDED: u8 = 8;
/// The buffer is a block of the C library's allocator, for one lease alone.
pub(crate) const HEAP: u8 = 16;
/// Pages of the mapping may never have been touched.
pub(crate) const UNTOUCHED: u8 = 4;

/// Above the length of a lease that is a handle stands the mark of the thread that got it ([`ThreadCache::mark`]). No buffer is as
/// long: addresses have 48 bits.
///
/// [`ThreadCache::mark`]: super::cache::ThreadCache::mark
const MARK_SHIFT: u32 = usize::BITS - u16::BITS;
const LEN_MASK: usize = (1 << MARK_SHIFT) - 1;

/// Returns what stands in [`Slot::len`] for a length and a mark.
#[inline(always)]
pub(crate) fn marked(len: usize, mark: u16) -> usize {
    len | usize::from(mark) << MARK_SHIFT
}

/// Returns the length and the mark of what stands in [`Slot::len`].
#[inline(always)]
pub(crate) fn unmarked(word: usize) -> (usize, u16) {
    (word & LEN_MASK, (word >> MARK_SHIFT) as u16)
}

/// Why a handle was not ended, or a lease not pinned.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The lease is pinned, and stays live; of a pin: as often as it can be.
    Pinned,
    /// It was over: another thread ended it.
    Ended,
}

/// One buffer's record.
///
/// `handle` is the whole handle of the buffer's present or next lease; 0 while the slot was never used. Giving the lease
/// back through a handle replaces it, so that foreign, stale, doubled and forged handles are one comparison. Everything else belongs to
/// whoever holds the buffer: the lease, the magazine or the depot.
///
/// Others look all the same, with a handle that may end meanwhile ([`lookup`](super::raw::lookup)). So what changes after
/// a handle's end is stored with release: who loads it with acquire, and then the handle again, finds the end.
///
/// ```text
/// +0 handle | +8 meta | +16 pool | +24 data | +32 step | +40 length | +48 site | +56 taken | +60 pins
/// ```
/// A cache line each: at 32 bytes, two threads that put neighbours would fight over the line.
#[repr(C, align(64))]
pub(crate) struct Slot {
    pub handle: AtomicU64,
    meta: AtomicU64,
    /// The pool of the buffer; null while the slot is free. Holds one strong reference.
    pub pool: AtomicPtr<Inner>,
    pub data: AtomicPtr<u8>,
    /// What leads from one handle to the next, see [`key::Key`]; constant.
    step: AtomicU64,
    /// The length of the live lease, which a mark may stand above, see [`marked`]; of a free slot the id of the pool that it
    /// served last.
    pub len: AtomicUsize,
    /// Where the live lease was got.
    pub site: AtomicU64,
    /// The coarse clock at get; 0 while no lease is out.
    pub taken: AtomicU32,
    pub pins: AtomicU32,
}

#[cfg(not(millpond_models))]
const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    #[inline(always)]
    pub(crate) fn class(&self) -> u8 {
        self.meta.load(Ordering::Relaxed) as u8
    }

    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        (self.meta.load(Ordering::Relaxed) >> FLAGS_SHIFT) as u8
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> usize {
        (self.meta.load(Ordering::Relaxed) >> CAPACITY_SHIFT) as usize
    }

    /// Looks up the address, the length and the capacity of the lease with this handle. `None`: it is over, or was never
    /// one.
    #[inline]
    pub(crate) fn look(&self, handle: u64) -> Option<(*mut u8, usize, usize)> {
        if self.handle.load(Ordering::Acquire) != handle {
            return None;
        }
        let data = self.data.load(Ordering::Acquire);
        let (len, _) = unmarked(self.len.load(Ordering::Acquire));
        let meta = self.meta.load(Ordering::Acquire);
        // A put on another thread meanwhile: what was read may be the next tenant's. Then the loads above, which are acquire
        // loads of what was stored after the put ended the handle, have this one see the end.
        let still = self.handle.load(Ordering::Acquire) == handle;
        still.then_some((data, len, (meta >> CAPACITY_SHIFT) as usize))
    }

    /// Returns the buffer's pool, to whoever may not hold the buffer any more and looks at the handle again afterwards.
    pub(crate) fn pool_of_any(&self) -> *mut Inner {
        self.pool.load(Ordering::Acquire)
    }

    /// Returns where the bytes of the live lease are and how many, to its holder: by plain loads, which a compiler takes
    /// out of loops. A lease that is no handle has no mark.
    #[inline(always)]
    pub(crate) fn bytes_of_holder(&self) -> (*mut u8, usize) {
        // SAFETY: while the lease lives, only its holder changes the address or the length, and is here now. Others
        // only load them.
        let data = unsafe { *self.data.as_ptr() };
        // SAFETY: as above.
        (data, unsafe { *self.len.as_ptr() })
    }

    /// Returns the length of the live lease.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len_and_mark().0
    }

    /// Returns the length of the live lease and the mark above it.
    #[inline(always)]
    pub(crate) fn len_and_mark(&self) -> (usize, u16) {
        unmarked(self.len.load(Ordering::Relaxed))
    }

    /// Says whether room for a canary follows the capacity.
    pub(crate) fn has_tail(&self) -> bool {
        self.flags() & (GUARDED | HEAP) == 0
    }

    /// Changes the flags; only the buffer's holder may.
    pub(crate) fn set_flags(&self, flags: u8) {
        let rest = self.meta.load(Ordering::Relaxed) & !(0xff << FLAGS_SHIFT);
        self.meta.store(rest | (u64::from(flags) << FLAGS_SHIFT), Ordering::Relaxed);
    }

    /// Ends the present handle if it is still `handle`, which is not a worn out one. Exactly one of several callers
    /// succeeds.
    ///
    /// The acquire half pairs with the release of the thread that got the lease and handed it over; the release
    /// half makes this thread's earlier accesses to the data happen before those of the next tenant.
    #[inline(always)]
    pub(crate) fn end_handle(&self, handle: u64) -> bool {
        self.advance(handle).is_some()
    }

    /// As [`Slot::end_handle`]. Returns the handle that the slot has now.
    #[inline(always)]
    pub(crate) fn advance(&self, handle: u64) -> Option<u64> {
        let next = self.successor(handle);
        self.handle.compare_exchange(handle, next, Ordering::SeqCst, Ordering::Relaxed).ok().map(|_| next)
    }

    /// Ends the present handle, which is `handle`, without an atomic operation: for the thread whose mark the lease has, that is in
    /// its cache, where others wait for it to leave before they end what has its mark
    /// ([`registry::without_mark`](super::registry::without_mark)), and has seen there that the handle is the present one. Returns the
    /// handle that the slot has now.
    #[inline(always)]
    pub(crate) fn advance_alone(&self, handle: u64) -> u64 {
        let next = self.successor(handle);
        // Pairs with the acquire loads of whoever checks the handle.
        self.handle.store(next, Ordering::Release);
        next
    }

    /// As [`Slot::end_unpinned`], for the thread that [`Slot::advance_alone`] is for.
    pub(crate) fn end_unpinned_alone(&self, handle: u64) -> Result<(), Refused> {
        if self.is_pinned() {
            return Err(Refused::Pinned);
        }
        // What others did to the handle before the cache had its mark is visible here by the registry's lock.
        if self.handle.load(Ordering::Relaxed) != handle {
            return Err(Refused::Ended);
        }
        self.advance_alone(handle);
        Ok(())
    }

    /// As [`Slot::end_handle`], unless the lease is pinned.
    pub(crate) fn end_unpinned(&self, handle: u64) -> Result<(), Refused> {
        // Pairs with the increment in `pin`, as the load below: either the put sees the pin, or the pin sees the handle
        // gone.
        if self.is_pinned() {
            return Err(Refused::Pinned);
        }
        if !self.end_handle(handle) {
            return Err(Refused::Ended);
        }
        if self.is_pinned() {
            // Somebody pinned the lease between the look and the end.
            self.restore_handle(handle);
            return Err(Refused::Pinned);
        }
        Ok(())
    }

    /// Pins the lease with this handle.
    pub(crate) fn pin(&self, handle: u64) -> Result<(), Refused> {
        // Pairs with the two loads in `end_unpinned`: either the put sees the pin, or the pin sees the handle gone.
        let pinned = self.pins.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |pins| {
            if guard::pins_are_full(pins) { None } else { Some(pins + 1) }
        });
        if pinned.is_err() {
            return Err(Refused::Pinned);
        }
        if self.handle.load(Ordering::SeqCst) != handle {
            self.pins.fetch_sub(1, Ordering::SeqCst);
            return Err(Refused::Ended);
        }
        Ok(())
    }

    /// Waits for a put that is about to find a pin, and makes the handle of the pinned lease valid again: `true` when it has.
    /// `false` when the lease is over. Whoever pinned it must not be told so in between.
    #[cold]
    pub(crate) fn comes_back(&self, handle: u64) -> bool {
        // About 0.1 s: a put that was interrupted there. Longer than that, the pin is the next lease's.
        for tries in 0..2000 {
            if self.handle.load(Ordering::Acquire) == handle {
                return true;
            }
            if !self.is_next_after(handle) || !self.is_pinned() {
                break;
            }
            sync::relax(tries);
        }
        self.handle.load(Ordering::Acquire) == handle
    }

    fn is_pinned(&self) -> bool {
        guard::pins_of(self.pins.load(Ordering::SeqCst)) != 0
    }

    /// Makes a handle that [`Slot::end_handle`] just ended valid again; only its ender may.
    pub(crate) fn restore_handle(&self, handle: u64) {
        // Pairs with the acquire loads of whoever checks the handle.
        self.handle.store(handle, Ordering::SeqCst);
    }

    /// Returns the handle after a handle. Behind the last one comes one with nonce 0.
    #[inline(always)]
    fn successor(&self, handle: u64) -> u64 {
        let multiplier = KEY.multiplier.load(Ordering::Relaxed);
        handle.wrapping_mul(multiplier).wrapping_add(self.step.load(Ordering::Relaxed)) & USED_MASK
    }

    /// Says whether the slot's handles are used up, so that it may not serve one more lease.
    #[inline(always)]
    pub(crate) fn is_worn_out(&self) -> bool {
        is_behind_last(self.handle.load(Ordering::Relaxed))
    }

    /// Says what became of a handle that was not the present one: `true` when it was valid once.
    pub(crate) fn was_valid(&self, handle: u64) -> bool {
        let Some(generation) = self.generation_of(handle).filter(|generation| *generation > 0) else {
            return false;
        };
        match self.handle.load(Ordering::Relaxed) {
            0 => false,
            // A slot whose handles are used up had all of them.
            RETIRED | 1..=INDEX_MASK => true,
            // The same: a put that met a pin has made it valid again since.
            present => self.generation_of(present).is_some_and(|now| generation <= now),
        }
    }

    /// Says whether no handle came between this one, which is over, and the present one.
    pub(crate) fn is_next_after(&self, handle: u64) -> bool {
        self.handle.load(Ordering::Relaxed) == self.successor(handle)
    }

    /// Returns how many handles of this slot came before a handle, and it: 0 for nonce 0. `None`: no handle of this
    /// slot looks so.
    ///
    /// Going 2^k generations further changes bit k of the nonce and none below, so the bits of the number are found
    /// from the lowest.
    fn generation_of(&self, handle: u64) -> Option<u64> {
        let first = self.index() as u64;
        if handle & INDEX_MASK != first
            || handle.checked_shr(INDEX_BITS + GENERATION_BITS).is_some_and(|rest| rest != 0)
        {
            return None;
        }
        let (mut multiplier, mut step) = (KEY.multiplier.load(Ordering::Relaxed), self.step.load(Ordering::Relaxed));
        let (mut reached, mut generation) = (first, 0_u64);
        for bit in 0..GENERATION_BITS {
            if (reached ^ handle) >> (INDEX_BITS + bit) & 1 != 0 {
                reached = reached.wrapping_mul(multiplier).wrapping_add(step);
                generation |= 1 << bit;
            }
            // Twice as far at once.
            step = step.wrapping_mul(multiplier).wrapping_add(step);
            multiplier = multiplier.wrapping_mul(multiplier);
        }
        Some(generation)
    }

    /// Returns the slot's place in the table.
    pub(crate) fn index(&self) -> usize {
        let table = TABLE.load(Ordering::Relaxed) as usize;
        (std::ptr::from_ref(self) as usize - table) / size_of::<Slot>()
    }
}

/// Stands in a slot whose handles are used up: index 0, which is nobody's.
const RETIRED: u64 = 1 << INDEX_BITS;

/// Says whether a slot with this handle is worn out, see [`Slot::is_worn_out`].
#[inline(always)]
pub(crate) fn is_behind_last(handle: u64) -> bool {
    handle <= INDEX_MASK
}

/// Returns the index of the slot that a handle names.
pub(crate) fn index_of(handle: u64) -> u64 {
    handle & INDEX_MASK
}

/// Returns the eight bytes that stand behind the length of the lease with this handle: the first is zero, which stops
/// a string that lost its terminator, the others are the nonce and a part of the index, and cannot be guessed.
#[inline(always)]
pub(crate) fn canary(handle: u64) -> u64 {
    handle << 8
}

/// The table: address space for all slots that there may be, reserved once, of which the first [`USABLE`] are memory. One
/// array, so that a handle leads to its slot without a load on the way. Slot 0 is nobody's, so that no handle is 0.
static TABLE: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());
/// Grows only; after `TABLE` was set.
static USABLE: AtomicUsize = AtomicUsize::new(0);

struct Indexes {
    /// The next index never used.
    next: u32,
    /// The end of the indexes for which address space is reserved.
    end: u32,
    /// Indexes to use again; has room for every index in use, so that freeing one never allocates.
    free: Vec<u32>,
}

static INDEXES: Lock<Indexes> = Lock::new(Indexes { next: 1, end: 0, free: Vec::new() });

/// Forgets all slots, for the next execution of a model.
#[cfg(millpond_models)]
pub(crate) fn forget_all() {
    *INDEXES.lock() = Indexes { next: 1, end: 0, free: Vec::new() };
}

/// Returns the lock that fork takes and frees, see `fork.rs`.
pub(crate) fn lock_for_fork() {
    INDEXES.lock_for_fork();
}

/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { INDEXES.unlock_after_fork() };
}

/// Finds the slot that a handle names; any number is allowed.
#[inline(always)]
pub(crate) fn find(handle: u64) -> Option<&'static Slot> {
    let index = (handle & INDEX_MASK) as usize;
    // Pairs with the release store in `grow`.
    if index >= USABLE.load(Ordering::Acquire) {
        return None;
    }
    let table = TABLE.load(Ordering::Relaxed);
    // SAFETY: set before `USABLE` was more than 0.
    unsafe { std::hint::assert_unchecked(!table.is_null()) };
    // SAFETY: below `USABLE`, which is inside the reservation.
    let slot = unsafe { table.add(index) };
    // SAFETY: usable memory, which is never given back; all-zero bytes are a valid `Slot`.
    Some(unsafe { &*slot })
}

/// Takes a slot for a new buffer. `None` when there is no memory, or 16,777,215 buffers exist already
/// (fewer where the process may not have a gigabyte of addresses).
///
/// `pool` becomes the slot's strong reference.
pub(crate) fn allocate(
    pool: *mut Inner,
    class: u8,
    flags: u8,
    data: NonNull<u8>,
    capacity: usize,
) -> Option<&'static Slot> {
    let index = {
        let mut indexes = INDEXES.lock();
        match indexes.free.pop() {
            Some(index) => index,
            None => grow(&mut indexes)?,
        }
    };
    let slot = find(u64::from(index))?;
    // The number leads to a magazine, and classes beyond the magazines share the one that takes nothing.
    let class = if usize::from(class) < cache::MAGAZINES { class } else { OVERSIZED };
    let facts = u64::from(class) | u64::from(flags) << FLAGS_SHIFT;
    // No mapping is so large that bits are lost: addresses have 48.
    slot.meta.store(facts | (capacity as u64) << CAPACITY_SHIFT, Ordering::Release);
    slot.step.store(step_of(u64::from(index)), Ordering::Relaxed);
    slot.data.store(data.as_ptr(), Ordering::Release);
    slot.len.store(0, Ordering::Release);
    slot.site.store(0, Ordering::Relaxed);
    slot.taken.store(0, Ordering::Relaxed);
    slot.pins.store(0, Ordering::Relaxed);
    slot.pool.store(pool, Ordering::Release);
    // Pairs with the acquire load of whoever checks a handle.
    // A slot used before goes on where its handles ended: the old ones stay invalid for ever.
    let present = match slot.handle.load(Ordering::Relaxed) {
        0 => slot.successor(u64::from(index)),
        present => present,
    };
    slot.handle.store(present, Ordering::Release);
    Some(slot)
}

fn grow(indexes: &mut Indexes) -> Option<u32> {
    let index = indexes.next;
    if indexes.end == 0 {
        indexes.end = reserve_table()?;
    }
    if index == indexes.end {
        return None;
    }
    let used = index as usize;
    let missing = (used + 1).saturating_sub(indexes.free.capacity());
    if missing > 0 {
        // Doubling keeps this rare.
        let more = (used + 64).max(indexes.free.capacity()) + 1;
        indexes.free.try_reserve(more).ok()?;
    }
    let usable = USABLE.load(Ordering::Relaxed);
    if used >= usable {
        // SAFETY: inside the reservation, whose size is a multiple of a segment's.
        let start = unsafe { TABLE.load(Ordering::Relaxed).add(usable) };
        // SAFETY: whole pages of the reservation.
        if !unsafe { commit(NonNull::new(start)?.cast(), SEGMENT * size_of::<Slot>()) } {
            return None;
        }
        if usable == 0 {
            draw_key();
            // SAFETY: the first slot, all zero, known to nobody else yet.
            let nobody = unsafe { &*start };
            // No number with index 0 is this one.
            nobody.handle.store(u64::MAX, Ordering::Relaxed);
        }
        // Pairs with the acquire load in `find`.
        USABLE.store(usable + SEGMENT, Ordering::Release);
    }
    indexes.next += 1;
    Some(index)
}

/// Reserves the table: a gigabyte of addresses, or less where the process may not have as many. Returns the number of
/// slots.
fn reserve_table() -> Option<u32> {
    let most = memory::address_space_limit() / 16;
    let mut slots = 1_usize << INDEX_BITS;
    while slots >= SEGMENT {
        let bytes = slots * size_of::<Slot>();
        if bytes <= most
            && let Some(table) = reserve(bytes)
        {
            TABLE.store(table.as_ptr().cast(), Ordering::Relaxed);
            return u32::try_from(slots).ok();
        }
        slots /= 2;
    }
    None
}

/// Gives back the slot of a destroyed buffer of the pool with this id. A slot whose handles are used up is retired instead.
pub(crate) fn free(slot: &'static Slot, pool_id: u64) {
    let handle = slot.handle.load(Ordering::Relaxed);
    slot.taken.store(0, Ordering::Relaxed);
    // Where a length stood, not where a site did: whoever words a message at this moment follows a site's address.
    slot.len.store(pool_id as usize, Ordering::Release);
    slot.pool.store(std::ptr::null_mut(), Ordering::Release);
    let next = slot.successor(handle);
    // Pairs with the acquire loads of whoever checks a handle.
    if slot.is_worn_out() || next <= INDEX_MASK {
        slot.handle.store(RETIRED, Ordering::Release);
    } else {
        slot.handle.store(next, Ordering::Release);
        INDEXES.lock().free.push((handle & INDEX_MASK) as u32);
    }
}

/// Moves a buffer to another slot, because the handles of its own are used up. `None`, and nothing done, without one.
pub(crate) fn renew(old: &'static Slot, pool_id: u64) -> Option<&'static Slot> {
    let data = NonNull::new(old.data.load(Ordering::Relaxed))?;
    // The new slot takes the old one's reference to the pool over.
    let new = allocate(old.pool.load(Ordering::Relaxed), old.class(), old.flags(), data, old.capacity())?;
    new.len.store(old.len.load(Ordering::Relaxed), Ordering::Release);
    new.site.store(old.site.load(Ordering::Relaxed), Ordering::Relaxed);
    new.taken.store(old.taken.load(Ordering::Relaxed), Ordering::Relaxed);
    new.pins.store(old.pins.load(Ordering::Relaxed), Ordering::Relaxed);
    free(old, pool_id);
    Some(new)
}

/// Calls `visit` with every slot that was ever used.
pub(crate) fn for_each(mut visit: impl FnMut(&'static Slot)) {
    let end = INDEXES.lock().next;
    for index in 1..end {
        if let Some(slot) = find(u64::from(index)) {
            visit(slot);
        }
    }
}

#[cfg(test)]
mod tests;
