//! Keeps the idle buffers of one class for one thread.

use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::slot::Slot;
use crate::sync::{AtomicPtr, AtomicU64};

/// The most entries that move at a time, when a magazine is empty or full: half of them, or this.
pub(crate) const BATCH_MAX: usize = 64;
/// The most entries of a magazine beside the hot one.
pub(crate) const MAGAZINE_MAX: usize = if cfg!(millpond_models) { 2 } else { 256 };

/// One class's idle buffers of one thread, and what the thread counts for the class.
///
/// The hot entry is the top of the stack, the others stand below it: it is null only when nothing is there, so that where
/// sizes come mixed a processor guesses right what it is. The stack stands on a null that is never taken, so that a pop
/// learns from the entry itself whether there is one. Where one buffer alone comes and goes, `top` stays where it is and is
/// not in the chain of loads and stores. All fields are written by the owner only, or by a thread that revoked the cache;
/// they are atomics so that statistics may be read at any time.
#[repr(C, align(64))]
pub(crate) struct Magazine {
    pub counts: Counts,
    /// The first free cell of the stack: above the null, at most at the end.
    top: AtomicPtr<Cell>,
    /// Behind the last cell.
    end: *mut Cell,
    hot: Cell,
    /// The stack's cells, the null first; none in a magazine that takes nothing.
    cells: Vec<Cell>,
}

type Cell = AtomicPtr<Slot>;

/// Stands as the hot entry of a magazine that takes nothing: no slot has this address, and it is not null.
const NOTHING: *mut Slot = std::ptr::without_provenance_mut(1);

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
    /// Makes a magazine that takes and gives nothing: its hot entry is no buffer, and the stack has no room.
    pub(crate) const fn full() -> Magazine {
        Magazine {
            counts: Counts { gets: AtomicU64::new(0), puts: AtomicU64::new(0) },
            top: AtomicPtr::new(std::ptr::dangling_mut()),
            end: std::ptr::dangling_mut(),
            hot: AtomicPtr::new(NOTHING),
            cells: Vec::new(),
        }
    }

    /// Makes an empty magazine for `kept` buffers, one of them the hot entry. `None` without memory.
    pub(crate) fn empty(kept: usize) -> Option<Magazine> {
        let mut cells = Vec::new();
        cells.try_reserve_exact(kept).ok()?;
        cells.resize_with(kept, AtomicPtr::default);
        let magazine = Magazine { hot: AtomicPtr::default(), end: cell(&cells, kept), cells, ..Magazine::full() };
        magazine.set_stacked(0);
        Some(magazine)
    }

    /// Lets an empty magazine for one buffer take it. Only by the cache's owner, or by whoever revoked the cache, as
    /// [`Magazine::close`].
    pub(crate) fn open(&self) {
        self.hot.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Lets an empty magazine for one buffer take nothing, as [`Magazine::full`].
    pub(crate) fn close(&self) {
        debug_assert!(self.idle() == 0 && self.cells.len() == 1, "a closed magazine would lose its buffers");
        self.hot.store(NOTHING, Ordering::Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        !std::ptr::eq(self.hot.load(Ordering::Relaxed), NOTHING)
    }

    /// Returns the same magazine by an address of which the compiler knows no parts: it then loads and stores all fields at a
    /// distance from one register. Where it loaded one by an index instead, a processor that hands a store over to the next load
    /// did not do so at once: a pair took 3.9 instead of 3.5 ns on an Intel Xeon.
    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written by it")]
    pub(crate) fn by_address(&self) -> &Magazine {
        let mut address = std::ptr::from_ref(self);
        // SAFETY: no instruction at all.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags)) };
        // SAFETY: the same address.
        unsafe { &*address }
    }

    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<&'static Slot> {
        let hot = self.hot.load(Ordering::Relaxed);
        if hot <= NOTHING {
            return None;
        }
        // SAFETY: the address of a slot, as `push` stored it; slots live for ever.
        let slot = unsafe { &*hot };
        let top = self.top.load(Ordering::Relaxed);
        // SAFETY: a magazine with a hot entry has cells, and `top` is above the first: only this function lowers it, and not
        // below where it finds the null, which nobody replaces.
        let below = unsafe { top.sub(1) };
        // SAFETY: a cell, as above; `cells` never moves its memory.
        let next = unsafe { &*below }.load(Ordering::Relaxed);
        if !next.is_null() {
            self.top.store(below, Ordering::Relaxed);
        }
        self.hot.store(next, Ordering::Relaxed);
        Some(slot)
    }

    #[inline(always)]
    pub(crate) fn push(&self, slot: &'static Slot) -> bool {
        let hot = self.hot.load(Ordering::Relaxed);
        if !hot.is_null() {
            let top = self.top.load(Ordering::Relaxed);
            if std::ptr::eq(top, self.end) {
                return false;
            }
            // SAFETY: a cell above the null: `top` begins there and only this function raises it, to the end at most, where
            // it is in a magazine that takes nothing. `cells` never moves its memory.
            unsafe { &*top }.store(hot, Ordering::Relaxed);
            // SAFETY: the cell was before the end.
            self.top.store(unsafe { top.add(1) }, Ordering::Relaxed);
        }
        self.hot.store(std::ptr::from_ref(slot).cast_mut(), Ordering::Relaxed);
        true
    }

    /// Takes the `count` coldest entries out, the bottom of the stack.
    pub(crate) fn spill(&self, count: usize, mut take: impl FnMut(Entry)) {
        let len = self.stacked();
        let count = count.min(len);
        if count == 0 {
            return;
        }
        let entries = &self.cells[1..=len];
        for (number, cell) in entries.iter().enumerate() {
            let entry = cell.load(Ordering::Relaxed);
            if number >= count {
                entries[number - count].store(entry, Ordering::Relaxed);
            // SAFETY: null or the address of a slot, as `push` stored it; slots live for ever.
            } else if let Some(slot) = unsafe { entry.as_ref() } {
                take(Entry::of(slot));
            }
        }
        self.set_stacked(len - count);
    }

    /// Returns how many entries stand on the stack, below the hot one.
    fn stacked(&self) -> usize {
        let bytes = self.top.load(Ordering::Relaxed).addr() - self.cells.as_ptr().addr();
        (bytes / size_of::<Cell>()).saturating_sub(1)
    }

    fn set_stacked(&self, count: usize) {
        self.top.store(cell(&self.cells, count + 1), Ordering::Relaxed);
    }

    /// Says how many entries move at a time.
    pub(crate) fn batch(&self) -> usize {
        self.cells.len().saturating_sub(1).div_ceil(2).min(BATCH_MAX)
    }

    /// Returns how many buffers stand here: exact while the owner rests.
    pub(crate) fn idle(&self) -> usize {
        self.stacked() + usize::from(self.hot.load(Ordering::Relaxed) > NOTHING)
    }
}

