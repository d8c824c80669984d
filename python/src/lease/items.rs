//! Reads and writes a lease through itself: `lease[i]`, `lease[a:b]`, `lease[a:b] = data`, `bytes(lease)`.
//!
//! No address leaves, so the lease knows exactly what was written and put clears just that.

use std::ptr;

use millpond::ErrorKind;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PySlice;

use super::ending;
use super::object::LeaseObject;
use crate::args;
use crate::errors::{self, invalid};
use crate::text;

/// Returns the visible length: `mp_length`.
///
/// # Safety
/// Called by CPython only, with the GIL held.
pub(crate) unsafe extern "C" fn length(object: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    errors::slot(-1, || {
        // SAFETY: CPython passes an object of this type.
        let lease = unsafe { LeaseObject::from_ptr(object) };
        if lease.is_live() {
            return lease.len.get() as ffi::Py_ssize_t;
        }
        errors::cold(-1, |py| Err(errors::to_py(py, &ending::refused(lease, ErrorKind::UseAfterPut))))
    })
}

/// Fails with `UseAfterPutError` unless the lease is live.
pub(crate) fn live(py: Python<'_>, lease: &LeaseObject) -> PyResult<()> {
    if lease.is_live() { Ok(()) } else { Err(errors::to_py(py, &ending::refused(lease, ErrorKind::UseAfterPut))) }
}

/// What an index means: one byte, or a range of bytes.
enum Place {
    One(usize),
    Range { start: usize, count: usize },
}

/// What an index says before the length is known; made first because its `__index__` may run any Python code.
enum Index<'py> {
    One(isize),
    Range(&'py Bound<'py, PySlice>),
}

fn index_of<'py>(index: &'py Bound<'py, PyAny>) -> PyResult<Index<'py>> {
    if let Ok(slice) = index.cast::<PySlice>() {
        return Ok(Index::Range(slice));
    }
    if index.hasattr("__index__")? {
        return Ok(Index::One(
            index
                .extract::<isize>()
                .map_err(|_| text::plain::<PyIndexError>(index.py(), "lease index out of range"))?,
        ));
    }
    Err(args::wrong_type("a lease's index", "an int or a slice", index))
}

/// Places an index in a live lease. Nothing may run between this and the access.
fn place(py: Python<'_>, lease: &LeaseObject, index: &Index<'_>) -> PyResult<Place> {
    let whole = match index {
        // `indices` may run the `__index__` of the slice's parts, so the lease is looked at after it.
        Index::Range(slice) => Some(slice.indices(lease.len.get() as isize)?),
        Index::One(_) => None,
    };
    live(py, lease)?;
    let len = lease.len.get();
    match (index, whole) {
        (_, Some(range)) => {
            if range.step != 1 {
                return Err(invalid(
                    py,
                    format_args!("the slice's step is {}; a lease is sliced with step 1", range.step),
                ));
            }
            let start = (range.start.max(0) as usize).min(len);
            let count = range.slicelength.min(len - start);
            Ok(Place::Range { start, count })
        }
        (Index::One(at), None) => {
            let at = if *at < 0 { *at + len as isize } else { *at };
            if at < 0 || at as usize >= len {
                return Err(text::plain::<PyIndexError>(
                    py,
                    format_args!("lease index out of range, its length is {len}"),
                ));
            }
            Ok(Place::One(at as usize))
        }
        (Index::Range(_), None) => Ok(Place::Range { start: 0, count: 0 }),
    }
}

/// Copies bytes out of a live lease.
fn copy_out(py: Python<'_>, lease: &LeaseObject, start: usize, count: usize) -> PyResult<*mut ffi::PyObject> {
    let data = lease.peek();
    // SAFETY: `start <= len`, so the address is inside the buffer or one past it.
    let from = unsafe { data.add(start) };
    // SAFETY: `count` bytes from there are inside the length, and the GIL is held for the copy.
    let bytes = unsafe { ffi::PyBytes_FromStringAndSize(from.cast(), count as ffi::Py_ssize_t) };
    if bytes.is_null() { Err(PyErr::fetch(py)) } else { Ok(bytes) }
}

/// Copies the whole lease: `__bytes__`.
pub(crate) fn to_bytes(py: Python<'_>, lease: &LeaseObject) -> PyResult<*mut ffi::PyObject> {
    live(py, lease)?;
    copy_out(py, lease, 0, lease.len.get())
}

