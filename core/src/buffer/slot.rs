//! Keeps the pool's record of each buffer, apart from the data, and the handles that name it.
//!
//! All slots of the process stand in one table, so that any 64-bit number can be looked up without knowing its
//! pool, and another pool's lease is told from a forged one. The table grows by segments that are never moved or
//! freed: a stale handle always meets a slot, never unmapped memory.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::inner::Inner;
use super::memory;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Lock};

/// Bits of a handle below the slot's index. They hold the nonce.
pub(crate) const NONCE_BITS: u32 = 40;
/// Bits of the nonce that are used: how many leases a slot serves before it is retired. All of them, or three in a
/// build that tests the retirement.
const GENERATION_BITS: u32 = if cfg!(millpond_short_generations) { 3 } else { NONCE_BITS };
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const NONCE_MASK: u64 = (1 << NONCE_BITS) - 1;
const INDEX_MAX: u32 = (1 << (64 - NONCE_BITS)) - 1;
const SEGMENT: usize = 4096;
const SEGMENTS: usize = (INDEX_MAX as usize + 1) / SEGMENT;

/// The class number of a buffer that is no member of a class: oversized.
pub(crate) const OVERSIZED: u8 = u8::MAX;

/// Facts about a buffer that do not change while it exists, in one word.
///
/// ```text
/// 63                      16 15     8 7      0
/// +-------------------------+-------+--------+
/// | unused                  | flags | class  |
/// +-------------------------+-------+--------+
/// ```
const FLAGS_SHIFT: u32 = 8;
/// The buffer has a mapping of its own; otherwise it is cut from a slab.
pub(crate) const MAPPED: u8 = 1;
/// The buffer belongs to one lease only and is destroyed at its put.
pub(crate) const SINGLE: u8 = 2;
/// Pages of the mapping may never have been touched.
pub(crate) const UNTOUCHED: u8 = 4;

