//! The pool: made and managed through PyO3, with get and put as raw methods beside them.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::{BufferPool, Check, ClearPolicy, Error, ErrorKind, Injection, Lease, LimitPolicy, PutError, Site};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::errors::{self, shielded, to_py};
use crate::lease::object;
use crate::lease::{LeaseObject, ending};
use crate::options;
use crate::site;
use crate::stats::{LeakRecord, PoolStats};
use crate::text;

/// A named set of reusable buffers with limits and statistics.
///
/// A pool is also a context manager that closes it. Dropping the last reference to a pool and its leases closes it
/// too.
///
/// Args:
///     name: 1 to 64 bytes of printable text, for messages and metrics; "pool-<number>" if left out.
///     classes: The capacities handed out: "default" (512 bytes, 1, 4, 16, 64, 256 KiB, 1, 4, 16 MiB), a sequence of
///         ascending multiples of 64 from 64 bytes to 1 GiB, at most 128 of them, or FourPerDoubling(min, max).
///     max_bytes: Limit of all memory, lent and idle; a quarter of the machine's or the control group's if left out.
///     max_retained_bytes: Limit of the idle memory, 0 keeps none; a sixteenth of max_bytes if left out, at least
///         1 MiB and at most 256 MiB.
///     on_limit: What get does at the limit: "fail", "wait" at most `timeout` seconds, or "unpooled": a buffer for
///         this lease alone, beyond the limit.
///     timeout: Seconds that on_limit="wait" waits; given with it and only with it.
///     clear: When bytes are zeroed between tenants: "on_put", "on_get", or "never" (contents are unspecified: for
///         pools with one tenant).
///     alignment: Of every buffer, a power of two from 64 to 2097152 bytes; 64 if left out.
///     thread_cache_bytes: Idle memory each thread keeps for itself; 32 MiB if left out, 0 for none. Classes share it,
///         from the smallest, as many as leave a quarter of it with one buffer each; of larger ones that a thread uses it
///         keeps one buffer each, while that is at most a quarter of max_retained_bytes in all threads.
///     check: How closely the pool looks at its leases: "off", "on", "sites" (places and threads of gets and puts are
///         recorded), "sample:N" (each N-th lease of up to 1 MiB stands on guarded pages, see report_faults) or "full"
///         (as "sites", and buffers are filled with a pattern and used again late). What the environment variable
///         MILLPOND_CHECK says, or "on", if left out.
///     maintain_every: Seconds between looks of a background thread that gives unused idle memory back, at least
///         0.001; no thread if left out.
///
/// Raises:
///     InvalidArgumentError: An option has a value that cannot be used or contradicts another; the message names it.
///     TypeError: An option has the wrong type.
///     NoMemoryError: There is no memory for the pool's tables.
///
/// Thread-safe. Fork: the child has its own copy of the pool and its leases; statistics go on from the parent's.
#[pyclass(frozen, weakref, module = "millpond")]
pub(crate) struct Pool {
    pub core: BufferPool,
    /// Whether a put clears: large clearing is done without the GIL.
    pub clears_on_put: bool,
    clears_on_get: bool,
    waits: Option<Duration>,
    /// How many dead leases hold a buffer back. Written under the GIL.
    pub held: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(core: BufferPool) -> Pool {
        let waits = match core.limit_policy() {
            LimitPolicy::Wait(most) => Some(most),
            _ => None,
        };
        Pool {
            clears_on_put: core.clear_policy() == ClearPolicy::OnPut,
            clears_on_get: core.clear_policy() == ClearPolicy::OnGet,
            waits,
            held: AtomicUsize::new(0),
            core,
        }
    }

    /// Views a Python object as a pool.
    ///
    /// # Safety
    /// `object` is alive for `'a` and a `Pool`, and the GIL is held.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(object: *mut ffi::PyObject) -> &'a Pool {
        // SAFETY: the caller holds the GIL; the token is not used after this function.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: a live object, as the caller promises.
        let object = unsafe { ptr::NonNull::new_unchecked(object) };
        // SAFETY: as above.
        let object = unsafe { Bound::ref_from_non_null(py, &object) };
        // SAFETY: a `Pool`, as the caller promises.
        let pool: *const Pool = unsafe { object.cast_unchecked::<Pool>() }.get();
        // SAFETY: the class is frozen and the object alive for `'a`.
        unsafe { &*pool }
    }
}

/// How a get is to be served.
#[derive(Copy, Clone)]
pub(crate) enum Patience {
    Policy,
    None,
    Until(Duration),
}

