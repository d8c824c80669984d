//! Defines the lease's methods and attributes, and makes the type.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use millpond::{ErrorKind, PutError};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::object::{LeaseMemory, LeaseObject, State};
use super::{block, buffer, ending, items, object};
use crate::call::{Call, Table};
use crate::errors::{self, invalid};
use crate::refs::none;
use crate::{args, detached, refs, site, text};

/// Runs a cold method on the lease that CPython passed.
fn method(
    object: *mut ffi::PyObject,
    body: impl for<'py> FnOnce(Python<'py>, &LeaseObject) -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    errors::slot(ptr::null_mut(), || {
        errors::cold(ptr::null_mut(), |py| {
            // SAFETY: the method descriptor has checked the type; the caller holds a reference and the GIL.
            let lease = unsafe { LeaseObject::from_ptr(object) };
            body(py, lease)
        })
    })
}

/// Puts the lease: the fast path of `put`, `release`, `Pool.put` and the end of a `with`.
#[inline(always)]
pub(crate) fn put_plain(lease: &LeaseObject) -> *mut ffi::PyObject {
    if ending::put_fresh(lease) { none() } else { put_used(lease) }
}

/// Puts a lease that was used, or is not live.
#[inline(never)]
fn put_used(lease: &LeaseObject) -> *mut ffi::PyObject {
    match ending::put(lease, None) {
        Ok(()) => none(),
        Err(error) => errors::cold(ptr::null_mut(), |py| Err(errors::to_py(py, &error))),
    }
}

/// Puts the lease with the caller's word on how much was written.
pub(crate) fn put_with(py: Python<'_>, lease: &LeaseObject, used: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let used = args::optional_bytes("used", used)?;
    ending::put(lease, used).map_err(|error| errors::to_py(py, &error))
}

unsafe extern "C" fn put(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if count == 0 && keywords.is_null() {
        // SAFETY: the method descriptor has checked the type.
        return errors::slot(ptr::null_mut(), || put_plain(unsafe { LeaseObject::from_ptr(object) }));
    }
    method(object, |py, lease| {
        // SAFETY: these are the arguments of this call.
        let (_, used) = unsafe { Call { args, count, keywords }.parse(py, "put", 0, "used") }?;
        put_with(py, lease, used.as_ref())?;
        Ok(none())
    })
}

unsafe extern "C" fn release(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the method descriptor has checked the type.
    errors::slot(ptr::null_mut(), || put_plain(unsafe { LeaseObject::from_ptr(object) }))
}

unsafe extern "C" fn enter(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the method descriptor has checked the type.
    errors::slot(ptr::null_mut(), || enter_live(unsafe { LeaseObject::from_ptr(object) }))
}

/// Returns the lease itself, for a `with`.
#[inline(always)]
pub(crate) fn enter_live(lease: &LeaseObject) -> *mut ffi::PyObject {
    if !lease.is_live() {
        let error = ending::refused(lease, ErrorKind::UseAfterPut);
        return errors::cold(ptr::null_mut(), |py| Err(errors::to_py(py, &error)));
    }
    // SAFETY: alive, and the GIL is held.
    unsafe { refs::retain(lease.as_ptr()) };
    lease.as_ptr()
}

unsafe extern "C" fn exit(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    errors::slot(ptr::null_mut(), || {
        if count != 3 {
            return errors::cold(ptr::null_mut(), |py| {
                let message = format_args!("__exit__() takes exactly 3 positional arguments ({count} given)");
                Err(text::plain::<PyTypeError>(py, message))
            });
        }
        // SAFETY: there are three arguments.
        let exception = unsafe { *args };
        // SAFETY: the method descriptor has checked the type.
        end_block(unsafe { LeaseObject::from_ptr(object) }, exception)
    })
}

/// Puts the lease, unless it was put before, at the end of a `with` that `exception` leaves, or None.
#[inline(always)]
pub(crate) fn end_block(lease: &LeaseObject, exception: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if !lease.is_live() {
        return none();
    }
    // SAFETY: attached; compared by address only.
    if exception == unsafe { ffi::Py_None() } {
        return put_plain(lease);
    }
    leave_by_exception(lease)
}

/// Ends a lease whose block an exception leaves.
#[inline(never)]
fn leave_by_exception(lease: &LeaseObject) -> *mut ffi::PyObject {
    // The user's exception goes on, whatever comes of the put: a view in its traceback must not replace it.
    match ending::put_or_defer(lease) {
        Ok(()) => none(),
        Err(error) => errors::cold(ptr::null_mut(), |py| Err(errors::to_py(py, &error))),
    }
}

unsafe extern "C" fn resize_used(object: *mut ffi::PyObject, used: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        let used = part_of(py, lease, used)?;
        lease.wrote(used);
        lease.details().opened.set(0);
        lease.len.set(used);
        Ok(none())
    })
}

