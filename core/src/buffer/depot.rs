//! Stocks a class's idle buffers behind the threads' magazines.

use std::sync::atomic::Ordering;

use super::slot::Slot;
use crate::sync::{AtomicUsize, Lock};

/// An idle buffer on its way between owners: the data's address is beside the slot, so that a get needs no load
/// from the slot.
#[derive(Copy, Clone)]
pub(crate) struct Entry {
    pub data: *mut u8,
    pub slot: &'static Slot,
}

impl Entry {
    /// Returns the entry of a slot's buffer.
    #[inline(always)]
    pub(crate) fn of(slot: &'static Slot) -> Entry {
        Entry { data: slot.data.load(Ordering::Relaxed), slot }
    }
}

// SAFETY: an entry is the right to one idle buffer; it is handed from thread to thread through locks.
unsafe impl Send for Entry {}

/// Buffers to be destroyed once no lock is held: a list linked through the slots, so that it needs no memory.
#[derive(Default)]
pub(crate) struct Doomed {
    first: Option<&'static Slot>,
    pub count: usize,
}

impl Doomed {
    pub(crate) fn push(&mut self, entry: Entry) {
        let next = self.first.map_or(std::ptr::null(), std::ptr::from_ref);
        // The length of a lease means nothing while no lease is out. Pairs with the load in `lookup`.
        entry.slot.len.store(next as usize, Ordering::Release);
        self.first = Some(entry.slot);
        self.count += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let slot = self.first?;
        let next = slot.len.load(Ordering::Relaxed) as *const Slot;
        // SAFETY: null or the address of a slot, as `push` stored it; slots live for ever.
        self.first = unsafe { next.as_ref() };
        self.count -= 1;
        Some(Entry::of(slot))
    }
}

/// One class's idle buffers, striped so that threads rarely meet.
///
/// *Thread-safe.*
pub(crate) struct Depot {
    stripes: Vec<Stripe>,
}

#[repr(align(128))]
struct Stripe {
    /// The number of entries, to be read without the lock: a hint for a taker, exact at rest.
    count: AtomicUsize,
    shelf: Lock<Shelf>,
}

struct Shelf {
    entries: Vec<Entry>,
    /// The fewest entries since the last look: what was never needed.
    low: usize,
    sealed: bool,
}

impl Shelf {
    /// Gives most of the list's own memory back when the list is mostly empty. `Vec::shrink_to` would end the process
    /// where there is no memory for the shorter list; here it stays as it is.
    fn shrink(&mut self) {
        let len = self.entries.len();
        if self.entries.capacity() <= 4 * len.max(64) {
            return;
        }
        let mut shorter = Vec::new();
        if shorter.try_reserve_exact(2 * len.max(32)).is_ok() {
            shorter.extend_from_slice(&self.entries);
            self.entries = shorter;
        }
    }
}

impl Depot {
    /// Makes an empty depot; `None` without memory.
    pub(crate) fn new(count: usize) -> Option<Depot> {
        let mut stripes = Vec::new();
        stripes.try_reserve_exact(count).ok()?;
        stripes.resize_with(count, || Stripe {
            count: AtomicUsize::new(0),
            shelf: Lock::new(Shelf { entries: Vec::new(), low: 0, sealed: false }),
        });
        Some(Depot { stripes })
    }

