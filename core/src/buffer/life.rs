//! Creates and destroys a pool's buffers, and holds them against its limit.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::depot::{Doomed, Entry};
use super::guard;
use super::inner::{Inner, Refusal, add};
use super::memory;
use super::registry;
use super::slot::{self, HEAP, MAPPED, OVERSIZED, SINGLE, UNTOUCHED};
use super::strong::Strong;
use crate::clock;
use crate::options::ClearPolicy;
use crate::tools;

impl Inner {
    pub(crate) fn alignment(&self) -> usize {
        self.alignment
    }

    /// Gives back what `reserve` took for a buffer that was not made.
    pub(crate) fn unreserve_total(&self, capacity: usize) {
        self.total_bytes.fetch_sub(capacity, Ordering::Relaxed);
    }

    /// Returns what a buffer counts in the limit: the size of its class, as in the statistics.
    pub(crate) fn charge(&self, capacity: usize) -> usize {
        self.table.sizes().get(self.class_of_capacity(capacity)).copied().unwrap_or(capacity)
    }

    /// Counts a buffer that was made for one lease, of `capacity` bytes.
    pub(crate) fn count_created(&self, capacity: usize) {
        let class = self.class_of_capacity(capacity);
        add(&self.classes[class].counts.allocations, 1);
        if class == self.table.sizes().len() {
            add(&self.counts.oversized_live_bytes, capacity as u64);
            add(&self.counts.oversized_requests, 1);
            self.note_peak(0);
        } else {
            self.note_peak(self.charge(capacity) as u64);
        }
    }