impl Pool {
    /// Tells whether a get of `len` bytes may take so long that other threads should run meanwhile.
    fn is_slow(&self, len: usize) -> bool {
        self.waits.is_some() || (self.clears_on_get && len >= ending::CLEAR_WITHOUT_GIL)
    }

    /// Takes a lease; waits without the GIL and ends the wait when a signal handler raises.
    #[cold]
    pub(crate) fn take(&self, py: Python<'_>, len: usize, patience: Patience) -> PyResult<Lease> {
        let most = match patience {
            Patience::None => return self.core.try_get_at(len, Site::NONE).map_err(|error| self.refusal(py, &error)),
            Patience::Policy => self.waits,
            Patience::Until(most) => Some(most),
        };
        let Some(most) = most else {
            return py.detach(|| self.core.get_at(len, Site::NONE)).map_err(|error| self.refusal(py, &error));
        };
        let mut interrupt = None;
        let result = py.detach(|| {
            self.core.get_interruptible(len, most, Site::NONE, &mut || {
                interrupt = Python::attach(|py| py.check_signals()).err();
                interrupt.is_some()
            })
        });
        match interrupt {
            Some(interrupt) => Err(interrupt),
            None => result.map_err(|error| self.refusal(py, &error)),
        }
    }

    /// Makes the exception of a refused get; at the limit it tells of buffers that dead leases keep back.
    #[cold]
    fn refusal(&self, py: Python<'_>, error: &Error) -> PyErr {
        let refusal = to_py(py, error);
        let held = self.held.load(Ordering::Relaxed);
        if error.kind() == ErrorKind::Exhausted && held > 0 {
            let note = text::string(
                py,
                format_args!(
                    "{held} put leases that lent a view are still named and keep their buffers back; del the names"
                ),
            );
            // Without memory for the note the error goes without it.
            let _ = note.and_then(|note| refusal.value(py).call_method1("add_note", (note,)));
        }
        refusal
    }
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (name=None, *, classes=None, max_bytes=None, max_retained_bytes=None, on_limit=None, timeout=None,
                        clear=None, alignment=None, thread_cache_bytes=None, check=None, maintain_every=None))]
    #[allow(clippy::too_many_arguments, reason = "one per option, all by keyword")]
    fn py_new(
        py: Python<'_>,
        name: Option<&Bound<'_, PyAny>>,
        classes: Option<&Bound<'_, PyAny>>,
        max_bytes: Option<&Bound<'_, PyAny>>,
        max_retained_bytes: Option<&Bound<'_, PyAny>>,
        on_limit: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        clear: Option<&Bound<'_, PyAny>>,
        alignment: Option<&Bound<'_, PyAny>>,
        thread_cache_bytes: Option<&Bound<'_, PyAny>>,
        check: Option<&Bound<'_, PyAny>>,
        maintain_every: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Pool> {
        shielded(py, || {
            let given = options::Given {
                name,
                classes,
                max_bytes,
                max_retained_bytes,
                on_limit,
                timeout,
                clear,
                alignment,
                thread_cache_bytes,
                check,
                maintain_every,
            };
            let core = given.builder(py)?.build().map_err(|error| to_py(py, &error))?;
            Ok(Pool::new(core))
        })
    }

    /// The pool's name.
    #[getter]
    fn name(&self) -> &str {
        self.core.name()
    }

    /// Whether the pool was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    /// How closely the pool looks at its leases: "off", "on", "sites", "sample:N" or "full".
    #[getter]
    fn check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        shielded(py, || text::string(py, self.core.check()))
    }

    /// Changes how closely the pool looks at its leases, from the next get and put on. Idle memory that threads keep for
    /// themselves goes to the stock that they share.
    ///
    /// Args:
    ///     check: As for Pool(check=...). Not to or from "off": a pool is made with it.
    ///
    /// Raises:
    ///     InvalidArgumentError: check is none of these, or changes to or from "off". Nothing is changed.
    ///     TypeError: check is not a str.
    fn set_check(&self, py: Python<'_>, check: &Bound<'_, PyAny>) -> PyResult<()> {
        shielded(py, || {
            let check = options::parsed::<Check>("check", check)?;
            py.detach(|| self.core.set_check(check)).map_err(|error| to_py(py, &error))
        })
    }

    /// Makes the pool fail or dawdle from now on, to test what a program does then. What the environment variable
    /// MILLPOND_INJECT says holds for all pools from the start.
    ///
    /// Args:
    ///     what: A list separated by commas: "get=N" fails the N-th get with ExhaustedError, "alloc=N" the N-th creation
    ///         of a buffer with NoMemoryError, "p=P" each get with this probability (0 to 1) by a sequence that "seed=N"
    ///         chooses, "delay=N" makes each put of a lease got since N milliseconds longer, in which other threads run.
    ///         The empty text ends it.
    ///
    /// Raises:
    ///     InvalidArgumentError: what is no such list; nothing is changed.
    ///     TypeError: what is not a str.
    fn inject(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<()> {
        shielded(py, || {
            let what = options::parsed::<Injection>("what", what)?;
            py.detach(|| self.core.inject(what));
            Ok(())
        })
    }

    /// The capacities in bytes that the pool hands out, ascending.
    #[getter]
    fn class_sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.core.class_sizes())
    }

    /// Gives all idle memory back to the system, from every thread's cache too.
    ///
    /// Returns:
    ///     The number of bytes given back.
    fn trim(&self, py: Python<'_>) -> PyResult<usize> {
        shielded(py, || Ok(py.detach(|| self.core.trim())))
    }

    /// Takes one look at the idle memory and gives back half of what nobody needed since the last look.
    ///
    /// Returns:
    ///     The number of bytes given back.
    fn maintain(&self, py: Python<'_>) -> PyResult<usize> {
        shielded(py, || Ok(py.detach(|| self.core.maintain())))
    }

    /// Closes the pool: idle memory is freed, get raises ClosedError. Live leases stay valid and are put as ever.
    /// Closing a closed pool does nothing.
    ///
    /// Raises:
    ///     InvalidArgumentError: It is the default pool, which is never closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        shielded(py, || py.detach(|| self.core.close()).map_err(|error| to_py(py, &error)))
    }

    /// Returns the statistics as they are now. Reading never stops the pool.
    fn stats(&self, py: Python<'_>) -> PyResult<PoolStats> {
        shielded(py, || PoolStats::new(py, self.core.name(), py.detach(|| self.core.stats())))
    }

    /// Lists the leases that are out, the oldest first.
    fn leaks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        shielded(py, || {
            let leaks = py.detach(|| self.core.leaks()).map_err(|error| to_py(py, &error))?;
            let list = PyList::empty(py);
            for record in &leaks {
                list.append(Bound::new(py, LeakRecord::new(py, record)?)?)?;
            }
            Ok(list)
        })
    }

    /// Takes an empty writer over a buffer of `capacity` bytes.
    ///
    /// Args:
    ///     capacity: In bytes, 0 or more.
    ///
    /// Raises:
    ///     As get().
    fn writer<'py>(slf: &Bound<'py, Self>, capacity: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let lease = slf.call_method1("get", (capacity,))?;
        slf.py().import("millpond._writer")?.getattr("Writer")?.call1((lease,))
    }

    /// Returns the pool.
    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Closes the pool.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, exc_value, traceback);
        self.close(py)
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let state = if self.core.is_closed() { ", closed" } else { "" };
        text::string(py, format_args!("<millpond.Pool '{}'{state}>", self.core.name()))
    }
}

