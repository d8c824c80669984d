//! Lays out the lease object and makes and frees it.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use millpond::{Lease, Site};
use pyo3::ffi;

use super::block::Methods;
use super::ending;
use super::memory::Memory;
use crate::gil::GilCell;
use crate::{errors, refs};

/// How far a lease has come.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// May be used.
    Live,
    /// Left its `with` block by an exception while a view lives: dead, and put when the last view goes.
    Deferred,
    /// Was put, detached or found lost.
    Dead,
}

/// A lease as Python sees it.
///
/// ```text
/// ob_base   reference count and type                      CPython's
/// memory    the lease, or what is held back after put     moved out exactly once
/// data      address, from the first export on             null before
/// len       visible length, requested: length at get
/// written   the end of what is known to be written        through the lease, or stated by the user
/// opened    length at the last writable export            everything below it may be written
/// exports, pins, state, exported
/// pool      the Pool it came from                         counted reference
/// keep      the owner of detached memory                  counted reference or null
/// got, put  call sites, when they are recorded
/// ```
/// *Thread-bound* to whoever holds the GIL: all fields are cells without a lock.
#[repr(C)]
pub(crate) struct LeaseObject {
    ob_base: ffi::PyObject,
    pub memory: Memory,
    pub data: Cell<*mut u8>,
    pub len: Cell<usize>,
    pub requested: Cell<usize>,
    pub written: Cell<usize>,
    pub opened: Cell<usize>,
    pub exports: Cell<u32>,
    pub pins: Cell<u32>,
    pub state: Cell<State>,
    pub exported: Cell<bool>,
    pub pool: Cell<*mut ffi::PyObject>,
    pub keep: Cell<*mut ffi::PyObject>,
    pub got: Cell<Site>,
    pub put: Cell<Site>,
}

/// What the memory of a lease object holds: the object, made anew for each lease, and behind it what stays.
#[repr(C)]
pub(crate) struct LeaseMemory {
    lease: LeaseObject,
    pub methods: Methods,
}

/// The type, made once when the module is.
static LEASE_TYPE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Remembers the type; the module keeps it alive as long as the process runs.
pub(crate) fn set_lease_type(lease_type: *mut ffi::PyTypeObject) {
    LEASE_TYPE.store(lease_type, Ordering::Relaxed);
}

pub(crate) fn lease_type() -> *mut ffi::PyTypeObject {
    LEASE_TYPE.load(Ordering::Relaxed)
}

/// Memory of dead objects, for the next ones: an object is as dear as the get it stands for.
struct FreeList {
    len: usize,
    objects: [*mut LeaseObject; FREE_MAX],
}

const FREE_MAX: usize = 64;

static FREE: GilCell<FreeList> = GilCell::new(FreeList { len: 0, objects: [ptr::null_mut(); FREE_MAX] });

impl LeaseObject {
    /// Views a Python object as a lease.
    ///
    /// # Safety
    /// `object` is alive for `'a` and of the lease type, and the GIL is held.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(object: *mut ffi::PyObject) -> &'a LeaseObject {
        // SAFETY: the lease type's basic size is that of `LeaseObject` and `allocate` has filled every field.
        unsafe { &*object.cast::<LeaseObject>() }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Tells how many references there are. Those who refer to a bound method of the lease have one together.
    #[inline]
    pub(crate) fn references(&self) -> u32 {
        // SAFETY: `self` is a live object and the GIL is held.
        unsafe { refs::count(self.as_ptr()) }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state.get() == State::Live
    }

    /// Returns the address of the bytes and from now on counts the whole visible length as written.
    ///
    /// Core is told at the first time, which arms its guard behind the length.
    pub(crate) fn open(&self) -> *mut u8 {
        if self.data.get().is_null()
            && let Some(data) = self.memory.with_lease(Lease::as_mut_ptr)
        {
            self.data.set(data);
        }
        self.exported.set(true);
        self.opened.set(self.opened.get().max(self.len.get()));
        self.data.get()
    }

    /// Returns the address of the bytes for reading, or for a write that the caller adds to `written`.
    pub(crate) fn peek(&self) -> *mut u8 {
        if !self.data.get().is_null() {
            return self.data.get();
        }
        self.memory.with_lease(|lease| lease.as_ptr().cast_mut()).unwrap_or(ptr::null_mut())
    }

    /// Returns the end of what may have been written.
    #[inline]
    pub(crate) fn dirty(&self) -> usize {
        self.written.get().max(self.opened.get())
    }
}

/// Returns memory for an object, or null; what is not filled goes back by [`unreserve`].
///
/// # Safety
/// The GIL is held.
#[inline(always)]
pub(crate) unsafe fn reserve() -> *mut LeaseObject {
    // SAFETY: the GIL is held, so nobody else is inside the free list; nothing below runs Python code.
    let free = unsafe { &mut *FREE.as_ptr() };
    if let Some(left) = free.len.checked_sub(1)
        && let Some(memory) = free.objects.get(left)
    {
        free.len = left;
        return *memory;
    }
    new_memory()
}