/// Reads `lease[index]`: `mp_subscript`.
///
/// # Safety
/// Called by CPython only, with the GIL held.
pub(crate) unsafe extern "C" fn get_item(object: *mut ffi::PyObject, index: *mut ffi::PyObject) -> *mut ffi::PyObject {
    errors::slot(ptr::null_mut(), || {
        errors::cold(ptr::null_mut(), |py| {
            // SAFETY: CPython passes an object of this type.
            let lease = unsafe { LeaseObject::from_ptr(object) };
            // SAFETY: the caller holds a reference for the length of the call.
            let index = unsafe { Bound::from_borrowed_ptr(py, index) };
            match place(py, lease, &index_of(&index)?)? {
                Place::Range { start, count } => copy_out(py, lease, start, count),
                Place::One(at) => {
                    // SAFETY: `at < len`.
                    let place = unsafe { lease.peek().add(at) };
                    // SAFETY: inside the length, and the lease is live.
                    let byte = unsafe { place.read() };
                    Ok(byte.into_pyobject(py)?.into_any().into_ptr())
                }
            }
        })
    })
}

/// Writes `lease[index] = value`: `mp_ass_subscript`.
///
/// # Safety
/// Called by CPython only, with the GIL held; `value` is null for a deletion.
pub(crate) unsafe extern "C" fn set_item(
    object: *mut ffi::PyObject,
    index: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> std::ffi::c_int {
    errors::slot(-1, || {
        errors::cold(-1, |py| {
            // SAFETY: CPython passes an object of this type.
            let lease = unsafe { LeaseObject::from_ptr(object) };
            // SAFETY: the caller holds a reference for the length of the call.
            let index = unsafe { Bound::from_borrowed_ptr(py, index) };
            // SAFETY: as above; null is allowed.
            let Some(value) = (unsafe { Bound::from_borrowed_ptr_or_opt(py, value) }) else {
                return Err(text::plain::<PyTypeError>(py, "the bytes of a lease cannot be deleted"));
            };
            match index_of(&index)? {
                index @ Index::One(_) => write_byte(py, lease, &index, &value)?,
                index @ Index::Range(_) => write_range(py, lease, &index, &value)?,
            }
            Ok(0)
        })
    })
}

fn write_byte(py: Python<'_>, lease: &LeaseObject, index: &Index<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let byte = args::bytes("a byte", value)?;
    let byte = u8::try_from(byte).map_err(|_| invalid(py, format_args!("a byte is {byte}; use 0 to 255")))?;
    if let Place::One(at) = place(py, lease, index)? {
        // SAFETY: `at < len`.
        let place = unsafe { lease.peek().add(at) };
        // SAFETY: inside the length; the lease is live, and nothing ran since that was checked.
        unsafe { place.write(byte) };
        lease.wrote(at + 1);
    }
    Ok(())
}

/// A foreign buffer, released when dropped. It stays where it was filled.
struct Source<'a>(&'a mut ffi::Py_buffer);

impl Source<'_> {
    fn fill<'a>(room: &'a mut ffi::Py_buffer, value: &Bound<'_, PyAny>) -> PyResult<Source<'a>> {
        // SAFETY: attached; the structure is ours, and is borrowed as long as it is filled.
        if unsafe { ffi::PyObject_GetBuffer(value.as_ptr(), &raw mut *room, ffi::PyBUF_SIMPLE) } < 0 {
            return Err(PyErr::fetch(value.py()));
        }
        Ok(Source(room))
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        // SAFETY: it was filled by `PyObject_GetBuffer` and is released once; `cold` keeps the thread attached.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) }
    }
}

fn write_range(py: Python<'_>, lease: &LeaseObject, index: &Index<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut room = ffi::Py_buffer::new();
    let source = Source::fill(&mut room, value)?;
    let given = source.0.len as usize;
    if let Place::Range { start, count } = place(py, lease, index)? {
        if given != count {
            return Err(invalid(
                py,
                format_args!("{given} bytes do not fit a slice of {count}: a lease keeps its length"),
            ));
        }
        if count == 0 {
            return Ok(());
        }
        // SAFETY: `start < len`.
        let to = unsafe { lease.peek().add(start) };
        // SAFETY: `count` bytes are inside both buffers; they may overlap, as the source may be a view of this lease.
        unsafe { ptr::copy(source.0.buf.cast::<u8>(), to, count) };
        lease.wrote(start + count);
    }
    Ok(())
}
