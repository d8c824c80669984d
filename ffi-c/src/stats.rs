//! Statistics of a pool and of its size classes.

use std::ffi::c_char;
use std::mem::size_of;

use pond::raw;

use crate::boundary::{self, Out, OutSized, OutSlice, Sized, invalid, set_text};
use crate::pool::millpond_pool;
use crate::status::millpond_status;

/// What a pool counted: exact, and reconciling at rest: gets = puts + in_use + detached + leaked, and
/// created - destroyed = in_use + retained_buffers. Begin with MILLPOND_STATS_INIT.
///
/// Threads: Thread-compatible: a value, written during one call.
/// Fork: plain data.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_stats {
    /// sizeof(millpond_stats), set by MILLPOND_STATS_INIT.
    pub struct_size: usize,
    /// Buffers created because none was idle.
    pub allocations: u64,
    /// Leases taken.
    pub gets: u64,
    /// Leases given back.
    pub puts: u64,
    /// Leases that are out.
    pub in_use: u64,
    /// Gets above the largest class or beyond the limit: memory for one lease alone.
    pub oversized: u64,
    /// Buffers that came back and were not kept.
    pub discarded: u64,
    /// Gets served by an idle buffer.
    pub hits: u64,
    /// Bytes of capacity out on lease.
    pub live_bytes: u64,
    /// Bytes asked for of those.
    pub requested_bytes: u64,
    /// The difference of the two.
    pub waste_bytes: u64,
    /// Most bytes of capacity that were out at a time.
    pub peak_live_bytes: u64,
    /// Idle buffers kept for reuse.
    pub retained_buffers: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Most bytes that the pool may hold.
    pub limit_bytes: u64,
    /// Buffers that left the pool for good.
    pub detached: u64,
    /// Leases that their owner lost and the library took back.
    pub leaked: u64,
    /// Those of them whose memory cannot be used again.
    pub lost: u64,
    /// Bytes given back to the system by trim, maintain and decay.
    pub trimmed_bytes: u64,
    /// Buffers ever created.
    pub created: u64,
    /// Buffers gone: given back, detached or lost.
    pub destroyed: u64,
    /// Second puts refused.
    pub double_puts: u64,
    /// Other uses of a lease that was over, refused.
    pub stale_uses: u64,
    /// Puts into the wrong pool, refused.
    pub foreign_puts: u64,
    /// Puts that found something written behind the length.
    pub overruns: u64,
    /// Gets that failed at the limit.
    pub exhausted: u64,
    /// Leases that were to stand on guarded pages (`check` = "sample:N") and could not, for want of addresses or places.
    pub unguarded: u64,
}

// SAFETY: begins with its size; 27 words of 8 bytes leave no padding.
unsafe impl Sized for millpond_stats {
    const FIRST: usize = 208;
    const NAME: &'static str = "millpond_stats";
}

/// What one size class of a pool counted. Begin with MILLPOND_CLASS_STATS_INIT.
///
/// Threads: Thread-compatible: a value, written during one call.
/// Fork: plain data.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_class_stats {
    /// sizeof(millpond_class_stats), set by MILLPOND_CLASS_STATS_INIT.
    pub struct_size: usize,
    /// Capacity of its buffers in bytes.
    pub size: u64,
    /// Leases taken.
    pub gets: u64,
    /// Leases given back.
    pub puts: u64,
    /// Leases that are out.
    pub in_use: u64,
    /// Buffers created because none was idle.
    pub allocations: u64,
    /// Gets served by an idle buffer.
    pub hits: u64,
    /// Idle buffers kept for reuse.
    pub retained_buffers: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Buffers that came back and were not kept.
    pub discarded: u64,
    /// Buffers that left the pool for good.
    pub detached: u64,
    /// Leases that their owner lost and the library took back.
    pub leaked: u64,
}

// SAFETY: begins with its size; 12 words of 8 bytes leave no padding.
unsafe impl Sized for millpond_class_stats {
    const FIRST: usize = 96;
    const NAME: &'static str = "millpond_class_stats";
}

