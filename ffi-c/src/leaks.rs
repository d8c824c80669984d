//! The list of leases that are out.

use std::ffi::c_char;

use pond::{LeakRecord, raw};

use crate::boundary::{self, Out, OutSlice, Tail, set_text};
use crate::pool::millpond_pool;
use crate::status::millpond_status;

/// Room for a call site and its NUL in a millpond_leak.
pub const MILLPOND_SITE_MAX: usize = 160;

/// One lease that is out. The struct never grows.
///
/// Threads: Thread-compatible: a value, written during one call.
/// Fork: plain data.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_leak {
    /// The lease's handle: what millpond_put and millpond_lease_reclaim take.
    pub id: u64,
    /// What was asked for.
    pub len: usize,
    /// What the buffer holds.
    pub capacity: usize,
    /// Milliseconds since the get.
    pub age_ms: u64,
    /// Where the get was: "file:line" and a NUL, its beginning cut off where it is too long; "unknown" without call sites.
    pub site: [c_char; MILLPOND_SITE_MAX],
}

impl From<&LeakRecord> for millpond_leak {
    fn from(record: &LeakRecord) -> Self {
        let mut leak = Self {
            id: record.id,
            len: record.len,
            capacity: record.capacity,
            age_ms: u64::try_from(record.age.as_millis()).unwrap_or(u64::MAX),
            site: [0; MILLPOND_SITE_MAX],
        };
        // The end of a path says more than its beginning.
        let site = Tail::<{ MILLPOND_SITE_MAX - 1 }>::of(record.site);
        let mut room = OutSlice::of(&mut leak.site);
        set_text(&mut room, site.as_str());
        leak
    }
}

/// Lists the leases that are out, oldest first. What stands here when a program ends was never put.
///
/// @param pool the pool
/// @param leaks room for `capacity` of them; NULL only with 0
/// @param capacity the room
/// @param out_count receives the number of leases that are out, which may be more than there is room for
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_count` is NULL, or `leaks` is with a capacity
/// @return MILLPOND_ERR_INVALID_ARGUMENT: no object can have as many elements as `capacity`
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
/// @return MILLPOND_ERR_NO_MEMORY: there is none to bring the list in order
///
/// Ownership: the leases stay as they are.
/// Threads: Thread-safe; a lease may be put while the list is read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_leaks(
    pool: millpond_pool,
    leaks: *mut millpond_leak,
    capacity: usize,
    out_count: *mut usize,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns room for `capacity` elements at `leaks`.
        let mut leaks = unsafe { OutSlice::new(leaks, capacity, "leaks") }?;
        // SAFETY: the caller owns what `out_count` points to.
        let out_count = unsafe { Out::new(out_count, "out_count") }?;
        let records = raw::pool(pool)?.leaks()?;
        for (index, record) in records.iter().enumerate().take(leaks.capacity()) {
            leaks.set(index, record.into());
        }
        out_count.set(records.len());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_place_the_end_is_shown() {
        let pool = pond::BufferPool::new("long paths").unwrap();
        for len in [1, MILLPOND_SITE_MAX - 3, MILLPOND_SITE_MAX - 2, MILLPOND_SITE_MAX, 1000] {
            let file: String = ('a'..='z').cycle().take(len).collect();
            let mut lease = pool.get(100).unwrap();
            lease.set_site(pond::Site::interned(&file, 7, ""));
            let leak = millpond_leak::from(&pool.leaks().unwrap()[0]);
            // SAFETY: a text of the struct, which ends with a NUL.
            let shown = unsafe { std::ffi::CStr::from_ptr(leak.site.as_ptr()) }.to_str().unwrap();
            let whole = format!("{file}:7");
            assert_eq!(shown, &whole[whole.len().saturating_sub(MILLPOND_SITE_MAX - 1)..], "{len}");
            assert_eq!((leak.len, leak.capacity), (100, 512));
        }
    }
}
