//! Pools: making, closing and freeing them, and what can be asked of one.

use std::ffi::c_char;

use pond::{BufferPool, raw};

use crate::boundary::{self, Out, OutSlice, Tail, set_text};
use crate::options::{self, millpond_pool_options};
use crate::status::millpond_status;

/// A pool's handle: a named set of reusable buffers with limits and statistics.
///
/// A value: copies stand for the same pool. Never 0, never used again. Any other number, and the handle of a pool that was
/// freed, is MILLPOND_ERR_INVALID_HANDLE.
///
/// Threads: Thread-safe.
/// Fork: the child may go on using every pool; its statistics start from the parent's.
pub type millpond_pool = u64;

/// Gives the process-wide pool, which needs no configuration, is named "default" and can be neither closed nor freed.
///
/// @return its handle, always the same; 0 when it cannot be made (see millpond_last_error)
///
/// Ownership: the library's.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_default_pool() -> millpond_pool {
    boundary::value(0, || Ok(pond::default_pool()?.id()))
}

/// Makes a pool.
///
/// @param options what it is made with, begun with MILLPOND_POOL_OPTIONS_INIT
/// @param out_pool receives its handle
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `options` or `out_pool` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: an option has a value that cannot be, or two contradict; the message names it
/// @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give
///
/// Ownership: the caller's until millpond_pool_free. The options stay the caller's and are not kept.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_new(
    options: *const millpond_pool_options,
    out_pool: *mut millpond_pool,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller's options, readable as their comments say.
        let builder = unsafe { options::builder(options) }?;
        // SAFETY: the caller owns what `out_pool` points to.
        let out = unsafe { Out::new(out_pool, "out_pool") }?;
        out.set(raw::retain(&builder.build()?));
        Ok(())
    })
}

/// Closes a pool: from now on a get is MILLPOND_ERR_CLOSED, and idle memory goes back to the system. Leases that are out stay
/// valid, and their memory goes back at their put. Statistics and the list of leaks can still be read. Closing a closed pool
/// is MILLPOND_OK.
///
/// @param pool the pool
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
/// @return MILLPOND_ERR_INVALID_ARGUMENT: it is the default pool
///
/// Ownership: the handle stays the caller's.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_pool_close(pool: millpond_pool) -> millpond_status {
    boundary::status(|| raw::pool(pool)?.close())
}

/// Closes a pool and ends its handle: every later use of it is MILLPOND_ERR_INVALID_HANDLE, except that leases which are out
/// can still be put.
///
/// @param pool the pool
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed before
/// @return MILLPOND_ERR_INVALID_ARGUMENT: it is the default pool
///
/// Ownership: the handle is over.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_pool_free(pool: millpond_pool) -> millpond_status {
    boundary::status(|| raw::release(pool))
}

/// Tells whether a pool is closed.
///
/// @param pool the pool
/// @param out_closed receives the answer
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_closed` is NULL
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_is_closed(pool: millpond_pool, out_closed: *mut bool) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_closed` points to.
        let out = unsafe { Out::new(out_closed, "out_closed") }?;
        out.set(raw::pool(pool)?.is_closed());
        Ok(())
    })
}

/// Copies the pool's name and a NUL into the caller's memory, cut where the room does not suffice.
///
/// @param pool the pool
/// @param buffer room for `capacity` bytes; MILLPOND_NAME_MAX + 1 always suffice; NULL only with 0
/// @param capacity the room
/// @param out_len receives the whole name's length without the NUL
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_len` is NULL, or `buffer` is with a capacity
/// @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_name(
    pool: millpond_pool,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns `capacity` bytes at `buffer`.
        let mut buffer = unsafe { OutSlice::new(buffer, capacity, "buffer") }?;
        // SAFETY: the caller owns what `out_len` points to.
        let out_len = unsafe { Out::new(out_len, "out_len") }?;
        let pool = raw::pool(pool)?;
        set_text(&mut buffer, pool.name());
        out_len.set(pool.name().len());
        Ok(())
    })
}

fn bytes_given_back(pool: millpond_pool, out_bytes: *mut usize, how: fn(&BufferPool) -> usize) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller of the exported function owns what `out_bytes` points to.
        let out = unsafe { Out::new(out_bytes, "out_bytes") }?;
        out.set(how(&raw::pool(pool)?));
        Ok(())
    })
}

/// Gives all idle memory of a pool back to the system now, that of every thread's cache included.
///
/// @param pool the pool
/// @param out_bytes receives the bytes given back
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_bytes` is NULL
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_trim(pool: millpond_pool, out_bytes: *mut usize) -> millpond_status {
    bytes_given_back(pool, out_bytes, BufferPool::trim)
}

