//! Gives each kind of error its Python class, and turns core's errors and panics into exceptions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond::{Error, ErrorKind};
use pyo3::exceptions::{PyBufferError, PyException, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::text;

/// What a class of the table derives from besides `Error`.
#[derive(Copy, Clone)]
enum Also {
    Nothing,
    Buffer,
    Memory,
    Os,
    Value,
}

/// One row: the kind it stands for (none for the two bases), the class name, its bases and its documentation.
struct Row {
    kind: Option<ErrorKind>,
    name: &'static str,
    ownership: bool,
    also: Also,
    doc: &'static str,
}

const fn row(kind: ErrorKind, name: &'static str, ownership: bool, also: Also, doc: &'static str) -> Row {
    Row { kind: Some(kind), name, ownership, also, doc }
}

/// The Python half of core's table. Kinds without a row (a null pointer, a forged handle) cannot arise here;
/// should one arrive it is a bug of ours and becomes `InternalError`.
const ROWS: [Row; 15] = [
    row(
        ErrorKind::InvalidArgument,
        "InvalidArgumentError",
        false,
        Also::Value,
        "An argument has a value that cannot be used; the message names it. Nothing was changed.",
    ),
    row(ErrorKind::DoublePut, "DoublePutError", true, Also::Nothing, "The lease was put before. Nothing was changed."),
    row(
        ErrorKind::UseAfterPut,
        "UseAfterPutError",
        true,
        Also::Value,
        "The lease was put, or detached, and is used after that.",
    ),
    row(
        ErrorKind::ForeignLease,
        "ForeignLeaseError",
        true,
        Also::Nothing,
        "The lease belongs to another pool. It stays live: put it into its own pool.",
    ),
    row(
        ErrorKind::Busy,
        "BusyError",
        false,
        Also::Buffer,
        "A view or a pin still looks into the lease. It stays live: release the view, then put.",
    ),
    row(
        ErrorKind::Overrun,
        "OverrunError",
        true,
        Also::Nothing,
        "The bytes behind the lease's length were overwritten, by native code. The buffer was discarded and the lease is dead.",
    ),
    row(
        ErrorKind::Exhausted,
        "ExhaustedError",
        false,
        Also::Nothing,
        "The pool's limit is reached, and waiting, where asked for, did not help.",
    ),
    row(ErrorKind::Closed, "ClosedError", false, Also::Nothing, "The pool is closed and hands out nothing more."),
    row(
        ErrorKind::NoMemory,
        "NoMemoryError",
        false,
        Also::Memory,
        "The system gives no memory. The pool is as before the call.",
    ),
    row(ErrorKind::Record, "RecordError", false, Also::Nothing, "A record is malformed."),
    row(ErrorKind::Json, "JsonError", false, Also::Nothing, "A JSON text is malformed."),
    row(ErrorKind::Corrupt, "CorruptError", false, Also::Nothing, "A file is damaged."),
    row(ErrorKind::Io, "IoError", false, Also::Os, "An input or output operation failed."),
    row(
        ErrorKind::Panic,
        "InternalError",
        false,
        Also::Nothing,
        "millpond itself failed: a bug to report. The pool may be used further.",
    ),
    Row {
        kind: None,
        name: "OwnershipError",
        ownership: false,
        also: Also::Nothing,
        doc: "Base class of what breaks the rule that a lease is put once, into its own pool, and not used after that.",
    },
];

/// The classes, in the order of `ROWS`, then `Error`.
static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

fn new_class<'py>(
    py: Python<'py>,
    name: &str,
    bases: &Bound<'py, PyTuple>,
    kind: Option<ErrorKind>,
    doc: &str,
) -> PyResult<Bound<'py, PyType>> {
    let dict = PyDict::new(py);
    dict.set_item("__module__", "millpond")?;
    dict.set_item("__doc__", doc)?;
    if let Some(kind) = kind {
        dict.set_item("kind", kind.name())?;
        dict.set_item("code", kind.code())?;
    }
    Ok(py.get_type::<PyType>().call1((name, bases, dict))?.cast_into()?)
}

