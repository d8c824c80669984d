//! Takes apart the arguments of a raw method (`METH_FASTCALL | METH_KEYWORDS`).

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::text;

/// An argument that may be left out.
pub(crate) type Argument<'py> = Option<Bound<'py, PyAny>>;

/// The arguments as CPython passes them.
#[derive(Copy, Clone)]
pub(crate) struct Call {
    pub args: *const *mut ffi::PyObject,
    pub count: ffi::Py_ssize_t,
    pub keywords: *mut ffi::PyObject,
}

impl Call {
    /// Returns the argument of a call with exactly one and no keywords: what the fast path takes.
    ///
    /// # Safety
    /// The fields are those of the running call.
    #[inline]
    pub(crate) unsafe fn only(self) -> Option<*mut ffi::PyObject> {
        if self.count != 1 || !self.keywords.is_null() {
            return None;
        }
        // SAFETY: there is one argument.
        Some(unsafe { *self.args })
    }

    /// Returns `positional` required arguments (0 or 1) and the value of the one keyword, if given and not None.
    ///
    /// # Safety
    /// The fields are those of the running call.
    pub(crate) unsafe fn parse<'py>(
        self,
        py: Python<'py>,
        function: &str,
        positional: usize,
        keyword: &str,
    ) -> PyResult<(Argument<'py>, Argument<'py>)> {
        let given = self.count as usize;
        if given != positional {
            let (wanted, s) = if positional == 1 { ("exactly one", "") } else { ("no", "s") };
            return Err(text::plain::<PyTypeError>(
                py,
                format_args!("{function}() takes {wanted} positional argument{s} ({given} given)"),
            ));
        }
        // SAFETY: the caller's promise.
        let (arguments, named) = unsafe { self.spread(py) }?;
        for name in named.keys() {
            let name = name.cast_into::<PyString>()?;
            if name.to_string_lossy() != keyword {
                return Err(text::plain::<PyTypeError>(
                    py,
                    format_args!("{function}() got an unexpected keyword argument '{}'", name.to_string_lossy()),
                ));
            }
        }
        let found = named.get_item(keyword)?;
        Ok((arguments.into_iter().next(), found.filter(|value| !value.is_none())))
    }
}

impl Call {
    /// Returns all arguments: the positional ones, and the named ones by name.
    ///
    /// # Safety
    /// The fields are those of the running call.
    pub(crate) unsafe fn spread<'py>(self, py: Python<'py>) -> PyResult<(Vec<Bound<'py, PyAny>>, Bound<'py, PyDict>)> {
        let given = self.count as usize;
        let mut positional = Vec::new();
        positional.try_reserve_exact(given).map_err(|_| text::no_memory(py))?;
        // SAFETY: `given` positional arguments stand there.
        positional.extend((0..given).map(|index| unsafe { self.argument(py, index) }));
        let named = PyDict::new(py);
        // SAFETY: null or the running call's tuple of names.
        if let Some(names) = unsafe { Bound::from_borrowed_ptr_or_opt(py, self.keywords) } {
            for (index, name) in names.cast_into::<PyTuple>()?.iter().enumerate() {
                // SAFETY: a value for each name follows the positional arguments.
                named.set_item(name, unsafe { self.argument(py, given + index) })?;
            }
        }
        Ok((positional, named))
    }

    /// Returns an argument, or a keyword's value.
    ///
    /// # Safety
    /// `index` is below the number of arguments and keyword values of the running call.
    unsafe fn argument<'py>(self, py: Python<'py>, index: usize) -> Bound<'py, PyAny> {
        // SAFETY: the caller's promise.
        let place = unsafe { self.args.add(index) };
        // SAFETY: an argument stands there.
        let value = unsafe { *place };
        // SAFETY: whoever calls the method holds a reference for the length of the call.
        unsafe { Bound::from_borrowed_ptr(py, value) }
    }
}

/// A table of C methods that lives as long as the process.
#[repr(transparent)]
pub(crate) struct Table<const N: usize>(pub [ffi::PyMethodDef; N]);

// SAFETY: CPython reads the table and never writes it; the pointers in it are to statics.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    pub(crate) const fn as_ptr(&self) -> *mut ffi::PyMethodDef {
        (&raw const self.0).cast_mut().cast()
    }
}
