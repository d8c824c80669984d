//! Leases and pools as numbers, for callers that the compiler cannot check.
//!
//! Every function takes any numbers at all and answers with an error where they are not what they should be. A
//! lease's handle is valid from its get to its put and is never used again; whoever guesses has one chance in 2^40
//! for each guess. Two threads that put the same handle at once: exactly one succeeds.
//!
//! *Thread-safe.* *Fork:* handles of the parent are valid in the child's copy.

mod refusal;

use std::sync::atomic::Ordering;
use std::time::Duration;

pub use super::stock::{Kept, Parked, Stock, StockBuffer, StockLease, Watch};

use self::refusal::{busy, no_pool, refuse_put, stale, used_too_much};
pub(crate) use self::refusal::{foreign, foreign_lease, not_a_lease, not_present};
use super::BufferPool;
use super::cache;
use super::classes::TABLE_MAX;
use super::depot::Entry;
use super::detached::Detached;
use super::get::{Patience, record};
use super::guard;
use super::inner::Inner;
use super::lease::Lease;
use super::put::{self, arm_canary, disarm_canary};
use super::registry;
use super::slot::{self, Refused, Slot};
use super::strong::Strong;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ClearPolicy;
use crate::report;
use crate::site::Site;

/// A lease as plain data: what C gets.
#[derive(Copy, Clone, Debug)]
pub struct RawLease {
    /// The handle: never 0, valid until the put.
    pub id: u64,
    /// The address of the first byte.
    pub data: *mut u8,
    /// The length asked for, in bytes.
    pub len: usize,
    /// How many bytes the buffer holds.
    pub capacity: usize,
}

/// Finds a pool by its id.
///
/// # Errors
/// `INVALID_HANDLE`: there is no such pool, or no longer.
pub fn pool(pool_id: u64) -> Result<BufferPool> {
    find_pool(pool_id).map(BufferPool::from_inner)
}

fn find_pool(pool_id: u64) -> Result<Strong> {
    registry::find(pool_id).filter(|inner| inner.handles.load(Ordering::Relaxed) > 0).ok_or_else(|| no_pool(pool_id))
}

/// Keeps a pool open for callers that only have its number, until [`release`]. Returns the number.
pub fn retain(pool: &BufferPool) -> u64 {
    // The pool holds itself until `release`.
    pool.inner().raw_owned.lock().get_or_insert_with(|| pool.clone());
    pool.id()
}

/// Ends what [`retain`] began: closes the pool and ends its number. Live leases may still be put by it.
///
/// # Errors
/// `INVALID_HANDLE`: the number was never retained, or was released before. `INVALID_ARGUMENT`: the default pool.
pub fn release(pool_id: u64) -> Result<()> {
    let inner = find_pool(pool_id)?;
    if super::is_default(pool_id) {
        return Err(super::default_stays());
    }
    let owned = inner.raw_owned.lock().take();
    match owned {
        Some(pool) => pool.close(),
        None => Err(no_pool(pool_id)),
    }
}

/// Takes a lease; see [`BufferPool::get`]. The canary behind the length is checked at put.
///
/// # Errors
/// As [`BufferPool::get`], and `INVALID_HANDLE` for the pool.
#[inline]
pub fn get(pool_id: u64, len: usize, site: Site) -> Result<RawLease> {
    match get_idle(pool_id, len, site) {
        Some(lease) => Ok(lease),
        None => get_with_care(pool_id, len, site),
    }
}

/// Takes a lease of an idle buffer from the calling thread's cache: the fast half of [`get`]. `None` says nothing but
/// that `get` must be asked; nothing was counted.
#[inline(always)]
pub fn get_idle(pool_id: u64, len: usize, site: Site) -> Option<RawLease> {
    if len > TABLE_MAX {
        return None;
    }
    let cache = cache::at_front_of_library(cache::front_of(pool_id));
    let inner = cache.enter_to_pop_by_id(pool_id)?;
    let popped = cache.pop(inner.table.magazine_of_short(len), len);
    cache.leave();
    Some(issue(inner, Entry::of(popped?), len, cache.mark(), site))
}

/// As [`get`], for whatever [`get_idle`] left alone.
///
/// # Errors
/// As [`get`].
pub fn get_with_care(pool_id: u64, len: usize, site: Site) -> Result<RawLease> {
    get_patiently(pool_id, len, || Patience::Policy, site)
}

