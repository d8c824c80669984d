//! Keeps the memory of a lease that was put until nobody can look at it any more.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::inner::add;
use super::lease::Lease;
use super::put;
use crate::site::Site;

/// The bit of [`Held::dirty`] that says that the books are closed: dropping only frees the memory.
const DEAD: usize = 1 << (usize::BITS - 1);

/// The memory of a lease that is over. It is handed to nobody and not unmapped until this is dropped; then it is
/// cleared and goes the way of every put.
///
/// For languages in which something may still look at the memory when the lease is put: the put is counted at once,
/// the memory follows. Held memory counts as retained.
///
/// *Thread-safe*: may move to another thread. *Fork:* as [`Lease`].
pub struct Held {
    entry: Entry,
    dirty: usize,
}

const _: () = assert!(size_of::<Held>() <= 32);

// SAFETY: a held buffer has no other holder, and the pool takes buffers back on any thread.
unsafe impl Send for Held {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Held {}

impl Held {
    /// Holds a buffer whose lease ended and was counted. Its first `dirty` bytes are cleared in the end.
    pub(crate) fn new(entry: Entry, dirty: usize) -> Held {
        let inner = put::pool_of(entry.slot);
        let class = inner.class_of_capacity(entry.slot.capacity());
        entry.slot.taken.store(0, Ordering::Relaxed);
        add(&inner.classes[class].counts.held, 1);
        Held { entry, dirty }
    }

    /// Holds a buffer that the books say is destroyed.
    pub(crate) fn dead(entry: Entry) -> Held {
        put::pool_of(entry.slot).close_books(entry);
        Held { entry, dirty: DEAD }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("pool", &put::pool_of(self.entry.slot).name).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let inner = put::pool_of(self.entry.slot).keep_alive();
        if self.dirty & DEAD != 0 {
            inner.free_memory(self.entry);
            return;
        }
        let class = inner.class_of_capacity(self.entry.slot.capacity());
        inner.scrub(self.entry, self.dirty);
        add(&inner.classes[class].counts.held, 1_u64.wrapping_neg());
        inner.take_back(class, self.entry);
    }
}

impl Lease {
    /// Puts the lease, and keeps the memory from everybody until the returned value is dropped. Then the first `used`
    /// bytes are cleared, by the caller's word that nothing else was or will be written; `None` for the whole length.
    ///
    /// # Errors
    /// Beside the held memory: `OVERRUN`, `INVALID_ARGUMENT` as for [`put_used`](Lease::put_used); the lease is over.
    #[track_caller]
    pub fn put_held(self, used: Option<usize>) -> (Held, crate::Result<()>) {
        let site = Site::rust(Location::caller());
        self.put_held_at(used, || site)
    }

    /// As [`put_held`](Lease::put_held), for a binding that knows the place better; it is asked for when it is to be
    /// recorded or reported.
    ///
    /// # Errors
    /// As [`put_held`](Lease::put_held).
    pub fn put_held_at(self, used: Option<usize>, site: impl FnOnce() -> Site) -> (Held, crate::Result<()>) {
        let mut this = ManuallyDrop::new(self);
        let inner = put::pool_of(this.slot());
        let (entry, len) = (this.entry(), this.len());
        let handle = entry.slot.handle.load(Ordering::Relaxed);
        inner.dawdle();
        if !this.disarm() {
            let (error, class) = inner.overrun_error(entry, len, handle, site());
            inner.count_put(class, len);
            add(&inner.classes[class].counts.discarded, 1);
            return (Held::dead(entry), Err(error));
        }
        inner.note_put(entry, len, handle, if this.is_looked_at() { site() } else { Site::NONE });
        let class = inner.class_of_capacity(this.capacity());
        inner.count_put(class, len);
        let held = if inner.is_single(entry) {
            add(&inner.classes[class].counts.discarded, 1);
            Held::dead(entry)
        } else {
            Held::new(entry, used.map_or(len, |used| used.min(len)))
        };
        let result = match used {
            Some(used) if used > len => Err(crate::Error::invalid(format_args!(
                "used is {used}, the lease of pool \"{}\" has {len} bytes; it was put whole",
                inner.name
            ))),
            _ => Ok(()),
        };
        (held, result)
    }
}
