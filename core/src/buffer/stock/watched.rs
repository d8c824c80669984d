//! Serves a stock's owner where core is to look at gets and puts one by one, and says when that is.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use super::Stock;
use crate::buffer::depot::Entry;
use crate::buffer::get::Patience;
use crate::buffer::guard::{self, Keep, LEN_MAX};
use crate::buffer::history::{self, Act};
use crate::buffer::inner::{Inner, add};
use crate::buffer::put;
use crate::buffer::quarantine;
use crate::buffer::raw::{self, RawLease};
use crate::buffer::slot;
use crate::check::Check;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ClearPolicy;
use crate::report;
use crate::site::Site;
use crate::tools;

/// What the owner of a [`Stock`] has to ask core for, as things are now. It changes when the gate opens.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watch {
    /// Every lease: by [`Stock::lease`], none from the stock.
    pub all: bool,
    /// Every so many leases of up to 1 MiB, guarded; 0 for none.
    pub every: u32,
    /// The places of gets and puts are recorded.
    pub sites: bool,
    /// A use of memory after its put is found as long as nobody else gets it: by [`Stock::put_kept`].
    pub keeps: bool,
}

/// A lease for a stock's owner that core knows itself, by its handle.
#[derive(Copy, Clone, Debug)]
pub struct StockLease {
    /// The lease; its handle ends by [`raw::put`] or [`Stock::put_kept`].
    pub lease: RawLease,
    /// It has pages of its own.
    pub guarded: bool,
}

impl Stock {
    /// Says what the owner has to ask for.
    pub fn watch(&self) -> Watch {
        let inner = self.pool.inner();
        let check = inner.check();
        let reported = report::is_asked();
        Watch {
            all: inner.goes_the_long_way() || reported,
            every: if let Check::Sample(every) = check { every.get() } else { 0 },
            sites: check.records() || reported,
            keeps: inner.keeps && (check == Check::Full || tools::watch()),
        }
    }

