//! What handles are made from, and where it comes from.

use std::sync::atomic::Ordering;

use super::INDEX_BITS;
#[cfg(millpond_models)]
use crate::sync;
use crate::sync::AtomicU64;

/// What handles are made from, drawn once per process before the first slot is allocated. Plain words, which cost a
/// load each: whoever has a handle to check has it from a thread that saw them written.
///
/// The nonces of a slot are a linear congruential sequence modulo 2^40 with a step of the slot's own. The multiplier is
/// 5 modulo 8 and the step is odd, so the sequence runs through all numbers before it repeats one (Hull and Dobell,
/// "Random Number Generators", 1962); it begins behind 0 and ends at it. The whole handle is multiplied and added to at
/// once: `Slot::step` holds what also brings the index below the nonce back to itself.
///
/// This protects against mistakes and blind guesses. It is no cipher: somebody inside the process who has a few successive
/// handles of one slot can compute the next ones.
pub(super) struct Key {
    pub multiplier: AtomicU64,
    pub step: AtomicU64,
}

pub(super) static KEY: Key = Key { multiplier: AtomicU64::new(5), step: AtomicU64::new(1) };

/// Returns the number to be added to a slot's multiplied handle. The step of its nonces is odd and a keyed hash of the
/// index: steps in an arithmetic progression would let two slots' handles tell a third one's.
pub(super) fn step_of(index: u64) -> u64 {
    let key = KEY.step.load(Ordering::Relaxed);
    let mut mixed = index ^ key;
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(key | 1);
    let of_nonce = (mixed ^ (mixed >> 32)) | 1;
    let multiplied = index.wrapping_mul(KEY.multiplier.load(Ordering::Relaxed));
    (of_nonce << INDEX_BITS).wrapping_add(index).wrapping_sub(multiplied)
}

/// Draws the key. Under the lock of the indexes, before the first slot is known to anybody.
pub(super) fn draw_key() {
    let mut words = [0_u64; 2];
    fill_random(&mut words);
    KEY.multiplier.store((words[0] & !7) | 5, Ordering::Relaxed);
    KEY.step.store(words[1], Ordering::Relaxed);
}

/// Fills words from the system's randomness; from the clock and the address space's layout where that fails,
/// which makes handles easier to guess but keeps them unique.
pub(crate) fn fill_random(words: &mut [u64]) {
    #[cfg(millpond_models)]
    if sync::primitives::fill(words) {
        return;
    }
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
