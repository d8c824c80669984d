//! Counts references in place.
//!
//! For the stable ABI PyO3 leaves the counting to functions of the interpreter, and a pair of get and put would call
//! three of them: a tenth of its time. The headers of the stable ABI of 3.11, for which this is built, count in place,
//! so all later versions allow for it, whatever they keep in the upper half of the word. From 3.12 on some objects live
//! for ever, and their counts stay as they are: so only objects that do not, leases and pools, are counted here.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

/// From 3.12 on None lives for ever, and nobody counts who refers to it.
static NONE_IS_COUNTED: AtomicBool = AtomicBool::new(true);

/// Looks, once for the process, how this interpreter counts.
pub(crate) fn decide(py: Python<'_>) {
    NONE_IS_COUNTED.store(py.version_info() < (3, 12), Ordering::Relaxed);
}

/// Tells how many references there are to an object.
///
/// # Safety
/// `object` is an object, or has been one, and the GIL is held.
#[inline(always)]
pub(crate) unsafe fn count(object: *mut ffi::PyObject) -> u32 {
    // SAFETY: the caller's promise.
    let count = unsafe { (*object).ob_refcnt };
    // From 3.14 on the upper half of the word holds flags.
    (count & 0xffff_ffff) as u32
}

/// Takes a reference.
///
/// # Safety
/// `object` is alive, or comes to life by this, and does not live for ever; the GIL is held.
#[inline(always)]
pub(crate) unsafe fn retain(object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    let count = unsafe { &mut (*object).ob_refcnt };
    *count = count.wrapping_add(1);
}

/// Gives a reference up; the last one ends the object, which may run any Python code.
///
/// # Safety
/// The caller owns the reference, the object does not live for ever, and the GIL is held.
#[inline(always)]
pub(crate) unsafe fn release(object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    if unsafe { count(object) } > 1 {
        // SAFETY: as above.
        let count = unsafe { &mut (*object).ob_refcnt };
        *count = count.wrapping_sub(1);
    } else {
        // SAFETY: as above.
        unsafe { release_last(object) };
    }
}

/// # Safety
/// As [`release`].
#[cold]
#[inline(never)]
unsafe fn release_last(object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { ffi::Py_DECREF(object) };
}

/// Returns None, with the reference that a caller expects.
#[inline(always)]
pub(crate) fn none() -> *mut ffi::PyObject {
    // SAFETY: attached; None is always alive.
    let none = unsafe { ffi::Py_None() };
    if NONE_IS_COUNTED.load(Ordering::Relaxed) {
        // SAFETY: as above; in this version it is counted.
        unsafe { retain(none) };
    }
    none
}
