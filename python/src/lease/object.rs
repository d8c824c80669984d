//! Lays out the lease object and makes and frees it.

use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use millpond::{Act, Lease};
use pyo3::ffi;

use super::block::Methods;
use super::ending;
use super::memory::Memory;
use crate::gil::GilCell;
use crate::{errors, refs, site};

/// How far a lease has come.
#[derive(Copy, Clone, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// May be used, and was not: all that a put has to do is to give the buffer back.
    Fresh,
    /// May be used.
    Live,
    /// Left its `with` block by an exception while a view lives: dead, and put when the last view goes.
    Deferred,
    /// Was put, detached or found lost.
    Dead,
    /// Was put when it was fresh: the object owns nothing but its reference to the pool.
    Over,
}

/// A lease as Python sees it.
///
/// ```text
/// ob_base   reference count and type                      CPython's
/// state     see `State`
/// len       visible length
/// pool      the Pool it came from                         counted reference
/// memory    the lease, or what is held back after put     moved out exactly once
/// details   what only leases have that are used
/// ```
/// While the state is `Fresh` or `Over` the details are as new, and the memory does not say what it holds: a get and a
/// put that follow each other leave all that alone. [`LeaseObject::touch`] ends this.
///
/// *Thread-bound* to whoever holds the GIL: all fields are cells without a lock.
#[repr(C)]
pub(crate) struct LeaseObject {
    ob_base: UnsafeCell<ffi::PyObject>,
    state: Cell<State>,
    pub len: Cell<usize>,
    pub pool: Cell<*mut ffi::PyObject>,
    memory: Memory,
    details: Details,
}

/// What a lease that is used knows of itself.
///
/// ```text
/// requested length at get, or as a writer made it
/// data      address, from the first export on             null before
/// written   the end of what is known to be written        through the lease, or stated by the user
/// opened    length at the last writable export            everything below it may be written
/// exports, pins, exported
/// keep      the owner of detached memory                  counted reference or null
/// acts      the get and the put of a lease that is over   empty unless something is known of them
/// ```
pub(crate) struct Details {
    pub requested: Cell<usize>,
    pub data: Cell<*mut u8>,
    pub written: Cell<usize>,
    pub opened: Cell<usize>,
    pub exports: Cell<u32>,
    pub pins: Cell<u32>,
    pub exported: Cell<bool>,
    pub keep: Cell<*mut ffi::PyObject>,
    acts: Cell<Vec<Act>>,
}

impl Details {
    const fn new() -> Details {
        Details {
            requested: Cell::new(0),
            data: Cell::new(ptr::null_mut()),
            written: Cell::new(0),
            opened: Cell::new(0),
            exports: Cell::new(0),
            pins: Cell::new(0),
            exported: Cell::new(false),
            keep: Cell::new(ptr::null_mut()),
            acts: Cell::new(Vec::new()),
        }
    }

    /// Remembers what is known of the get and the put; nothing without memory.
    pub(crate) fn set_acts(&self, got: Act, put: Act) {
        let mut acts = Vec::new();
        if acts.try_reserve_exact(2).is_ok() {
            acts.extend([got, put]);
            self.acts.set(acts);
        }
    }

    /// Returns what is known of the get and the put of a lease that is over.
    pub(crate) fn acts(&self) -> (Act, Act) {
        let acts = self.acts.take();
        let known = match acts[..] {
            [got, put] => (got, put),
            _ => (Act::default(), Act::default()),
        };
        self.acts.set(acts);
        known
    }

    /// Makes all as new.
    fn reset(&self) {
        let Details { requested, data, written, opened, exports, pins, exported, keep, acts } = &Details::new();
        self.requested.swap(requested);
        self.data.swap(data);
        self.written.swap(written);
        self.opened.swap(opened);
        self.exports.swap(exports);
        self.pins.swap(pins);
        self.exported.swap(exported);
        self.keep.swap(keep);
        self.acts.swap(acts);
    }