fn get_patiently(pool_id: u64, len: usize, patience: impl FnOnce() -> Patience, site: Site) -> Result<RawLease> {
    match get_kept(pool_id, len, site) {
        Some(lease) => Ok(lease),
        None => get_slow(pool_id, len, patience(), site),
    }
}

/// As [`get_idle`], for all lengths, and for buffers in the depot. Without the registry, whose lock all threads share.
fn get_kept(pool_id: u64, len: usize, site: Site) -> Option<RawLease> {
    let cache = cache::at_front(cache::front_of(pool_id));
    let inner = cache.enter_by_id(pool_id)?;
    let found = inner.get_kept(cache, len);
    let mark = cache.mark();
    cache.leave();
    Some(issue(inner, Entry::of(found?), len, mark, site))
}

#[cold]
#[inline(never)]
fn get_slow(pool_id: u64, len: usize, patience: Patience, site: Site) -> Result<RawLease> {
    let inner = find_pool(pool_id)?;
    let entry = inner.get_slow(len, patience)?;
    inner.record(entry, len, site);
    let id = entry.slot.handle.load(Ordering::Relaxed);
    if inner.has_canaries() {
        put::arm(entry, len, id);
    }
    Ok(RawLease { id, data: entry.data, len, capacity: entry.slot.capacity() })
}

#[inline(always)]
fn issue(inner: &Inner, entry: Entry, len: usize, mark: u16, site: Site) -> RawLease {
    let id = entry.slot.handle.load(Ordering::Relaxed);
    record(entry.slot, slot::marked(len, mark), site);
    if inner.has_canaries() {
        arm_canary(entry, len, id);
    }
    RawLease { id, data: entry.data, len, capacity: entry.slot.capacity() }
}

/// Takes a lease without waiting; see [`BufferPool::try_get`].
///
/// # Errors
/// As [`get`].
pub fn try_get(pool_id: u64, len: usize, site: Site) -> Result<RawLease> {
    get_patiently(pool_id, len, || Patience::None, site)
}

/// Takes a lease, waiting up to `timeout`; see [`BufferPool::get_timeout`].
///
/// # Errors
/// As [`get`].
pub fn get_timeout(pool_id: u64, len: usize, timeout: Duration, site: Site) -> Result<RawLease> {
    get_patiently(pool_id, len, || Patience::within(timeout), site)
}

/// Gives a lease back. `used` says that only so many bytes from the start were written; `None`: all of them may be.
///
/// # Errors
/// `DOUBLE_PUT`, `FOREIGN_LEASE`, `BUSY` (pinned), `INVALID_HANDLE`, `INVALID_ARGUMENT` (`used` above the length):
/// nothing changes. `OVERRUN`: the lease is over, its buffer discarded.
#[inline]
pub fn put(pool_id: u64, lease_id: u64, used: Option<usize>, site: Site) -> Result<()> {
    match put_idle(pool_id, lease_id, used) {
        Idle::Done => Ok(()),
        Idle::Begun(begun) => put_rest(begun, lease_id, site),
        Idle::Untouched => put_with_care(pool_id, lease_id, used, site),
    }
}

/// What [`put_idle`] did.
pub enum Idle {
    /// All of the put.
    Done,
    /// Nothing: [`put_with_care`] must be asked.
    Untouched,
    /// It ended the handle: [`put_rest`] must be called.
    Begun(Begun),
}

/// A put on its way: the lease's length and, in the lowest bits, what was found. One word, which calls pass in a register.
#[repr(transparent)]
pub struct Begun(usize);

const PIN: usize = 0;
const DAMAGE: usize = 1;
const NO_ROOM: usize = 2;
const FOUND_BITS: u32 = 2;

impl Begun {
    #[inline(always)]
    fn new(len: usize, found: usize) -> Begun {
        // Addresses leave more bits.
        Begun(len << FOUND_BITS | found)
    }
}

