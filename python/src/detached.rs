//! Owns memory that left its pool, for the memoryview that `Lease.detach` returns.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PySlice};

use crate::errors::shielded;

/// Plain memory that was a lease; freed with the last memoryview over it.
///
/// Thread-safe as a bytearray is. Fork: the child has its own copy.
#[pyclass(frozen, module = "millpond._millpond", name = "_Detached")]
pub(crate) struct Detached {
    data: *mut u8,
    len: usize,
    mapping: usize,
}

// SAFETY: the value is the only owner of plain memory; what is written into it is written by holders of views,
// under the GIL or by their own arrangement, as with any Python buffer.
unsafe impl Send for Detached {}
// SAFETY: as above; a shared reference only hands out the address.
unsafe impl Sync for Detached {}

impl Detached {
    pub(crate) fn new(memory: millpond::Detached) -> Detached {
        let (data, len, mapping) = memory.into_raw_parts();
        Detached { data, len, mapping }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        // SAFETY: the unchanged results of the one `into_raw_parts` in `new`, used once.
        drop(unsafe { millpond::Detached::from_raw_parts(self.data, self.len, self.mapping) });
    }
}

#[pymethods]
impl Detached {
    /// # Safety
    /// Called by CPython only, with `view` to be filled.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let py = slf.py();
        shielded(py, || {
            let this = slf.get();
            let len = this.len as ffi::Py_ssize_t;
            // SAFETY: the memory lives as long as `slf`, of which the view takes a reference.
            let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), this.data.cast(), len, 0, flags) };
            if status == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
        })
    }
}

/// Makes the memoryview over detached memory, `visible` bytes long, and returns it with the owner.
pub(crate) fn view<'py>(
    py: Python<'py>,
    memory: millpond::Detached,
    visible: usize,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let owner = Bound::new(py, Detached::new(memory))?.into_any();
    let whole = PyMemoryView::from(&owner)?.into_any();
    if visible == whole.len()? {
        return Ok((whole, owner));
    }
    let part = whole.get_item(PySlice::new(py, 0, visible as isize, 1))?;
    Ok((part, owner))
}