    /// Takes room for a new buffer from the pool's limit.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        self.total_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                total.checked_add(bytes).filter(|sum| *sum <= self.max_bytes)
            })
            .is_ok()
    }

    /// Creates a buffer of a class. The flag tells whether its bytes are all zero.
    pub(crate) fn create(&self, class: usize) -> Result<(Entry, bool), Refusal> {
        if self.fails_alloc() {
            return Err(Refusal::Memory);
        }
        let capacity = self.table.sizes()[class];
        if !self.reserve(capacity) {
            return Err(Refusal::Limit);
        }
        let made = self.make(class, capacity);
        if made.is_none() {
            self.total_bytes.fetch_sub(capacity, Ordering::Relaxed);
        }
        made.ok_or(Refusal::Memory)
    }

    /// Creates a buffer for one lease alone; beyond the limit unless `limited`.
    pub(crate) fn create_single(&self, len: usize, limited: bool) -> Result<(Entry, bool), Refusal> {
        if self.fails_alloc() {
            return Err(Refusal::Memory);
        }
        // `check_len` has refused lengths for which this could overflow.
        let capacity = match self.table.sizes().get(self.table.index(len)) {
            Some(size) => *size,
            None => len.next_multiple_of(memory::TAIL),
        };
        if !limited {
            self.total_bytes.fetch_add(capacity, Ordering::Relaxed);
        } else if !self.reserve(capacity) {
            return Err(Refusal::Limit);
        }
        let made = self.map_buffer(OVERSIZED, SINGLE | MAPPED | UNTOUCHED, capacity, 0);
        if made.is_none() {
            self.total_bytes.fetch_sub(capacity, Ordering::Relaxed);
        }
        let entry = made.ok_or(Refusal::Memory)?;
        self.count_created(capacity);
        Ok((entry, true))
    }

    /// Allocates the buffer of one lease with the C library, exactly as long as the lease, for tools that watch the
    /// allocator.
    pub(crate) fn create_on_heap(&self, len: usize) -> Result<(Entry, bool), Refusal> {
        if self.fails_alloc() {
            return Err(Refusal::Memory);
        }
        if !self.reserve(self.charge(len)) {
            return Err(Refusal::Limit);
        }
        let mut data = std::ptr::null_mut();
        // SAFETY: the alignment is a power of two from 64; writes one pointer.
        let failed = unsafe { libc::posix_memalign(&raw mut data, self.alignment, len.max(1)) } != 0;
        let made = NonNull::new(data.cast::<u8>()).filter(|_| !failed).and_then(|data| {
            // SAFETY: just allocated with at least this length.
            unsafe { data.write_bytes(0, len) };
            let slot = slot::allocate(self.strong(), OVERSIZED, SINGLE | HEAP, data, len);
            if slot.is_none() {
                // SAFETY: just allocated, known to nobody else.
                unsafe { libc::free(data.as_ptr().cast()) };
                self.release();
            }
            slot
        });
        let Some(slot) = made else {
            self.unreserve_total(self.charge(len));
            return Err(Refusal::Memory);
        };
        self.count_created(len);
        Ok((Entry::of(slot), true))
    }

    fn make(&self, class: usize, capacity: usize) -> Option<(Entry, bool)> {
        let made = match &self.classes[class].slabs {
            None => {
                let before = self.classes[class].counts.allocations.load(Ordering::Relaxed) as usize;
                let place = memory::place_of(before, capacity, self.alignment);
                (self.map_buffer(class as u8, MAPPED | UNTOUCHED, capacity, place)?, true)
            }
            Some(slabs) => {
                let (data, fresh) = slabs.lock().cut()?;
                let Some(slot) = slot::allocate(self.strong(), class as u8, 0, data, capacity) else {
                    // SAFETY: just cut, known to nobody else.
                    unsafe { slabs.lock().give_back(data) };
                    self.release();
                    return None;
                };
                let entry = Entry { data: data.as_ptr(), slot };
                // What was cleared when it was idle is zero when it is cut again.
                (entry, fresh || self.clear == ClearPolicy::OnPut)
            }
        };
        add(&self.classes[class].counts.allocations, 1);
        self.note_peak(capacity as u64);
        Some(made)
    }

    /// Maps a buffer that begins so far into its mapping, which has room for that: see [`memory::place_of`].
    fn map_buffer(&self, class: u8, flags: u8, capacity: usize, place: usize) -> Option<Entry> {
        let len = memory::mapping_len(capacity)?;
        let base = memory::map(len, self.alignment.max(memory::page_size()))?;
        // SAFETY: less than a page into the mapping.
        let data = unsafe { base.add(place) };
        let Some(slot) = slot::allocate(self.strong(), class, flags, data, capacity) else {
            // SAFETY: just mapped, known to nobody else.
            unsafe { memory::unmap(base, len) };
            self.release();
            return None;
        };
        Some(Entry { data: data.as_ptr(), slot })
    }

    /// Returns a strong reference for a buffer; [`Inner::release`] ends it.
    pub(crate) fn strong(&self) -> *mut Inner {
        Strong::of(self).into_raw()
    }

    /// Ends a buffer's strong reference. `self` may be gone afterwards unless the caller holds another one.
    pub(crate) fn release(&self) {
        // SAFETY: the count that `strong` took, given back once.
        drop(unsafe { Strong::from_raw(NonNull::from(self)) });
    }

    /// Raises the peak if more is live than ever. Looked at when a buffer is created and when statistics are read:
    /// what threads pass among their caches between two looks is not seen.
    fn note_peak(&self, more: u64) {
        clock::tick();
        let mut registry = registry::lock();
        if let Some(member) = registry.member(self.id) {
            // What is put and got again while it is counted counts twice, but no more is out than there is.
            let existing = self.total_bytes.load(Ordering::Relaxed) as u64;
            let live = (self.live_bytes(member) + more).min(existing);
            self.counts.peak_live_bytes.fetch_max(live, Ordering::Relaxed);
        }
    }

    /// Destroys an idle buffer. The caller holds a reference to the pool of its own.
    pub(crate) fn destroy(&self, entry: Entry) {
        self.close_books(entry);
        self.free_memory(entry);
    }

    /// Counts a buffer as destroyed.
    pub(crate) fn close_books(&self, entry: Entry) {
        let capacity = entry.slot.capacity();
        let class = self.class_of_capacity(capacity);
        entry.slot.taken.store(0, Ordering::Relaxed);
        self.total_bytes.fetch_sub(self.charge(capacity), Ordering::Relaxed);
        add(&self.classes[class].counts.destroyed, 1);
        if class == self.table.sizes().len() {
            add(&self.counts.oversized_live_bytes, (capacity as u64).wrapping_neg());
        }
    }

    /// Gives the memory, the slot and the reference of a buffer back whose books are closed. The caller holds a
    /// reference to the pool of its own.
    pub(crate) fn free_memory(&self, entry: Entry) {
        tools::open(entry);
        let capacity = entry.slot.capacity();
        let class = self.class_of_capacity(capacity);
        let mapped = entry.slot.flags() & MAPPED != 0;
        if guard::is_guarded(entry.slot) {
            guard::give_up(entry, self.id);
            self.release();
            return;
        }
        if entry.slot.flags() & HEAP != 0 {
            slot::free(entry.slot, self.id);
            // SAFETY: allocated by `create_on_heap`, idle, and its slot is gone.
            unsafe { libc::free(entry.data.cast()) };
            self.release();
            return;
        }
        if !mapped {
            // The slab stays, and nobody may use what is not cut from it.
            tools::close(entry);
        }
        slot::free(entry.slot, self.id);
        if let Some(data) = NonNull::new(entry.data) {
            match &self.classes[class].slabs {
                Some(slabs) if !mapped => {
                    // SAFETY: cut from these slabs, idle, and its slot is gone.
                    unsafe { slabs.lock().give_back(data) };
                }
                _ => {
                    let len = memory::mapping_len(capacity).unwrap_or(capacity);
                    // SAFETY: mapped by `map_buffer` with this length, idle, and its slot is gone.
                    unsafe { memory::unmap_around(data, len) };
                }
            }
        }
        self.release();
    }

    /// Gives up a buffer whose memory is somebody else's now: only the slot and the reference come back.
    pub(crate) fn give_up(&self, entry: Entry) {
        tools::open(entry);
        self.close_books(entry);
        if guard::is_guarded(entry.slot) {
            guard::abandon(entry);
        }
        slot::free(entry.slot, self.id);
        self.release();
    }

    /// Says whether a buffer is for one lease alone.
    pub(crate) fn is_single(&self, entry: Entry) -> bool {
        entry.slot.flags() & SINGLE != 0
    }

    /// Destroys a list and returns its capacity in bytes.
    pub(crate) fn destroy_all(&self, doomed: &mut Doomed) -> usize {
        let mut bytes = 0;
        while let Some(entry) = doomed.pop() {
            bytes += entry.slot.capacity();
            self.destroy(entry);
        }
        bytes
    }
}

#[cfg(all(test, not(millpond_models)))]
mod tests {
    use super::*;
    use crate::BufferPool;

    #[test]
    fn what_could_not_be_made_does_not_count_against_the_limit() {
        // More than any machine has; the limit lets one through.
        let most = 1 << 62;
        let pool = BufferPool::builder().name("wide").max_bytes(most).build().expect("a pool");
        for _ in 0..3 {
            assert!(matches!(pool.inner().create_on_heap(most - 4096), Err(Refusal::Memory)));
        }
        assert!(matches!(pool.inner().create_on_heap(most + 4096), Err(Refusal::Limit)));
        assert_eq!(pool.inner().total_bytes.load(Ordering::Relaxed), 0);
    }
}