/// One buffer's record.
///
/// `handle` is the whole handle of the buffer's present or next lease; 0 while the slot was never used. Giving the lease
/// back through a handle replaces it, so that foreign, stale, doubled and forged handles are one comparison. Everything else belongs to
/// whoever holds the buffer: the lease, the magazine or the depot.
///
/// ```text
/// +0 handle | +8 meta | +16 pool | +24 data | +32 capacity | +40 length | +48 site | +56 taken | +60 pins
/// ```
/// A cache line each: at 32 bytes, two threads that put neighbours would fight over the line.
#[repr(C, align(64))]
pub(crate) struct Slot {
    pub handle: AtomicU64,
    meta: AtomicU64,
    /// The pool of the buffer; null while the slot is free. Holds one strong reference.
    pub pool: AtomicPtr<Inner>,
    pub data: AtomicPtr<u8>,
    pub capacity: AtomicUsize,
    /// The length of the live lease.
    pub len: AtomicUsize,
    /// Where the live lease was got.
    pub site: AtomicU64,
    /// The coarse clock at get; 0 while no lease is out.
    pub taken: AtomicU32,
    pub pins: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    #[inline]
    pub(crate) fn class(&self) -> u8 {
        self.meta.load(Ordering::Relaxed) as u8
    }

    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        (self.meta.load(Ordering::Relaxed) >> FLAGS_SHIFT) as u8
    }

    /// Changes the flags; only the buffer's holder may.
    pub(crate) fn set_flags(&self, flags: u8) {
        self.meta.store(u64::from(self.class()) | (u64::from(flags) << FLAGS_SHIFT), Ordering::Relaxed);
    }

    /// Ends the present handle if it is still `handle`, which is not a worn out one. Exactly one of several callers
    /// succeeds.
    ///
    /// The acquire half pairs with the release of the thread that got the lease and handed it over; the release
    /// half makes this thread's earlier accesses to the data happen before those of the next tenant.
    #[inline(always)]
    pub(crate) fn end_handle(&self, handle: u64) -> bool {
        self.handle.compare_exchange(handle, successor(handle), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Makes a handle that [`Slot::end_handle`] just ended valid again; only its ender may.
    pub(crate) fn restore_handle(&self, handle: u64) {
        // Pairs with the acquire loads of whoever checks the handle.
        self.handle.store(handle, Ordering::SeqCst);
    }

    /// Says whether the slot's handles are used up, so that it may not serve one more lease.
    #[inline(always)]
    pub(crate) fn is_worn_out(&self) -> bool {
        self.handle.load(Ordering::Relaxed) & NONCE_MASK == 0
    }

    /// Says what became of a handle that is not the present one: `true` when it was valid once.
    pub(crate) fn was_valid(&self, handle: u64) -> bool {
        let present = self.handle.load(Ordering::Relaxed);
        let index = handle >> NONCE_BITS;
        let Some(generation) = generation_of(handle).filter(|generation| *generation > 0) else {
            return false;
        };
        match present {
            0 => false,
            RETIRED => true,
            // A worn out slot had all of them.
            _ if present & NONCE_MASK == 0 => true,
            _ => present >> NONCE_BITS == index && generation_of(present).is_some_and(|now| generation < now),
        }
    }
}

/// Stands in a slot whose handles are used up. No handle has index 0.
const RETIRED: u64 = 1;

/// What handles are made from, drawn once per process before the first slot is allocated. Plain words, which cost a
/// load each: whoever has a handle to check has it from a thread that saw them written.
///
/// The nonces of a slot are a linear congruential sequence modulo 2^40 with a step of the slot's own. The multiplier is
/// 5 modulo 8 and the step is odd, so the sequence runs through all numbers before it repeats one (Hull and Dobell,
/// "Random Number Generators", 1962); it begins behind 0 and ends at it. Neighbouring generations and slots look
/// unrelated to anybody without the key; it raises the cost of guessing and is no cipher.
struct Key {
    multiplier: AtomicU64,
    step: AtomicU64,
}

static KEY: Key = Key { multiplier: AtomicU64::new(5), step: AtomicU64::new(1) };

/// Returns what is added to a slot's nonces: odd, and another number for each slot.
#[inline(always)]
fn step_of(index: u64) -> u64 {
    (index.wrapping_mul(KEY.step.load(Ordering::Relaxed)) << 1) | 1
}

/// Returns the handle after a handle. Behind the last one comes one with nonce 0.
#[inline(always)]
fn successor(handle: u64) -> u64 {
    let index = handle >> NONCE_BITS;
    let next = handle.wrapping_mul(KEY.multiplier.load(Ordering::Relaxed)).wrapping_add(step_of(index));
    (index << NONCE_BITS) | (next & GENERATION_MASK)
}

/// Returns how many handles of its slot came before a handle, and it: 0 for nonce 0. `None`: no handle looks so.
///
/// Going 2^k generations further changes bit k of the nonce and none below, so the bits of the number are found from
/// the lowest.
fn generation_of(handle: u64) -> Option<u64> {
    let nonce = handle & NONCE_MASK;
    if nonce > GENERATION_MASK {
        return None;
    }
    let (mut multiplier, mut step) = (KEY.multiplier.load(Ordering::Relaxed), step_of(handle >> NONCE_BITS));
    let (mut reached, mut generation) = (0_u64, 0_u64);
    for bit in 0..GENERATION_BITS {
        if (reached ^ nonce) >> bit & 1 != 0 {
            reached = reached.wrapping_mul(multiplier).wrapping_add(step) & GENERATION_MASK;
            generation |= 1 << bit;
        }
        // Twice as far at once.
        step = step.wrapping_mul(multiplier).wrapping_add(step);
        multiplier = multiplier.wrapping_mul(multiplier);
    }
    Some(generation)
}

/// Draws the key. Under the lock of the indexes, before the first slot is known to anybody.
fn draw_key() {
    let mut words = [0_u64; 2];
    fill_random(&mut words);
    KEY.multiplier.store((words[0] & !7) | 5, Ordering::Relaxed);
    KEY.step.store(words[1] | 1, Ordering::Relaxed);
}

/// Fills words from the system's randomness; from the clock and the address space's layout where that fails,
/// which makes handles easier to guess but keeps them unique.
pub(crate) fn fill_random(words: &mut [u64]) {
    let bytes = size_of_val(words);
    // SAFETY: the buffer is `bytes` long and any bit pattern is a valid u64.
    let got = unsafe { libc::getrandom(words.as_mut_ptr().cast(), bytes, 0) };
    if usize::try_from(got) != Ok(bytes) {
        use std::hash::{BuildHasher, RandomState};
        for (number, word) in words.iter_mut().enumerate() {
            *word = RandomState::new().hash_one(number);
        }
    }
}

/// Returns the eight bytes that stand behind the length of the lease with this handle: the first is zero, which stops
/// a string that lost its terminator, the others are the nonce and a part of the index, and cannot be guessed.
#[inline(always)]
pub(crate) fn canary(handle: u64) -> u64 {
    handle << 8
}

/// The table of segments. Slot 0 is nobody's, so that no handle is 0.
static SEGMENT_TABLE: [AtomicPtr<Slot>; SEGMENTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SEGMENTS];

struct Indexes {
    /// The next index never used.
    next: u32,
    /// Indexes to use again; has room for every index in use, so that freeing one never allocates.
    free: Vec<u32>,
}

static INDEXES: Lock<Indexes> = Lock::new(Indexes { next: 1, free: Vec::new() });

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
#[inline]
pub(crate) fn find(handle: u64) -> Option<&'static Slot> {
    let index = (handle >> NONCE_BITS) as usize;
    let segment = SEGMENT_TABLE[index / SEGMENT].load(Ordering::Acquire);
    if segment.is_null() {
        return None;
    }
    // SAFETY: a segment has `SEGMENT` slots.
    let slot = unsafe { segment.add(index % SEGMENT) };
    // SAFETY: the segment was published by a release store after its mapping and is never unmapped; all-zero bytes
    // are a valid `Slot`.
    Some(unsafe { &*slot })
}

