//! Keeps the pool's record of each buffer, apart from the data, and the handles that name it.
//!
//! All slots of the process stand in one table, so that any 64-bit number can be looked up without knowing its
//! pool, and another pool's lease is told from a forged one. The table grows by segments that are never moved or
//! freed: a stale handle always meets a slot, never unmapped memory.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::inner::Inner;
use super::memory;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Lock};

/// Bits of a handle that hold the nonce; the slot's index stands above them.
pub(crate) const NONCE_BITS: u32 = 40;
const NONCE_MASK: u64 = (1 << NONCE_BITS) - 1;
/// A slot is retired when its generations are used up: a handle is never given out twice.
const GENERATION_END: u64 = NONCE_MASK;
const INDEX_MAX: u32 = (1 << (64 - NONCE_BITS)) - 1;
const SEGMENT: usize = 4096;
const SEGMENTS: usize = (INDEX_MAX as usize + 1) / SEGMENT;

/// The class number of a buffer that is no member of a class: oversized.
pub(crate) const OVERSIZED: u8 = u8::MAX;

/// Facts about a buffer that do not change while it exists, in one word with the generation.
///
/// ```text
/// 63    56 55    48 47        40 39                         0
/// +-------+--------+------------+---------------------------+
/// | flags | class  | unused     | generation                |
/// +-------+--------+------------+---------------------------+
/// ```
const CLASS_SHIFT: u32 = 48;
const FLAGS_SHIFT: u32 = 56;
/// The buffer has a mapping of its own; otherwise it is cut from a slab.
pub(crate) const MAPPED: u8 = 1;
/// The buffer belongs to one lease only and is destroyed at its put.
pub(crate) const SINGLE: u8 = 2;
/// Pages of the mapping may never have been touched.
pub(crate) const UNTOUCHED: u8 = 4;

/// One buffer's record.
///
/// `handle` is the whole handle of the buffer's present or next lease. Giving the lease back through a handle
/// replaces it, so that foreign, stale, doubled and forged handles are one comparison. Everything else belongs to
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
        (self.meta.load(Ordering::Relaxed) >> CLASS_SHIFT) as u8
    }

    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        (self.meta.load(Ordering::Relaxed) >> FLAGS_SHIFT) as u8
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.meta.load(Ordering::Relaxed) & NONCE_MASK
    }

    /// Changes the flags; only the buffer's holder may.
    pub(crate) fn set_flags(&self, flags: u8) {
        let rest = self.meta.load(Ordering::Relaxed) & ((1 << FLAGS_SHIFT) - 1);
        self.meta.store(rest | (u64::from(flags) << FLAGS_SHIFT), Ordering::Relaxed);
    }

    /// Returns the slot's place in the table, 1 to 2^24 - 1.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        (self.handle.load(Ordering::Relaxed) >> NONCE_BITS) as u32
    }

    /// Ends the present handle if it is still `handle`. Exactly one of several callers succeeds.
    ///
    /// The acquire half pairs with the release of the thread that got the lease and handed it over; the release
    /// half makes this thread's earlier accesses to the data happen before those of the next tenant.
    #[inline]
    pub(crate) fn end_handle(&self, handle: u64) -> bool {
        let meta = self.meta.load(Ordering::Relaxed);
        let generation = (meta & NONCE_MASK) + 1;
        let next = handle_of((handle >> NONCE_BITS) as u32, generation);
        if self.handle.compare_exchange(handle, next, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        // Only the winner gets here, and `meta` had the generation of the handle that it just ended.
        self.meta.store(meta + 1, Ordering::Relaxed);
        true
    }

    /// Makes a handle that [`Slot::end_handle`] just ended valid again; only its ender may.
    pub(crate) fn restore_handle(&self, handle: u64) {
        let meta = self.meta.load(Ordering::Relaxed);
        self.meta.store(meta - 1, Ordering::Relaxed);
        // Pairs with the acquire loads of whoever checks the handle.
        self.handle.store(handle, Ordering::SeqCst);
    }

    /// Says whether the slot may be used for one more lease.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.generation() + 1 >= GENERATION_END
    }

    /// Says what became of a handle that is not the present one: `true` when it was valid once.
    pub(crate) fn was_valid(&self, handle: u64) -> bool {
        let generation = generation_of(handle);
        generation < self.generation()
    }
}

/// The keys of the permutation, drawn once per process.
struct Key {
    mask: u64,
    add: u64,
    multiply: [u64; 3],
    inverse: [u64; 3],
    canary: u64,
}

static KEY: OnceLock<Key> = OnceLock::new();

fn key() -> &'static Key {
    KEY.get_or_init(|| {
        let mut words = [0_u64; 6];
        fill_random(&mut words);
        let multiply = [words[0] | 1, words[1] | 1, words[2] | 1];
        Key {
            mask: words[3] & NONCE_MASK,
            add: words[4] & NONCE_MASK,
            multiply,
            inverse: multiply.map(inverse),
            canary: words[5],
        }
    })
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

