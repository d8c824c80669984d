//! Keeps the idle buffers of one class for one thread.

use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::slot::Slot;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64};

/// The most entries that move at a time, when a magazine is empty or full: half of them, or this.
pub(crate) const BATCH_MAX: usize = 64;
/// The most entries of a magazine beside the hot one.
pub(crate) const MAGAZINE_MAX: usize = if cfg!(millpond_models) { 2 } else { 256 };

/// One class's idle buffers of one thread, and what the thread counts for the class.
///
/// The hot entry is the top of the stack, the others stand below it: it is null only when nothing is there, so that where
/// sizes come mixed a processor guesses right what it is. Where one buffer alone comes and goes, `len` stays 0 and is not in
/// the chain of loads and stores. All fields are written by the owner only, or by a thread that revoked the cache; they are
/// atomics so that statistics may be read at any time.
#[repr(C, align(64))]
pub(crate) struct Magazine {
    pub counts: Counts,
    len: AtomicU32,
    /// How many entries move at a time.
    batch: usize,
    hot: AtomicPtr<Slot>,
    entries: Vec<AtomicPtr<Slot>>,
}

/// What one thread counts for one class: written by the owner only, with plain loads and stores.
#[derive(Default)]
pub(crate) struct Counts {
    pub gets: AtomicU64,
    pub puts: AtomicU64,
}

impl Counts {
    /// Counts a get of the calling thread, which is the only one that writes.
    #[inline(always)]
    pub(crate) fn count_get(&self) {
        increase(&self.gets, 1);
    }

    /// Counts a put of the calling thread, which is the only one that writes.
    #[inline(always)]
    pub(crate) fn count_put(&self) {
        // The get was counted before, by whatever thread: who sees the put counted must see that too.
        self.puts.store(self.puts.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// Adds to a counter that only the calling thread writes.
#[inline(always)]
pub(crate) fn increase(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Magazine {
    /// Makes a magazine that takes nothing: its hot entry is no buffer and nobody pops it, and the stack has no room.
    pub(crate) const fn full() -> Magazine {
        Magazine {
            counts: Counts { gets: AtomicU64::new(0), puts: AtomicU64::new(0) },
            len: AtomicU32::new(0),
            batch: 0,
            hot: AtomicPtr::new(std::ptr::dangling_mut()),
            entries: Vec::new(),
        }
    }

    /// Makes an empty magazine for `kept` buffers, one of them the hot entry. `None` without memory.
    pub(crate) fn empty(kept: usize) -> Option<Magazine> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(kept - 1).ok()?;
        entries.resize_with(kept - 1, AtomicPtr::default);
        let batch = entries.len().div_ceil(2).min(BATCH_MAX);
        Some(Magazine { batch, hot: AtomicPtr::default(), entries, ..Magazine::full() })
    }

    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<&'static Slot> {
        let hot = self.hot.load(Ordering::Relaxed);
        // SAFETY: null or the address of a slot, as `push` stored it; slots live for ever.
        let slot = unsafe { hot.as_ref() }?;
        let len = self.len.load(Ordering::Relaxed);
        let mut next = std::ptr::null_mut();
        if len != 0 {
            next = self.entries.get(len as usize - 1)?.load(Ordering::Relaxed);
            self.len.store(len - 1, Ordering::Relaxed);
        }
        self.hot.store(next, Ordering::Relaxed);
        Some(slot)
    }

    #[inline(always)]
    pub(crate) fn push(&self, slot: &'static Slot) -> bool {
        let hot = self.hot.load(Ordering::Relaxed);
        if !hot.is_null() {
            let len = self.len.load(Ordering::Relaxed);
            let Some(cell) = self.entries.get(len as usize) else {
                return false;
            };
            cell.store(hot, Ordering::Relaxed);
            self.len.store(len + 1, Ordering::Relaxed);
        }
        self.hot.store(std::ptr::from_ref(slot).cast_mut(), Ordering::Relaxed);
        true
    }

    /// Takes the `count` coldest entries out, the bottom of the stack.
    pub(crate) fn spill(&self, count: usize, mut take: impl FnMut(Entry)) {
        let len = self.len.load(Ordering::Relaxed) as usize;
        let count = count.min(len);
        for number in 0..len {
            let entry = self.entries[number].load(Ordering::Relaxed);
            if number >= count {
                self.entries[number - count].store(entry, Ordering::Relaxed);
            // SAFETY: null or the address of a slot, as `push` stored it; slots live for ever.
            } else if let Some(slot) = unsafe { entry.as_ref() } {
                take(Entry::of(slot));
            }
        }
        self.len.store((len - count) as u32, Ordering::Relaxed);
    }

    /// Says how many entries move at a time.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Returns how many buffers stand here: exact while the owner rests.
    pub(crate) fn idle(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize + usize::from(!self.hot.load(Ordering::Relaxed).is_null())
    }
}

#[cfg(not(millpond_models))]
// What a pair loads and stores must not seem to meet: see `ThreadCache`.
const _: () = assert!(std::mem::offset_of!(Magazine, hot) == 0x20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magazine_of_no_class_takes_nothing() {
        let full = Magazine::full();
        assert_eq!((full.batch(), full.idle()), (0, 1));
        let pool = crate::BufferPool::new("full").expect("a pool");
        let lease = pool.get(10).expect("a lease");
        assert!(!full.push(lease.slot()));
        assert_eq!(full.idle(), 1);
        full.spill(8, |_| panic!("nothing stands there"));
    }
}
