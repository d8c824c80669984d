//! Gets and puts for a binding, which knows the place in its language's code better than the compiler knows its own.
//!
//! Finding such a place takes longer than a get, so it is a function that is asked only where the place is needed.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
            get::record(slot, len, site);
            return Ok(Lease::of_slot(slot));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Check;
    use std::cell::Cell;

    fn pool(check: &str) -> BufferPool {
        let check: Check = check.parse().expect("a mode");
        BufferPool::builder().name("placed").check(check).build().expect("a pool")
    }

    fn place(line: u32) -> Site {
        Site::interned("app.py", line, "work")
    }

    fn written_past(pool: &BufferPool) -> Lease {
        let mut lease = pool.get_at(100, place(1)).expect("a lease");
        let data = lease.as_mut_ptr();
        // SAFETY: behind the length, and inside the capacity of 512.
        unsafe { data.wrapping_add(100).write(1) };
        lease
    }

    #[test]
    fn given_places_are_named() {
        for check in ["on", "sites", "full", "sample:1"] {
            let pool = pool(check);
            let got = |lease: Lease, at: Site| {
                assert_eq!((lease.site(), lease.got().site()), (at, at), "{check}");
                assert_eq!(pool.leaks().expect("memory")[0].site, at, "{check}");
                lease.put_at(None, || place(9)).expect("unharmed");
            };
            got(pool.get_at(100, place(1)).expect("a lease"), place(1));
            got(pool.try_get_at(100, place(2)).expect("a lease"), place(2));
            let waited = pool.get_interruptible(100, Duration::from_secs(1), place(3), &mut || false);
            got(waited.expect("a lease"), place(3));
            let mut corrected = pool.get(100).expect("a lease");
            corrected.set_site(place(4));
            got(corrected, place(4));
        }
    }

    #[test]
    fn an_interruptible_get_waits_as_long_as_it_may_and_asks_each_tenth_of_a_second() {
        let pool = BufferPool::builder().name("full").max_bytes(512).build().expect("a pool");
        let _all = pool.get(1).expect("a lease");
        for (timeout, most) in [(20, 0), (120, 1)] {
            let timeout = Duration::from_millis(timeout);
            let (before, mut asked) = (Instant::now(), 0);
            let mut give_up = || {
                asked += 1;
                false
            };
            let error = pool.get_interruptible(1, timeout, place(1), &mut give_up).expect_err("nobody puts");
            assert_eq!(error.kind(), ErrorKind::Exhausted);
            assert!(before.elapsed() >= timeout && asked <= most, "{asked} times");
        }
    }

    #[test]
    fn an_overrun_names_the_given_places() {
        let pool = pool("on");
        let both = |error: &Error| {
            let text = error.message();
            assert!(text.contains("got at app.py:1 in work, put at app.py:2 in work"), "{text}");
        };
        both(&written_past(&pool).put_at(None, || place(2)).expect_err("an overrun"));
        both(&written_past(&pool).put_at(Some(3), || place(2)).expect_err("an overrun"));
        both(&written_past(&pool).put_held_at(None, || place(2)).1.expect_err("an overrun"));
        both(&written_past(&pool).detach_held_at(|| place(2)).expect_err("an overrun").0.error);
        assert_eq!(pool.stats().overruns, 4);
    }

    #[test]
    fn a_foreign_put_names_the_given_places_and_leaves_the_lease() {
        let (own, other) = (pool("sites"), pool("on"));
        let lease = own.get_at(100, place(1)).expect("a lease");
        let PutError { error, lease } = other.put_at(lease, || place(2)).expect_err("another pool's");
        let text = error.message();
        assert!(text.contains("100 bytes") && text.contains("got at app.py:1 in work by thread "), "{text}");
        assert!(text.contains("pool \"placed\" at app.py:2 in work"), "{text}");
        own.put_at(lease.expect("still live"), || place(3)).map_err(|error| error.error).expect("its own pool");
        assert_eq!((own.stats().puts, other.stats().foreign_puts), (1, 1));
    }

    #[test]
    fn the_place_of_a_put_is_asked_for_where_it_is_recorded() {
        for (check, wanted) in [("on", 0), ("sites", 3), ("full", 3), ("sample:1", 3)] {
            let pool = pool(check);
            assert_eq!(pool.records(), check == "sites" || check == "full");
            let asked = Cell::new(0);
            let ask = || {
                asked.set(asked.get() + 1);
                place(2)
            };
            let lease = || pool.get_at(100, place(1)).expect("a lease");
            assert_eq!(lease().is_guarded(), check == "sample:1");
            lease().put_at(None, ask).expect("unharmed");
            lease().put_at(Some(1000), ask).expect("unharmed: as much as there is");
            let (held, result) = lease().put_held_at(None, ask);
            result.expect("unharmed");
            drop(held);
            assert_eq!(asked.get(), wanted, "{check}");
        }
    }

    #[test]
    fn what_is_known_of_a_misuse_is_named() {
        let pool = pool("sites");
        let (got, put) = (Act::now(place(1)), Act::at(place(2)));
        let text = pool.misuse_of(ErrorKind::DoublePut, 7, got, put, place(3)).message();
        for part in [
            "7 bytes of pool \"placed\"",
            "got at app.py:1 in work by thread \"",
            " s ago, first put at app.py:2 in work, now",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("now at app.py:3 in work by thread \""), "{text}");
        let text = pool.misuse_of(ErrorKind::Busy, 7, Act::default(), Act::default(), Site::NONE).message();
        assert!(!text.contains(" at ") && !text.contains("thread"), "{text}");
        assert_eq!(pool.stats().double_puts, 1);
        assert!(!Act::default().is_known() && got.is_known() && put.is_known());
    }

    #[test]
    fn a_pool_says_whether_it_was_told_to_fail() {
        let pool = pool("on");
        assert!(!pool.injects());
        pool.inject("get=5".parse().expect("a list"));
        assert!(pool.injects());
        pool.inject("".parse().expect("nothing"));
        assert!(!pool.injects());
    }
}