/// Takes a lease and wraps it: the fast path of get.
///
/// # Safety
/// The GIL is held and `object` is a live `Pool`.
#[inline(always)]
pub(crate) unsafe fn get_plain(object: *mut ffi::PyObject, len: usize) -> *mut ffi::PyObject {
    // The memory comes first: from the get on nothing can fail, so that the lease stays in registers.
    // SAFETY: the GIL is held.
    let spot = unsafe { object::reserve_quickly() };
    if !spot.is_null() && !site::is_next() {
        // SAFETY: the caller's promise.
        let pool = unsafe { Pool::from_ptr(object) };
        if let Some(lease) = pool.core.get_idle(len, Site::NONE) {
            // SAFETY: the memory is reserved, the rest is the caller's promise.
            return unsafe { object::fill(spot, lease, object) }.as_ptr();
        }
    }
    // SAFETY: the memory is null or reserved, the rest is the caller's promise.
    unsafe { get_slow(spot, object, len) }
}

/// Takes a lease that the thread has no idle buffer for, or whose site is to be recorded.
///
/// # Safety
/// The GIL is held, `object` is a live `Pool`, and `spot` came from `reserve_quickly`.
#[cold]
#[inline(never)]
unsafe fn get_slow(spot: *mut LeaseObject, object: *mut ffi::PyObject, len: usize) -> *mut ffi::PyObject {
    // SAFETY: `spot` came from `reserve_quickly` and is not used below.
    unsafe { object::unreserve(spot) };
    // SAFETY: the caller's promise.
    let pool = unsafe { Pool::from_ptr(object) };
    if pool.is_slow(len) {
        return errors::cold(ptr::null_mut(), |py| {
            let lease = pool.take(py, len, Patience::Policy)?;
            // SAFETY: the caller's promise.
            Ok(unsafe { wrap(object, lease) })
        });
    }
    match pool.core.get_at(len, Site::NONE) {
        // SAFETY: the caller's promise.
        Ok(lease) => unsafe { wrap(object, lease) },
        Err(error) => errors::cold(ptr::null_mut(), |py| Err(pool.refusal(py, &error))),
    }
}

