//! Makes the `with` block cheap: how CPython finds `__enter__` and `__exit__` on a lease.
//!
//! Up to 3.13 a `with` looks both up and binds them to the object, which for a method in C makes an object each, and
//! ends it: more than the get and the put together. So every lease has the two bound methods in its own memory, and
//! the class has, in place of the ordinary methods, descriptors that hand them out. Each stands for an ordinary method:
//! only the calls that a `with` makes are short, all else (`lease.__exit__.__name__`, `help`, wrong arguments) is
//! passed on to it.
//!
//! From 3.14 on a `with` calls an ordinary method without binding it, and there the class keeps those.

use std::ffi::{c_int, c_ulong, c_void};
use std::mem::{offset_of, size_of};
use std::ptr;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::methods;
use super::object::{self, LeaseMemory, LeaseObject};
use crate::call::Call;
use crate::gil::GilCell;
use crate::{errors, refs};

const NULL: *mut ffi::PyObject = ptr::null_mut();

/// Says that objects of a type are called by the function at the type's `__vectorcalloffset__`. The flag came to the
/// stable ABI with 3.12, and is the same in 3.11.
const HAVE_VECTORCALL: c_ulong = 1 << 11;

/// The bit that a caller may set in the number of arguments.
const ARGUMENTS_OFFSET: usize = 1 << (usize::BITS - 1);

/// `lease.__enter__` or `lease.__exit__`: an object inside the lease's memory.
///
/// ```text
/// ob_base   while somebody refers to it it owns one reference to the lease; otherwise its count is 0
/// call      what a call does                              the same as long as the memory exists
/// lease     the object around it                          the same as long as the memory exists
/// ```
/// *Thread-bound* to whoever holds the GIL.
#[repr(C)]
pub(crate) struct Bound {
    ob_base: ffi::PyObject,
    call: ffi::vectorcallfunc,
    lease: *mut ffi::PyObject,
}

/// Where in a lease's memory they are.
const ENTER: usize = offset_of!(LeaseMemory, methods) + offset_of!(Methods, enter);
const EXIT: usize = offset_of!(LeaseMemory, methods) + offset_of!(Methods, exit);

/// The two of a lease.
#[repr(C)]
pub(crate) struct Methods {
    enter: Bound,
    exit: Bound,
}

impl Methods {
    /// Makes those of the lease that is to be at `lease`. Nobody refers to them.
    pub(crate) fn of(lease: *mut ffi::PyObject) -> Methods {
        let bound = |call| Bound { ob_base: ffi::PyObject { ob_refcnt: 0, ob_type: bound_type() }, call, lease };
        Methods { enter: bound(call_enter), exit: bound(call_exit) }
    }
}

/// `Lease.__dict__["__enter__"]` and the like: a descriptor.
#[repr(C)]
struct Descriptor {
    ob_base: ffi::PyObject,
    /// The ordinary method of the class, owned.
    method: *mut ffi::PyObject,
    /// Where in a lease's memory the bound method is.
    place: usize,
}

/// The type of bound methods, and null where there are none.
static BOUND_TYPE: GilCell<*mut ffi::PyTypeObject> = GilCell::new(ptr::null_mut());

fn bound_type() -> *mut ffi::PyTypeObject {
    // SAFETY: written once, before the first lease is made; the callers hold the GIL.
    unsafe { *BOUND_TYPE.as_ptr() }
}

/// Hands out a lease's bound method: `tp_descr_get`.
unsafe extern "C" fn bind(
    descriptor: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `object` is null or alive.
    if object.is_null() || unsafe { ffi::Py_TYPE(object) } != object::lease_type() {
        return bind_elsewhere(descriptor, object, class);
    }
    // SAFETY: CPython passes a descriptor, alive for the call.
    let place = unsafe { (*descriptor.cast::<Descriptor>()).place };
    // SAFETY: a lease's memory has a `Bound` there.
    let bound = unsafe { object.byte_add(place) };
    // SAFETY: as above; the GIL is held.
    if unsafe { refs::count(bound) } == 0 {
        // SAFETY: the caller holds a reference to the lease. This one is `unbind`'s to give up.
        unsafe { refs::retain(object) };
    }
    // SAFETY: as above; with the first reference it comes to life.
    unsafe { refs::retain(bound) };
    bound
}

/// Ends the life of a bound method, which stays where it is: `tp_dealloc`.
unsafe extern "C" fn unbind(bound: *mut ffi::PyObject) {
    // SAFETY: CPython passes an object of the type, without references.
    let lease = unsafe { (*bound.cast::<Bound>()).lease };
    // SAFETY: the reference that `bind` took. The lease's memory, and this object with it, may be gone after it.
    unsafe { refs::release(lease) };
}