/// Makes the classes and puts them into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let exception = py.get_type::<PyException>();
    let base = new_class(
        py,
        "Error",
        &PyTuple::new(py, [exception])?,
        None,
        "Base class of everything millpond raises, apart from TypeError for arguments of a wrong type.\n\n\
         Each class that stands for a kind of error has the attributes ``kind``, its name in all languages, and ``code``, \
         its number in C.",
    )?;
    let ownership_row = &ROWS[ROWS.len() - 1];
    let ownership = new_class(py, ownership_row.name, &PyTuple::new(py, [&base])?, None, ownership_row.doc)?;
    let mut classes = Vec::with_capacity(ROWS.len() + 1);
    for row in &ROWS {
        let class = if row.kind.is_none() {
            ownership.clone()
        } else {
            let mut bases = vec![if row.ownership { ownership.clone() } else { base.clone() }];
            match row.also {
                Also::Nothing => {}
                Also::Buffer => bases.push(py.get_type::<PyBufferError>()),
                Also::Memory => bases.push(py.get_type::<PyMemoryError>()),
                Also::Os => bases.push(py.get_type::<PyOSError>()),
                Also::Value => bases.push(py.get_type::<PyValueError>()),
            }
            new_class(py, row.name, &PyTuple::new(py, bases)?, row.kind, row.doc)?
        };
        module.add(row.name, &class)?;
        classes.push(class.unbind());
    }
    module.add("Error", &base)?;
    classes.push(base.unbind());
    // A second initialisation cannot happen: PyO3 gives out the module it made first.
    let _ = CLASSES.set(py, classes);
    Ok(())
}

/// Finds the class for a kind of error.
fn class_of<'py>(py: Python<'py>, kind: ErrorKind) -> Option<&'py Bound<'py, PyType>> {
    let place = |kind| ROWS.iter().position(|row| row.kind == Some(kind));
    let index = place(kind).or_else(|| place(ErrorKind::Panic))?;
    Some(CLASSES.get(py)?.get(index)?.bind(py))
}

/// Makes the exception for an error of core.
#[cold]
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    match class_of(py, error.kind()) {
        Some(class) => text::exception(class.as_any(), error),
        None => text::plain::<pyo3::exceptions::PySystemError>(py, error),
    }
}

/// Makes an `InvalidArgumentError`; the message names the argument.
#[cold]
pub(crate) fn invalid(py: Python<'_>, message: impl std::fmt::Display) -> PyErr {
    to_py(py, &Error::new(ErrorKind::InvalidArgument, message))
}

/// Makes an `InternalError` of a panic.
fn from_panic(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    to_py(
        py,
        &Error::new(ErrorKind::Panic, format_args!("millpond failed inside: {text}. This is a bug, please report it")),
    )
}

/// Runs a method's body; its panic becomes `InternalError`.
pub(crate) fn shielded<T>(py: Python<'_>, body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(from_panic(py, &*panic)),
    }
}

/// Runs the body of a raw slot; its panic becomes `InternalError` and `failed` is returned.
#[inline]
pub(crate) fn slot<R>(failed: R, body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => {
            raise_panic(panic);
            failed
        }
    }
}

#[cold]
#[inline(never)]
fn raise_panic(panic: Box<dyn Any + Send>) {
    Python::attach(|py| from_panic(py, &*panic).restore(py));
}

/// Runs the cold body of a raw slot, with PyO3 at hand; an error is set as the current exception.
#[cold]
pub(crate) fn cold<R>(failed: R, body: impl for<'py> FnOnce(Python<'py>) -> PyResult<R>) -> R {
    Python::attach(|py| match body(py) {
        Ok(result) => result,
        Err(error) => {
            error.restore(py);
            failed
        }
    })
}

/// Lists core's table as `(kind, code, description, class or None)`, for the test that walks it.
#[pyfunction]
#[pyo3(name = "_error_table")]
pub(crate) fn error_table(py: Python<'_>) -> Vec<(&'static str, i32, &'static str, Option<Py<PyType>>)> {
    ErrorKind::ALL
        .iter()
        .map(|kind| {
            let has_row = ROWS.iter().any(|row| row.kind == Some(*kind));
            let class = class_of(py, *kind).filter(|_| has_row).map(|class| class.clone().unbind());
            (kind.name(), kind.code(), kind.description(), class)
        })
        .collect()
}

/// Panics, so that a test sees what becomes of a bug of ours.
#[pyfunction]
#[pyo3(name = "_panic")]
pub(crate) fn provoke_panic(py: Python<'_>) -> PyResult<()> {
    shielded(py, || panic!("provoked"))
}

/// Runs the body of a raw slot that cannot fail; its panic is shown, as CPython shows what has nowhere to go.
#[inline]
pub(crate) fn quiet_slot(body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        show_panic(panic);
    }
}

#[cold]
#[inline(never)]
fn show_panic(panic: Box<dyn Any + Send>) {
    Python::attach(|py| from_panic(py, &*panic).write_unraisable(py, None));
}