    /// Returns how many buffers stand here: exact at rest.
    pub(crate) fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.count.load(Ordering::Relaxed)).sum()
    }

    /// Moves up to `most` entries of one stripe to `take`, from the caller's own stripe if it has any.
    pub(crate) fn take(&self, home: usize, most: usize, mut take: impl FnMut(Entry)) -> usize {
        for step in 0..self.stripes.len() {
            let stripe = &self.stripes[(home + step) % self.stripes.len()];
            if stripe.count.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut shelf = stripe.shelf.lock();
            let taken = shelf.entries.len().min(most);
            let rest = shelf.entries.len() - taken;
            for entry in shelf.entries.drain(rest..) {
                take(entry);
            }
            shelf.low = shelf.low.min(rest);
            stripe.count.store(rest, Ordering::Relaxed);
            if taken > 0 {
                return taken;
            }
        }
        0
    }

    /// Puts entries into the caller's stripe, the last one to be taken first. Those that find no memory, or the
    /// depot sealed, go to `rejected`.
    pub(crate) fn give(&self, home: usize, entries: impl ExactSizeIterator<Item = Entry>, rejected: &mut Doomed) {
        let stripe = &self.stripes[home % self.stripes.len()];
        let mut shelf = stripe.shelf.lock();
        if shelf.sealed || shelf.entries.try_reserve(entries.len()).is_err() {
            entries.for_each(|entry| rejected.push(entry));
            return;
        }
        shelf.entries.extend(entries);
        stripe.count.store(shelf.entries.len(), Ordering::Relaxed);
    }

    /// Dooms half of what was never needed since the last look, rounded up, and begins the next look.
    pub(crate) fn decay(&self, doomed: &mut Doomed) {
        for stripe in &self.stripes {
            let mut shelf = stripe.shelf.lock();
            let superfluous = shelf.low.div_ceil(2);
            // The oldest stand first: they are the coldest.
            shelf.entries.drain(..superfluous).for_each(|entry| doomed.push(entry));
            shelf.low = shelf.entries.len();
            shelf.shrink();
            stripe.count.store(shelf.low, Ordering::Relaxed);
        }
    }

    /// Dooms up to `most` entries; with `seal`, also refuses all that come later.
    pub(crate) fn drain(&self, most: usize, seal: bool, doomed: &mut Doomed) {
        let mut left = most;
        for stripe in &self.stripes {
            let mut shelf = stripe.shelf.lock();
            shelf.sealed |= seal;
            let count = shelf.entries.len().min(left);
            left -= count;
            shelf.entries.drain(..count).for_each(|entry| doomed.push(entry));
            if shelf.entries.is_empty() {
                shelf.entries = Vec::new();
            }
            shelf.low = shelf.low.min(shelf.entries.len());
            stripe.count.store(shelf.entries.len(), Ordering::Relaxed);
        }
    }

    pub(crate) fn lock_for_fork(&self) {
        self.stripes.iter().for_each(|stripe| stripe.shelf.lock_for_fork());
    }

    /// # Safety
    /// As [`Lock::unlock_after_fork`].
    pub(crate) unsafe fn unlock_after_fork(&self) {
        for stripe in &self.stripes {
            // SAFETY: the caller's promise.
            unsafe { stripe.shelf.unlock_after_fork() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, Lease};

    fn leases(count: usize) -> Vec<Lease> {
        let pool = BufferPool::new("depots").expect("a pool");
        (0..count).map(|_| pool.get(64).expect("a lease")).collect()
    }

    /// Takes up to `most` entries; the addresses of their buffers.
    fn take(depot: &Depot, home: usize, most: usize) -> Vec<*mut u8> {
        let mut taken = Vec::new();
        assert_eq!(depot.take(home, most, |entry| taken.push(entry.data)), taken.len());
        taken
    }

    #[test]
    fn a_list_of_the_doomed_counts_what_is_in_it() {
        let leases = leases(3);
        let mut doomed = Doomed::default();
        for (number, lease) in leases.iter().enumerate() {
            let len = lease.slot().len.load(Ordering::Relaxed);
            doomed.push(Entry::of(lease.slot()));
            assert_eq!(doomed.count, number + 1);
            assert_ne!(lease.slot().len.load(Ordering::Relaxed), len);
        }
        for left in (0..3).rev() {
            let entry = doomed.pop().expect("one more");
            assert_eq!((entry.data.cast_const(), doomed.count), (leases[left].as_ptr(), left));
            entry.slot.len.store(64, Ordering::Relaxed);
        }
        assert!(doomed.pop().is_none());
    }

    #[test]
    fn a_taker_looks_into_its_own_stripe_first_and_then_into_the_others() {
        let leases = leases(8);
        let depot = Depot::new(4).expect("memory");
        let mut rejected = Doomed::default();
        for (number, lease) in leases.iter().enumerate() {
            depot.give(number % 4, std::iter::once(Entry::of(lease.slot())), &mut rejected);
        }
        let data: Vec<_> = leases.iter().map(|lease| lease.as_ptr().cast_mut()).collect();
        // The last one given is taken first, and only from one stripe at a time.
        assert_eq!(take(&depot, 2, 1), [data[6]]);
        assert_eq!(take(&depot, 2, 9), [data[2]]);
        assert_eq!(take(&depot, 2, 9), [data[3], data[7]]);
        assert_eq!(take(&depot, 3 + 4, 9), [data[0], data[4]]);
        // Somebody else was quicker in the first stripe where there seemed to be one.
        depot.stripes[0].count.store(1, Ordering::Relaxed);
        assert_eq!(take(&depot, 0, 9), [data[1], data[5]]);
        assert_eq!((take(&depot, 0, 9).len(), depot.len(), rejected.count), (0, 0, 0));
    }

    #[test]
    fn a_sealed_depot_refuses_and_a_drained_one_does_not() {
        let leases = leases(3);
        let depot = Depot::new(1).expect("memory");
        let mut doomed = Doomed::default();
        let give = |number: usize, doomed: &mut Doomed| {
            depot.give(0, std::iter::once(Entry::of(leases[number].slot())), doomed);
        };
        give(0, &mut doomed);
        depot.drain(1, false, &mut doomed);
        assert_eq!((doomed.count, depot.len()), (1, 0));
        give(1, &mut doomed);
        assert_eq!((doomed.count, depot.len()), (1, 1));
        depot.drain(usize::MAX, true, &mut doomed);
        depot.drain(usize::MAX, false, &mut doomed);
        give(2, &mut doomed);
        assert_eq!((doomed.count, depot.len()), (3, 0));
        while let Some(entry) = doomed.pop() {
            entry.slot.len.store(64, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_list_that_is_mostly_empty_becomes_shorter() {
        let lease = &leases(1)[0];
        for (capacity, len, left) in [(256, 1, 256), (257, 1, 64), (400, 100, 400), (401, 100, 200), (1000, 32, 64)] {
            let mut shelf = Shelf { entries: Vec::with_capacity(capacity), low: 0, sealed: false };
            assert_eq!(shelf.entries.capacity(), capacity);
            shelf.entries.resize(len, Entry::of(lease.slot()));
            shelf.shrink();
            assert_eq!((shelf.entries.capacity(), shelf.entries.len()), (left, len), "{capacity} for {len}");
        }
    }
}
