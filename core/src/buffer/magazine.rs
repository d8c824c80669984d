//! Keeps the idle buffers of one class for one thread.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::slot::Slot;
use crate::sync::{self, AtomicPtr, AtomicU64};

/// The most entries that move at a time, when a magazine is empty or full: half of them, or this.
pub(crate) const BATCH_MAX: usize = 64;
/// The most entries of a magazine beside the hot one.
pub(crate) const MAGAZINE_MAX: usize = if cfg!(millpond_models) { 2 } else { 256 };

/// One class's idle buffers of one thread, and what the thread counts of them.
///
/// The hot entry is the top of the stack, the others stand below it: it is null only when nothing is there, so that where
/// sizes come mixed a processor guesses right what it is. An entry says itself whether another stands below it. So where one
/// buffer alone comes and goes, nobody looks at the stack. All fields are written by the owner only, or by a thread that
/// revoked the cache; they are atomics so that statistics may be read at any time.
///
/// All that a get or a put stores, but for what it says of the lease, stands on this one line: processors write stores that
/// follow each other to one line faster than to two.
#[repr(C, align(64))]
pub(crate) struct Magazine {
    pub counts: Counts,
    /// The first free cell of the stack, or its end.
    top: AtomicPtr<Cell>,
    hot: Cell,
    /// Where the stack's cells begin and end.
    cells: *mut Cell,
    end: *mut Cell,
}

pub(crate) type Cell = AtomicPtr<Slot>;

/// In an entry's address: another entry stands below it. Slots are aligned to more.
const DEEPER: usize = 1;

/// Stands as the hot entry of a magazine that takes nothing: no slot has this address, and it is not null.
const NOTHING: *mut Slot = std::ptr::without_provenance_mut(DEEPER);

/// How often a magazine's owner took something, or put something, and bytes of how many; and whether it is just about it,
/// without the rest of the cache.
///
/// The sum is stored first, the count last. Both change their lowest bits every time: while these differ, the owner is in
/// between. So what has to be counted anyway says where the owner is.
#[repr(C)]
pub(crate) struct Uses {
    /// Twice the bytes plus the count, modulo 2^64.
    sum: AtomicU64,
    count: AtomicU64,
}

impl Uses {
    const fn none() -> Uses {
        Uses { sum: AtomicU64::new(0), count: AtomicU64::new(0) }
    }

    /// Begins a use for `len` bytes by the owner. What this returns is for [`Uses::give_up`].
    #[inline(always)]
    pub(crate) fn begin(&self, len: usize) -> u64 {
        let before = self.sum.load(Ordering::Relaxed);
        // Pairs with the load in `settled`: who sees this use sees that those before it are over.
        self.sum.store(sum_with(before, len), Ordering::Release);
        sync::light_barrier();
        before
    }

    /// Ends and counts a use.
    #[inline(always)]
    pub(crate) fn end(&self) {
        // Pairs with the load in `settled`: what the owner did is visible to whoever revokes; and with the one in `count`: of
        // a put, the get was counted before, by whatever thread, and who sees the put counted must see that too.
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Ends a use of which nothing came, begun when the sum was `before`.
    #[inline(always)]
    pub(crate) fn give_up(&self, before: u64) {
        self.sum.store(before, Ordering::Relaxed);
    }

    /// Counts a use for `len` bytes by an owner that has the whole cache.
    #[inline(always)]
    pub(crate) fn add(&self, len: usize) {
        self.sum.store(sum_with(self.sum.load(Ordering::Relaxed), len), Ordering::Relaxed);
        self.end();
    }

    pub(crate) fn count(&self) -> u64 {
        // Pairs with the store in `end`.
        self.count.load(Ordering::Acquire)
    }

    /// Returns twice the bytes, modulo 2^64: exact while the owner is about none.
    fn twice(&self) -> u64 {
        self.sum.load(Ordering::Relaxed).wrapping_sub(self.count.load(Ordering::Relaxed))
    }

    /// As [`Uses::twice`], and always exact; `None` while the owner is about one. Of an owner who is kept out no use can end
    /// later than this.
    fn settled(&self) -> Option<u64> {
        // In this order: see `begin`.
        let sum = self.sum.load(Ordering::SeqCst);
        let count = self.count.load(Ordering::SeqCst);
        ((sum ^ count) & 1 == 0).then(|| sum.wrapping_sub(count))
    }
}

fn difference(gets: u64, puts: u64) -> i64 {
    gets.wrapping_sub(puts) as i64 >> 1
}

#[inline(always)]
fn sum_with(sum: u64, len: usize) -> u64 {
    sum.wrapping_add((len as u64).wrapping_mul(2).wrapping_add(1))
}

/// What one thread counts for one class, with a magazine or without.
#[repr(C)]
pub(crate) struct Counts {
    pub gets: Uses,
    pub puts: Uses,
}

impl Counts {
    pub(crate) const fn none() -> Counts {
        Counts { gets: Uses::none(), puts: Uses::none() }
    }

