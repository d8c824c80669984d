//! The raw get and put methods of `Pool`, and `millpond.get`.
//!
//! A method that PyO3 makes costs 15 to 20 ns before it does anything; these are C methods on the class that PyO3
//! made. `bench/pair.py` shows what that gives: less than half of `bytearray(1024)` for both together.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::args;
use crate::call::{Call, Table};
use crate::errors;
use crate::gil::GilCell;
use crate::lease::{LeaseObject, methods, object};
use crate::pool::{self, Patience, Pool};
use crate::refs::none;

const NULL: *mut ffi::PyObject = ptr::null_mut();

/// The size that was asked for last, if twice: programs ask for one size again and again, by the same int object, and
/// converting it each time takes 2 of 26 ns of a get and put.
struct LastSize {
    /// The int, owned, so that nothing else comes to have its address; null at first.
    object: *mut ffi::PyObject,
    len: ffi::Py_ssize_t,
    /// The one converted last, not owned: an address to compare with.
    candidate: *mut ffi::PyObject,
}

static LAST_SIZE: GilCell<LastSize> = GilCell::new(LastSize { object: NULL, len: 0, candidate: NULL });

/// Returns the value of an exact int, or a negative number: for anything else, with an exception for some.
///
/// # Safety
/// `value` is a live object and the GIL is held.
#[inline(always)]
unsafe fn size_of_int(value: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    // SAFETY: the GIL is held, and nothing runs while this borrow lives.
    let last = unsafe { &*LAST_SIZE.as_ptr() };
    if ptr::eq(last.object, value) {
        return last.len;
    }
    // SAFETY: the caller's promise.
    unsafe { convert(value) }
}

/// # Safety
/// As [`size_of_int`].
#[inline(never)]
unsafe fn convert(value: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    // SAFETY: the caller's promise.
    if unsafe { ffi::PyLong_CheckExact(value) } == 0 {
        return -1;
    }
    // SAFETY: an int. Beyond the range it gives -1 with an exception.
    let len = unsafe { ffi::PyLong_AsSsize_t(value) };
    // SAFETY: the GIL is held; ends before the release below, which frees an int and so runs nothing either.
    let last = unsafe { &mut *LAST_SIZE.as_ptr() };
    let again = ptr::eq(last.candidate, value) && len >= 0;
    last.candidate = value;
    if again {
        last.len = len;
        // SAFETY: alive, and the GIL is held. Not counted in place: small ints live for ever.
        unsafe { ffi::Py_INCREF(value) };
        let before = std::mem::replace(&mut last.object, value);
        // SAFETY: owned until now; null at first.
        unsafe { ffi::Py_XDECREF(before) };
    }
    len
}

unsafe extern "C" fn get(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    errors::slot(NULL, || {
        // SAFETY: these are the arguments of this call.
        let Some(only) = (unsafe { Call { args, count, keywords }.only() }) else {
            return get_odd(object, args, count, keywords);
        };
        // SAFETY: the caller holds a reference to the argument.
        let len = unsafe { size_of_int(only) };
        if len < 0 {
            return get_odd_size(object, args);
        }
        // SAFETY: the method descriptor has checked the type of `object`.
        unsafe { pool::get_plain(object, len as usize) }
    })
}

/// Serves a get with other arguments than one size. Numbers, not a `Call`: those stay in registers.
#[cold]
#[inline(never)]
fn get_odd(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    get_with(object, Call { args, count, keywords }, "get", true)
}

/// Serves a get whose one argument is no ordinary size.
#[cold]
#[inline(never)]
fn get_odd_size(object: *mut ffi::PyObject, args: *const *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the GIL is held; does nothing without an exception. `convert` may have left one.
    unsafe { ffi::PyErr_Clear() };
    get_odd(object, args, 1, NULL)
}

unsafe extern "C" fn try_get(object: *mut ffi::PyObject, len: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let call = Call { args: &raw const len, count: 1, keywords: NULL };
    errors::slot(NULL, || get_with(object, call, "try_get", false))
}

fn get_with(object: *mut ffi::PyObject, call: Call, function: &str, patient: bool) -> *mut ffi::PyObject {
    errors::cold(NULL, |py| {
        // SAFETY: these are the arguments of the running call.
        let (len, timeout) = unsafe { call.parse(py, function, 1, "timeout") }?;
        let len = len.map_or(Ok(0), |len| args::bytes("size", &len))?;
        let patience = match timeout {
            _ if !patient => Patience::None,
            Some(timeout) => Patience::Until(args::seconds("timeout", &timeout)?),
            None => Patience::Policy,
        };
        // SAFETY: the method descriptor has checked the type; the caller holds a reference.
        let pool = unsafe { Pool::from_ptr(object) };
        let lease = pool.take(py, len, patience)?;
        // SAFETY: as above.
        Ok(unsafe { pool::wrap(object, lease) })
    })
}