/// Returns the inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the correct bits.
fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    for _ in 0..6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
    }
    x
}

/// Maps a slot's generations one to one to nonces. Neighbouring generations and slots look unrelated to anybody
/// without the key; it raises the cost of guessing and is no cipher.
#[inline]
fn permute(key: &Key, index: u32, generation: u64) -> u64 {
    let mut x = generation ^ key.mask ^ (u64::from(index).wrapping_mul(key.multiply[0]) & NONCE_MASK);
    x = x.wrapping_mul(key.multiply[1]) & NONCE_MASK;
    x ^= x >> 21;
    x = x.wrapping_mul(key.multiply[2]).wrapping_add(key.add) & NONCE_MASK;
    x ^ (x >> 20)
}

fn unpermute(key: &Key, index: u32, nonce: u64) -> u64 {
    // A right shift by at least half the width undoes itself.
    let mut x = nonce ^ (nonce >> 20);
    x = x.wrapping_sub(key.add).wrapping_mul(key.inverse[2]) & NONCE_MASK;
    x ^= x >> 21;
    x = x.wrapping_mul(key.inverse[1]) & NONCE_MASK;
    x ^ key.mask ^ (u64::from(index).wrapping_mul(key.multiply[0]) & NONCE_MASK)
}

#[inline]
fn handle_of(index: u32, generation: u64) -> u64 {
    (u64::from(index) << NONCE_BITS) | permute(key(), index, generation)
}

fn generation_of(handle: u64) -> u64 {
    unpermute(key(), (handle >> NONCE_BITS) as u32, handle & NONCE_MASK)
}

/// Returns the eight bytes that stand behind a lease's length: the first is zero, which stops a string that lost
/// its terminator, the others depend on the slot and cannot be guessed.
#[inline]
pub(crate) fn canary(slot: &Slot) -> u64 {
    let word = (slot as *const Slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key().canary);
    (word ^ (word >> 29)) << 8
}

/// The table of segments. Slot 0 does not exist, so that no handle is 0.
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
    if segment.is_null() || index == 0 {
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
    // A slot used before goes on with its generations: its old handles stay invalid for ever.
    let generation = slot.generation();
    slot.meta
        .store((u64::from(flags) << FLAGS_SHIFT) | (u64::from(class) << CLASS_SHIFT) | generation, Ordering::Relaxed);
    slot.data.store(data.as_ptr(), Ordering::Relaxed);
    slot.capacity.store(capacity, Ordering::Relaxed);
    slot.len.store(0, Ordering::Relaxed);
    slot.site.store(0, Ordering::Relaxed);
    slot.taken.store(0, Ordering::Relaxed);
    slot.pins.store(0, Ordering::Relaxed);
    slot.pool.store(pool, Ordering::Relaxed);
    // Pairs with the acquire load of whoever checks a handle.
    slot.handle.store(handle_of(index, generation), Ordering::Release);
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
        // Pairs with the acquire load in `find`.
        segment.store(base.as_ptr().cast(), Ordering::Release);
    }
    indexes.next += 1;
    Some(index)
}

/// Gives back the slot of a destroyed buffer. A slot at its last generation is retired instead.
pub(crate) fn free(slot: &'static Slot) {
    let handle = slot.handle.load(Ordering::Relaxed);
    let index = slot.index();
    let ended = slot.end_handle(handle);
    debug_assert!(ended, "only the buffer's holder frees its slot");
    slot.taken.store(0, Ordering::Relaxed);
    slot.pool.store(std::ptr::null_mut(), Ordering::Relaxed);
    if !slot.is_worn_out() {
        INDEXES.lock().free.push(index);
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
    fn the_permutation_is_one_to_one_and_reversible() {
        let key = key();
        let mut seen = std::collections::HashSet::new();
        for generation in (0..20_000).chain(GENERATION_END - 1000..=GENERATION_END) {
            let nonce = permute(key, 77, generation);
            assert!(nonce <= NONCE_MASK);
            assert_eq!(unpermute(key, 77, nonce), generation);
            assert!(seen.insert(nonce));
        }
    }

    #[test]
    fn numbers_that_are_no_handles_find_nothing_or_do_not_match() {
        assert!(find(0).is_none());
        assert!(find(NONCE_MASK).is_none());
        assert!(find(u64::MAX).is_none());
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
        assert_eq!((slot.class(), slot.flags(), slot.generation()), (3, MAPPED | UNTOUCHED, 1));
        free(slot);
    }

    #[test]
    fn canaries_begin_with_a_zero_byte() {
        let mut byte = 0_u8;
        let slot = allocate(std::ptr::null_mut(), 0, 0, NonNull::from(&mut byte), 64).expect("memory");
        assert_eq!(canary(slot).to_le_bytes()[0], 0);
        assert_ne!(canary(slot), 0);
        free(slot);
    }
}
