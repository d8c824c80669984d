//! Leases: get, put, look-up, pins.

use std::ffi::c_char;
use std::time::Duration;

use pond::raw::{self, Begun, Idle, RawLease};

use crate::boundary::{self, Out, site};
use crate::pool::millpond_pool;
use crate::status::millpond_status;

/// The right to use one buffer, from get to put.
///
/// A value: copies stand for the same lease, and `id` alone says which. A put does not change the caller's copy, so that a
/// second put of it is reported. The struct never grows.
///
/// Threads: Thread-compatible. A lease may move to another thread and be put there; two threads that write into its memory at
/// once need an order of their own. Puts may race: exactly one succeeds.
/// Fork: a lease that was live is live in both processes, each with its own copy of the memory.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_lease {
    /// The handle: what put and look-up take. Never 0, never used again after the put.
    pub id: u64,
    /// The memory, aligned to 64 bytes or more. Valid until the put.
    pub data: *mut u8,
    /// What was asked for.
    pub len: usize,
    /// What the buffer holds. Bytes behind `len` are the library's: a write there is found at put.
    pub capacity: usize,
}

impl From<RawLease> for millpond_lease {
    #[inline(always)]
    fn from(lease: RawLease) -> Self {
        Self { id: lease.id, data: lease.data, len: lease.len, capacity: lease.capacity }
    }
}

/// Takes a lease of `len` bytes. What happens at the pool's limit is the pool's policy (`on_limit`).
///
/// In the header this name is also a macro that passes the call site to millpond_get_at, unless MILLPOND_NO_SITES is defined.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param out_lease receives the lease
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_lease` is NULL
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
/// @return MILLPOND_ERR_CLOSED: the pool is closed
/// @return MILLPOND_ERR_EXHAUSTED: the pool's limit is reached
/// @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `len`
/// @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give
///
/// Ownership: the caller's until millpond_put, millpond_put_used, millpond_detach or millpond_lease_reclaim.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_get(
    pool: millpond_pool,
    len: usize,
    out_lease: *mut millpond_lease,
) -> millpond_status {
    // SAFETY: what this function asks of its caller is what the other one does; NULL says that the site is unknown.
    unsafe { millpond_get_at(pool, len, out_lease, std::ptr::null(), 0) }
}

/// Takes a lease as millpond_get does, and names the call site for messages and leak lists.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param out_lease receives the lease
/// @param file name of the source file, a string that lives as long as the process; NULL: unknown
/// @param line line in it
/// @return as millpond_get
///
/// Ownership: the lease as with millpond_get; `file` stays the caller's and is kept by address.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_get_at(
    pool: millpond_pool,
    len: usize,
    out_lease: *mut millpond_lease,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    // SAFETY: the caller's word that `file` lives as long as the process.
    let site = unsafe { site(file, line) };
    // SAFETY: the caller owns what `out_lease` points to.
    if let Some(out) = unsafe { Out::usable(out_lease) }
        && let Some(lease) = raw::get_idle(pool, len, site)
    {
        out.set(lease.into());
        return millpond_status::MILLPOND_OK;
    }
    // SAFETY: as above.
    unsafe { get_with_care(pool, len, out_lease, file, line) }
}

/// The part of a get that calls: out of the way of the part that does not. As a C function, which lets no panic out, so
/// that the call is a jump.
///
/// # Safety
/// As for millpond_get_at.
#[inline(never)]
unsafe extern "C" fn get_with_care(
    pool: millpond_pool,
    len: usize,
    out_lease: *mut millpond_lease,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    // SAFETY: the caller's promise.
    let site = unsafe { site(file, line) };
    boundary::status(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(out_lease, "out_lease") }?;
        out.set(raw::get_with_care(pool, len, site)?.into());
        Ok(())
    })
}

/// Takes a lease without waiting and without going beyond the limit, whatever the pool's policy.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param out_lease receives the lease
/// @return as millpond_get; MILLPOND_ERR_EXHAUSTED at once when the limit is reached
///
/// Ownership: as millpond_get.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_try_get(
    pool: millpond_pool,
    len: usize,
    out_lease: *mut millpond_lease,
) -> millpond_status {
    // SAFETY: what this function asks of its caller is what the other one does; NULL says that the site is unknown.
    unsafe { millpond_try_get_at(pool, len, out_lease, std::ptr::null(), 0) }
}

/// Takes a lease as millpond_try_get does, and names the call site.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param out_lease receives the lease
/// @param file as for millpond_get_at
/// @param line line in it
/// @return as millpond_try_get
///
/// Ownership: as millpond_get_at.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_try_get_at(
    pool: millpond_pool,
    len: usize,
    out_lease: *mut millpond_lease,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_lease` points to.
        let out = unsafe { Out::new(out_lease, "out_lease") }?;
        // SAFETY: the caller's word that `file` lives as long as the process.
        let site = unsafe { site(file, line) };
        out.set(raw::try_get(pool, len, site)?.into());
        Ok(())
    })
}

