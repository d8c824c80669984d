//! Finds the line of Python that takes or puts a lease.
//!
//! Looking costs more than the get, so it is done only when asked for: `MILLPOND_CHECK=sites` or `full`, or
//! Python's development mode, where a lost lease is warned about and the warning wants a place.

use std::sync::atomic::{AtomicBool, Ordering};

use millpond::Site;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;

static RECORDED: AtomicBool = AtomicBool::new(false);

/// Decides, once for the process, whether places are recorded.
pub(crate) fn decide(py: Python<'_>) -> PyResult<()> {
    let asked = std::env::var("MILLPOND_CHECK").is_ok_and(|mode| mode == "sites" || mode == "full");
    let development: bool = py.import("sys")?.getattr("flags")?.getattr("dev_mode")?.is_truthy()?;
    RECORDED.store(asked || development, Ordering::Relaxed);
    Ok(())
}

#[inline]
pub(crate) fn are_recorded() -> bool {
    RECORDED.load(Ordering::Relaxed)
}

/// Names the line of Python that runs now; [`Site::NONE`] when there is none.
#[cold]
pub(crate) fn here() -> Site {
    Python::attach(|py| find(py).unwrap_or(Site::NONE))
}

fn find(py: Python<'_>) -> Option<Site> {
    // SAFETY: attached; the frame is borrowed from the running thread.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    if frame.is_null() {
        return None;
    }
    // SAFETY: the frame runs below us, so it is alive.
    let line = unsafe { ffi::PyFrame_GetLineNumber(frame) };
    // SAFETY: as above.
    let code = unsafe { ffi::PyFrame_GetCode(frame) };
    // SAFETY: a new reference to the frame's code.
    let code = unsafe { Bound::from_owned_ptr_or_opt(py, code.cast()) }?;
    let text = |name: &str| code.getattr(name).and_then(|value| value.extract::<String>()).ok();
    Some(Site::interned(&text("co_filename")?, u32::try_from(line).unwrap_or(0), &text("co_qualname")?))
}