/// Refuses what needs a live lease without views.
fn unused(py: Python<'_>, lease: &LeaseObject) -> PyResult<()> {
    items::live(py, lease)?;
    let details = lease.details();
    if details.exports.get() > 0 || details.pins.get() > 0 {
        return Err(errors::to_py(py, &ending::refused(lease, ErrorKind::Busy)));
    }
    Ok(())
}

/// Converts a number of bytes of this lease, up to its length at get.
fn part_of(py: Python<'_>, lease: &LeaseObject, used: *mut ffi::PyObject) -> PyResult<usize> {
    // SAFETY: the caller of the method holds a reference for the length of the call.
    let used = args::bytes("used", &unsafe { Bound::from_borrowed_ptr(py, used) })?;
    let whole = lease.details().requested.get();
    if used > whole {
        return Err(invalid(py, format_args!("used is {used}, but the lease has {whole} bytes")));
    }
    unused(py, lease)?;
    Ok(used)
}

/// For `Writer`: says how far views have written; what is visible stays.
unsafe extern "C" fn settle(object: *mut ffi::PyObject, used: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        let used = part_of(py, lease, used)?;
        lease.wrote(used);
        lease.details().opened.set(0);
        Ok(none())
    })
}

/// For `Writer`: makes the lease so many bytes long. Where more may have been written only the view of it ends there:
/// the rest is still to be cleared.
unsafe extern "C" fn narrow(object: *mut ffi::PyObject, used: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        let used = part_of(py, lease, used)?;
        if lease.details().dirty() <= used {
            let whole = lease.memory().with_lease(|guard| {
                guard.truncate(used);
                guard.len()
            });
            lease.details().requested.set(whole.unwrap_or(used));
            // Core's guard behind the length is to be set again, at the new end.
            lease.details().data.set(ptr::null_mut());
        }
        lease.len.set(used);
        Ok(none())
    })
}

unsafe extern "C" fn detach(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        // Looked for first: it may run any Python code, which must not find the lease without its memory.
        let here = site::here();
        unused(py, lease)?;
        let Some(mut guard) = lease.memory().take_lease() else {
            return Err(invalid(py, "the lease has no memory"));
        };
        guard.set_written(lease.details().dirty());
        let detached = match guard.detach_held_at(|| here) {
            Ok((detached, held)) => {
                ending::hold(lease, held);
                detached
            }
            Err((PutError { error, lease: Some(guard) }, _)) => {
                lease.memory().set_lease(guard);
                return Err(errors::to_py(py, &error));
            }
            Err((PutError { error, lease: None }, held)) => {
                ending::hold(lease, held);
                return Err(errors::to_py(py, &error));
            }
        };
        let (view, owner) = detached::view(py, detached, lease.len.get())?;
        if lease.details().exported.get() {
            // An uncounted view may look into this memory as long as the lease object lives.
            lease.details().keep.set(owner.into_ptr());
        }
        Ok(view.into_ptr())
    })
}

unsafe extern "C" fn array(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        items::live(py, lease)?;
        let call = Call { args, count, keywords };
        // SAFETY: these are the arguments of this call.
        let (positional, named) = unsafe { call.spread(py) }?;
        let mut arguments = Vec::new();
        arguments.try_reserve_exact(1 + positional.len()).map_err(|_| text::no_memory(py))?;
        arguments.push(lease_object(py, lease));
        arguments.extend(positional);
        let function = py.import("millpond._numpy")?.getattr("array")?;
        Ok(function.call(PyTuple::new(py, arguments)?, Some(&named))?.into_ptr())
    })
}

/// Returns a new reference to the lease.
fn lease_object<'py>(py: Python<'py>, lease: &LeaseObject) -> Bound<'py, PyAny> {
    // SAFETY: attached, and the lease is alive.
    unsafe { Bound::from_borrowed_ptr(py, lease.as_ptr()) }
}

unsafe extern "C" fn pin(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        items::live(py, lease)?;
        let pins = lease
            .details()
            .pins
            .get()
            .checked_add(1)
            .ok_or_else(|| invalid(py, "the lease has 4294967295 pins already"))?;
        // Whoever it is pinned for has the address, and nothing but the pin keeps the object.
        lease.open();
        lease.details().pins.set(pins);
        // SAFETY: alive, and the GIL is held; `unpin` gives it back.
        unsafe { ffi::Py_INCREF(object) };
        Ok(none())
    })
}

unsafe extern "C" fn unpin(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        let Some(pins) = lease.details().pins.get().checked_sub(1) else {
            items::live(py, lease)?;
            return Err(invalid(py, "unpin() without a pin(): the lease is not pinned"));
        };
        lease.details().pins.set(pins);
        // SAFETY: the reference that `pin` took; the caller of this method holds another one.
        unsafe { ffi::Py_DECREF(object) };
        ending::after_release(lease);
        Ok(none())
    })
}

unsafe extern "C" fn to_bytes(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, items::to_bytes)
}

