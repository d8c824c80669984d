//! The options a pool is made with.

use std::ffi::c_char;
use std::mem::size_of;
use std::time::Duration;

use pond::{BufferPool, Builder, Check, Classes, ClearPolicy, LimitPolicy, Result};

use crate::boundary::{self, Sized, invalid};

/// Says zero where 0 means the default: `max_retained_bytes = MILLPOND_ZERO` keeps no idle memory.
pub const MILLPOND_ZERO: usize = usize::MAX;
/// Longer than any mode's name.
const CHECK_TEXT_MAX: usize = 32;
/// Longest name of a pool in bytes, without the NUL.
pub const MILLPOND_NAME_MAX: usize = 64;

/// Value of `on_limit`: a get beyond the limit fails with MILLPOND_ERR_EXHAUSTED.
pub const MILLPOND_LIMIT_FAIL: u32 = 0;
/// Value of `on_limit`: a get waits up to `wait_ms` for a put, then fails with MILLPOND_ERR_EXHAUSTED.
pub const MILLPOND_LIMIT_WAIT: u32 = 1;
/// Value of `on_limit`: a get beyond the limit is given memory for this lease alone.
pub const MILLPOND_LIMIT_UNPOOLED: u32 = 2;

/// Value of `clear`: zeroed at put over all that may have been written.
pub const MILLPOND_CLEAR_ON_PUT: u32 = 0;
/// Value of `clear`: zeroed over the length at get.
pub const MILLPOND_CLEAR_ON_GET: u32 = 1;
/// Value of `clear`: contents at get are whatever the last tenant wrote; only for pools of one tenant.
pub const MILLPOND_CLEAR_NEVER: u32 = 2;

/// What a pool is made with. Begin with MILLPOND_POOL_OPTIONS_INIT; every field left at 0 means the default.
///
/// A struct that is longer than this version's and not zero behind its end is refused, because it asks for something that
/// this version does not know.
///
/// Threads: Thread-compatible: a value, read during one call.
/// Fork: plain data.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_pool_options {
    /// sizeof(millpond_pool_options), set by MILLPOND_POOL_OPTIONS_INIT.
    pub struct_size: usize,
    /// Name in messages and metrics: 1 to MILLPOND_NAME_MAX printable bytes and a NUL; NULL: "pool-" and a number.
    pub name: *const c_char,
    /// The capacities to hand out: `class_count` multiples of 64, ascending, 64 to 1 GiB, at most 128. NULL: the nine of the
    /// default (512 B, 1, 4, 16, 64, 256 KiB, 1, 4, 16 MiB) or those between `class_min` and `class_max`.
    pub classes: *const usize,
    /// Number of `classes`.
    pub class_count: usize,
    /// With `class_max`: four classes per doubling between the two. Not together with `classes`.
    pub class_min: usize,
    /// See `class_min`.
    pub class_max: usize,
    /// Most bytes that the pool may hold, leased and idle. Default: a quarter of the machine's or the control group's memory.
    pub max_bytes: usize,
    /// Most idle bytes kept for reuse. Default: a sixteenth of `max_bytes`, at most 256 MiB, at least 1 MiB. MILLPOND_ZERO:
    /// none.
    pub max_retained_bytes: usize,
    /// Alignment of every lease: a power of two from 64 to 2 MiB. Default: 64.
    pub alignment: usize,
    /// Most idle bytes in one thread's cache. Its share of that is at most an eighth of what threads may still keep together,
    /// half of `max_retained_bytes`; a sixteenth when less than half of that is left. Classes have it from the smallest, as many
    /// as leave a quarter of it with one buffer each; of larger ones that a thread uses it keeps one buffer each, at most a
    /// quarter of `max_retained_bytes` in all threads. Default: 32 MiB.
    /// MILLPOND_ZERO: no thread caches.
    pub thread_cache_bytes: usize,
    /// With MILLPOND_LIMIT_WAIT: milliseconds a get may wait. Otherwise 0.
    pub wait_ms: u64,
    /// Milliseconds between the looks of a background thread that gives idle memory back. Default: no such thread.
    pub maintain_every_ms: u64,
    /// One of MILLPOND_LIMIT_*.
    pub on_limit: u32,
    /// One of MILLPOND_CLEAR_*.
    pub clear: u32,
    /// How closely the pool looks at its leases: "off", "on", "sites", "sample:N" or "full", as for millpond_pool_set_check.
    /// NULL: what the environment variable MILLPOND_CHECK says, or "on".
    pub check: *const c_char,
}

// SAFETY: begins with its size; integers and pointers only; 13 words of 8 bytes and two of 4 leave no padding.
unsafe impl Sized for millpond_pool_options {
    const FIRST: usize = 104;
    const NAME: &'static str = "millpond_pool_options";
}

const _: () = assert!(size_of::<usize>() != 8 || size_of::<millpond_pool_options>() == 112);

/// Reads a mode's name.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string.
pub(crate) unsafe fn check(text: *const c_char, argument: &'static str) -> Result<Check> {
    // SAFETY: the promise of this function.
    unsafe { boundary::text(text, CHECK_TEXT_MAX, argument) }?.parse()
}

/// The number a size option stands for; `None` for the default.
fn size(option: usize) -> Option<usize> {
    match option {
        0 => None,
        MILLPOND_ZERO => Some(0),
        bytes => Some(bytes),
    }
}

