//! Lends a lease's bytes through the buffer protocol and counts what is lent.

use std::ffi::c_int;
use std::ptr;

use millpond::ErrorKind;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;

use super::ending;
use super::object::LeaseObject;
use crate::errors;
use crate::text;

/// Exports the whole visible length, writable: `bf_getbuffer`.
///
/// # Safety
/// Called by CPython only, with the GIL held and `view` to be filled.
pub(crate) unsafe extern "C" fn get_buffer(
    object: *mut ffi::PyObject,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    errors::slot(-1, || {
        // SAFETY: CPython passes an object of this type.
        let lease = unsafe { LeaseObject::from_ptr(object) };
        if view.is_null() {
            return errors::cold(-1, |py| Err(text::plain::<PyBufferError>(py, "a view is needed to export a lease")));
        }
        if !lease.is_live() {
            // SAFETY: not null, and the consumer's to be filled; the protocol asks for null on failure.
            unsafe { (*view).obj = ptr::null_mut() };
            return errors::cold(-1, |py| Err(errors::to_py(py, &ending::refused(lease, ErrorKind::UseAfterPut))));
        }
        if lease.details().exports.get() == u32::MAX {
            // SAFETY: as above.
            unsafe { (*view).obj = ptr::null_mut() };
            return errors::cold(-1, |py| {
                Err(text::plain::<PyBufferError>(py, "the lease has 4294967295 exports already"))
            });
        }
        let data = lease.open();
        let len = lease.len.get() as ffi::Py_ssize_t;
        // SAFETY: the bytes stay where they are until every export is released: put is refused before.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, object, data.cast(), len, 0, flags) };
        if status == 0 {
            let exports = &lease.details().exports;
            exports.set(exports.get() + 1);
        }
        status
    })
}

/// Takes an export back: `bf_releasebuffer`.
///
/// # Safety
/// Called by CPython only, once for each successful `get_buffer`, with the GIL held.
pub(crate) unsafe extern "C" fn release_buffer(object: *mut ffi::PyObject, _view: *mut ffi::Py_buffer) {
    errors::quiet_slot(|| {
        // SAFETY: CPython passes the object that exported.
        let lease = unsafe { LeaseObject::from_ptr(object) };
        let exports = &lease.details().exports;
        exports.set(exports.get() - 1);
        ending::after_release(lease);
    });
}
