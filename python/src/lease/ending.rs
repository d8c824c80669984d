//! Ends a lease: put, the return that waits for a view, the memory that an uncounted view holds back, and the
//! lease that was lost.
//!
//! A consumer that keeps an address without keeping an export (`np.ndarray(buffer=lease)`, `torch.frombuffer`)
//! keeps a reference to the lease object. So after an export the memory of a put lease goes back only when the
//! object does: at once when the caller holds the only reference, else in `tp_dealloc`. Without any export no
//! address ever left, and the memory goes back at once.

use std::ffi::CStr;
use std::fmt;
use std::sync::atomic::Ordering;

use millpond::text::Text;
use millpond::{Act, Error, ErrorKind, Held, Lease, Site};
use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{LeaseObject, State};
use crate::errors;
use crate::gil::Released;
use crate::pool::{self, Pool};
use crate::site;

/// Clearing at least so many bytes is done without the GIL: 130 µs, where letting it go and getting it back costs
/// 37 ns and, under contention, a third of the throughput at smaller sizes.
pub(crate) const CLEAR_WITHOUT_GIL: usize = 4 << 20;

/// Runs what may clear `bytes` bytes, without the GIL when that takes long.
fn clearing<R>(bytes: usize, clears: bool, body: impl FnOnce() -> R) -> R {
    if bytes < CLEAR_WITHOUT_GIL || !clears {
        return body();
    }
    // SAFETY: the callers hold the GIL; `body` is core's work on memory that no Python object owns any more.
    let _released = unsafe { Released::new() };
    body()
}

/// Runs a put that clears `dirty` bytes and may ask for its place, without the GIL when that takes long.
fn putting<R>(lease: &LeaseObject, dirty: usize, body: impl FnOnce(&dyn Fn() -> Site) -> R) -> R {
    let pool = pool_of(lease);
    let known = lease.details().acts().1.site();
    let is_long = dirty >= CLEAR_WITHOUT_GIL && pool.clears_on_put;
    if !is_long && !pool.core.injects() {
        return body(&|| if known.is_known() { known } else { site::here() });
    }
    // Nobody can be asked without the GIL.
    let here = if known.is_known() { known } else { site::here() };
    // SAFETY: as in `clearing`.
    let _released = unsafe { Released::new() };
    body(&|| here)
}

/// Remembers what is known of the get and put of a lease that has just ended.
fn remember(lease: &LeaseObject) {
    let known = lease.memory().with_lease(|guard| {
        let is_looked_at = pool::is_looked_at(pool_of(lease).core.check(), guard);
        (is_looked_at || guard.site().is_known()).then(|| (guard.got(), is_looked_at))
    });
    if let Some((got, is_looked_at)) = known.flatten() {
        let put = if is_looked_at { Act::now(site::here()) } else { Act::default() };
        lease.details().set_acts(got, put);
    }
}

/// Puts a fresh lease; `false`, and nothing done, if it is anything else.
#[inline(always)]
pub(crate) fn put_fresh(lease: &LeaseObject) -> bool {
    // Nobody had the address, so there is nothing to be found wrong and the drop hides no error.
    lease.end_fresh().map(drop).is_some()
}

/// Puts a live lease, or says why not.
///
/// `used`: the caller's word that only so many bytes were written through views.
pub(crate) fn put(lease: &LeaseObject, used: Option<usize>) -> Result<(), Error> {
    if !lease.is_live() {
        return Err(refused(lease, ErrorKind::DoublePut));
    }
    let details = lease.details();
    if details.exports.get() != 0 || details.pins.get() != 0 {
        return Err(refused(lease, ErrorKind::Busy));
    }
    if let Some(used) = used {
        if used > lease.details().requested.get() {
            return Err(used_too_long(lease, used));
        }
        details.opened.set(used);
    }
    // Before the place is looked for, which may run any Python code: the collector's.
    lease.set_state(State::Dead);
    remember(lease);
    give_back(lease)
}

/// Gives the memory of a lease back that has just become dead.
fn give_back(lease: &LeaseObject) -> Result<(), Error> {
    let Some(guard) = lease.memory().take_lease() else {
        return Ok(());
    };
    let details = lease.details();
    let dirty = if details.exported.get() { details.dirty() } else { details.written.get() };
    if !details.exported.get() || lease.references() <= 1 {
        return putting(lease, dirty, |site| guard.put_at(Some(dirty), site));
    }
    let (held, result) = putting(lease, 0, |site| guard.put_held_at(Some(dirty), site));
    keep(lease, held);
    result
}

/// Ends a lease whose memory may be kept until nothing can look at it any more.
pub(crate) fn hold(lease: &LeaseObject, held: Option<Held>) {
    lease.set_state(State::Dead);
    if let Some(held) = held
        && lease.details().exported.get()
    {
        keep(lease, held);
    }
}