    /// Returns the end of what may have been written.
    #[inline]
    pub(crate) fn dirty(&self) -> usize {
        self.written.get().max(self.opened.get())
    }
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
///
/// The last one stands in front: a put followed by a get passes through it without the list. There is none while sites
/// are recorded, so that who finds one need not look for that.
struct FreeList {
    last: *mut LeaseObject,
    len: usize,
    objects: [*mut LeaseObject; FREE_MAX],
}

const FREE_MAX: usize = 63;

static FREE: GilCell<FreeList> =
    GilCell::new(FreeList { last: ptr::null_mut(), len: 0, objects: [ptr::null_mut(); FREE_MAX] });

impl LeaseObject {
    /// Views a Python object as a lease.
    ///
    /// # Safety
    /// `object` is alive for `'a` and of the lease type, and the GIL is held.
    #[inline(always)]
    pub(crate) unsafe fn from_ptr<'a>(object: *mut ffi::PyObject) -> &'a LeaseObject {
        // SAFETY: the lease type's objects are in memory that `new_memory` made, with every field filled.
        unsafe { &*object.cast::<LeaseObject>() }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Tells how many references there are. Those who refer to a bound method of the lease have one together.
    #[inline]
    pub(crate) fn references(&self) -> u32 {
        // SAFETY: `self` is a live object and the GIL is held.
        unsafe { refs::count(self.as_ptr()) }
    }

    #[inline(always)]
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state.get(), State::Fresh | State::Live)
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Says how far the lease has come. It is no longer fresh, and when it ends, it ends the long way.
    pub(crate) fn set_state(&self, state: State) {
        debug_assert!(!matches!(state, State::Fresh | State::Over), "only `fill` and `end_fresh` lead there");
        self.touch();
        self.state.set(state);
    }

    /// Makes a fresh lease one that is used: from here on nothing of it need be as new.
    #[inline]
    fn touch(&self) {
        match self.state.get() {
            State::Fresh => {
                self.state.set(State::Live);
                // SAFETY: `fill` stored one, and only `end_fresh` takes it, which ends this state.
                unsafe { self.memory.own() };
            }
            State::Over => self.state.set(State::Dead),
            State::Live | State::Deferred | State::Dead => return,
        }
        self.details.requested.set(self.len.get());
    }

    pub(crate) fn details(&self) -> &Details {
        self.touch();
        &self.details
    }

    pub(crate) fn memory(&self) -> &Memory {
        self.touch();
        &self.memory
    }

    /// Ends a fresh lease and returns what it owned; `None` if it is anything else.
    #[inline(always)]
    pub(crate) fn end_fresh(&self) -> Option<Lease> {
        if self.state.get() != State::Fresh {
            return None;
        }
        self.state.set(State::Over);
        // SAFETY: `fill` stored one, and nobody has touched it.
        Some(unsafe { self.memory.take_stored() })
    }

    /// Returns the address of the bytes and from now on counts the whole visible length as written.
    ///
    /// Core is told at the first time, which arms its guard behind the length.
    pub(crate) fn open(&self) -> *mut u8 {
        let details = self.details();
        if details.data.get().is_null()
            && let Some(data) = self.memory.with_lease(Lease::as_mut_ptr)
        {
            details.data.set(data);
        }
        details.exported.set(true);
        details.opened.set(details.opened.get().max(self.len.get()));
        details.data.get()
    }

    /// Returns the address of the bytes for reading, or for a write of which [`LeaseObject::wrote`] is told.
    pub(crate) fn peek(&self) -> *mut u8 {
        let details = self.details();
        if !details.data.get().is_null() {
            return details.data.get();
        }
        self.memory.with_lease(|lease| lease.as_ptr().cast_mut()).unwrap_or(ptr::null_mut())
    }

