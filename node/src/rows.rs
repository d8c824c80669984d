//! Notes who holds which buffer, in memory that JavaScript writes and every thread may read.
//!
//! One row per buffer of a station, eight `f64` each:
//! ```text
//! 0 length leased + 1, 0 when idle   1 1 when a view was handed out   2 time of the get (ms since 1970)
//! 3 number of the get's site, or 0   4 capacity                       5 not a double: the lease's handle in core, or 0
//! ```
//! JavaScript writes columns 0 to 3 with plain stores; a finalizer and `leaks()` read them. A row is read by other
//! threads while its owner writes it: they may see a lease that has just ended, never anything but a number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::js::Outcome;
use crate::memory::{Arc, push, reserve};
use crate::short::Short;

pub(crate) const COLUMNS: usize = 8;
pub(crate) const CHUNK_ROWS: usize = 64;
const CHUNK_CELLS: usize = COLUMNS * CHUNK_ROWS;

/// The columns of a row.
#[derive(Copy, Clone)]
pub(crate) enum Column {
    Length = 0,
    Exposed = 1,
    Since = 2,
    Site = 3,
    Capacity = 4,
    Listed = 5,
}

/// Rows that one Float64Array shows.
#[repr(align(64))]
pub(crate) struct Chunk([AtomicU64; CHUNK_CELLS]);

impl Chunk {
    /// Returns the address and length in bytes for an ArrayBuffer; `AtomicU64` allows writes through it.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        (self.0.as_ptr().cast_mut().cast::<u8>(), size_of::<Chunk>())
    }

    fn get(&self, row: usize, column: Column) -> f64 {
        f64::from_bits(self.0[row * COLUMNS + column as usize].load(Ordering::Relaxed))
    }

    /// Returns the handle under which core lists a row's lease itself, or 0.
    fn listed(&self, row: usize) -> u64 {
        self.0[row * COLUMNS + Column::Listed as usize].load(Ordering::Relaxed)
    }

    fn set(&self, row: usize, column: Column, value: f64) {
        self.0[row * COLUMNS + column as usize].store(value.to_bits(), Ordering::Relaxed);
    }
}

/// One station's rows.
pub(crate) struct Rows {
    thread: Short,
    chunks: Mutex<Vec<Arc<Chunk>>>,
}

/// A lease that nobody put yet.
pub(crate) struct LiveLease {
    pub length: f64,
    pub capacity: f64,
    pub since: f64,
    pub site: f64,
    pub thread: Short,
}

/// What a request was for, in errors.
const ROWS: &str = "the table of the leases";
pub(crate) const LIST: &str = "the list of the leases";

/// The rows of all stations, by pool.
type Registry = HashMap<u64, Vec<Arc<Rows>>>;

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
    lock(REGISTRY.get_or_init(Mutex::default))
}