impl millpond_pool_options {
    /// # Safety
    /// `classes` is NULL or points to `class_count` readable sizes.
    unsafe fn classes(&self) -> Result<Classes> {
        let range = self.class_min != 0 || self.class_max != 0;
        let list = self.class_count != 0 || !self.classes.is_null();
        match (list, range) {
            (false, false) => return Ok(Classes::Default),
            (false, true) => {
                return Ok(Classes::FourPerDoubling { min: self.class_min, max: self.class_max });
            }
            (true, true) => {
                return Err(invalid("options.classes and options.class_min contradict: give a list or a range"));
            }
            (true, false) => {}
        }
        // SAFETY: the promise of this function.
        let list = unsafe { boundary::sizes(self.classes, self.class_count, "options.classes") }?;
        Ok(Classes::List(list))
    }

    fn limit(&self) -> Result<LimitPolicy> {
        match self.on_limit {
            MILLPOND_LIMIT_WAIT => Ok(LimitPolicy::Wait(Duration::from_millis(self.wait_ms))),
            _ if self.wait_ms != 0 => Err(invalid("options.wait_ms needs options.on_limit = MILLPOND_LIMIT_WAIT")),
            MILLPOND_LIMIT_FAIL => Ok(LimitPolicy::Fail),
            MILLPOND_LIMIT_UNPOOLED => Ok(LimitPolicy::Unpooled),
            other => Err(invalid(format_args!("options.on_limit is {other}: use one of MILLPOND_LIMIT_*"))),
        }
    }

    fn clear(&self) -> Result<ClearPolicy> {
        match self.clear {
            MILLPOND_CLEAR_ON_PUT => Ok(ClearPolicy::OnPut),
            MILLPOND_CLEAR_ON_GET => Ok(ClearPolicy::OnGet),
            MILLPOND_CLEAR_NEVER => Ok(ClearPolicy::Never),
            other => Err(invalid(format_args!("options.clear is {other}: use one of MILLPOND_CLEAR_*"))),
        }
    }

    /// # Safety
    /// `name`, `classes` and `check` are NULL or readable as their comments say.
    unsafe fn builder(&self) -> Result<Builder> {
        // SAFETY: the promise of this function.
        let classes = unsafe { self.classes() }?;
        let mut builder = BufferPool::builder().classes(classes).on_limit(self.limit()?).clear(self.clear()?);
        if !self.name.is_null() {
            // SAFETY: the promise of this function.
            builder = builder.name(unsafe { boundary::text(self.name, MILLPOND_NAME_MAX, "options.name") }?);
        }
        if let Some(bytes) = size(self.max_bytes) {
            builder = builder.max_bytes(bytes);
        }
        if let Some(bytes) = size(self.max_retained_bytes) {
            builder = builder.max_retained_bytes(bytes);
        }
        if let Some(bytes) = size(self.alignment) {
            builder = builder.alignment(bytes);
        }
        if let Some(bytes) = size(self.thread_cache_bytes) {
            builder = builder.thread_cache_bytes(bytes);
        }
        if self.maintain_every_ms != 0 {
            builder = builder.maintain_every(Duration::from_millis(self.maintain_every_ms));
        }
        if !self.check.is_null() {
            // SAFETY: the promise of this function.
            builder = builder.check(unsafe { check(self.check, "options.check") }?);
        }
        Ok(builder)
    }
}

/// The builder that the caller's options ask for.
///
/// # Safety
/// `options` is NULL or points to a readable struct as long as its first field says, whose pointers are as their comments say.
pub(crate) unsafe fn builder(options: *const millpond_pool_options) -> Result<Builder> {
    // SAFETY: the promise of this function.
    let options = unsafe { boundary::read_sized(options, "options") }?;
    // SAFETY: the promise of this function.
    unsafe { options.builder() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_one_of_three_and_only_to_wait_takes_a_time() {
        let limit = |on_limit, wait_ms| {
            // SAFETY: integers and pointers, which may all be zero.
            let mut options: millpond_pool_options = unsafe { std::mem::zeroed() };
            (options.on_limit, options.wait_ms) = (on_limit, wait_ms);
            options.limit().map_err(|error| error.message())
        };
        assert_eq!(limit(MILLPOND_LIMIT_FAIL, 0), Ok(LimitPolicy::Fail));
        assert_eq!(limit(MILLPOND_LIMIT_UNPOOLED, 0), Ok(LimitPolicy::Unpooled));
        for wait_ms in [0, 1500] {
            let wait = LimitPolicy::Wait(Duration::from_millis(wait_ms));
            assert_eq!(limit(MILLPOND_LIMIT_WAIT, wait_ms), Ok(wait));
        }
        for on_limit in [MILLPOND_LIMIT_FAIL, MILLPOND_LIMIT_UNPOOLED, 3] {
            let refused = limit(on_limit, 1).expect_err("no time is waited");
            assert!(refused.contains("wait_ms needs options.on_limit = MILLPOND_LIMIT_WAIT"), "{refused}");
        }
        let refused = limit(3, 0).expect_err("none of them");
        assert!(refused.contains("options.on_limit is 3: use one of"), "{refused}");
    }
}