/// Takes a slot for a new buffer. `None` when there is no memory, or 16,777,215 buffers exist already.
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
    let slot = find(u64::from(index) << NONCE_BITS)?;
    slot.meta.store((u64::from(flags) << FLAGS_SHIFT) | u64::from(class), Ordering::Relaxed);
    slot.data.store(data.as_ptr(), Ordering::Relaxed);
    slot.capacity.store(capacity, Ordering::Relaxed);
    slot.len.store(0, Ordering::Relaxed);
    slot.site.store(0, Ordering::Relaxed);
    slot.taken.store(0, Ordering::Relaxed);
    slot.pins.store(0, Ordering::Relaxed);
    slot.pool.store(pool, Ordering::Relaxed);
    // Pairs with the acquire load of whoever checks a handle.
    // A slot used before goes on where its handles ended: the old ones stay invalid for ever.
    let present = match slot.handle.load(Ordering::Relaxed) {
        0 => successor(u64::from(index) << NONCE_BITS),
        present => present,
    };
    slot.handle.store(present, Ordering::Release);
    Some(slot)
}

fn grow(indexes: &mut Indexes) -> Option<u32> {
    let index = indexes.next;
    if index > INDEX_MAX {
        return None;
    }
    let used = index as usize;
    let missing = (used + 1).saturating_sub(indexes.free.capacity());
    if missing > 0 {
        // Doubling keeps this rare.
        let more = (used + 64).max(indexes.free.capacity()) + 1;
        indexes.free.try_reserve(more).ok()?;
    }
    let segment = &SEGMENT_TABLE[used / SEGMENT];
    if segment.load(Ordering::Relaxed).is_null() {
        let base = memory::map(SEGMENT * size_of::<Slot>(), memory::page_size())?;
        if index == 1 {
            draw_key();
            // SAFETY: the segment's first slot, all zero, known to nobody else yet.
            let nobody = unsafe { base.cast::<Slot>().as_ref() };
            // No number with index 0 is this one.
            nobody.handle.store(u64::MAX, Ordering::Relaxed);
        }
        // Pairs with the acquire load in `find`.
        segment.store(base.as_ptr().cast(), Ordering::Release);
    }
    indexes.next += 1;
    Some(index)
}