unsafe extern "C" fn reduce(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, _| {
        Err(text::plain::<PyTypeError>(
            py,
            "a millpond.Lease cannot be pickled or copied: it is the right to one buffer. Pickle bytes(lease), or \
             pickle.PickleBuffer(lease) with protocol 5 and a buffer_callback",
        ))
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        let pool = ending::pool_of(lease).core.name();
        let state = match lease.state() {
            State::Fresh | State::Live => "",
            State::Deferred => ", put once its views are gone",
            State::Dead | State::Over => ", dead",
        };
        let len = lease.details().requested.get();
        let text = text::string(py, format_args!("<millpond.Lease of {len} bytes from pool '{pool}'{state}>"))?;
        Ok(text.into_any().into_ptr())
    })
}

unsafe extern "C" fn get_capacity(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    method(object, |py, lease| {
        items::live(py, lease)?;
        let capacity = lease.memory().with_lease(|guard| guard.capacity()).unwrap_or(0);
        Ok(capacity.into_pyobject(py)?.into_any().into_ptr())
    })
}

unsafe extern "C" fn get_pool(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    method(object, |_, lease| {
        let pool = lease.pool.get();
        // SAFETY: the lease owns a reference to it.
        unsafe { ffi::Py_INCREF(pool) };
        Ok(pool)
    })
}

unsafe extern "C" fn get_live(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    method(object, |py, lease| Ok(lease.is_live().into_pyobject(py)?.to_owned().into_any().into_ptr()))
}

pub(crate) const fn fast(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

pub(crate) const fn plain(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

static METHODS: Table<15> = Table([
    fast(c"put", put, super::docs::PUT),
    plain(c"release", release, ffi::METH_NOARGS, super::docs::RELEASE),
    plain(c"__enter__", enter, ffi::METH_NOARGS, super::docs::ENTER),
    ffi::PyMethodDef {
        ml_name: c"__exit__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: exit },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: super::docs::EXIT.as_ptr(),
    },
    plain(c"resize_used", resize_used, ffi::METH_O, super::docs::RESIZE_USED),
    plain(c"_settle", settle, ffi::METH_O, super::docs::SETTLE),
    plain(c"_narrow", narrow, ffi::METH_O, super::docs::NARROW),
    plain(c"detach", detach, ffi::METH_NOARGS, super::docs::DETACH),
    fast(c"array", array, super::docs::ARRAY),
    plain(c"pin", pin, ffi::METH_NOARGS, super::docs::PIN),
    plain(c"unpin", unpin, ffi::METH_NOARGS, super::docs::UNPIN),
    plain(c"__bytes__", to_bytes, ffi::METH_NOARGS, super::docs::BYTES),
    plain(c"__reduce__", reduce, ffi::METH_NOARGS, super::docs::REDUCE),
    plain(c"__reduce_ex__", reduce, ffi::METH_O, super::docs::REDUCE_EX),
    ffi::PyMethodDef::zeroed(),
]);

/// The attributes; a static that CPython reads only.
#[repr(transparent)]
struct Attributes([ffi::PyGetSetDef; 4]);

// SAFETY: CPython reads the table and never writes it; the pointers in it are to statics.
unsafe impl Sync for Attributes {}

const fn attribute(name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set: None, doc: doc.as_ptr(), closure: ptr::null_mut() }
}

static ATTRIBUTES: Attributes = Attributes([
    attribute(c"capacity", get_capacity, super::docs::CAPACITY),
    attribute(c"pool", get_pool, super::docs::POOL),
    attribute(c"live", get_live, super::docs::LIVE),
    ffi::PyGetSetDef { name: ptr::null(), get: None, set: None, doc: ptr::null(), closure: ptr::null_mut() },
]);

/// Makes the type and puts it into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let slot = |slot, function: *mut c_void| ffi::PyType_Slot { slot, pfunc: function };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, object::dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_doc, super::docs::LEASE.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_methods, METHODS.as_ptr().cast()),
        slot(ffi::Py_tp_getset, (&raw const ATTRIBUTES).cast_mut().cast()),
        slot(ffi::Py_mp_length, items::length as *mut c_void),
        slot(ffi::Py_mp_subscript, items::get_item as *mut c_void),
        slot(ffi::Py_mp_ass_subscript, items::set_item as *mut c_void),
        slot(ffi::Py_bf_getbuffer, buffer::get_buffer as *mut c_void),
        slot(ffi::Py_bf_releasebuffer, buffer::release_buffer as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"millpond.Lease".as_ptr(),
        basicsize: size_of::<LeaseMemory>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the slots end with zero and name functions of the right signatures; name, documentation and
    // tables are statics.
    let lease_type = unsafe { ffi::PyType_FromSpec(&raw mut spec) };
    // SAFETY: a new reference, or null with an exception.
    let lease_type = unsafe { Bound::from_owned_ptr_or_err(py, lease_type) }?;
    module.add("Lease", &lease_type)?;
    block::register(&lease_type)?;
    // The reference is kept for the life of the process: objects of the type may outlive the module.
    object::set_lease_type(lease_type.into_ptr().cast());
    Ok(())
}