/// Does what the ordinary method would where there is no lease: for `Lease.__exit__`, and for a descriptor that
/// somebody took out of the class.
#[cold]
fn bind_elsewhere(
    descriptor: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    ordinary(descriptor, |py, method| {
        // SAFETY: null or an object that the caller holds a reference to.
        let Some(object) = (unsafe { pyo3::Bound::from_borrowed_ptr_or_opt(py, object) }) else {
            return Ok(method.clone());
        };
        // SAFETY: as above.
        let class = unsafe { pyo3::Bound::from_borrowed_ptr_or_opt(py, class) };
        method.call_method1("__get__", (object, class))
    })
}

/// Runs `body` with the ordinary method that a descriptor or a bound method stands for.
fn ordinary(
    stand_in: *mut ffi::PyObject,
    body: impl for<'py> FnOnce(Python<'py>, &pyo3::Bound<'py, PyAny>) -> PyResult<pyo3::Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    errors::slot(NULL, || {
        errors::cold(NULL, |py| {
            // SAFETY: a live object of one of the two types, as all callers get from CPython.
            let method = unsafe { method_of(py, stand_in) }?;
            Ok(body(py, &method)?.into_ptr())
        })
    })
}

/// # Safety
/// `stand_in` is alive and a `Bound` or a `Descriptor`, and the GIL is held.
unsafe fn method_of(py: Python<'_>, stand_in: *mut ffi::PyObject) -> PyResult<pyo3::Bound<'_, PyAny>> {
    // SAFETY: the caller's promise.
    if unsafe { ffi::Py_TYPE(stand_in) } != bound_type() {
        // SAFETY: then it is a descriptor.
        let method = unsafe { (*stand_in.cast::<Descriptor>()).method };
        // SAFETY: the descriptor owns a reference.
        return Ok(unsafe { pyo3::Bound::from_borrowed_ptr(py, method) });
    }
    // SAFETY: its type was just checked.
    let lease = unsafe { (*stand_in.cast::<Bound>()).lease };
    let name = if stand_in.addr() == lease.addr() + ENTER { "__enter__" } else { "__exit__" };
    // SAFETY: the type is alive as long as the process.
    let class = unsafe { pyo3::Bound::from_borrowed_ptr(py, object::lease_type().cast()) };
    // SAFETY: the bound method owns a reference to the lease.
    let lease = unsafe { pyo3::Bound::from_borrowed_ptr(py, lease) };
    class.getattr(name)?.call_method1("__get__", (lease,))
}

/// Calls a bound `__enter__`: the type's `__vectorcalloffset__`.
unsafe extern "C" fn call_enter(
    bound: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if count & !ARGUMENTS_OFFSET != 0 || !keywords.is_null() {
        return call_ordinary(bound, args, count, keywords);
    }
    // SAFETY: CPython passes an object of the type, alive for the call.
    let lease = unsafe { (*bound.cast::<Bound>()).lease };
    // SAFETY: the bound method owns a reference to the lease.
    errors::slot(NULL, || methods::enter_live(unsafe { LeaseObject::from_ptr(lease) }))
}

/// Calls a bound `__exit__`, as [`call_enter`].
unsafe extern "C" fn call_exit(
    bound: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if count & !ARGUMENTS_OFFSET != 3 || !keywords.is_null() {
        return call_ordinary(bound, args, count, keywords);
    }
    // SAFETY: there are three arguments.
    let exception = unsafe { *args };
    // SAFETY: CPython passes an object of the type, alive for the call.
    let lease = unsafe { (*bound.cast::<Bound>()).lease };
    // SAFETY: the bound method owns a reference to the lease.
    errors::slot(NULL, || methods::end_block(unsafe { LeaseObject::from_ptr(lease) }, exception))
}

/// Passes a call with other arguments on, which refuses them.
#[cold]
fn call_ordinary(
    bound: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let call = Call { args, count: (count & !ARGUMENTS_OFFSET) as ffi::Py_ssize_t, keywords };
    ordinary(bound, |py, method| {
        // SAFETY: these are the arguments of the running call.
        let (positional, named) = unsafe { call.spread(py) }?;
        method.call(PyTuple::new(py, positional)?, Some(&named))
    })
}

unsafe extern "C" fn call_by_tuple(
    stand_in: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    named: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    ordinary(stand_in, |py, method| {
        // SAFETY: the running call's tuple.
        let args = unsafe { pyo3::Bound::from_borrowed_ptr(py, args) }.cast_into::<PyTuple>()?;
        // SAFETY: null or the running call's dict.
        let named = unsafe { pyo3::Bound::from_borrowed_ptr_or_opt(py, named) };
        let named = named.map(pyo3::Bound::cast_into::<PyDict>).transpose()?;
        method.call(args, named.as_ref())
    })
}

unsafe extern "C" fn get_attribute(stand_in: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ordinary(stand_in, |py, method| {
        // SAFETY: the caller holds a reference for the length of the call.
        let name = unsafe { pyo3::Bound::from_borrowed_ptr(py, name) };
        method.as_any().getattr(name.cast_into::<pyo3::types::PyString>()?)
    })
}

unsafe extern "C" fn repr(stand_in: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ordinary(stand_in, |_, method| Ok(method.repr()?.into_any()))
}

/// The members of a bound method, for CPython alone: a static that it reads only.
#[repr(transparent)]
struct Members([ffi::PyMemberDef; 2]);

// SAFETY: CPython reads the table and never writes it; the pointers in it are to statics.
unsafe impl Sync for Members {}

static MEMBERS: Members = Members([
    ffi::PyMemberDef {
        name: c"__vectorcalloffset__".as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset_of!(Bound, call) as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    },
    ffi::PyMemberDef { name: ptr::null(), type_code: 0, offset: 0, flags: 0, doc: ptr::null() },
]);

fn make_type(
    py: Python<'_>,
    name: &'static std::ffi::CStr,
    size: usize,
    flags: c_ulong,
    own: &[(c_int, *mut c_void)],
) -> PyResult<*mut ffi::PyTypeObject> {
    let slot = |slot, function| ffi::PyType_Slot { slot, pfunc: function };
    let common: [(c_int, *mut c_void); 3] = [
        (ffi::Py_tp_call, call_by_tuple as *mut c_void),
        (ffi::Py_tp_getattro, get_attribute as *mut c_void),
        (ffi::Py_tp_repr, repr as *mut c_void),
    ];
    let mut slots: Vec<_> = common.iter().chain(own).map(|(number, function)| slot(*number, *function)).collect();
    slots.push(slot(0, ptr::null_mut()));
    let flags =
        flags | ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the slots end with zero and name functions of the right signatures; the name is static.
    let made = unsafe { ffi::PyType_FromSpec(&raw mut spec) };
    // SAFETY: a new reference, or null with an exception. It is kept for the life of the process.
    Ok(unsafe { pyo3::Bound::from_owned_ptr_or_err(py, made) }?.into_ptr().cast())
}

/// Gives a new lease type the short way; with a `with` that needs none it stays as it is.
pub(crate) fn register(class: &pyo3::Bound<'_, PyAny>) -> PyResult<()> {
    let py = class.py();
    if py.version_info() >= (3, 14) {
        return Ok(());
    }
    let bound =
        [(ffi::Py_tp_dealloc, unbind as *mut c_void), (ffi::Py_tp_members, (&raw const MEMBERS).cast_mut().cast())];
    let bound = make_type(py, c"millpond._BoundMethod", size_of::<Bound>(), HAVE_VECTORCALL, &bound)?;
    // SAFETY: attached, and nothing else looks at it now.
    unsafe { *BOUND_TYPE.as_ptr() = bound };
    let descriptor =
        make_type(py, c"millpond._Method", size_of::<Descriptor>(), 0, &[(ffi::Py_tp_descr_get, bind as *mut c_void)])?;
    // The class is immutable for everybody, so this goes past `setattr`; nobody has seen the class yet.
    // SAFETY: attached; a type is an object with a dictionary.
    let attributes = unsafe { ffi::PyObject_GenericGetDict(class.as_ptr(), ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception.
    let attributes = unsafe { pyo3::Bound::from_owned_ptr_or_err(py, attributes) }?.cast_into::<PyDict>()?;
    for (name, place) in [("__enter__", ENTER), ("__exit__", EXIT)] {
        let method = attributes.get_item(name)?.ok_or_else(|| PySystemError::new_err("the class has no methods"))?;
        // SAFETY: attached; the type's objects have no items.
        let made = unsafe { ffi::PyType_GenericAlloc(descriptor, 0) };
        // SAFETY: a new reference, or null with an exception.
        let made = unsafe { pyo3::Bound::from_owned_ptr_or_err(py, made) }?;
        let fields = made.as_ptr().cast::<Descriptor>();
        // SAFETY: a new `Descriptor`, nobody else's yet.
        unsafe { (*fields).method = method.into_ptr() };
        // SAFETY: as above.
        unsafe { (*fields).place = place };
        attributes.set_item(name, made)?;
    }
    // SAFETY: attached; a live type.
    unsafe { ffi::PyType_Modified(class.as_ptr().cast()) };
    Ok(())
}