/// Makes the Python object of a lease that the fast path did not get, and finds the place of the get where it is wanted.
///
/// # Safety
/// The GIL is held and `pool` is a live `Pool`.
pub(crate) unsafe fn wrap(pool: *mut ffi::PyObject, mut lease: Lease) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let core = &unsafe { Pool::from_ptr(pool) }.core;
    // Counted in any mode: a get that was sent here to be sampled would otherwise be followed by others.
    let is_sampled = site::is_sampled();
    let is_wanted = match core.check() {
        Check::Off => site::are_recorded(),
        check => is_sampled || is_looked_at(check, &lease),
    };
    if is_wanted {
        lease.set_site(site::here());
    }
    let is_plain = !is_wanted && !core.injects();
    // SAFETY: the GIL is held.
    let spot = unsafe { object::reserve() };
    if spot.is_null() {
        drop(lease);
        // SAFETY: the GIL is held.
        return unsafe { ffi::PyErr_NoMemory() };
    }
    // SAFETY: the memory is reserved, the rest is the caller's promise.
    let made = unsafe { object::fill(spot, lease, pool) };
    if !is_plain {
        // One with details is not put by the fast path, which remembers nothing and does not let other threads run.
        made.details();
    }
    made.as_ptr()
}

/// Tells whether the places of a lease's get and put are found, and not only sampled.
pub(crate) fn is_looked_at(check: Check, lease: &Lease) -> bool {
    site::are_recorded() || matches!(check, Check::Sites | Check::Full) || lease.is_guarded()
}

/// The object of the default pool, made at the first use.
static DEFAULT: PyOnceLock<Py<Pool>> = PyOnceLock::new();

pub(crate) fn default_object(py: Python<'_>) -> PyResult<&Bound<'_, Pool>> {
    let object = DEFAULT.get_or_try_init(py, || {
        let core = millpond::default_pool().map_err(|error| to_py(py, &error))?;
        Py::new(py, Pool::new(core.clone()))
    })?;
    Ok(object.bind(py))
}

/// Tells on standard error whose lease was touched when an access to guarded memory faults.
///
/// Installs, once for the process, a handler of SIGSEGV and SIGBUS for leases of pools with check="sample:N". It says which
/// lease, where it was got and put and how far off the access is, and then lets the handler run that stood before:
/// faulthandler's, say, which may also be enabled later. Calling this again does nothing.
///
/// Raises:
///     IoError: The system does not let the handler be installed.
///
/// Thread-safe. Fork: a child has the handler too.
#[pyfunction]
pub(crate) fn report_faults(py: Python<'_>) -> PyResult<()> {
    shielded(py, || millpond::report_faults().map_err(|error| to_py(py, &error)))
}

/// Returns the pool that every program has without any configuration. It is never closed.
#[pyfunction]
pub(crate) fn default_pool(py: Python<'_>) -> PyResult<Bound<'_, Pool>> {
    shielded(py, || default_object(py).cloned())
}

/// Tries a put into a pool that the lease is not from; core refuses, counts it and gives the lease back.
#[cold]
pub(crate) fn foreign(pool: &Pool, lease: &LeaseObject) -> Error {
    // Looked for first: it may run any Python code, which must not find the lease without its memory.
    let here = site::here();
    if !lease.is_live() {
        return ending::refused(lease, ErrorKind::DoublePut);
    }
    match lease.memory().take_lease().map(|guard| pool.core.put_at(guard, || here)) {
        Some(Err(PutError { error, lease: Some(guard) })) => {
            lease.memory().set_lease(guard);
            error
        }
        // The object's pool is not this one, so none of these can be; the lease is gone then.
        Some(Err(PutError { error, lease: None })) => error,
        Some(Ok(())) | None => Error::new(ErrorKind::Panic, "another pool took the lease"),
    }
}

/// Tells that an argument is no lease.
#[cold]
pub(crate) fn no_lease(value: &Bound<'_, PyAny>) -> PyErr {
    crate::args::wrong_type("the argument of put()", "a millpond.Lease", value)
}
