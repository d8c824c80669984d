//! Gets and puts for a binding, which knows the place in its language's code better than the compiler knows its own.
//!
//! Finding such a place takes longer than a get, so it is a function that is asked only where the place is needed.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::depot::Entry;
use super::get::{self, Patience};
use super::guard;
use super::history::{self, Act};
use super::inner::add;
use super::lease::{Lease, PutError};
use super::put;
use super::raw;
use super::{BufferPool, Result};
use crate::error::{Error, ErrorKind};
use crate::misuse;
use crate::site::Site;

impl BufferPool {
    /// As [`get`](BufferPool::get), with the place that is recorded.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get).
    pub fn get_at(&self, len: usize, site: Site) -> Result<Lease> {
        if let Some(slot) = self.inner().get_between(len) {
            get::record(Entry::of(slot), len, site);
            return Ok(Lease::of_slot(slot, len));
        }
        self.get_with(len, Patience::Policy, site)
    }

    /// As [`try_get`](BufferPool::try_get), with the place that is recorded.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get).
    pub fn try_get_at(&self, len: usize, site: Site) -> Result<Lease> {
        self.get_with(len, Patience::None, site)
    }

    /// Takes a lease as [`get_timeout`](BufferPool::get_timeout) does, and asks `give_up` at least every 100 ms
    /// whether to stop waiting: for a host language that must look at its signals.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get); `EXHAUSTED` after the timeout, or when `give_up` says so.
    pub fn get_interruptible(
        &self,
        len: usize,
        timeout: Duration,
        site: Site,
        give_up: &mut dyn FnMut() -> bool,
    ) -> Result<Lease> {
        let deadline = Instant::now().checked_add(timeout);
        let step = Duration::from_millis(100);
        loop {
            let now = Instant::now();
            let left = deadline.map_or(step, |deadline| deadline.saturating_duration_since(now));
            // A time that is further away than the clock counts never comes.
            let last = deadline.is_some() && left <= step;
            let patience = if last { Patience::Until(now + left) } else { Patience::Quietly(now + step) };
            match self.get_with(len, patience, site) {
                Err(error) if error.kind() == ErrorKind::Exhausted && !last => {
                    if give_up() {
                        add(&self.inner().counts.exhausted, 1);
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    /// As [`put`](BufferPool::put), with the place.
    ///
    /// # Errors
    /// As [`put`](BufferPool::put).
    pub fn put_at(&self, lease: Lease, site: impl FnOnce() -> Site) -> Result<(), PutError> {
        if lease.pool_id() != self.id() {
            let error = raw::foreign(self.inner(), lease.slot(), site());
            return Err(PutError { error, lease: Some(lease) });
        }
        lease.put_at(None, site).map_err(|error| PutError { error, lease: None })
    }

    /// Says whether the places of all gets and puts are recorded: the modes `sites` and `full`.
    #[inline]
    pub fn records(&self) -> bool {
        self.inner().check().records()
    }

    /// Says whether the pool was told to fail or to dawdle, see [`inject`](BufferPool::inject).
    #[inline]
    pub fn injects(&self) -> bool {
        self.inner().injects.load(Ordering::Relaxed)
    }

    /// As [`misuse`](BufferPool::misuse), with all that is known of the get and the first put.
    pub fn misuse_of(&self, kind: ErrorKind, len: usize, got: Act, first_put: Act, here: Site) -> Error {
        misuse::report(self.inner(), kind, len, got, first_put, here)
    }
}

impl Lease {
    /// Says whether the lease stands on guarded pages, see [`Check::Sample`](crate::Check::Sample).
    #[inline]
    pub fn is_guarded(&self) -> bool {
        guard::is_guarded(self.slot())
    }

    /// Returns what is known of the get.
    pub fn got(&self) -> Act {
        let got = put::got(self.slot());
        if got.is_known() { got } else { Act::default() }
    }

    /// Says whether the place of the put is to be remembered.
    pub(super) fn is_looked_at(&self) -> bool {
        self.is_guarded() || put::pool_of(self.slot()).check().records()
    }

    /// Corrects what is recorded beside the slot of the place of the get.
    pub(super) fn correct_site(&self, site: Site) {
        let slot = self.slot();
        if guard::is_guarded(slot) {
            guard::got_at(slot, site);
        }
        if put::pool_of(slot).check().records() {
            history::got_at(slot.index(), site);
        }
    }

    /// As [`put`](Lease::put), or as [`put_used`](Lease::put_used) when `used` is told; a larger one than the length counts
    /// as that. The place is asked for when it is to be recorded or reported.
    ///
    /// # Errors
    /// `OVERRUN` as for [`put`](Lease::put).
    pub fn put_at(self, used: Option<usize>, site: impl FnOnce() -> Site) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        if let Some(used) = used {
            let dirty = used.min(this.len());
            this.set_dirty(dirty);
        }
        if !this.disarm() {
            let inner = put::pool_of(this.slot());
            return Err(inner.overrun(this.entry(), this.len(), this.canary(), site()));
        }
        let site = if this.is_looked_at() { site() } else { Site::NONE };
        this.give_back(site)
    }
}