/// Keeps memory until the object goes.
fn keep(lease: &LeaseObject, held: Held) {
    lease.memory().set_held(held);
    pool_of(lease).held.fetch_add(1, Ordering::Relaxed);
}

/// Puts a lease whose `with` block was left by an exception: now, or when the last view or pin is gone.
pub(crate) fn put_or_defer(lease: &LeaseObject) -> Result<(), Error> {
    let details = lease.details();
    if details.exports.get() == 0 && details.pins.get() == 0 {
        return put(lease, None);
    }
    lease.set_state(State::Deferred);
    remember(lease);
    Ok(())
}

/// Puts a deferred lease when nothing looks into it any more.
pub(crate) fn after_release(lease: &LeaseObject) {
    let details = lease.details();
    if lease.state() != State::Deferred || details.exports.get() != 0 || details.pins.get() != 0 {
        return;
    }
    lease.set_state(State::Dead);
    if let Err(error) = give_back(lease) {
        report(error);
    }
}

/// Shows an error that has no caller to go to.
#[cold]
fn report(error: Error) {
    Python::attach(|py| errors::to_py(py, &error).write_unraisable(py, None));
}

/// Makes the error for something that the lease's state forbids; core counts and words it.
#[cold]
pub(crate) fn refused(lease: &LeaseObject, kind: ErrorKind) -> Error {
    let details = lease.details();
    let (mut got, put) = details.acts();
    if !got.is_known() {
        got = lease.memory().with_lease(|guard| guard.got()).unwrap_or_default();
    }
    pool_of(lease).core.misuse_of(kind, details.requested.get(), got, put, site::here())
}

#[cold]
fn used_too_long(lease: &LeaseObject, used: usize) -> Error {
    let message =
        format_args!("used is {used}, but the lease has {} bytes; it stays live", lease.details().requested.get());
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Returns the pool a lease came from.
pub(crate) fn pool_of(lease: &LeaseObject) -> &Pool {
    // SAFETY: the lease owns a reference to its `Pool`, and the GIL is held.
    unsafe { Pool::from_ptr(lease.pool.get()) }
}

/// A lease that nobody put before its last reference went.
pub(crate) struct Lost {
    /// Ends with NUL.
    message: Text,
}

impl Lost {
    /// Warns with `ResourceWarning`; the current exception, if any, is left as it is.
    pub(crate) fn warn(self) {
        // Without memory for a long one it has no end.
        let message =
            CStr::from_bytes_with_nul(self.message.as_str().as_bytes()).unwrap_or(c"a millpond.Lease was never put");
        let (mut kind, mut value, mut trace) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the GIL is held (`tp_dealloc`); the three places are written.
        unsafe { ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut trace) };
        // SAFETY: a static class of CPython, read only.
        let category = unsafe { ffi::PyExc_ResourceWarning };
        // SAFETY: no exception is set; the message ends with NUL.
        let refused = unsafe { ffi::PyErr_WarnEx(category, message.as_ptr(), 1) } < 0;
        if refused {
            // SAFETY: an exception is set; there is no object left to show with it.
            unsafe { ffi::PyErr_WriteUnraisable(std::ptr::null_mut()) };
        }
        // SAFETY: these three are what `PyErr_Fetch` gave.
        unsafe { ffi::PyErr_Restore(kind, value, trace) };
    }
}

/// Gives back what a lease object still owns when its last reference is gone; a lost lease is told.
pub(crate) fn end_of_life(lease: &LeaseObject) -> Option<Lost> {
    if let Some(held) = lease.memory().take_held() {
        let pool = pool_of(lease);
        clearing(lease.details().dirty(), pool.clears_on_put, || drop(held));
        pool.held.fetch_sub(1, Ordering::Relaxed);
    }
    lease.memory().take_lease().map(|guard| reclaim(lease, guard))
}

/// A place; nothing if it is not known.
struct Known(Site);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_known() { self.0.fmt(f) } else { Ok(()) }
    }
}

#[cold]
fn reclaim(lease: &LeaseObject, mut guard: Lease) -> Lost {
    let pool = pool_of(lease);
    let got = guard.site();
    let (before, behind) = if got.is_known() { (", taken at ", ",") } else { ("", "") };
    let message = Text::of(format_args!(
        "a lease of {} bytes from pool '{}'{before}{}{behind} was never put; its memory is reclaimed and counted as leaked. \
         Put it: use a with block, lease.put() or pool.put(lease)\0",
        lease.details().requested.get(),
        pool.core.name(),
        Known(got),
    ));
    let dirty = lease.details().dirty();
    if dirty > 0 {
        // Core clears what it is told of, and was not told of writes through the lease itself.
        guard.as_mut_ptr();
    }
    clearing(guard.len(), pool.clears_on_put && dirty > 0, || guard.leak_reclaimed());
    Lost { message }
}
