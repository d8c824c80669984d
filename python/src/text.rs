//! Makes Python texts and exceptions. What Rust would put on the heap for them could not be refused, so this does without:
//! whoever runs out of memory gets an exception, and the process goes on.

use std::fmt::{self, Display, Write};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Longer texts than this go to the heap, and end here if there is no room.
const ROOM: usize = 1000;

/// A text being written.
pub(crate) struct Text {
    room: [u8; ROOM],
    len: usize,
    /// All of the text, once it is longer than the room.
    heap: Vec<u8>,
}

impl Text {
    /// Writes a value; where memory ends, so does the text.
    pub(crate) fn of(value: impl Display) -> Text {
        let mut text = Text { room: [0; ROOM], len: 0, heap: Vec::new() };
        let _ = write!(text, "{value}");
        text
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.heap.is_empty() { &self.room[..self.len] } else { &self.heap }
    }

    fn as_str(&self) -> &str {
        // Whole parts were written.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let part = part.as_bytes();
        if self.heap.is_empty()
            && let Some(room) = self.room[self.len..].get_mut(..part.len())
        {
            room.copy_from_slice(part);
            self.len += part.len();
            return Ok(());
        }
        let begun = if self.heap.is_empty() { &self.room[..self.len] } else { &[] };
        self.heap.try_reserve(begun.len() + part.len()).map_err(|_| fmt::Error)?;
        self.heap.extend_from_slice(begun);
        self.heap.extend_from_slice(part);
        Ok(())
    }
}

/// Makes a `str`.
pub(crate) fn string(py: Python<'_>, value: impl Display) -> PyResult<Bound<'_, PyString>> {
    let text = Text::of(value);
    let text = text.as_str();
    // SAFETY: attached; the bytes are UTF-8 and copied.
    let made = unsafe { ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as ffi::Py_ssize_t) };
    // SAFETY: a new reference, or null with an exception.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, made) }?.cast_into()?)
}

/// Makes an exception of a class.
pub(crate) fn exception(class: &Bound<'_, PyAny>, message: impl Display) -> PyErr {
    match string(class.py(), message).and_then(|message| class.call1((message,))) {
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