/// Takes a lease and waits at the limit for a put, at most `timeout_ms`, whatever the pool's policy.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param timeout_ms milliseconds; 0 does not wait
/// @param out_lease receives the lease
/// @return as millpond_get; MILLPOND_ERR_EXHAUSTED when the time is over
///
/// Ownership: as millpond_get.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_get_timeout(
    pool: millpond_pool,
    len: usize,
    timeout_ms: u64,
    out_lease: *mut millpond_lease,
) -> millpond_status {
    // SAFETY: what this function asks of its caller is what the other one does; NULL says that the site is unknown.
    unsafe { millpond_get_timeout_at(pool, len, timeout_ms, out_lease, std::ptr::null(), 0) }
}

/// Takes a lease as millpond_get_timeout does, and names the call site.
///
/// @param pool the pool to take from
/// @param len bytes, 0 included
/// @param timeout_ms milliseconds; 0 does not wait
/// @param out_lease receives the lease
/// @param file as for millpond_get_at
/// @param line line in it
/// @return as millpond_get_timeout
///
/// Ownership: as millpond_get_at.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_get_timeout_at(
    pool: millpond_pool,
    len: usize,
    timeout_ms: u64,
    out_lease: *mut millpond_lease,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_lease` points to.
        let out = unsafe { Out::new(out_lease, "out_lease") }?;
        // SAFETY: the caller's word that `file` lives as long as the process.
        let site = unsafe { site(file, line) };
        let patience = Duration::from_millis(timeout_ms);
        out.set(raw::get_timeout(pool, len, patience, site)?.into());
        Ok(())
    })
}

/// Gives a lease back. The whole length counts as written.
///
/// Also works after the pool was closed or freed: a live lease can always be put through the pool it came from.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @return MILLPOND_OK: the lease is over, `data` must not be touched any more
/// @return MILLPOND_ERR_DOUBLE_PUT: it was put before; nothing changed
/// @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
/// @return MILLPOND_ERR_BUSY: it is pinned; it stays live
/// @return MILLPOND_ERR_OVERRUN: something was written behind its length; it is over, and the buffer is not used again
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
///
/// Ownership: back to the library, unless the lease stays live.
/// Threads: Thread-safe; of several puts of one lease exactly one succeeds.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_put(pool: millpond_pool, lease_id: u64) -> millpond_status {
    // SAFETY: NULL is allowed and says that the site is unknown.
    unsafe { millpond_put_at(pool, lease_id, std::ptr::null(), 0) }
}

/// Gives a lease back as millpond_put does, and names the call site.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @param file as for millpond_get_at
/// @param line line in it
/// @return as millpond_put
///
/// Ownership: as millpond_put.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_put_at(
    pool: millpond_pool,
    lease_id: u64,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    // SAFETY: the caller's word that `file` lives as long as the process.
    unsafe { put(pool, lease_id, None, file, line) }
}

/// Puts without a call where the lease goes straight into the thread's cache.
///
/// # Safety
/// `file` is NULL or a NUL-terminated string that lives as long as the process.
#[inline(always)]
unsafe fn put(
    pool: millpond_pool,
    lease_id: u64,
    used: Option<usize>,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    match raw::put_idle(pool, lease_id, used) {
        Idle::Done => millpond_status::MILLPOND_OK,
        // SAFETY: the caller's promise.
        Idle::Begun(begun) => unsafe { put_rest(begun, lease_id, file, line) },
        // SAFETY: the caller's promise.
        Idle::Untouched => unsafe { put_with_care(pool, lease_id, file, line, used.unwrap_or(0), used.is_none()) },
    }
}

/// Ends a put that found something on its way; as a C function for the reason of `get_with_care`.
///
/// # Safety
/// As for `put`.
#[cold]
#[inline(never)]
unsafe extern "C" fn put_rest(begun: Begun, lease_id: u64, file: *const c_char, line: u32) -> millpond_status {
    // SAFETY: the caller's promise.
    let site = unsafe { site(file, line) };
    boundary::status(|| raw::put_rest(begun, lease_id, site))
}

/// The part of a put that calls; as a C function for the reason of `get_with_care`.
///
/// # Safety
/// As for `put`.
#[inline(never)]
unsafe extern "C" fn put_with_care(
    pool: millpond_pool,
    lease_id: u64,
    file: *const c_char,
    line: u32,
    used: usize,
    whole: bool,
) -> millpond_status {
    // SAFETY: the caller's promise.
    let site = unsafe { site(file, line) };
    boundary::status(|| raw::put_with_care(pool, lease_id, if whole { None } else { Some(used) }, site))
}

/// Gives a lease back of which only the first `used` bytes were written: only those are cleared, which is the faster the
/// larger the lease is. It is the caller's word; bytes written behind `used` may be seen by the next tenant.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @param used bytes written, 0 to the lease's length
/// @return as millpond_put
/// @return MILLPOND_ERR_INVALID_ARGUMENT: `used` is larger than the length; it stays live
///
/// Ownership: as millpond_put.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_put_used(pool: millpond_pool, lease_id: u64, used: usize) -> millpond_status {
    // SAFETY: NULL is allowed and says that the site is unknown.
    unsafe { millpond_put_used_at(pool, lease_id, used, std::ptr::null(), 0) }
}

/// Gives a lease back as millpond_put_used does, and names the call site.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @param used bytes written, 0 to the lease's length
/// @param file as for millpond_get_at
/// @param line line in it
/// @return as millpond_put_used
///
/// Ownership: as millpond_put.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_put_used_at(
    pool: millpond_pool,
    lease_id: u64,
    used: usize,
    file: *const c_char,
    line: u32,
) -> millpond_status {
    // SAFETY: the caller's word that `file` lives as long as the process.
    unsafe { put(pool, lease_id, Some(used), file, line) }
}

/// Finds the memory of a live lease by its handle: the way to check a handle before its memory is touched.
///
/// @param lease_id `id` of the lease
/// @param out_lease receives what get gave
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_lease` is NULL
/// @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
/// @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
///
/// Ownership: unchanged.
/// Threads: Thread-safe; another thread's put after the look-up ends the lease all the same. See millpond_lease_pin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_lease_lookup(lease_id: u64, out_lease: *mut millpond_lease) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_lease` points to.
        let out = unsafe { Out::new(out_lease, "out_lease") }?;
        out.set(raw::lookup(lease_id)?.into());
        Ok(())
    })
}