const _: () = assert!(size_of::<usize>() != 8 || size_of::<millpond_stats>() == 216);
const _: () = assert!(size_of::<usize>() != 8 || size_of::<millpond_class_stats>() == 96);

impl From<&pond::Stats> for millpond_stats {
    fn from(stats: &pond::Stats) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            allocations: stats.allocations,
            gets: stats.gets,
            puts: stats.puts,
            in_use: stats.in_use,
            oversized: stats.oversized,
            discarded: stats.discarded,
            hits: stats.hits,
            live_bytes: stats.live_bytes,
            requested_bytes: stats.requested_bytes,
            waste_bytes: stats.waste_bytes,
            peak_live_bytes: stats.peak_live_bytes,
            retained_buffers: stats.retained_buffers,
            retained_bytes: stats.retained_bytes,
            limit_bytes: stats.limit_bytes,
            detached: stats.detached,
            leaked: stats.leaked,
            lost: stats.lost,
            trimmed_bytes: stats.trimmed_bytes,
            created: stats.created,
            destroyed: stats.destroyed,
            double_puts: stats.double_puts,
            stale_uses: stats.stale_uses,
            foreign_puts: stats.foreign_puts,
            overruns: stats.overruns,
            exhausted: stats.exhausted,
            unguarded: stats.unguarded,
        }
    }
}

impl From<&pond::ClassStats> for millpond_class_stats {
    fn from(class: &pond::ClassStats) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            size: class.size,
            gets: class.gets,
            puts: class.puts,
            in_use: class.in_use,
            allocations: class.allocations,
            hits: class.hits,
            retained_buffers: class.retained_buffers,
            retained_bytes: class.retained_bytes,
            discarded: class.discarded,
            detached: class.detached,
            leaked: class.leaked,
        }
    }
}

/// Reads what a pool counted, without stopping it.
///
/// @param pool the pool
/// @param out_stats receives the figures; its `struct_size` says how much room there is
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_stats` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: `struct_size` is not set
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe; while other threads work, figures of one reading may be of slightly different moments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_stats(pool: millpond_pool, out_stats: *mut millpond_stats) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns the struct, as long as it says.
        let out = unsafe { OutSized::new(out_stats, "out_stats") }?;
        out.set(millpond_stats::from(&raw::pool(pool)?.stats()));
        Ok(())
    })
}

/// Counts a pool's size classes.
///
/// @param pool the pool
/// @param out_count receives the number, 1 to 128
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_count` is NULL
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_class_count(pool: millpond_pool, out_count: *mut usize) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_count` points to.
        let out = unsafe { Out::new(out_count, "out_count") }?;
        out.set(raw::pool(pool)?.class_sizes().len());
        Ok(())
    })
}

/// Reads what one size class of a pool counted.
///
/// @param pool the pool
/// @param index 0 for the smallest class, up to the number of classes less 1
/// @param out_stats receives the figures; its `struct_size` says how much room there is
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_stats` is NULL
/// @return MILLPOND_ERR_INVALID_ARGUMENT: there is no such class, or `struct_size` is not set
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_class_stats(
    pool: millpond_pool,
    index: usize,
    out_stats: *mut millpond_class_stats,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns the struct, as long as it says.
        let out = unsafe { OutSized::new(out_stats, "out_stats") }?;
        let stats = raw::pool(pool)?.stats();
        let class = stats
            .classes
            .get(index)
            .ok_or_else(|| invalid(format_args!("index {index}: the pool has {} classes", stats.classes.len())))?;
        out.set(millpond_class_stats::from(class));
        Ok(())
    })
}

/// Writes a pool's statistics in Prometheus' text format and a NUL into the caller's memory, cut where the room does not
/// suffice.
///
/// @param pool the pool
/// @param buffer room for `capacity` bytes; NULL only with 0
/// @param capacity the room
/// @param out_len receives the whole text's length without the NUL
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_NULL: `out_len` is NULL, or `buffer` is with a capacity
/// @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
/// @return MILLPOND_ERR_NO_MEMORY: there is none for the text
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_pool_prometheus(
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
        let text = pool.stats().to_prometheus(pool.name())?;
        set_text(&mut buffer, &text);
        out_len.set(text.len());
        Ok(())
    })
}