/// Takes one look at a pool's idle memory: half of what was not needed since the last look goes back to the system. Call it
/// now and then, or set `maintain_every_ms`.
///
/// @param pool the pool
/// @param out_bytes receives the bytes given back
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_bytes` is NULL
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_maintain(pool: millpond_pool, out_bytes: *mut usize) -> millpond_status {
    bytes_given_back(pool, out_bytes, BufferPool::maintain)
}

/// Changes how closely a pool looks at its leases, from the next get and put on.
///
/// "on", the default: handles and canaries are checked. "sites": places and threads of gets and puts are recorded too, and
/// errors name them. "sample:N": as "on", and each N-th lease of up to 1 MiB of a thread stands on pages of its own, so that a
/// write past its end and a use after its put fault at the instruction; see millpond_report_faults. "full": as "sites", and
/// buffers are used again as late as possible, filled with a pattern meanwhile, so that a write after the put is found.
/// "off", without canaries, is only for the making of a pool.
///
/// @param pool the pool
/// @param check the mode, a NUL-terminated string
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `check` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: `check` is none of these, or the change is to or from "off"
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Ownership: `check` stays the caller's.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_set_check(pool: millpond_pool, check: *const c_char) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller's word that `check` is a string.
        let check = unsafe { crate::options::check(check, "check") }?;
        raw::pool(pool)?.set_check(check)
    })
}

/// Copies the name of a pool's mode, as millpond_pool_set_check takes it.
///
/// @param pool the pool
/// @param buffer receives as much of the name as fits, and a NUL; may be NULL if `capacity` is 0
/// @param capacity bytes at `buffer`; 32 are enough for any
/// @param out_len receives the whole length in bytes without the NUL
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `buffer` is NULL though `capacity` is not 0, or `out_len` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_check(
    pool: millpond_pool,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns `capacity` bytes at `buffer`.
        let mut buffer = unsafe { OutSlice::new(buffer, capacity, "buffer") }?;
        // SAFETY: the caller owns what `out_len` points to.
        let out_len = unsafe { Out::new(out_len, "out_len") }?;
        let check = Tail::<32>::of(raw::pool(pool)?.check());
        set_text(&mut buffer, check.as_str());
        out_len.set(check.as_str().len());
        Ok(())
    })
}

/// Installs, once for the process, a handler of SIGSEGV and SIGBUS that writes on standard error whose lease it was when the
/// address belongs to one that stands on guarded pages (`check` = "sample:N"), and then lets the handler run that stood before.
///
/// @return MILLPOND_OK, also when it is installed already
/// @return MILLPOND_ERR_IO: the system refuses
///
/// Threads: Thread-safe.
/// Fork: a child has the handler too.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_report_faults() -> millpond_status {
    boundary::status(pond::report_faults)
}

/// Makes a pool fail or dawdle from now on, to test what a program does then.
///
/// `what` is a list separated by commas: "get=N" fails the N-th get from now with MILLPOND_ERR_EXHAUSTED, "alloc=N" the N-th
/// creation of a buffer with MILLPOND_ERR_NO_MEMORY, "p=P" each get with the probability P, 0.0 to 1.0, by a sequence that
/// "seed=N" chooses, and "delay=N" makes each put take N milliseconds longer. The empty text ends it. The environment variable
/// MILLPOND_INJECT says the same for all pools.
///
/// @param pool the pool
/// @param what the list, a NUL-terminated string of at most 256 bytes
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `what` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: `what` has something else in it
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Ownership: `what` stays the caller's.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_inject(pool: millpond_pool, what: *const c_char) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller's word that `what` is a string.
        let injection = unsafe { boundary::text(what, INJECT_TEXT_MAX, "what") }?.parse()?;
        raw::pool(pool)?.inject(injection);
        Ok(())
    })
}

/// Longest text for millpond_pool_inject, in bytes.
const INJECT_TEXT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::lease::{self, millpond_lease};
    use crate::options::{MILLPOND_CLEAR_ON_PUT, MILLPOND_LIMIT_FAIL};
    use millpond_status::*;

    fn options(check: *const c_char) -> millpond_pool_options {
        millpond_pool_options {
            struct_size: size_of::<millpond_pool_options>(),
            name: c"unit".as_ptr(),
            classes: std::ptr::null(),
            class_count: 0,
            class_min: 0,
            class_max: 0,
            max_bytes: 0,
            max_retained_bytes: 0,
            alignment: 0,
            thread_cache_bytes: 0,
            wait_ms: 0,
            maintain_every_ms: 0,
            on_limit: MILLPOND_LIMIT_FAIL,
            clear: MILLPOND_CLEAR_ON_PUT,
            check,
        }
    }

    fn pool(check: *const c_char) -> Result<millpond_pool, millpond_status> {
        let (options, mut pool) = (options(check), 0);
        // SAFETY: both are values of this function.
        match unsafe { millpond_pool_new(&raw const options, &raw mut pool) } {
            MILLPOND_OK => Ok(pool),
            status => Err(status),
        }
    }

    fn check_of(pool: millpond_pool) -> String {
        let (mut text, mut len) = ([1 as c_char; 32], 0);
        // SAFETY: room for as many bytes.
        let status = unsafe { millpond_pool_check(pool, text.as_mut_ptr(), text.len(), &raw mut len) };
        assert_eq!(status, MILLPOND_OK);
        // SAFETY: ended by the function that was called.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().expect("ASCII").to_owned();
        assert_eq!(text.len(), len);
        text
    }

    fn get(pool: millpond_pool, len: usize) -> Result<millpond_lease, millpond_status> {
        let mut lease = millpond_lease { id: 0, data: std::ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a value of this function.
        match unsafe { lease::millpond_get(pool, len, &raw mut lease) } {
            MILLPOND_OK => Ok(lease),
            status => Err(status),
        }
    }

    #[test]
    fn a_mode_is_an_option_is_told_and_changes() {
        for mode in [c"off", c"on", c"sites", c"sample:17", c"full"] {
            let made = pool(mode.as_ptr()).expect("a pool");
            assert_eq!(check_of(made), mode.to_str().expect("ASCII"));
            // SAFETY: strings of the program.
            let changed = unsafe { millpond_pool_set_check(made, c"sites".as_ptr()) };
            assert_eq!(changed, if mode == c"off" { MILLPOND_ERR_INVALID_ARGUMENT } else { MILLPOND_OK });
            assert_eq!(check_of(made), if mode == c"off" { "off" } else { "sites" });
            for (text, status) in [
                (std::ptr::null(), MILLPOND_ERR_NULL),
                (c"OFF".as_ptr(), MILLPOND_ERR_INVALID_ARGUMENT),
                (c"a text that is longer than the name of any mode".as_ptr(), MILLPOND_ERR_INVALID_ARGUMENT),
            ] {
                // SAFETY: NULL or a string of the program.
                assert_eq!(unsafe { millpond_pool_set_check(made, text) }, status);
                if !text.is_null() {
                    assert_eq!(pool(text).expect_err("no mode"), status);
                }
            }
            assert_eq!(millpond_pool_free(made), MILLPOND_OK);
            // SAFETY: a string of the program.
            assert_eq!(unsafe { millpond_pool_set_check(made, c"on".as_ptr()) }, MILLPOND_ERR_INVALID_HANDLE);
        }
        // SAFETY: a string of the program.
        assert_eq!(unsafe { millpond_pool_set_check(7, c"on".as_ptr()) }, MILLPOND_ERR_INVALID_HANDLE);
        let made = pool(std::ptr::null()).expect("a pool");
        let (mut text, mut len) = ([1 as c_char; 3], 0);
        // SAFETY: room for two bytes.
        assert_eq!(unsafe { millpond_pool_check(made, text.as_mut_ptr(), 2, &raw mut len) }, MILLPOND_OK);
        assert_eq!((text, len), ([b'o' as c_char, 0, 1], 2));
        // SAFETY: no room, and NULL for the length, which is refused.
        let refused = unsafe { millpond_pool_check(made, std::ptr::null_mut(), 0, std::ptr::null_mut()) };
        assert_eq!(refused, MILLPOND_ERR_NULL);
        assert_eq!(millpond_pool_free(made), MILLPOND_OK);
    }

    #[test]
    fn a_pool_fails_as_it_is_told() {
        let made = pool(std::ptr::null()).expect("a pool");
        let inject = |text: &CStr| {
            // SAFETY: a string of the program.
            unsafe { millpond_pool_inject(made, text.as_ptr()) }
        };
        assert_eq!(inject(c"get=2"), MILLPOND_OK);
        let lease = get(made, 10).expect("the first");
        assert_eq!(get(made, 10).err(), Some(MILLPOND_ERR_EXHAUSTED));
        assert_eq!(inject(c"alloc=1"), MILLPOND_OK);
        assert_eq!(get(made, 10_000).err(), Some(MILLPOND_ERR_NO_MEMORY));
        assert_eq!(inject(c"p=1"), MILLPOND_OK);
        assert_eq!(get(made, 10).err(), Some(MILLPOND_ERR_EXHAUSTED));
        assert_eq!(inject(c"often"), MILLPOND_ERR_INVALID_ARGUMENT);
        assert_eq!(get(made, 10).err(), Some(MILLPOND_ERR_EXHAUSTED), "as before");
        assert_eq!(inject(c""), MILLPOND_OK);
        let long = std::ffi::CString::new("get=1,".repeat(50)).expect("no NUL");
        assert_eq!(inject(&long), MILLPOND_ERR_INVALID_ARGUMENT);
        // SAFETY: NULL is refused.
        assert_eq!(unsafe { millpond_pool_inject(made, std::ptr::null()) }, MILLPOND_ERR_NULL);
        assert_eq!(lease::millpond_put(made, lease.id), MILLPOND_OK);
        assert_eq!(millpond_pool_free(made), MILLPOND_OK);
        // SAFETY: a string of the program.
        assert_eq!(unsafe { millpond_pool_inject(made, c"".as_ptr()) }, MILLPOND_ERR_INVALID_HANDLE);
    }

    #[test]
    fn the_handler_of_faults_is_installed_once() {
        assert_eq!(millpond_report_faults(), MILLPOND_OK);
        assert_eq!(millpond_report_faults(), MILLPOND_OK);
    }

    #[test]
    fn functions_without_a_place_do_what_those_with_one_do() {
        let made = pool(c"sites".as_ptr()).expect("a pool");
        let mut lease = millpond_lease { id: 0, data: std::ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a value of this function.
        assert_eq!(unsafe { lease::millpond_try_get(made, 100, &raw mut lease) }, MILLPOND_OK);
        assert_eq!((lease.len, lease.capacity), (100, 512));
        assert_eq!(lease::millpond_put_used(made, lease.id, 101), MILLPOND_ERR_INVALID_ARGUMENT);
        assert_eq!(lease::millpond_put_used(made, lease.id, 100), MILLPOND_OK);
        let over = lease.id;
        // SAFETY: a value of this function.
        assert_eq!(unsafe { lease::millpond_get_timeout(made, 200, 1, &raw mut lease) }, MILLPOND_OK);
        assert_ne!(lease.id, over);
        assert_eq!(lease.len, 200);
        assert_eq!(lease::millpond_put(made, over), MILLPOND_ERR_DOUBLE_PUT);
        // SAFETY: a NUL-terminated string of this thread.
        let said = unsafe { CStr::from_ptr(crate::status::millpond_last_error()) }.to_string_lossy().into_owned();
        assert!(!said.contains(" at "), "no place is known: {said}");
        assert_eq!(lease::millpond_put(made, lease.id), MILLPOND_OK);
        // SAFETY: NULL is refused.
        assert_eq!(unsafe { lease::millpond_try_get(made, 1, std::ptr::null_mut()) }, MILLPOND_ERR_NULL);
        // SAFETY: as above.
        assert_eq!(unsafe { lease::millpond_get_timeout(made, 1, 0, std::ptr::null_mut()) }, MILLPOND_ERR_NULL);
        assert_eq!(millpond_pool_free(made), MILLPOND_OK);
    }
}