    /// Says that what stands before `end` may have been written.
    pub(crate) fn wrote(&self, end: usize) {
        let written = &self.details().written;
        written.set(written.get().max(end));
    }
}

/// Returns memory for an object, or null; what is not filled goes back by [`unreserve`].
///
/// # Safety
/// The GIL is held.
pub(crate) unsafe fn reserve() -> *mut LeaseObject {
    // SAFETY: the caller's promise.
    let quick = unsafe { reserve_quickly() };
    // SAFETY: as above; the borrow above has ended.
    if quick.is_null() { reserve_from(unsafe { &mut *FREE.as_ptr() }) } else { quick }
}

/// As [`reserve`], for a lease without a recorded site; null while sites are recorded.
///
/// # Safety
/// The GIL is held.
#[inline(always)]
pub(crate) unsafe fn reserve_quickly() -> *mut LeaseObject {
    // SAFETY: the GIL is held, so nobody else is inside the free list; nothing below runs Python code.
    let free = unsafe { &mut *FREE.as_ptr() };
    let last = free.last;
    if last.is_null() {
        return reserve_unrecorded(free);
    }
    free.last = ptr::null_mut();
    last
}

#[cold]
#[inline(never)]
fn reserve_unrecorded(free: &mut FreeList) -> *mut LeaseObject {
    if site::are_recorded() { ptr::null_mut() } else { reserve_from(free) }
}

fn reserve_from(free: &mut FreeList) -> *mut LeaseObject {
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
    let lease = LeaseObject {
        // Nobody refers to it until it is filled.
        ob_base: UnsafeCell::new(ffi::PyObject { ob_refcnt: 0, ob_type: lease_type() }),
        state: Cell::new(State::Over),
        len: Cell::new(0),
        pool: Cell::new(ptr::null_mut()),
        memory: Memory::empty(),
        details: Details::new(),
    };
    // SAFETY: the memory has the type's size and alignment and is nobody else's.
    unsafe { ptr::write(memory, LeaseMemory { lease, methods: Methods::of(memory.cast()) }) };
    // SAFETY: the type was made when the module was, and the GIL is held.
    unsafe { ffi::Py_INCREF(lease_type().cast()) };
    memory.cast()
}

/// Makes the Python object of a lease in reserved memory.
///
/// # Safety
/// The GIL is held, `memory` came from [`reserve`] and is not null, and `pool` is a live `Pool`.
#[inline(always)]
pub(crate) unsafe fn fill<'a>(memory: *mut LeaseObject, lease: Lease, pool: *mut ffi::PyObject) -> &'a LeaseObject {
    // SAFETY: `new_memory` filled it, nobody else has it, and it comes to life by this.
    let object = unsafe { LeaseObject::from_ptr(memory.cast()) };
    // What `PyObject_Init` would do, without its call: the type stands there, with a reference to it.
    // SAFETY: nobody else looks at it.
    unsafe { (*object.ob_base.get()).ob_refcnt = 1 };
    let len = lease.len();
    object.state.set(State::Fresh);
    object.len.set(len);
    object.pool.set(pool);
    object.memory.store(lease);
    // SAFETY: `pool` is alive and the GIL is held.
    unsafe { refs::retain(pool) };
    object
}

/// Frees a lease object: `tp_dealloc`.
///
/// # Safety
/// Called by CPython only, with the GIL held, when the last reference is gone.
pub(crate) unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython passes an object of this type; it stays ours until its memory is given on below.
    let lease = unsafe { LeaseObject::from_ptr(object) };
    // SAFETY: the GIL is held; nothing here runs Python code.
    let free = unsafe { &mut *FREE.as_ptr() };
    let pool = lease.pool.get();
    // SAFETY: the object owns a reference to its pool.
    if lease.state.get() == State::Over && free.last.is_null() && unsafe { refs::count(pool) } > 1 {
        // Nothing but the reference to the pool, which is not the last, is left of the object.
        free.last = object.cast();
        // SAFETY: the object owned this reference.
        unsafe { refs::release(pool) };
        return;
    }
    dealloc_used(lease);
}

/// Frees an object that may own more than its reference to the pool.
#[inline(never)]
extern "C" fn dealloc_used(lease: &LeaseObject) {
    errors::quiet_slot(|| end(lease));
}

/// Moves out what the object owns, and gives its memory on.
fn end(lease: &LeaseObject) {
    let lost = ending::end_of_life(lease);
    let (pool, keep) = (lease.pool.get(), lease.details.keep.get());
    lease.details.reset();
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
/// owns nothing any more, its details as new.
pub(crate) unsafe fn unreserve(memory: *mut LeaseObject) {
    // SAFETY: the GIL is held; nothing below runs Python code.
    let free = unsafe { &mut *FREE.as_ptr() };
    if free.last.is_null() && !site::are_recorded() {
        // Null stays null.
        free.last = memory;
        return;
    }
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