/// Gives a lease back that needs no clearing, into the calling thread's cache: the fast part of [`put`], for bindings.
/// It calls nothing.
#[inline(always)]
pub fn put_idle(pool_id: u64, lease_id: u64, used: Option<usize>) -> Idle {
    let Some(slot) = slot::find(lease_id) else {
        return Idle::Untouched;
    };
    let cache = cache::at_front_of_library(cache::front_of(pool_id));
    let Some(inner) = cache.enter_by_id(pool_id) else {
        return Idle::Untouched;
    };
    // Pairs with the release of whoever stored the handle: the slot's fields are this lease's.
    let is_live = slot.handle.load(Ordering::Acquire) == lease_id;
    let (len, mark) = slot.len_and_mark();
    let clean = match used {
        Some(used) => used == 0,
        None => inner.clear != ClearPolicy::OnPut,
    };
    // The look at the pins pairs with the increment in `pin`, as the second below.
    let plain = is_live
        && clean
        && std::ptr::eq(slot.pool.load(Ordering::Relaxed), inner)
        && slot.pins.load(Ordering::SeqCst) == 0;
    if !plain {
        cache.leave();
        return Idle::Untouched;
    }
    // From here on the buffer is this thread's.
    let next = if mark == 0 {
        let Some(next) = slot.advance(lease_id) else {
            cache.leave();
            return Idle::Untouched;
        };
        if slot.pins.load(Ordering::SeqCst) != 0 {
            cache.leave();
            return Idle::Begun(Begun::new(len, PIN));
        }
        next
    } else if mark == cache.mark() {
        slot.advance_alone(lease_id)
    } else {
        cache.leave();
        return Idle::Untouched;
    };
    slot.taken.store(0, Ordering::Relaxed);
    let found = if inner.has_canaries() && !disarm_canary(Entry::of(slot), len, lease_id) {
        DAMAGE
    // A worn out slot never goes through a cache, which would hand it out once more.
    } else if slot::is_behind_last(next) || !cache.push(usize::from(slot.class()), slot, len) {
        NO_ROOM
    } else {
        cache.leave();
        return Idle::Done;
    };
    cache.leave();
    Idle::Begun(Begun::new(len, found))
}

/// Ends what [`put_idle`] began with this handle.
///
/// # Errors
/// `BUSY`: the lease stays live. `OVERRUN`.
#[cold]
pub fn put_rest(begun: Begun, lease_id: u64, site: Site) -> Result<()> {
    let len = begun.0 >> FOUND_BITS;
    let slot = slot::find(lease_id).ok_or_else(|| not_a_lease(lease_id))?;
    let entry = Entry::of(slot);
    match begun.0 & ((1 << FOUND_BITS) - 1) {
        PIN => Err(take_back_put(slot, lease_id, len)),
        DAMAGE => Err(put::pool_of(slot).overrun(entry, len, lease_id, site)),
        _ => {
            slot.taken.store(0, Ordering::Relaxed);
            put::pool_of(slot).put_slow(entry, len, lease_id, site);
            Ok(())
        }
    }
}

/// As [`put`], for whatever [`put_idle`] left alone.
///
/// # Errors
/// As [`put`].
#[inline(never)]
pub fn put_with_care(pool_id: u64, lease_id: u64, used: Option<usize>, site: Site) -> Result<()> {
    let Some(slot) = slot::find(lease_id) else {
        return Err(not_a_lease(lease_id));
    };
    // Pairs as in `put_idle`.
    if slot.handle.load(Ordering::Acquire) != lease_id {
        return Err(refuse_put(pool_id, slot, lease_id, site));
    }
    let address = slot.pool.load(Ordering::Relaxed).cast_const();
    if let Some(cache) = cache::find(pool_id)
        && std::ptr::eq(cache.inner, address)
    {
        return put_checked(pool_id, address, slot, lease_id, used, site);
    }
    put_elsewhere(pool_id, address, slot, lease_id, used, site)
}

/// Handles puts by a thread that has no cache of the pool.
#[cold]
#[inline(never)]
fn put_elsewhere(
    pool_id: u64,
    address: *const Inner,
    slot: &'static Slot,
    lease_id: u64,
    used: Option<usize>,
    site: Site,
) -> Result<()> {
    // The lease keeps its pool registered, even one whose handle was freed.
    match registry::find(pool_id) {
        Some(inner) if std::ptr::eq(inner.as_ptr(), address) => {
            put_checked(pool_id, address, slot, lease_id, used, site)
        }
        Some(inner) => Err(foreign(&inner, slot, site)),
        None => Err(no_pool(pool_id)),
    }
}

