//! Pools of buffers. See [`design`](crate::design) for how the parts fit together.

pub(crate) mod cache;
pub(crate) mod classes;
pub(crate) mod depot;
mod detached;
pub(crate) mod exit;
pub(crate) mod get;
pub(crate) mod guard;
mod held;
pub(crate) mod history;
mod housekeeping;
pub(crate) mod inner;
mod lease;
mod life;
pub(crate) mod magazine;
pub(crate) mod memory;
mod modes;
mod placed;
pub(crate) mod put;
mod quarantine;
pub mod raw;
pub(crate) mod registry;
mod slab;
pub(crate) mod slot;
pub(crate) mod stock;
pub(crate) mod strong;
mod ticker;
mod writer;

use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use detached::Detached;
pub use held::Held;
pub use lease::{Lease, PutError};
pub use writer::Writer;

use crate::check::Check;
use crate::error::{Error, ErrorKind, Result};
use crate::inject::Injection;
use crate::leaks::LeakRecord;
use crate::options::{Classes, ClearPolicy, LimitPolicy, Name, Options};
use crate::site::Site;
use crate::stats::Stats;
use cache::Front;
use get::Patience;
pub use history::Act;
use inner::Inner;
use lease::State;
use strong::Strong;

/// A named set of reusable buffers with limits and statistics.
///
/// Clones share the pool; dropping the last one closes it. Leases outlive it.
///
/// ```
/// use millpond::{BufferPool, LimitPolicy};
/// let pool = BufferPool::builder()
///     .name("frames")
///     .max_bytes(64 << 20)
///     .on_limit(LimitPolicy::Unpooled)
///     .build()?;
/// let lease = pool.get(100_000)?;
/// assert_eq!(lease.capacity(), 256 << 10);
/// pool.put(lease)?;
/// let stats = pool.stats();
/// assert_eq!((stats.gets, stats.puts, stats.in_use), (1, 1, 0));
/// # Ok::<(), millpond::Error>(())
/// ```
///
/// *Thread-safe.* *Fork:* the child may go on using the pool; its statistics start from the parent's, and leases
/// of the parent are valid in the child's copy.
pub struct BufferPool {
    inner: Strong,
    /// The pool's own. Loaded through the pool it would come later, and the whole get with it: a sixteenth of a pair's time.
    front: Front,
}

/// Collects a pool's options; [`build`](Builder::build) checks them.
///
/// *Thread-compatible.* *Fork:* plain data.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    options: Options,
}

impl Builder {
    /// Names the pool in messages and metrics: 1 to 64 bytes of printable text. Default: `pool-` and its number.
    pub fn name(mut self, name: impl AsRef<str>) -> Builder {
        self.options.name = Some(Name::of(name.as_ref()));
        self
    }

    /// Chooses the size classes. Default: [`Classes::Default`].
    pub fn classes(mut self, classes: Classes) -> Builder {
        self.options.classes = classes;
        self
    }

    /// Limits the bytes of all buffers, in use and idle. Default: a quarter of the memory this process may use.
    pub fn max_bytes(mut self, bytes: usize) -> Builder {
        self.options.max_bytes = Some(bytes);
        self
    }

    /// Limits the bytes of idle buffers in the depots; 0 keeps nothing. Default: a sixteenth of `max_bytes`,
    /// between 1 and 256 MiB. Threads keep up to [`thread_cache_bytes`](Builder::thread_cache_bytes) each beside it.
    pub fn max_retained_bytes(mut self, bytes: usize) -> Builder {
        self.options.max_retained_bytes = Some(bytes);
        self
    }

    /// Says what a get does at the limit. Default: [`LimitPolicy::Fail`].
    pub fn on_limit(mut self, policy: LimitPolicy) -> Builder {
        self.options.on_limit = policy;
        self
    }

    /// Says when buffers are cleared. Default: [`ClearPolicy::OnPut`].
    pub fn clear(mut self, policy: ClearPolicy) -> Builder {
        self.options.clear = policy;
        self
    }

    /// Aligns every buffer to a power of two from 64 bytes, the default, to 2 MiB. Buffers of 64 KiB and more
    /// always begin at a page.
    pub fn alignment(mut self, bytes: usize) -> Builder {
        self.options.alignment = bytes;
        self
    }