    /// Takes a lease that core knows itself, without waiting; beyond the limit too if `unbounded` and the pool's policy is
    /// to go beyond it. `guard`: on pages of its own if it is not longer than 1 MiB, and counted as unguarded if that
    /// cannot be. `None`: the limit is reached, which the owner counts by [`misuse`](crate::BufferPool::misuse).
    ///
    /// # Errors
    /// As [`raw::try_get`]; `EXHAUSTED` only of a get that was told to fail.
    pub fn lease(&self, len: usize, unbounded: bool, guard: bool, site: Site) -> Result<Option<StockLease>> {
        let inner = self.pool.inner();
        inner.admit(len)?;
        let guarded = if guard && len <= LEN_MAX { inner.guarded(len) } else { None };
        let entry = match guarded {
            Some(entry) => entry,
            None => match inner.serve(len, if unbounded { Patience::Policy } else { Patience::None }) {
                Ok(entry) => entry,
                Err(error) if error.kind() == ErrorKind::Exhausted => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        inner.record(entry, len, site);
        let id = entry.slot.handle.load(Ordering::Relaxed);
        if inner.has_canaries() {
            put::arm(entry, len, id);
        }
        let lease = RawLease { id, data: entry.data, len, capacity: entry.slot.capacity() };
        Ok(Some(StockLease { lease, guarded: guard::is_guarded(entry.slot) }))
    }

    /// Counts a lease that was to be guarded and is not, because its owner cannot show memory of ours.
    pub fn not_guarded(&self) {
        add(&self.pool.inner().counts.unguarded, 1);
    }

    /// Puts a lease of [`lease`](Stock::lease) whose memory something may still look at; nobody gets it before the returned
    /// value is dropped. Meanwhile a guarded lease's pages are inaccessible; in mode `full` there is a pattern, which is
    /// looked at in the end; for AddressSanitizer and valgrind the memory is nobody's.
    ///
    /// `None`: the lease is for one use alone and not guarded, and nothing has changed. Put it by [`raw::put`] when nothing
    /// looks at it any more.
    ///
    /// # Errors
    /// As [`raw::put`]. After `OVERRUN` the memory is gone.
    pub fn put_kept(&self, lease_id: u64, used: usize, site: Site) -> Result<Option<Kept>> {
        let inner = self.pool.inner();
        let slot = raw::check(lease_id)?;
        let entry = Entry::of(slot);
        if guard::is_guarded(slot) {
            // Nobody else has the handle of an owner's lease, so what was looked at is still so.
            let keep = guard::keep(entry);
            return raw::put(inner.id, lease_id, Some(used), site).map(|()| Some(Kept(Memory::Pages(keep))));
        }
        if inner.is_single(entry) {
            return Ok(None);
        }
        let (inner, entry, len) = raw::redeem(inner.id, lease_id)?;
        inner.dawdle();
        if inner.has_canaries() && !put::disarm(entry, len, lease_id) {
            return Err(inner.overrun(entry, len, lease_id, site));
        }
        inner.scrub(entry, used.min(len));
        if inner.check().records() {
            history::put(slot.index(), lease_id, len, site);
        }
        let class = inner.class_of_capacity(entry.slot.capacity());
        entry.slot.taken.store(0, Ordering::Relaxed);
        add(&inner.classes[class].counts.held, 1);
        inner.count_put(class, len);
        let filled = inner.check() == Check::Full;
        if filled {
            quarantine::fill(entry);
        }
        tools::close(entry);
        Ok(Some(Kept(Memory::Buffer { entry, filled })))
    }

    /// Words and counts the put of a leased buffer of another stock into this one's pool: `FOREIGN_LEASE`. `len` and `got`
    /// are what its owner knows of the lease, which stays live.
    pub fn foreign(&self, token: u64, len: usize, got: Site, here: Site) -> Error {
        match slot::find(token) {
            Some(slot) => raw::foreign_lease(self.pool.inner(), slot, Some((len, Act::of(got))), here),
            None => raw::not_a_lease(token),
        }
    }
}

impl Inner {
    /// Makes a lease's buffer on pages of its own, and counts the get. `None`: counted as unguarded.
    fn guarded(&self, len: usize) -> Option<Entry> {
        let entry = self.create_guarded(len);
        match entry {
            Some(_) => self.count_get(self.table.index(len), len),
            None => add(&self.counts.unguarded, 1),
        }
        entry
    }
}

/// The memory of a lease that is over, by [`Stock::put_kept`]. It counts as retained.
///
/// *Thread-safe*: may move to another thread. *Fork:* as [`Lease`](crate::Lease).
#[must_use]
pub struct Kept(Memory);

enum Memory {
    Pages(Keep),
    Buffer {
        entry: Entry,
        /// With the pattern of mode `full`.
        filled: bool,
    },
}

impl Kept {
    /// Gives the memory up: somebody may look at it for ever. It is not unmapped, and nobody gets it.
    pub fn abandon(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: read once, and not dropped.
        match unsafe { std::ptr::read(&this.0) } {
            Memory::Pages(keep) => keep.abandon(),
            Memory::Buffer { entry, .. } => {
                let pool = put::pool_of(entry.slot).keep_alive();
                pool.end_held(entry);
                pool.abandon(entry);
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Memory::Buffer { entry, filled } = self.0 else {
            return;
        };
        let pool = put::pool_of(entry.slot).keep_alive();
        let class = pool.end_held(entry);
        if filled && !pool.is_unstained(entry) {
            add(&pool.classes[class].counts.discarded, 1);
            pool.destroy(entry);
            pool.wake_waiters();
            return;
        }
        if !filled && pool.clear != ClearPolicy::Never {
            // A tool has told of what was written since the put; the next one is not to see it.
            pool.wipe(entry, entry.slot.capacity());
        }
        pool.take_back(class, entry);
    }
}

impl Inner {
    /// Counts a held buffer less; returns its class.
    fn end_held(&self, entry: Entry) -> usize {
        let class = self.class_of_capacity(entry.slot.capacity());
        add(&self.classes[class].counts.held, 1_u64.wrapping_neg());
        class
    }
}