/// Tells which pool a live lease came from.
///
/// @param lease_id `id` of the lease
/// @param out_pool receives the pool's handle
/// @return as millpond_lease_lookup; MILLPOND_ERR_NULL: `out_pool` is NULL
///
/// Ownership: unchanged; the handle is not to be freed once more for this call.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_lease_pool(lease_id: u64, out_pool: *mut millpond_pool) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_pool` points to.
        let out = unsafe { Out::new(out_pool, "out_pool") }?;
        out.set(raw::pool_of(lease_id)?);
        Ok(())
    })
}

/// Holds a lease while somebody else, such as asynchronous input, works on its memory: until as many millpond_lease_unpin,
/// a put is MILLPOND_ERR_BUSY.
///
/// @param lease_id `id` of the lease
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
/// @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
///
/// Ownership: unchanged.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_lease_pin(lease_id: u64) -> millpond_status {
    boundary::status(|| raw::pin(lease_id))
}

/// Undoes one millpond_lease_pin.
///
/// @param lease_id `id` of the lease
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_INVALID_ARGUMENT: it is not pinned
/// @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
/// @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
///
/// Ownership: unchanged.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_lease_unpin(lease_id: u64) -> millpond_status {
    boundary::status(|| raw::unpin(lease_id))
}

/// Takes back a lease that its owner lost, for garbage collectors of other languages: counted in `leaked` instead of `puts`.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @return MILLPOND_OK: the lease is over
/// @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
/// @return MILLPOND_ERR_BUSY: it is pinned; it stays live
/// @return MILLPOND_ERR_USE_AFTER_PUT: it was put before; nothing changed
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
///
/// Ownership: back to the library. Nobody may refer to the memory any more: that is the caller's word.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_lease_reclaim(pool: millpond_pool, lease_id: u64) -> millpond_status {
    boundary::status(|| raw::leak_reclaimed(pool, lease_id))
}
