//! Holds what only the thread with the GIL may touch.

use std::cell::UnsafeCell;

use pyo3::ffi;

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