unsafe extern "C" fn put(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    errors::slot(NULL, || {
        // SAFETY: these are the arguments of this call.
        if let Some(only) = unsafe { Call { args, count, keywords }.only() }
            // SAFETY: the caller holds a reference to the argument.
            && unsafe { ffi::Py_TYPE(only) } == object::lease_type()
        {
            // SAFETY: its type was just checked.
            let lease = unsafe { LeaseObject::from_ptr(only) };
            if lease.pool.get() == object {
                return methods::put_plain(lease);
            }
        }
        put_odd(object, args, count, keywords)
    })
}

/// Serves a put with other arguments than one lease of the pool.
#[inline(never)]
fn put_odd(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    errors::cold(NULL, |py| {
        // SAFETY: these are the arguments of the running call.
        let (value, used) = unsafe { Call { args, count, keywords }.parse(py, "put", 1, "used") }?;
        let Some(value) = value else { return Ok(NULL) };
        // SAFETY: `value` is alive.
        if unsafe { ffi::Py_TYPE(value.as_ptr()) } != object::lease_type() {
            return Err(pool::no_lease(&value));
        }
        // SAFETY: its type was just checked; `value` keeps it alive.
        let lease = unsafe { LeaseObject::from_ptr(value.as_ptr()) };
        if lease.pool.get() != object {
            // SAFETY: the method descriptor has checked the type.
            let pool = unsafe { Pool::from_ptr(object) };
            return Err(errors::to_py(py, &pool::foreign(pool, lease)));
        }
        methods::put_with(py, lease, used.as_ref())?;
        Ok(none())
    })
}

const GET_DOC: &std::ffi::CStr = c"get($self, size, /, *, timeout=None)
--

Takes a lease of `size` bytes, all zero unless the pool's clear policy is \"never\".

At the pool's limit the on_limit policy decides; with a timeout the call waits up to
then, whatever the policy. Other threads run while it waits, and a signal handler that
raises ends the wait.

Args:
    size: In bytes, 0 or more. An int or what has __index__.
    timeout: Seconds, 0 or more; not NaN.

Returns:
    The lease. You own it: put it back, or use it as a context manager.

Raises:
    ExhaustedError: The limit is reached.
    ClosedError: The pool is closed.
    NoMemoryError: The system gives none. The pool is as before.
    InvalidArgumentError: size is negative or cannot exist, timeout is negative or NaN.
    TypeError: An argument is not a number.";

const TRY_GET_DOC: &std::ffi::CStr = c"try_get($self, size, /)
--

Takes a lease as get() does, but never waits and never goes beyond the limit.

Args:
    size: In bytes, 0 or more.

Raises:
    ExhaustedError: The limit is reached.
    ClosedError: The pool is closed.
    NoMemoryError: The system gives none. The pool is as before.
    InvalidArgumentError: size is negative or cannot exist.
    TypeError: size is not a number.";

const PUT_DOC: &std::ffi::CStr = c"put($self, lease, /, *, used=None)
--

Gives a lease of this pool back; the same as lease.put(), with the pool checked.

Args:
    lease: A live lease of this pool.
    used: As in Lease.put().

Raises:
    ForeignLeaseError: The lease is another pool's. It stays live.
    DoublePutError: The lease was put before. Nothing is changed.
    BusyError: A view or a pin still looks into it. The lease stays live.
    OverrunError: Native code wrote past the length. The buffer is discarded.
    InvalidArgumentError: used is negative or above the length. The lease stays live.
    TypeError: lease is not a Lease.";

static METHODS: Table<3> = Table([
    methods::fast(c"get", get, GET_DOC),
    methods::plain(c"try_get", try_get, ffi::METH_O, TRY_GET_DOC),
    methods::fast(c"put", put, PUT_DOC),
]);

const FUNCTION_DOC: &std::ffi::CStr = c"get($module, size, /, *, timeout=None)
--

Takes a lease of `size` bytes from the default pool; see Pool.get.

Args:
    size: In bytes, 0 or more.
    timeout: Seconds, 0 or more.

Raises:
    As Pool.get.";

static FUNCTIONS: Table<1> = Table([methods::fast(c"get", get, FUNCTION_DOC)]);

/// Adds the methods to the class and `get` to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Pool>();
    for (index, method) in METHODS.0.iter().enumerate() {
        // SAFETY: `index` is inside the table.
        let entry = unsafe { METHODS.as_ptr().add(index) };
        // SAFETY: attached; a static table entry for functions that take a `Pool`, which CPython only reads.
        let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), entry) };
        // SAFETY: a new reference, or null with an exception.
        let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
        // SAFETY: the names in the table are C string literals.
        let name = unsafe { std::ffi::CStr::from_ptr(method.ml_name) };
        class.setattr(name.to_string_lossy().as_ref(), descriptor)?;
    }
    let pool = pool::default_object(py)?;
    let name = PyString::new(py, "millpond");
    // SAFETY: attached; a static table entry; `self` is a `Pool`, which the function keeps alive.
    let function = unsafe { ffi::PyCFunction_NewEx(FUNCTIONS.as_ptr(), pool.as_ptr(), name.as_ptr()) };
    // SAFETY: a new reference, or null with an exception.
    let function = unsafe { Bound::from_owned_ptr_or_err(py, function) }?;
    module.add("get", function)
}