/// Returns the address of a cell, or of the end behind the last.
fn cell(cells: &[Cell], number: usize) -> *mut Cell {
    assert!(number <= cells.len());
    // SAFETY: checked above.
    unsafe { cells.as_ptr().add(number) }.cast_mut()
}

#[cfg(not(millpond_models))]
// What a pair loads and stores must not seem to meet: see `ThreadCache`.
const _: () = assert!(std::mem::offset_of!(Magazine, hot) == 0x20 && size_of::<Magazine>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magazine_of_no_class_takes_nothing() {
        let full = Magazine::full();
        assert_eq!((full.batch(), full.idle()), (0, 0));
        assert!(full.pop().is_none());
        let pool = crate::BufferPool::new("full").expect("a pool");
        let lease = pool.get(10).expect("a lease");
        assert!(!full.push(lease.slot()));
        assert!(full.pop().is_none());
        assert_eq!(full.idle(), 0);
        full.spill(8, |_| panic!("nothing stands there"));
    }

    #[test]
    fn a_magazine_for_one_buffer_takes_it_while_it_is_open() {
        let one = Magazine::empty(1).expect("memory");
        let pool = crate::BufferPool::new("one").expect("a pool");
        let lease = pool.get(10).expect("a lease");
        for _ in 0..2 {
            assert!(one.is_open() && one.push(lease.slot()) && !one.push(lease.slot()));
            assert_eq!((one.batch(), one.idle()), (0, 1));
            assert!(one.pop().is_some_and(|slot| std::ptr::eq(slot, lease.slot())));
            one.close();
            assert!(!one.is_open() && !one.push(lease.slot()));
            assert!(one.pop().is_none());
            one.open();
        }
    }
}
