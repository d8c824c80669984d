//! Takes buffers back: checks what stands behind the length, clears, keeps or destroys.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache;
use super::depot::{Doomed, Entry};
use super::inner::{Inner, add};
use super::memory;
use super::slot::{self, Slot};
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::options::ClearPolicy;
use crate::site::Site;

/// The most entries that leave a magazine at a time.
const BATCH_MAX: usize = 32;

/// Writes the canary behind the length: always inside the capacity and its tail of 64 bytes.
#[inline(always)]
pub(crate) fn arm_canary(entry: Entry, len: usize, handle: u64) {
    // SAFETY: `len` is at most the capacity, and `memory::TAIL` bytes follow it; the caller holds the buffer.
    let behind = unsafe { entry.data.add(len) };
    // SAFETY: as above, eight bytes fit.
    unsafe { behind.cast::<u64>().write_unaligned(slot::canary(handle).to_le()) };
}

/// Takes the canary of the lease with this handle away; `false` when it was damaged.
#[inline(always)]
pub(crate) fn disarm_canary(entry: Entry, len: usize, handle: u64) -> bool {
    // SAFETY: as in `arm_canary`.
    let behind = unsafe { entry.data.add(len) }.cast::<u64>();
    // SAFETY: as in `arm_canary`.
    let intact = unsafe { behind.read_unaligned() } == slot::canary(handle).to_le();
    if intact {
        // The bytes may be inside the next tenant's length.
        // SAFETY: as in `arm_canary`.
        unsafe { behind.write_unaligned(0) };
    }
    intact
}

/// Returns the pool of a buffer that the caller holds.
#[inline(always)]
pub(crate) fn pool_of(slot: &Slot) -> &Inner {
    // SAFETY: the buffer exists, so its slot's strong reference keeps the pool alive; the reference is not used
    // after the buffer is given up, except under a reference of its own (`put_slow`).
    unsafe { &*slot.pool.load(Ordering::Relaxed) }
}

/// Gives a clean buffer back whose pool's caches stand at `front`; a class that no pool has leads to no magazine.
#[inline(always)]
pub(crate) fn finish(entry: Entry, len: usize, front: usize, class: usize) {
    entry.slot.taken.store(0, Ordering::Relaxed);
    let cache = cache::at_front(front);
    if cache.enter(entry.slot.pool.load(Ordering::Relaxed)) {
        let kept = cache.push(class, entry.slot, len);
        cache.leave();
        if kept {
            return;
        }
    }
    finish_slow(entry, len);
}

#[cold]
#[inline(never)]
fn finish_slow(entry: Entry, len: usize) {
    pool_of(entry.slot).put_slow(entry, len);
}

impl Inner {
    /// Takes back what no magazine could. The pool may be gone afterwards, with its last buffer.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_slow(&self, entry: Entry, len: usize) {
        let class = self.class_of_capacity(entry.slot.capacity());
        self.count_put(class, len);
        self.take_back(class, entry);
    }

    /// Keeps or destroys a buffer that is clean and whose lease is counted; what is destroyed counts as discarded.
    /// The pool may be gone afterwards, with its last buffer.
    pub(crate) fn take_back(&self, class: usize, entry: Entry) {
        // The buffer's own reference may be the last one, and goes with it.
        let pool = self.keep_alive();
        let mut doomed = Doomed::default();
        if self.is_single(entry) || self.is_closed() || entry.slot.is_worn_out() {
            doomed.push(entry);
        } else {
            self.stow(class, entry, &mut doomed);
        }
        // The pool may have been closed since the check; its depots refuse then, and this is what they refused.
        add(&pool.classes[class].counts.discarded, doomed.count as u64);
        pool.destroy_all(&mut doomed);
        pool.wake_waiters();
    }

    /// Puts a buffer into the calling thread's magazine, which spills half when it is full, or into the depot.
    fn stow(&self, class: usize, entry: Entry, doomed: &mut Doomed) {
        let cache = self.own_cache().filter(|cache| cache.is_cached(class) && cache.enter(self));
        let Some(cache) = cache else {
            self.give_idle(class, self.home(), &[entry], doomed);
            return;
        };
        let magazine = &cache.magazines()[class];
        let mut batch = [entry; BATCH_MAX];
        let mut count = 0;
        if !magazine.push(entry.slot) {
            clock::tick();
            let most = magazine.batch().min(BATCH_MAX - 1);
            magazine.spill(most, |cold| {
                batch[count] = cold;
                count += 1;
            });
            if !magazine.push(entry.slot) {
                batch[count] = entry;
                count += 1;
            }
        }
        if count > 0 {
            self.give_idle(class, cache.home, &batch[..count], doomed);
        }
        cache.leave();
    }

    /// Returns a reference of the caller's own.
    pub(crate) fn keep_alive(&self) -> Arc<Inner> {
        let this: *const Inner = self;
        // SAFETY: an `Inner` lives in an `Arc` only, and `self` proves that it is alive.
        unsafe { Arc::increment_strong_count(this) };
        // SAFETY: the count just taken.
        unsafe { Arc::from_raw(this) }
    }

    /// Destroys a buffer whose canary was damaged, and says so. The lease is counted as put and discarded.
    #[cold]
    #[inline(never)]
    pub(crate) fn overrun(&self, entry: Entry, len: usize, handle: u64) -> Error {
        let pool = self.keep_alive();
        let (error, class) = self.overrun_error(entry, len, handle);
        self.count_put(class, len);
        add(&self.classes[class].counts.discarded, 1);
        self.destroy(entry);
        pool.wake_waiters();
        error
    }

    /// Counts and describes a damaged canary, and clears the buffer. Returns the buffer's class too.
    #[cold]
    pub(crate) fn overrun_error(&self, entry: Entry, len: usize, handle: u64) -> (Error, usize) {
        let slot = entry.slot;
        let capacity = slot.capacity();
        let expected = slot::canary(handle).to_le_bytes();
        // SAFETY: `len` is at most the capacity; eight bytes of tail follow.
        let behind = unsafe { entry.data.add(len) };
        // SAFETY: as above; the caller holds the buffer.
        let found = unsafe { behind.cast::<[u8; 8]>().read_unaligned() };
        let first = found.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
        let site = Site::from_bits(slot.site.load(Ordering::Relaxed));
        let error = Error::new(
            ErrorKind::Overrun,
            format_args!(
                "a lease of {len} bytes (capacity {capacity}) of pool \"{}\" was written past its end: byte {} behind \
             the length is {:#04x}; got at {site}. The buffer is discarded; write at most the length",
                self.name,
                first + 1,
                found[first]
            ),
        );
        if self.clear != ClearPolicy::Never {
            // A slab's memory is cut again: nothing of the lease, nor of what ran over, may stay.
            self.wipe(entry, capacity + memory::TAIL);
        }
        add(&self.counts.overruns, 1);
        (error, self.class_of_capacity(capacity))
    }

    /// Takes back a lease that was lost: its language's collector found it.
    pub(crate) fn take_leaked(&self, entry: Entry, len: usize) {
        let class = self.class_of_capacity(entry.slot.capacity());
        entry.slot.taken.store(0, Ordering::Relaxed);
        add(&self.classes[class].counts.leaked, 1);
        self.count_returned(len);
        self.take_back(class, entry);
    }
}
