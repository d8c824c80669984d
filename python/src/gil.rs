//! Holds what only the thread with the GIL may touch.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// A static value that is read and written under the GIL only.
pub(crate) struct GilCell<T>(UnsafeCell<T>);

// SAFETY: `get` is unsafe and its caller holds the GIL, so no two threads are inside at once; build.rs and
// `gil_used = true` keep interpreters without a GIL away.
unsafe impl<T> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    pub(crate) const fn new(value: T) -> GilCell<T> {
        GilCell(UnsafeCell::new(value))
    }

    /// Returns the place of the value.
    ///
    /// The pointer may be used while the GIL is held, and by one borrow at a time: no Python code runs during it.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

/// Lets other Python threads run until it is dropped.
///
/// Nothing of Python may be touched meanwhile, and PyO3 is not told: only for code that never asks it to attach.
pub(crate) struct Released(*mut ffi::PyThreadState);

impl Released {
    /// Releases the GIL.
    ///
    /// # Safety
    /// The calling thread holds the GIL.
    pub(crate) unsafe fn new() -> Released {
        // SAFETY: the caller holds the GIL.
        Released(unsafe { ffi::PyEval_SaveThread() })
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        // SAFETY: the state is the one `PyEval_SaveThread` gave on this thread.
        unsafe { ffi::PyEval_RestoreThread(self.0) }
    }
}

/// Lets the module be initialised by the main interpreter only, and once: types, free list and pools are the
/// process's. PyO3 and newer Pythons refuse some sub-interpreters by themselves, but not those that share the GIL.
pub(crate) fn refuse_other_interpreters() -> PyResult<()> {
    static LOADED: AtomicBool = AtomicBool::new(false);
    // SAFETY: called while a module is initialised, so the thread is attached.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the running interpreter.
    if unsafe { ffi::PyInterpreterState_GetID(interpreter) } != 0 {
        return Err(PyImportError::new_err("millpond does not support loading in subinterpreters"));
    }
    if LOADED.swap(true, Ordering::Relaxed) {
        return Err(PyImportError::new_err(
            "millpond is loaded once per process; keep the module that sys.modules had instead of importing it anew",
        ));
    }
    Ok(())
}