/// Locks what no panic can leave half done.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rows {
    /// Makes the rows of a station of `pool`, listed until [`unlist`](Rows::unlist).
    pub(crate) fn new(pool: u64, thread: Short) -> Outcome<Arc<Rows>> {
        let rows = Arc::new(Rows { thread, chunks: Mutex::default() }, ROWS)?;
        let mut registry = registry();
        reserve(&mut registry, ROWS)?;
        let listed = registry.entry(pool).or_default();
        let added = push(listed, rows.clone(), ROWS);
        if listed.is_empty() {
            registry.remove(&pool);
        }
        added.map(|()| rows)
    }

    /// Forgets the rows of a station that is gone.
    pub(crate) fn unlist(pool: u64, rows: &Arc<Rows>) {
        let mut registry = registry();
        if let Some(listed) = registry.get_mut(&pool) {
            listed.retain(|other| !other.is(rows));
            if listed.is_empty() {
                registry.remove(&pool);
            }
        }
    }

    /// Returns a chunk; makes it when it is the next one.
    pub(crate) fn chunk(&self, number: usize) -> Outcome<Option<Arc<Chunk>>> {
        let mut chunks = lock(&self.chunks);
        if number == chunks.len() {
            push(&mut chunks, Arc::new(Chunk([const { AtomicU64::new(0) }; CHUNK_CELLS]), ROWS)?, ROWS)?;
        }
        Ok(chunks.get(number).cloned())
    }

    pub(crate) fn get(&self, index: usize, column: Column) -> f64 {
        lock(&self.chunks).get(index / CHUNK_ROWS).map_or(0.0, |chunk| chunk.get(index % CHUNK_ROWS, column))
    }

    /// Starts a buffer's row: idle, not seen by anybody.
    pub(crate) fn start(&self, index: usize, capacity: usize, listed_by_core: u64) -> Outcome<()> {
        if let Some(chunk) = self.chunk(index / CHUNK_ROWS)? {
            let row = index % CHUNK_ROWS;
            for column in [Column::Length, Column::Exposed, Column::Since, Column::Site] {
                chunk.set(row, column, 0.0);
            }
            chunk.set(row, Column::Capacity, capacity as f64);
            chunk.0[row * COLUMNS + Column::Listed as usize].store(listed_by_core, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Marks a row as nobody's.
    pub(crate) fn clear(&self, index: usize) {
        if let Some(chunk) = lock(&self.chunks).get(index / CHUNK_ROWS) {
            chunk.set(index % CHUNK_ROWS, Column::Length, 0.0);
        }
    }

    /// Takes over what JavaScript noted in its own memory, where it may not see ours.
    pub(crate) fn copy_from(&self, number: usize, cells: &[f64]) {
        if let Some(chunk) = lock(&self.chunks).get(number) {
            for (index, value) in cells.iter().enumerate().take(CHUNK_CELLS) {
                if index % COLUMNS < Column::Capacity as usize {
                    chunk.0[index].store(value.to_bits(), Ordering::Relaxed);
                }
            }
        }
    }
}

/// Visits the rows of a pool's stations that were got from: what each says, and its thread.
fn for_each_live(pool: u64, mut visit: impl FnMut(&Chunk, usize, Short) -> Outcome<()>) -> Outcome<()> {
    for rows in registry().get(&pool).into_iter().flatten() {
        for chunk in lock(&rows.chunks).iter() {
            for row in 0..CHUNK_ROWS {
                if chunk.get(row, Column::Length) > 0.0 {
                    visit(chunk, row, rows.thread)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the handles of those leases that core lists itself, in their order, and the threads that have them.
pub(crate) fn threads(pool: u64) -> Outcome<Vec<(u64, Short)>> {
    let mut threads = Vec::new();
    for_each_live(pool, |chunk, row, thread| match chunk.listed(row) {
        0 => Ok(()),
        handle => push(&mut threads, (handle, thread), LIST),
    })?;
    threads.sort_unstable_by_key(|(handle, _)| *handle);
    Ok(threads)
}

/// Lists the live leases that stations of a pool hold, except those that core lists itself.
pub(crate) fn live_leases(pool: u64, leases: &mut Vec<LiveLease>) -> Outcome<()> {
    for_each_live(pool, |chunk, row, thread| {
        if chunk.listed(row) != 0 {
            return Ok(());
        }
        let lease = LiveLease {
            length: chunk.get(row, Column::Length) - 1.0,
            capacity: chunk.get(row, Column::Capacity),
            since: chunk.get(row, Column::Since),
            site: chunk.get(row, Column::Site),
            thread,
        };
        push(leases, lease, LIST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_rows_are_listed_until_the_station_is_gone() {
        let worker = Short::of("worker 1");
        let rows = Rows::new(77, worker).ok().expect("memory");
        for (index, capacity, listed) in [(0, 512, 0), (CHUNK_ROWS, 1024, 0), (1, 1 << 20, 0xfff8_0000_0000_0007)] {
            rows.start(index, capacity, listed).ok().expect("memory");
        }
        let live_leases = |pool| {
            let mut leases = Vec::new();
            live_leases(pool, &mut leases).ok().expect("memory");
            leases
        };
        let chunk = rows.chunk(0).ok().flatten().expect("made by start");
        chunk.set(0, Column::Length, 101.0);
        chunk.set(1, Column::Length, 7.0);
        let live = live_leases(77);
        assert_eq!(live.len(), 1);
        assert_eq!((live[0].length, live[0].capacity), (100.0, 512.0));
        assert_eq!(live[0].thread, worker);
        assert_eq!(threads(77).ok(), Some(vec![(0xfff8_0000_0000_0007, worker)]));
        rows.clear(0);
        assert!(live_leases(77).is_empty());
        chunk.set(0, Column::Length, 5.0);
        assert_eq!(live_leases(77).len(), 1);
        Rows::unlist(77, &rows);
        assert!(live_leases(77).is_empty());
        assert!(!registry().contains_key(&77));
    }

    #[test]
    fn a_mirror_never_changes_what_core_wrote() {
        let rows = Rows::new(78, Short::of("main")).ok().expect("memory");
        rows.start(0, 4096, 0).ok().expect("memory");
        rows.copy_from(0, &[11.0, 1.0, 5.0, 0.0, -1.0, -1.0, -1.0, -1.0]);
        assert_eq!(rows.get(0, Column::Length), 11.0);
        assert_eq!(rows.get(0, Column::Capacity), 4096.0);
    }
}