    /// Returns the bytes of all gets less those of all puts, modulo 2^63 and with its sign: exact while the owner is about none.
    pub(crate) fn requested(&self) -> i64 {
        difference(self.gets.twice(), self.puts.twice())
    }

    /// As [`Counts::requested`], and always exact; `None` while the owner, who is kept out, is still about one.
    pub(crate) fn settled(&self) -> Option<i64> {
        Some(difference(self.gets.settled()?, self.puts.settled()?))
    }
}

impl Magazine {
    /// Makes a magazine that takes and gives nothing: its hot entry is no buffer, and the stack has no room.
    pub(crate) const fn full() -> Magazine {
        Magazine {
            counts: Counts::none(),
            top: AtomicPtr::new(std::ptr::dangling_mut()),
            hot: AtomicPtr::new(NOTHING),
            cells: std::ptr::dangling_mut(),
            end: std::ptr::dangling_mut(),
        }
    }

    /// Makes an empty magazine for one buffer more than there are cells.
    ///
    /// # Safety
    /// The cells are the magazine's alone for as long as it is used.
    pub(crate) unsafe fn empty(cells: &[Cell]) -> Magazine {
        let Range { start, end } = cells.as_ptr_range();
        let top = AtomicPtr::new(start.cast_mut());
        Magazine { top, hot: AtomicPtr::default(), cells: start.cast_mut(), end: end.cast_mut(), ..Magazine::full() }
    }

    /// Lets an empty magazine for one buffer take it. Only by the cache's owner, or by whoever revoked the cache, as
    /// [`Magazine::close`].
    pub(crate) fn open(&self) {
        self.hot.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Lets an empty magazine for one buffer take nothing, as [`Magazine::full`].
    pub(crate) fn close(&self) {
        debug_assert!(self.idle() == 0 && self.cells == self.end, "a closed magazine would lose its buffers");
        self.hot.store(NOTHING, Ordering::Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        !std::ptr::eq(self.hot.load(Ordering::Relaxed), NOTHING)
    }

    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<&'static Slot> {
        let hot = self.hot.load(Ordering::Relaxed);
        if hot.addr() & DEEPER == 0 {
            // As it was, where there is nothing.
            self.hot.store(std::ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: null, or the address of a slot, as `push` stored it; slots live for ever.
            return unsafe { hot.as_ref() };
        }
        // SAFETY: as above, with the mark; null in a magazine that takes nothing.
        let slot = unsafe { hot.wrapping_byte_sub(DEEPER).as_ref() }?;
        // SAFETY: `push` marked the entry because it put one more on the stack, which is still there: so the first free cell is
        // not the first of all.
        let below = unsafe { self.top.load(Ordering::Relaxed).sub(1) };
        // SAFETY: a cell, as above; the cells are there as long as the magazine is used.
        let next = unsafe { &*below }.load(Ordering::Relaxed);
        self.top.store(below, Ordering::Relaxed);
        self.hot.store(next, Ordering::Relaxed);
        Some(slot)
    }

    #[inline(always)]
    pub(crate) fn push(&self, slot: &'static Slot) -> bool {
        let hot = self.hot.load(Ordering::Relaxed);
        let mut entry = std::ptr::from_ref(slot).cast_mut();
        if !hot.is_null() {
            let top = self.top.load(Ordering::Relaxed);
            if std::ptr::eq(top, self.end) {
                return false;
            }
            // SAFETY: a cell: `top` begins at the first, and only this function raises it, to the end at most, where it is in
            // a magazine that takes nothing. The cells are there as long as the magazine is used.
            unsafe { &*top }.store(hot, Ordering::Relaxed);
            // SAFETY: the cell was before the end.
            self.top.store(unsafe { top.add(1) }, Ordering::Relaxed);
            entry = entry.wrapping_byte_add(DEEPER);
        }
        self.hot.store(entry, Ordering::Relaxed);
        true
    }

    /// Takes the `count` coldest entries out, the bottom of the stack.
    pub(crate) fn spill(&self, count: usize, mut take: impl FnMut(Entry)) {
        // SAFETY: as `empty` was promised; in a magazine that takes nothing, none.
        let cells = unsafe { std::slice::from_raw_parts(self.cells, self.stacked()) };
        if cells.is_empty() {
            return;
        }
        let (cold, rest) = cells.split_at(count.min(cells.len()));
        for cell in cold {
            // SAFETY: an entry.
            if let Some(slot) = unsafe { slot_of(cell.load(Ordering::Relaxed)) } {
                take(Entry::of(slot));
            }
        }
        let entries = rest.iter().map(|cell| cell.load(Ordering::Relaxed));
        for (cell, entry) in cells.iter().zip(entries) {
            cell.store(entry, Ordering::Relaxed);
        }
        // SAFETY: no further than it was.
        self.top.store(unsafe { self.cells.add(rest.len()) }, Ordering::Relaxed);
        // Below the one that is the coldest now nothing is left.
        let coldest = if rest.is_empty() { &self.hot } else { &cells[0] };
        let entry = coldest.load(Ordering::Relaxed);
        coldest.store(entry.map_addr(|address| address & !DEEPER), Ordering::Relaxed);
    }

    /// Returns how many entries stand on the stack, below the hot one.
    fn stacked(&self) -> usize {
        cells_between(self.cells, self.top.load(Ordering::Relaxed))
    }

    /// Says how many entries move at a time.
    pub(crate) fn batch(&self) -> usize {
        cells_between(self.cells, self.end).div_ceil(2).min(BATCH_MAX)
    }

    /// Returns how many buffers stand here: exact while the owner rests.
    pub(crate) fn idle(&self) -> usize {
        self.stacked() + usize::from(self.hot.load(Ordering::Relaxed) > NOTHING)
    }
}

/// Returns the slot of an entry. `None` for null, and for the one of a magazine that takes nothing.
///
/// # Safety
/// It stands in a magazine.
#[inline(always)]
unsafe fn slot_of(entry: *mut Slot) -> Option<&'static Slot> {
    // SAFETY: null, or the address of a slot, as `push` stored it; slots live for ever.
    unsafe { entry.map_addr(|address| address & !DEEPER).as_ref() }
}

fn cells_between(from: *mut Cell, to: *mut Cell) -> usize {
    (to.addr() - from.addr()) / size_of::<Cell>()
}

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
        assert!(!full.is_open());
    }

