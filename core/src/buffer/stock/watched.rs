//! Serves a stock's owner where core is to look at gets and puts one by one, and says when that is.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Stock;
use crate::buffer::depot::Entry;
use crate::buffer::get::Patience;
use crate::buffer::guard::{self, Keep, LEN_MAX};
use crate::buffer::history::Act;
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

/// The length of a canary in bytes.
const CANARY: usize = size_of::<u64>();

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
        self.pool.inner().admit(len)?;
        self.serve(len, unbounded, guard, site)
    }

    /// As [`lease`](Stock::lease), of a length that was admitted.
    pub(super) fn serve(&self, len: usize, unbounded: bool, guard: bool, site: Site) -> Result<Option<StockLease>> {
        let inner = self.pool.inner();
        let guard = guard && len <= LEN_MAX;
        let guarded = if guard { inner.create_guarded(len) } else { None };
        let entry = match guarded {
            Some(entry) => {
                inner.count_get(inner.table.index(len), len);
                entry
            }
            None => match inner.serve(len, if unbounded { Patience::Policy } else { Patience::None }) {
                Ok(entry) => {
                    add(&inner.counts.unguarded, u64::from(guard));
                    entry
                }
                Err(error) if error.kind() == ErrorKind::Exhausted => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        Ok(Some(self.lend(entry, len, site)))
    }

    /// Makes the lease of a buffer whose get is counted.
    pub(super) fn lend(&self, entry: Entry, len: usize, site: Site) -> StockLease {
        let inner = self.pool.inner();
        inner.record(entry, len, site);
        let id = entry.slot.handle.load(Ordering::Relaxed);
        if inner.has_canaries() {
            put::arm(entry, len, id);
        }
        let lease = RawLease { id, data: entry.data, len, capacity: entry.slot.capacity() };
        StockLease { lease, guarded: guard::is_guarded(entry.slot) }
    }

    /// Counts a lease that was to be guarded and is not, because its owner cannot show memory of ours.
    pub fn not_guarded(&self) {
        add(&self.pool.inner().counts.unguarded, 1);
    }

    /// Looks at all that is behind the length of a lease of [`lease`](Stock::lease), where the put would only look at its
    /// canary: for an owner whose program had the whole buffer before it. Only in pools that clear at put is it known what
    /// should be there.
    ///
    /// # Errors
    /// `OVERRUN`: the lease is over, the memory gone. As [`raw::put`].
    pub fn look_behind(&self, lease_id: u64, site: Site) -> Result<()> {
        let inner = self.pool.inner();
        let slot = raw::check(lease_id)?;
        let entry = Entry::of(slot);
        let len = slot.len();
        // A guarded lease has canaries up to its end.
        if inner.clear != ClearPolicy::OnPut || !inner.has_canaries() || guard::is_guarded(slot) {
            return Ok(());
        }
        let from = (len + CANARY).min(slot.capacity());
        tools::open(entry);
        // SAFETY: inside the capacity of a buffer that the caller holds.
        let behind = unsafe { entry.data.add(from) }.cast::<AtomicU8>();
        // SAFETY: as above; whoever writes there breaks the rule that is checked, so it is looked at as memory that others
        // may write.
        let behind = unsafe { std::slice::from_raw_parts(behind, slot.capacity() - from) };
        let clean = behind.iter().all(|byte| byte.load(Ordering::Relaxed) == 0);
        tools::lend(entry, len);
        if clean {
            return Ok(());
        }
        let (inner, entry, len) = raw::redeem(inner.id, lease_id)?;
        tools::open(entry);
        Err(inner.overrun(entry, len, lease_id, site))
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
        inner.note_put(entry, len, lease_id, site);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::BufferPool;

    /// What core says to the owner in its block.
    fn gate(stock: &Stock) -> f64 {
        // SAFETY: the first word of the block, which core writes and any bytes of which are a double.
        unsafe { stock.counters().0.read() }
    }

    fn pool(name: &str) -> (BufferPool, Stock) {
        let pool = BufferPool::new(name).expect("a pool");
        let stock = Stock::new(&pool).expect("a stock");
        (pool, stock)
    }

    fn lease(stock: &Stock, len: usize, guard: bool) -> StockLease {
        stock.lease(len, false, guard, Site::NONE).expect("memory").expect("room")
    }

    #[test]
    fn the_gate_opens_when_anybody_changes_how_closely_the_pool_looks() {
        let (pool, stock) = pool("changed elsewhere");
        let calm = Watch { all: false, every: 0, sites: false, keeps: false };
        assert_eq!((gate(&stock), stock.watch()), (0.0, calm));
        let every = NonZeroU32::new(7).expect("not 0");
        let checks = [
            (Check::Sites, Watch { all: true, sites: true, ..calm }),
            (Check::Full, Watch { all: true, sites: true, keeps: true, ..calm }),
            (Check::Sample(every), Watch { every: 7, ..calm }),
            (Check::On, calm),
        ];
        for (check, watch) in checks {
            let other = pool.clone();
            std::thread::spawn(move || other.set_check(check)).join().expect("no panic").expect("not off");
            assert_eq!((gate(&stock), stock.watch()), (2.0, watch), "{check}");
            stock.settled();
            assert_eq!(gate(&stock), 0.0);
        }
        for (text, watch) in [("get=1", Watch { all: true, ..calm }), ("", calm)] {
            pool.inject(text.parse().expect("a list"));
            assert_eq!((gate(&stock), stock.watch()), (2.0, watch), "{text}");
            stock.settled();
        }
    }

    #[test]
    fn a_stock_gets_its_share_when_the_pool_no_longer_looks_closely() {
        let pool = BufferPool::builder().name("late share").check(Check::Full).build().expect("a pool");
        let stock = Stock::new(&pool).expect("a stock");
        assert_eq!(stock.share(), 0);
        pool.set_check(Check::On).expect("not off");
        assert!(stock.share() > 0);
        assert_eq!(stock.share(), stock.share());
    }

    #[test]
    fn the_limit_is_none_and_not_an_error_and_uncounted() {
        let pool = BufferPool::builder().name("full up").max_bytes(4096).build().expect("a pool");
        let stock = Stock::new(&pool).expect("a stock");
        let first = lease(&stock, 4096, false);
        assert!(stock.lease(1, false, true, Site::NONE).expect("no error").is_none());
        assert_eq!((pool.stats().exhausted, pool.stats().unguarded), (0, 0));
        pool.inject("get=1".parse().expect("a list"));
        let told = stock.lease(1, false, false, Site::NONE).expect_err("told to fail");
        assert_eq!((told.kind(), pool.stats().exhausted), (ErrorKind::Exhausted, 1));
        raw::put(pool.id(), first.lease.id, None, Site::NONE).expect("live");
        assert_eq!(pool.stats().check(), Ok(()));
    }

    #[test]
    fn kept_memory_is_nobody_elses_and_comes_back_clear() {
        // Where slots wear out in between, a buffer does not always come back.
        if cfg!(millpond_short_generations) {
            return;
        }
        let (pool, stock) = pool("kept");
        let first = lease(&stock, 1000, false);
        assert!(!first.guarded);
        // SAFETY: the lease's first byte.
        unsafe { first.lease.data.write(9) };
        let kept = stock.put_kept(first.lease.id, 1000, Site::NONE).expect("live").expect("of a class");
        let stats = pool.stats();
        assert_eq!((stats.puts, stats.in_use, stats.retained_buffers, stats.check()), (1, 0, 1, Ok(())));
        let second = lease(&stock, 1000, false);
        assert_ne!(second.lease.data, first.lease.data);
        // SAFETY: kept, so nobody else's.
        unsafe { first.lease.data.wrapping_add(5).write(9) };
        drop(kept);
        let third = lease(&stock, 1000, false);
        assert_eq!(third.lease.data, first.lease.data);
        // SAFETY: the lease's memory.
        let bytes = unsafe { std::slice::from_raw_parts(third.lease.data, 1000) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        let again = stock.put_kept(first.lease.id, 0, Site::NONE);
        assert_eq!(again.err().map(|error| error.kind()), Some(ErrorKind::UseAfterPut));
        for id in [second.lease.id, third.lease.id] {
            stock.put_kept(id, 1000, Site::NONE).expect("live").expect("of a class").abandon();
        }
        let stats = pool.stats();
        assert_eq!((stats.retained_buffers, stats.destroyed, stats.check()), (0, 2, Ok(())));
    }

    #[test]
    fn kept_memory_is_not_cleared_in_a_pool_that_never_clears() {
        let pool = BufferPool::builder().name("never").clear(ClearPolicy::Never).build().expect("a pool");
        let stock = Stock::new(&pool).expect("a stock");
        let first = lease(&stock, 1000, false).lease;
        // SAFETY: the lease's memory.
        unsafe { first.data.write_bytes(9, 1000) };
        drop(stock.put_kept(first.id, 1000, Site::NONE).expect("live").expect("of a class"));
        let again = lease(&stock, 1000, false).lease;
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(again.data, 1000) };
        // Where slots wear out in between, a buffer does not always come back.
        let same = again.data == first.data && bytes.iter().all(|byte| *byte == 9);
        assert!(same || cfg!(millpond_short_generations));
    }

    #[test]
    fn a_write_into_memory_that_is_kept_in_mode_full_is_found() {
        let (pool, stock) = pool("kept in full");
        pool.set_check(Check::Full).expect("not off");
        for write in [false, true] {
            let lease = lease(&stock, 1000, false).lease;
            let kept = stock.put_kept(lease.id, 1000, Site::NONE).expect("live").expect("of a class");
            if write {
                // SAFETY: kept, so nobody else's.
                unsafe { lease.data.wrapping_add(5).write(9) };
            }
            drop(kept);
            assert_eq!(pool.stats().stale_uses, u64::from(write));
        }
        assert_eq!(pool.stats().check(), Ok(()));
    }

    #[test]
    fn a_write_far_behind_the_length_is_found_by_who_looks() {
        let (pool, stock) = pool("looked behind");
        for (len, place) in [(600, 0), (600, 608), (600, 1023), (1, 511), (1020, 0), (1024, 0), (40 << 20, 0)] {
            let lease = lease(&stock, len, false).lease;
            // SAFETY: inside the capacity.
            unsafe { lease.data.wrapping_add(place).write(9) };
            let looked = stock.look_behind(lease.id, Site::NONE);
            assert_eq!(looked.is_err(), place > 0, "{len} {place}");
            match looked {
                Ok(()) => raw::put(pool.id(), lease.id, None, Site::NONE).expect("live"),
                Err(error) => {
                    let wanted = format!("byte {} behind the length is 0x09", place - len + 1);
                    assert!(error.message().contains(&wanted), "{error}");
                }
            }
        }
        assert_eq!((pool.stats().overruns, pool.stats().check()), (3, Ok(())));
    }

    #[test]
    fn what_is_for_one_use_alone_is_not_kept() {
        let (pool, stock) = pool("alone");
        let lease = lease(&stock, 40 << 20, false).lease;
        assert!(stock.put_kept(lease.id, 0, Site::NONE).expect("live").is_none());
        raw::put(pool.id(), lease.id, None, Site::NONE).expect("still live");
        assert_eq!(pool.stats().check(), Ok(()));
    }

    #[test]
    fn guarded_pages_are_used_again_only_when_nobody_looks_any_more() {
        let (pool, stock) = pool("kept pages");
        let first = lease(&stock, 100, true);
        assert!(first.guarded);
        let kept = stock.put_kept(first.lease.id, 0, Site::NONE).expect("live").expect("guarded");
        // More than are remembered: every other mapping of the past is used again.
        for _ in 0..600 {
            let next = lease(&stock, 100, true).lease;
            assert_ne!(next.data, first.lease.data);
            raw::put(pool.id(), next.id, None, Site::NONE).expect("live");
        }
        drop(kept);
        let came_back = (0..600).any(|_| {
            let next = lease(&stock, 100, true).lease;
            raw::put(pool.id(), next.id, None, Site::NONE).expect("live");
            next.data == first.lease.data
        });
        assert!(came_back);
        assert_eq!((pool.stats().unguarded, pool.stats().check()), (0, Ok(())));
    }
}