/// Gives back the slot of a destroyed buffer. A slot whose handles are used up is retired instead.
pub(crate) fn free(slot: &'static Slot) {
    let handle = slot.handle.load(Ordering::Relaxed);
    slot.taken.store(0, Ordering::Relaxed);
    slot.pool.store(std::ptr::null_mut(), Ordering::Relaxed);
    // Pairs with the acquire loads of whoever checks a handle.
    if handle & NONCE_MASK == 0 || successor(handle) & NONCE_MASK == 0 {
        slot.handle.store(RETIRED, Ordering::Release);
    } else {
        slot.handle.store(successor(handle), Ordering::Release);
        INDEXES.lock().free.push((handle >> NONCE_BITS) as u32);
    }
}

/// Calls `visit` with every slot that was ever used.
pub(crate) fn for_each(mut visit: impl FnMut(&'static Slot)) {
    let end = INDEXES.lock().next;
    for index in 1..end {
        if let Some(slot) = find(u64::from(index) << NONCE_BITS) {
            visit(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_a_slot_differ_and_know_their_generation() {
        let mut byte = 0_u8;
        let slot = allocate(std::ptr::null_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
        let mut handle = slot.handle.load(Ordering::Relaxed) & !NONCE_MASK;
        let mut seen = std::collections::HashSet::new();
        for generation in 0..20_000 & GENERATION_MASK {
            assert_eq!(generation_of(handle), Some(generation));
            assert!(seen.insert(handle));
            handle = successor(handle);
            assert_ne!(handle & NONCE_MASK, 0, "not before all were used");
        }
        free(slot);
    }

    #[test]
    fn the_sequence_of_handles_ends_at_nonce_0_after_all_the_others() {
        // The same rule modulo 2^8, where all of it can be seen.
        let (multiplier, step) = (KEY.multiplier.load(Ordering::Relaxed), step_of(77));
        let mut nonce = 0_u64;
        let mut length = 0;
        loop {
            nonce = nonce.wrapping_mul(multiplier).wrapping_add(step) & 0xff;
            length += 1;
            if nonce == 0 {
                break;
            }
        }
        assert_eq!(length, 256);
    }

    #[test]
    fn numbers_that_are_no_handles_find_nothing_or_do_not_match() {
        for number in [0, 1, NONCE_MASK, u64::MAX] {
            assert!(find(number).is_none_or(|slot| slot.handle.load(Ordering::Relaxed) != number), "{number:#x}");
        }
    }

    #[test]
    fn an_ended_handle_is_known_as_such_and_a_forged_one_is_not() {
        let mut byte = 0_u8;
        let slot = allocate(std::ptr::null_mut(), 3, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
        let first = slot.handle.load(Ordering::Relaxed);
        assert_eq!((slot.class(), slot.flags()), (3, MAPPED));
        assert!(slot.end_handle(first));
        assert!(!slot.end_handle(first));
        let second = slot.handle.load(Ordering::Relaxed);
        assert_ne!(first, second);
        assert!(slot.was_valid(first));
        assert!(!slot.was_valid(second));
        let forged = (1..2000_u64).filter(|n| slot.was_valid(second ^ n)).count();
        assert!(forged <= 1, "{forged} forged handles look like old ones");
        slot.set_flags(MAPPED | UNTOUCHED);
        assert_eq!((slot.class(), slot.flags()), (3, MAPPED | UNTOUCHED));
        free(slot);
    }

    #[test]
    fn canaries_begin_with_a_zero_byte() {
        let mut byte = 0_u8;
        let slot = allocate(std::ptr::null_mut(), 0, 0, NonNull::from(&mut byte), 64).expect("memory");
        let canary = canary(slot.handle.load(Ordering::Relaxed));
        assert_eq!(canary.to_le_bytes()[0], 0);
        assert_ne!(canary, 0);
        free(slot);
    }
}
