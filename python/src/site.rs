//! Finds the line of Python that takes or puts a lease.
//!
//! Looking takes longer than a get and put. So it is done for every lease only in pools that record places, and in Python's
//! development mode, where a lost lease is warned about and the warning wants a place. Of the other leases some are sampled;
//! and whoever breaks a rule is always looked for.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use millpond::Site;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::gil::GilCell;

static DEVELOPMENT: AtomicBool = AtomicBool::new(false);

/// Decides, once for the process, whether all pools record places.
pub(crate) fn decide(py: Python<'_>) -> PyResult<()> {
    let development: bool = py.import("sys")?.getattr("flags")?.getattr("dev_mode")?.is_truthy()?;
    DEVELOPMENT.store(development, Ordering::Relaxed);
    Ok(())
}

/// Tells whether all pools record places.
#[inline]
pub(crate) fn are_recorded() -> bool {
    DEVELOPMENT.load(Ordering::Relaxed)
}

/// Of so many gets the place of one is found: a prime number, so that a loop with several gets does not show always the
/// same one.
const EVERY: i32 = 1021;
/// A get that the thread's own stock cannot serve counts as so many: it takes longer, and those that are never put are such.
const SLOW: i32 = 32;

/// Gets until the place of one is found. The first one's is.
static LEFT: GilCell<i32> = GilCell::new(1);

/// Counts a get of the fast path; `true` if it is to go the slow one, because its place is to be found.
#[inline(always)]
pub(crate) fn is_next() -> bool {
    // SAFETY: the callers hold the GIL, and nothing runs while this borrow lives.
    let left = unsafe { &mut *LEFT.as_ptr() };
    *left = left.wrapping_sub(1);
    *left <= 0
}

/// Counts a get of the slow path; `true` if its place is to be found.
pub(crate) fn is_sampled() -> bool {
    // SAFETY: as in `is_next`.
    let left = unsafe { &mut *LEFT.as_ptr() };
    *left = left.saturating_sub(SLOW);
    let sampled = *left <= 0;
    if sampled {
        *left = EVERY;
    }
    sampled
}

/// Names the line of Python that runs now; [`Site::NONE`] when there is none.
///
/// Makes a frame object, which may start the collector: any Python code may run.
#[cold]
pub(crate) fn here() -> Site {
    Python::attach(|py| {
        // A view may be released while an exception is on its way, which nothing here may touch.
        let current = PyErr::take(py);
        let found = find(py).unwrap_or(Site::NONE);
        if let Some(current) = current {
            current.restore(py);
        }
        found
    })
}

/// The most frames of this package above the user's: a writer's method calls a lease's.
const OWN_FRAMES_MAX: usize = 4;

fn find(py: Python<'_>) -> Option<Site> {
    // SAFETY: attached.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    // SAFETY: null, or borrowed from the running thread; it runs below us, so it is alive.
    let mut frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, frame.cast()) }?;
    for _ in 0..OWN_FRAMES_MAX {
        match look(&frame)? {
            Place::Users(site) => return Some(site),
            Place::Ours => frame = frame.getattr(pyo3::intern!(py, "f_back")).ok().filter(|frame| !frame.is_none())?,
        }
    }
    None
}

/// Whose line it is.
#[derive(Copy, Clone)]
enum Place {
    Users(Site),
    Ours,
}

/// A line that was found before: making its name takes ten times as long as what is compared here.
#[derive(Copy, Clone)]
struct Known {
    /// The code, owned, so that nothing else comes to have its address; null at first.
    code: *mut ffi::PyObject,
    instruction: isize,
    place: Place,
}

const KNOWN_MAX: usize = 256;

static KNOWN: GilCell<[Known; KNOWN_MAX]> =
    GilCell::new([Known { code: ptr::null_mut(), instruction: 0, place: Place::Ours }; KNOWN_MAX]);

/// Finds whose line a frame is at.
fn look(frame: &Bound<'_, PyAny>) -> Option<Place> {
    let py = frame.py();
    // SAFETY: attached, with a frame.
    let code = unsafe { ffi::PyFrame_GetCode(frame.as_ptr().cast()) };
    // SAFETY: a new reference to the frame's code.
    let code = unsafe { Bound::from_owned_ptr_or_opt(py, code.cast()) }?;
    let instruction: isize = frame.getattr(pyo3::intern!(py, "f_lasti")).ok()?.extract().ok()?;
    let at = (code.as_ptr().addr() >> 4).wrapping_mul(31).wrapping_add(instruction as usize) % KNOWN_MAX;
    // SAFETY: the GIL is held, and nothing else runs while this copy is made.
    let known = unsafe { (*KNOWN.as_ptr())[at] };
    if ptr::eq(known.code, code.as_ptr()) && known.instruction == instruction {
        return Some(known.place);
    }
    let place = name(frame, &code)?;
    let new = Known { code: code.into_ptr(), instruction, place };
    // SAFETY: as above.
    let old = std::mem::replace(unsafe { &mut (*KNOWN.as_ptr())[at] }, new);
    // SAFETY: owned until now, or null. May run Python code, which finds the new value in its place.
    unsafe { ffi::Py_XDECREF(old.code) };
    Some(place)
}

/// Names the line that a frame is at.
fn name(frame: &Bound<'_, PyAny>, code: &Bound<'_, PyAny>) -> Option<Place> {
    let py = frame.py();
    let file = code.getattr(pyo3::intern!(py, "co_filename")).ok()?.cast_into::<PyString>().ok()?;
    let file = file.to_string_lossy();
    if is_ours(py, &file) {
        return Some(Place::Ours);
    }
    let function = code.getattr(pyo3::intern!(py, "co_qualname")).ok()?.cast_into::<PyString>().ok()?;
    // SAFETY: attached, with a frame.
    let line = unsafe { ffi::PyFrame_GetLineNumber(frame.as_ptr().cast()) };
    Some(Place::Users(Site::interned(&file, u32::try_from(line).unwrap_or(0), &function.to_string_lossy())))
}

/// Tells whether a file is this package's own Python code.
fn is_ours(py: Python<'_>, file: &str) -> bool {
    static ENTRY: PyOnceLock<Py<PyString>> = PyOnceLock::new();
    let entry = ENTRY.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("millpond")?.getattr("__file__")?.cast_into::<PyString>()?.unbind())
    });
    let Ok(entry) = entry.map_err(drop).and_then(|entry| entry.bind(py).to_str().map_err(drop)) else {
        return false;
    };
    // The slash too: of a directory that begins with the same name nothing is ours.
    entry.rfind('/').is_some_and(|slash| file.starts_with(&entry[..=slash]))
}
