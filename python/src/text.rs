//! Makes Python texts and exceptions. What Rust would put on the heap for them could not be refused, so this does without:
//! whoever runs out of memory gets an exception, and the process goes on.

use std::fmt::Display;

use millpond::text::Text;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Makes a `str`.
pub(crate) fn string(py: Python<'_>, value: impl Display) -> PyResult<Bound<'_, PyString>> {
    copied(py, Text::of(value).whole().ok_or_else(|| no_memory(py))?)
}

fn copied<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: attached; the bytes are UTF-8 and copied.
    let made = unsafe { ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as ffi::Py_ssize_t) };
    // SAFETY: a new reference, or null with an exception.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, made) }?.cast_into()?)
}

/// Makes an exception of a class; its message ends where memory does.
pub(crate) fn exception(class: &Bound<'_, PyAny>, message: impl Display) -> PyErr {
    match copied(class.py(), Text::of(message).as_str()).and_then(|message| class.call1((message,))) {
        Ok(value) => PyErr::from_value(value),
        // Most likely a MemoryError.
        Err(error) => error,
    }
}

/// Makes an exception of one of Python's own classes.
pub(crate) fn plain<T: pyo3::PyTypeInfo>(py: Python<'_>, message: impl Display) -> PyErr {
    exception(py.get_type::<T>().as_any(), message)
}

/// Makes a `MemoryError`.
#[cold]
pub(crate) fn no_memory(py: Python<'_>) -> PyErr {
    // SAFETY: attached. It sets an exception that Python has in store.
    unsafe { ffi::PyErr_NoMemory() };
    PyErr::fetch(py)
}