fn put_checked(
    pool_id: u64,
    pool: *const Inner,
    slot: &'static Slot,
    lease_id: u64,
    used: Option<usize>,
    site: Site,
) -> Result<()> {
    let len = slot.len();
    let dirty = match used {
        None => len,
        Some(used) if used <= len => used,
        Some(used) => return Err(used_too_much(used, len)),
    };
    match end(slot, pool, pool_id, lease_id) {
        Ok(()) => {}
        Err(Refused::Pinned) => return Err(busy(slot, len)),
        // Another thread put it since the check above.
        Err(Refused::Ended) => return Err(not_present(slot, lease_id, site)),
    }
    // From here on the buffer is this thread's.
    let entry = Entry::of(slot);
    let inner = put::pool_of(slot);
    if inner.has_canaries() && !put::disarm(entry, len, lease_id) {
        return Err(inner.overrun(entry, len, lease_id, site));
    }
    if dirty > 0 {
        inner.scrub(entry, dirty);
    }
    let class = usize::from(slot.class());
    // A worn out slot never goes through a cache, which would hand it out once more.
    if slot.is_worn_out() || !put::finish_fast(slot, len, cache::front_of(inner.id), class) {
        inner.put_slow(entry, len, lease_id, site);
    }
    Ok(())
}

/// Ends a handle unless the lease is pinned, as who it was got by allows.
fn end(slot: &Slot, pool: *const Inner, pool_id: u64, lease_id: u64) -> Result<(), Refused> {
    let (_, mark) = slot.len_and_mark();
    if mark == 0 {
        return slot.end_unpinned(lease_id);
    }
    if let Some(cache) = cache::find(pool_id)
        && cache.enter(pool)
    {
        let ended = if cache.mark() == mark { Some(slot.end_unpinned_alone(lease_id)) } else { None };
        cache.leave();
        if let Some(ended) = ended {
            return ended;
        }
    } else if cache::has_mark(pool, mark) {
        // Behind a gate. Nobody else ends the lease in another way than this.
        return slot.end_unpinned(lease_id);
    }
    registry::without_mark(pool, mark, || slot.end_unpinned(lease_id))
}

/// Undoes the end of a handle: somebody pinned the lease between the check and the end.
#[cold]
fn take_back_put(slot: &Slot, lease_id: u64, len: usize) -> Error {
    slot.restore_handle(lease_id);
    busy(slot, len)
}

/// Finds the slot of a live lease.
#[inline]
pub(crate) fn check(lease_id: u64) -> Result<&'static Slot> {
    match slot::find(lease_id) {
        Some(slot) if slot.handle.load(Ordering::Acquire) == lease_id || slot.comes_back(lease_id) => Ok(slot),
        Some(slot) => Err(stale(slot, lease_id)),
        None => Err(not_a_lease(lease_id)),
    }
}

/// Returns a live lease's address, length and capacity.
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`.
#[inline]
pub fn lookup(lease_id: u64) -> Result<RawLease> {
    let slot = slot::find(lease_id).ok_or_else(|| not_a_lease(lease_id))?;
    let found = slot.look(lease_id).or_else(|| if slot.comes_back(lease_id) { slot.look(lease_id) } else { None });
    match found {
        Some((data, len, capacity)) => Ok(RawLease { id: lease_id, data, len, capacity }),
        None => Err(stale(slot, lease_id)),
    }
}

/// Returns the id of a live lease's pool.
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`.
pub fn pool_of(lease_id: u64) -> Result<u64> {
    let slot = check(lease_id)?;
    match registry::find_at(slot.pool_of_any()) {
        Some(inner) => {
            check(lease_id)?;
            Ok(inner.id)
        }
        None => Err(stale(slot, lease_id)),
    }
}

/// Pins a lease: a put is `BUSY` until as many [`unpin`] calls. For memory that the kernel or another thread writes.
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`. `INVALID_ARGUMENT`: it is pinned 2^31 - 1 times (2^20 - 1 on guarded pages).
pub fn pin(lease_id: u64) -> Result<()> {
    let slot = check(lease_id)?;
    let (_, mark) = slot.len_and_mark();
    let pool = slot.pool_of_any();
    let pinned = if mark == 0 || cache::has_mark(pool, mark) {
        slot.pin(lease_id)
    } else {
        // The thread that got the lease would end it without looking as closely.
        registry::without_mark(pool, mark, || slot.pin(lease_id))
    };
    match pinned {
        Ok(()) => Ok(()),
        Err(Refused::Pinned) => Err(Error::invalid("the lease is pinned as often as it can be")),
        Err(Refused::Ended) => Err(stale(slot, lease_id)),
    }
}

/// Ends one [`pin`].
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`. `INVALID_ARGUMENT`: the lease is not pinned.
pub fn unpin(lease_id: u64) -> Result<()> {
    let slot = check(lease_id)?;
    slot.pins
        .fetch_update(
            Ordering::SeqCst,
            Ordering::SeqCst,
            |pins| {
                if guard::pins_of(pins) == 0 { None } else { Some(pins - 1) }
            },
        )
        .map(drop)
        .map_err(|_| Error::invalid("the lease is not pinned; call unpin once for each pin"))
}