    #[test]
    fn a_magazine_for_one_buffer_takes_it_while_it_is_open() {
        // SAFETY: there are no cells.
        let one = unsafe { Magazine::empty(&[]) };
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

    #[test]
    fn the_coldest_leave_first_and_the_rest_keeps_its_order() {
        let pool = crate::BufferPool::new("cold").expect("a pool");
        let leases: Vec<_> = (0..5).map(|_| pool.get(10).expect("a lease")).collect();
        let cells: [Cell; 4] = Default::default();
        for spilled in 0..=5 {
            // SAFETY: nobody else uses the cells.
            let magazine = unsafe { Magazine::empty(&cells) };
            assert!(leases.iter().all(|lease| magazine.push(lease.slot())) && !magazine.push(leases[0].slot()));
            assert_eq!((magazine.idle(), magazine.batch()), (5, 2));
            let mut out: Vec<*const Slot> = Vec::new();
            magazine.spill(spilled, |entry| out.push(entry.slot));
            // The hot entry stays.
            assert_eq!((out.len(), magazine.idle()), (spilled.min(4), 5 - spilled.min(4)));
            let rest: Vec<*const Slot> = std::iter::from_fn(|| magazine.pop()).map(std::ptr::from_ref).collect();
            out.extend(rest.iter().rev());
            assert!(out.iter().zip(&leases).all(|(slot, lease)| std::ptr::eq(*slot, lease.slot())) && out.len() == 5);
            assert!(magazine.idle() == 0 && magazine.pop().is_none() && magazine.push(leases[0].slot()));
        }
    }

    #[test]
    fn a_use_counts_when_it_ends_and_its_bytes_are_told_only_then() {
        let one = Counts::none();
        for round in 1..4 {
            let before = one.gets.begin(100);
            assert_eq!((one.settled(), one.gets.count()), (None, round - 1));
            one.gets.end();
            assert_eq!((one.settled(), one.gets.count()), (Some(100 * round as i64), round));
            let refused = one.gets.begin(usize::MAX);
            assert_eq!(one.settled(), None);
            one.gets.give_up(refused);
            assert_eq!((one.settled(), one.gets.count()), (Some(100 * round as i64), round));
            assert_ne!(before, refused);
        }
        // Leases that were got elsewhere.
        one.puts.add(200);
        one.puts.begin(150);
        assert_eq!((one.settled(), one.puts.count()), (None, 1));
        one.puts.end();
        assert_eq!((one.settled(), one.requested(), one.puts.count()), (Some(-50), -50, 2));
        one.gets.add(60);
        assert_eq!((one.settled(), one.requested(), one.gets.count()), (Some(10), 10, 4));
    }
}
