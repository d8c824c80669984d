//! Ends a lease: put, the return that waits for a view, the memory that an uncounted view holds back, and the
//! lease that was lost.
//!
//! A consumer that keeps an address without keeping an export (`np.ndarray(buffer=lease)`, `torch.frombuffer`)
//! keeps a reference to the lease object. So after an export the memory of a put lease goes back only when the
//! object does: at once when the caller holds the only reference, else in `tp_dealloc`. Without any export no
//! address ever left, and the memory goes back at once.

use std::ffi::CString;
use std::sync::atomic::Ordering;

use millpond::{Error, ErrorKind, Held, Lease, Site};
use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{LeaseObject, State};
use crate::errors;
use crate::gil::Released;
use crate::pool::Pool;
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
    if site::are_recorded() {
        details.put.set(site::here());
    }
    lease.set_state(State::Dead);
    give_back(lease)
}

/// Gives the memory of a lease back that has just become dead.
fn give_back(lease: &LeaseObject) -> Result<(), Error> {
    let Some(guard) = lease.memory().take_lease() else {
        return Ok(());
    };
    let details = lease.details();
    if !details.exported.get() {
        let dirty = details.written.get();
        return if dirty == 0 { guard.put() } else { put_cleared(lease, guard, dirty) };
    }
    if lease.references() <= 1 {
        return put_cleared(lease, guard, details.dirty());
    }
    let (held, result) = guard.put_held(Some(details.dirty()));
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

fn put_cleared(lease: &LeaseObject, guard: Lease, dirty: usize) -> Result<(), Error> {
    let clears = pool_of(lease).clears_on_put;
    clearing(dirty, clears, || guard.put_used(dirty))
}

/// Puts a lease whose `with` block was left by an exception: now, or when the last view or pin is gone.
pub(crate) fn put_or_defer(lease: &LeaseObject) -> Result<(), Error> {
    let details = lease.details();
    if details.exports.get() == 0 && details.pins.get() == 0 {
        return put(lease, None);
    }
    if site::are_recorded() {
        details.put.set(site::here());
    }
    lease.set_state(State::Deferred);
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
    let here = if site::are_recorded() { site::here() } else { Site::NONE };
    let details = lease.details();
    pool_of(lease).core.misuse(kind, lease.details().requested.get(), details.got.get(), details.put.get(), here)
}

#[cold]
fn used_too_long(lease: &LeaseObject, used: usize) -> Error {
    let message = format!("used is {used}, but the lease has {} bytes; it stays live", lease.details().requested.get());
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Returns the pool a lease came from.
pub(crate) fn pool_of(lease: &LeaseObject) -> &Pool {
    // SAFETY: the lease owns a reference to its `Pool`, and the GIL is held.
    unsafe { Pool::from_ptr(lease.pool.get()) }
}

/// A lease that nobody put before its last reference went.
pub(crate) struct Lost {
    message: String,
}

impl Lost {
    /// Warns with `ResourceWarning`; the current exception, if any, is left as it is.
    pub(crate) fn warn(self) {
        let Ok(message) = CString::new(self.message) else {
            return;
        };
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

#[cold]
fn reclaim(lease: &LeaseObject, mut guard: Lease) -> Lost {
    let pool = pool_of(lease);
    let got = lease.details().got.get();
    let place = if got.is_known() { format!(", taken at {got},") } else { String::new() };
    let message = format!(
        "a lease of {} bytes from pool '{}'{place} was never put; its memory is reclaimed and counted as leaked. \
         Put it: use a with block, lease.put() or pool.put(lease)",
        lease.details().requested.get(),
        pool.core.name(),
    );
    let dirty = lease.details().dirty();
    if dirty > 0 {
        // Core clears what it is told of, and was not told of writes through the lease itself.
        guard.as_mut_ptr();
    }
    clearing(guard.len(), pool.clears_on_put && dirty > 0, || guard.leak_reclaimed());
    Lost { message }
}