    /// Limits the bytes that each thread keeps for itself; 0 for nothing. Default: 32 MiB. Of that a thread's share is never
    /// more than an eighth of what threads may still keep together, which is half of `max_retained_bytes`; a sixteenth when less
    /// than half of that is left, but 64 KiB as long as there is as much. Classes from the smallest have it, as many of them as
    /// leave a quarter of it when each has one buffer, or as get a buffer each of equal parts: with the defaults those up to
    /// 4 MiB. Of larger classes a thread that uses them keeps one buffer each, within its limit and while those of all threads
    /// are at most a quarter of `max_retained_bytes`; the others are kept for all threads together.
    pub fn thread_cache_bytes(mut self, bytes: usize) -> Builder {
        self.options.thread_cache_bytes = bytes;
        self
    }

    /// Starts a thread that calls [`maintain`](BufferPool::maintain) at this interval, at least 1 ms. It ends with
    /// the pool. Default: no thread; the program calls `maintain` itself. A child of `fork` has no such thread.
    pub fn maintain_every(mut self, interval: Duration) -> Builder {
        self.options.maintain_every = Some(interval);
        self
    }

    /// Says how closely the pool looks at its leases. Default: what the environment variable `MILLPOND_CHECK` says, or
    /// [`Check::On`].
    pub fn check(mut self, check: Check) -> Builder {
        self.options.check = Some(check);
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` names the option that is out of range or contradicts another one. `NO_MEMORY`: none for
    /// the pool's few kilobytes, for the fork handlers of the first pool, or for the thread of `maintain_every`.
    /// `EXHAUSTED`: 65,535 pools are open. Nothing was made then.
    pub fn build(self) -> Result<BufferPool> {
        crate::fork::prepare_process()?;
        crate::report::prepare()?;
        crate::trace::prepare()?;
        let pool = BufferPool::from_inner(registry::register(|id| Inner::new(id, &self.options))?);
        if let Some(interval) = self.options.maintain_every {
            ticker::start(pool.id(), interval).ok_or_else(registry::no_memory)?;
        }
        Ok(pool)
    }
}

impl BufferPool {
    /// Begins to make a pool.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a pool with the default options.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new(name: impl AsRef<str>) -> Result<BufferPool> {
        BufferPool::builder().name(name).build()
    }

    pub(crate) fn from_inner(inner: Strong) -> BufferPool {
        inner.handles.fetch_add(1, Ordering::Relaxed);
        BufferPool { front: inner.front, inner }
    }

    pub(crate) fn inner(&self) -> &Strong {
        &self.inner
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the number that names the pool across language boundaries. It is not 0, never used again, and
    /// hard to guess.
    #[inline]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Returns the capacities of the size classes in bytes, ascending.
    pub fn class_sizes(&self) -> &[usize] {
        self.inner.table.sizes()
    }

    /// Returns what a get does at the limit.
    pub fn limit_policy(&self) -> LimitPolicy {
        self.inner.on_limit
    }

    /// Returns when buffers are cleared.
    pub fn clear_policy(&self) -> ClearPolicy {
        self.inner.clear
    }

    /// Returns the limit for live and idle bytes.
    pub fn max_bytes(&self) -> usize {
        self.inner.max_bytes
    }

    /// Returns the limit for idle bytes.
    pub fn max_retained_bytes(&self) -> usize {
        self.inner.max_retained_bytes
    }

    /// Returns how many bytes a thread may keep for itself.
    pub fn thread_cache_bytes(&self) -> usize {
        self.inner.thread_cache_bytes
    }

    /// Takes a lease of `len` bytes, all zero unless the pool's clear policy is `Never`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: no buffer can have this length. `EXHAUSTED`: the limit is reached and the policy says
    /// so. `NO_MEMORY`: the system gives none. `CLOSED`. The pool is as before the call.
    #[inline(always)]
    #[track_caller]
    pub fn get(&self, len: usize) -> Result<Lease> {
        let site = Site::rust(Location::caller());
        match self.get_idle(len, site) {
            Some(lease) => Ok(lease),
            None => {
                let (slot, error) = self.inner.get_in_registers(len, site);
                match slot {
                    Some(slot) => Ok(Lease::of_slot(slot)),
                    None => Err(error.unpack()),
                }
            }
        }
    }

    /// Takes a lease of an idle buffer from the calling thread's cache: the fast half of [`get`](BufferPool::get),
    /// for bindings. `None` says nothing but that `get` must be asked; nothing was counted.
    #[inline(always)]
    pub fn get_idle(&self, len: usize, site: Site) -> Option<Lease> {
        let inner: &Inner = &self.inner;
        let class = inner.table.magazine(len);
        let slot = cache::at_front(self.front).take(inner, class, len)?;
        Some(Lease::issue(slot, len, State::clean(inner.state, class), site))
    }

    #[cold]
    #[inline(never)]
    fn get_with(&self, len: usize, patience: Patience, site: Site) -> Result<Lease> {
        let entry = self.inner.get_slow(len, patience)?;
        self.inner.record(entry, len, site);
        Ok(Lease::of_slot(entry.slot))
    }

    /// Takes a lease without waiting and within the limit, whatever the pool's policy.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get).
    #[track_caller]
    pub fn try_get(&self, len: usize) -> Result<Lease> {
        self.get_with(len, Patience::None, Site::rust(Location::caller()))
    }

    /// Takes a lease, waiting up to `timeout` for a put if the limit is reached, whatever the pool's policy.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get); `EXHAUSTED` after the timeout.
    #[track_caller]
    pub fn get_timeout(&self, len: usize, timeout: Duration) -> Result<Lease> {
        self.get_with(len, Patience::within(timeout), Site::rust(Location::caller()))
    }

    /// Takes a lease, waiting until `deadline` for a put if the limit is reached, whatever the pool's policy.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get); `EXHAUSTED` after the deadline.
    #[track_caller]
    pub fn get_deadline(&self, len: usize, deadline: Instant) -> Result<Lease> {
        self.get_with(len, Patience::Until(deadline), Site::rust(Location::caller()))
    }

    /// Takes a lease as an empty [`Writer`] for up to `capacity` bytes.
    ///
    /// # Errors
    /// As [`get`](BufferPool::get).
    #[track_caller]
    pub fn writer(&self, capacity: usize) -> Result<Writer> {
        self.get(capacity).map(Writer::over)
    }

    /// Returns how closely the pool looks at its leases.
    pub fn check(&self) -> Check {
        self.inner.check()
    }

    /// Changes how closely the pool looks at its leases, from the next get and put on. What the threads keep for
    /// themselves goes to the depots.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: to or from [`Check::Off`]. Whether canaries stand behind leases is decided when the pool is made.
    pub fn set_check(&self, check: Check) -> Result<()> {
        if (check == Check::Off) == self.inner.has_canaries() {
            return Err(Error::invalid(format_args!(
                "check is \"{check}\" and pool \"{}\" has \"{}\": a pool is made with \"off\" or never has it",
                self.inner.name,
                self.inner.check()
            )));
        }
        self.inner.set_check(check);
        Ok(())
    }

    /// Makes the pool fail or dawdle from now on, to test what a program does then; the default value ends it. What the
    /// threads keep for themselves goes to the depots.
    pub fn inject(&self, injection: Injection) {
        self.inner.inject(injection);
    }

    /// Gives a lease back to this pool, closed or not. Dropping the lease does the same without the checks' result.
    ///
    /// # Errors
    /// `FOREIGN_LEASE`: the lease is another pool's; the error holds it, still live. `OVERRUN`: something was
    /// written past the length; the buffer is discarded.
    #[track_caller]
    pub fn put(&self, lease: Lease) -> Result<(), PutError> {
        if lease.pool_id() != self.inner.id {
            let error = raw::foreign(&self.inner, lease.slot(), Site::rust(Location::caller()));
            return Err(PutError { error, lease: Some(lease) });
        }
        lease.put().map_err(|error| PutError { error, lease: None })
    }

    /// Counts a misuse that a binding found by itself, because its own object of the lease was dead already, and
    /// words the error as everywhere: `DOUBLE_PUT`, `USE_AFTER_PUT`, `FOREIGN_LEASE`, `BUSY`, `OVERRUN`,
    /// `EXHAUSTED`. `len` is the lease's length; sites that are not known are left out.
    pub fn misuse(&self, kind: ErrorKind, len: usize, got: Site, first_put: Site, here: Site) -> Error {
        self.misuse_of(kind, len, Act::at(got), Act::at(first_put), here)
    }

    /// Gives all idle memory back to the system now, the threads' own too. Returns the capacity of what was
    /// destroyed, in bytes.
    pub fn trim(&self) -> usize {
        self.inner.trim()
    }

    /// Looks at what was idle since the last look and gives half of it back to the system; the caches of threads
    /// that did nothing since are emptied into the depots. Returns the capacity of what was destroyed, in bytes.
    ///
    /// Called at a steady interval, idle memory decays by halves.
    pub fn maintain(&self) -> usize {
        self.inner.maintain()
    }

    /// Closes the pool: it hands out nothing more and keeps nothing. Live leases stay valid, and their memory is
    /// freed at their put. Closing a closed pool does nothing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: the default pool is never closed.
    pub fn close(&self) -> Result<()> {
        if is_default(self.id()) {
            return Err(default_stays());
        }
        self.inner.close();
        Ok(())
    }

    /// Says whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Counts everything. Never stops the pool; while others work, the numbers are of slightly different moments.
    /// Needs no memory but the value's own 11 KiB, wherever the caller has them.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Lists the live leases, oldest first.
    ///
    /// # Errors
    /// `NO_MEMORY`: there is none for the whole list.
    pub fn leaks(&self) -> Result<Vec<LeakRecord>> {
        crate::leaks::list(&self.inner)
    }
}

impl Clone for BufferPool {
    fn clone(&self) -> BufferPool {
        BufferPool::from_inner(self.inner.clone())
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // Pairs with the other drops: the last one sees what the others did.
        if self.inner.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inner.close();
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("name", &self.inner.name).field("closed", &self.is_closed()).finish()
    }
}

static DEFAULT: OnceLock<BufferPool> = OnceLock::new();

fn is_default(pool_id: u64) -> bool {
    DEFAULT.get().is_some_and(|default| default.id() == pool_id)
}

#[cold]
fn default_stays() -> Error {
    Error::invalid("the default pool serves the whole process and is never closed")
}

/// Returns the process-wide pool, named `default`, with the default options. It is made at the first call and
/// never closed.
///
/// # Errors
/// `NO_MEMORY`, `EXHAUSTED` (65,535 pools are open): only ever until a call made it. The next call tries again.
pub fn default_pool() -> Result<&'static BufferPool> {
    if let Some(pool) = DEFAULT.get() {
        return Ok(pool);
    }
    let pool = BufferPool::new("default")?;
    // Of two threads that get here, one's pool stays and the other's is closed unused.
    Ok(DEFAULT.get_or_init(|| pool))
}

#[cfg(test)]
mod tests {
    use super::memory::fault;
    use super::*;

    const SIZES: [usize; 8] = [0, 100, 5000, 60_000, 70_000, 1 << 20, 5 << 20, 40 << 20];

    /// Uses everything that maps memory; any error must be the one that says so.
    fn work(pool: &BufferPool) -> Result<()> {
        let mut leases = Vec::new();
        for len in SIZES {
            leases.push(pool.get(len)?);
        }
        for len in SIZES {
            leases.push(pool.try_get(len)?);
            leases.push(pool.writer(len)?.finish());
        }
        leases.pop().map(Lease::detach);
        Ok(())
    }

    #[test]
    fn every_mapping_may_fail() {
        let mut failed = 0;
        for successes in 0.. {
            let pool = BufferPool::new("faulty").expect("no mapping is needed for a pool");
            fault::fail_after(Some(successes));
            let result = work(&pool);
            fault::fail_after(None);
            assert_eq!(pool.stats().check(), Ok(()), "after {successes} mappings");
            assert_eq!(pool.stats().in_use, 0);
            match result {
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}"),
                Ok(()) => break,
            }
            failed += 1;
            work(&pool).expect("there is memory again");
            assert_eq!(pool.stats().check(), Ok(()));
            pool.close().expect("not the default pool");
            let stats = pool.stats();
            assert_eq!((stats.created, stats.retained_buffers), (stats.destroyed, 0));
        }
        assert!(failed >= SIZES.len() as u64, "{failed} mappings were made to fail");
    }
}