/// Allocates memory for an object; it counts as a reference to the type as long as it exists.
#[cold]
fn new_memory() -> *mut LeaseObject {
    // SAFETY: `reserve`'s caller holds the GIL, as the object allocator asks.
    let memory = unsafe { ffi::PyObject_Malloc(size_of::<LeaseMemory>()) }.cast::<LeaseMemory>();
    if memory.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: inside the memory, which has the size and alignment and is nobody else's.
    let methods = unsafe { &raw mut (*memory).methods };
    // SAFETY: as above.
    unsafe { ptr::write(methods, Methods::of(memory.cast())) };
    // SAFETY: the type was made when the module was, and the GIL is held.
    unsafe { ffi::Py_INCREF(lease_type().cast()) };
    memory.cast()
}

/// Makes the Python object of a lease in reserved memory.
///
/// # Safety
/// The GIL is held, `memory` came from [`reserve`] and is not null, and `pool` is a live `Pool`.
#[inline(always)]
pub(crate) unsafe fn fill(
    memory: *mut LeaseObject,
    lease: Lease,
    pool: *mut ffi::PyObject,
    got: Site,
) -> *mut ffi::PyObject {
    let len = lease.len();
    let object = LeaseObject {
        // What `PyObject_Init` would do, without its call: the memory holds its reference to the type already.
        ob_base: ffi::PyObject { ob_refcnt: 1, ob_type: lease_type() },
        memory: Memory::of(lease),
        data: Cell::new(ptr::null_mut()),
        len: Cell::new(len),
        requested: Cell::new(len),
        written: Cell::new(0),
        opened: Cell::new(0),
        exports: Cell::new(0),
        pins: Cell::new(0),
        state: Cell::new(State::Live),
        exported: Cell::new(false),
        pool: Cell::new(pool),
        keep: Cell::new(ptr::null_mut()),
        got: Cell::new(got),
        put: Cell::new(Site::NONE),
    };
    // SAFETY: the memory has the type's size and alignment and is nobody else's.
    unsafe { ptr::write(memory, object) };
    // SAFETY: `pool` is alive and the GIL is held.
    unsafe { refs::retain(pool) };
    memory.cast()
}

/// Frees a lease object: `tp_dealloc`.
///
/// # Safety
/// Called by CPython only, with the GIL held, when the last reference is gone.
pub(crate) unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    errors::quiet_slot(|| {
        // SAFETY: CPython passes an object of this type; it stays ours until its memory is given on below.
        let lease = unsafe { LeaseObject::from_ptr(object) };
        if !lease.memory.is_empty() || !lease.keep.get().is_null() {
            return dealloc_with_more(lease);
        }
        let pool = lease.pool.get();
        // SAFETY: no reference is left; the reference to the pool has been moved out, and there is nothing else.
        unsafe { unreserve(object.cast()) };
        // SAFETY: the object owned this reference. Python code may run here (the pool's end), and may make leases.
        unsafe { refs::release(pool) };
    });
}

/// Frees an object that still owns more than its reference to the pool.
#[cold]
#[inline(never)]
fn dealloc_with_more(lease: &LeaseObject) {
    let lost = ending::end_of_life(lease);
    let (pool, keep) = (lease.pool.get(), lease.keep.get());
    // SAFETY: no reference is left and every owned field has been moved out.
    unsafe { unreserve(lease.as_ptr().cast()) };
    // Python code may run from here on (a warning filter, the pool's end), and may make leases.
    if let Some(lost) = lost {
        lost.warn();
    }
    // SAFETY: the object owned this reference.
    unsafe { ffi::Py_DECREF(pool) };
    // SAFETY: the object owned this reference, if any.
    unsafe { ffi::Py_XDECREF(keep) };
}

/// Keeps memory for the next object, or frees it.
///
/// # Safety
/// The GIL is held. The memory is null or came from [`reserve`]; no object is in it, or one without references that
/// owns nothing any more.
#[inline]
pub(crate) unsafe fn unreserve(memory: *mut LeaseObject) {
    // SAFETY: the GIL is held; nothing below runs Python code.
    let free = unsafe { &mut *FREE.as_ptr() };
    match free.objects.get_mut(free.len) {
        Some(place) if !memory.is_null() => {
            *place = memory;
            free.len += 1;
        }
        _ => free_memory(memory),
    }
}

#[cold]
fn free_memory(memory: *mut LeaseObject) {
    if !memory.is_null() {
        // SAFETY: the reference that `new_memory` took; the module's own keeps the type alive.
        unsafe { ffi::Py_DECREF(lease_type().cast()) };
    }
    // SAFETY: null or from `PyObject_Malloc`, and nobody refers to it.
    unsafe { ffi::PyObject_Free(memory.cast()) };
}