/// Ends a handle for somebody who takes the buffer over.
pub(crate) fn redeem(pool_id: u64, lease_id: u64) -> Result<(Strong, Entry, usize)> {
    let slot = check(lease_id)?;
    let inner = registry::find(pool_id).ok_or_else(|| no_pool(pool_id))?;
    if !std::ptr::eq(inner.as_ptr(), slot.pool.load(Ordering::Relaxed)) {
        return Err(foreign(&inner, slot, Site::NONE));
    }
    let len = slot.len();
    match end(slot, inner.as_ptr(), pool_id, lease_id) {
        Ok(()) => {}
        Err(Refused::Pinned) => return Err(busy(slot, len)),
        Err(Refused::Ended) => return Err(stale(slot, lease_id)),
    }
    // What is a handle no more has no mark.
    slot.len.store(len, Ordering::Release);
    let entry = Entry::of(slot);
    Ok((inner, entry, len))
}

/// Takes a lease's buffer out of its pool for good; see [`Lease::detach`](crate::Lease::detach).
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`, `FOREIGN_LEASE`, `BUSY`, `NO_MEMORY`: nothing changes. `OVERRUN` as for [`put`].
pub fn detach(pool_id: u64, lease_id: u64) -> Result<Detached> {
    let (inner, entry, len) = redeem(pool_id, lease_id)?;
    let prepared = Detached::prepare(&inner, entry, len).inspect_err(|_| entry.slot.restore_handle(lease_id))?;
    if inner.has_canaries() && !put::disarm(entry, len, lease_id) {
        return Err(inner.overrun(entry, len, lease_id, Site::NONE));
    }
    let (detached, copied) = Detached::take(&inner, entry, len, prepared);
    Detached::take_back(&inner, copied, len);
    Ok(detached)
}

/// Gives up a lease whose memory somebody else has taken: it leaves the books as `leaked` and `lost`, and the memory
/// is never handed out or unmapped.
///
/// # Errors
/// As [`into_lease`].
pub fn lose(pool_id: u64, lease_id: u64) -> Result<()> {
    let (inner, entry, len) = redeem(pool_id, lease_id)?;
    inner.count_returned(len);
    inner.lose(entry);
    Ok(())
}

/// Turns a handle back into a lease that drops; the handle is over.
///
/// # Errors
/// `USE_AFTER_PUT`, `INVALID_HANDLE`, `FOREIGN_LEASE`, `BUSY`: nothing changes. The canary is checked at the lease's
/// own put.
pub fn into_lease(pool_id: u64, lease_id: u64) -> Result<Lease> {
    let (inner, entry, len) = redeem(pool_id, lease_id)?;
    let slot = entry.slot;
    if !slot.is_worn_out() {
        return Ok(Lease::from_handle(entry, len, lease_id));
    }
    // The lease may become a handle again, which this slot has none left for.
    match slot::renew(slot, pool_id) {
        Some(slot) => Ok(Lease::from_handle(Entry::of(slot), len, lease_id)),
        None => {
            slot.restore_handle(lease_id);
            Err(Error::new(
                ErrorKind::NoMemory,
                format_args!("no handle is left for a lease of {len} bytes of pool \"{}\"; it stays live", inner.name),
            ))
        }
    }
}

/// Gives back a lease that nobody put; see [`Lease::leak_reclaimed`](crate::Lease::leak_reclaimed).
///
/// # Errors
/// As [`into_lease`].
pub fn leak_reclaimed(pool_id: u64, lease_id: u64) -> Result<()> {
    into_lease(pool_id, lease_id).map(Lease::leak_reclaimed)
}

/// Reports those of a pool's live leases whose handles `which` selects, as `MILLPOND_LEAKS` asks: a binding whose leases end
/// with a thread says so before. `when` says when that is.
pub fn report_leaks(pool: &BufferPool, when: &str, which: impl Fn(u64) -> bool) {
    report::report_those(pool.inner(), when, |slot| which(slot.handle.load(Ordering::Relaxed)));
}

/// Reports the leases of all pools that are out, as `MILLPOND_LEAKS` asks, as at the process's end, which then reports
/// nothing more: for a binding whose leases end before.
pub fn report_exit() {
    report::exit();
}
