//! Lists the leases that are out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::buffer::inner::Inner;
use crate::buffer::slot;
use crate::clock;
use crate::site::Site;

/// A lease that was got and not put.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeakRecord {
    /// The lease's handle; see [`raw`](crate::raw).
    pub id: u64,
    /// The name of the pool.
    pub pool: String,
    /// The length asked for, in bytes.
    pub len: usize,
    /// How many bytes the buffer holds.
    pub capacity: usize,
    /// How long ago it was got. Measured by a coarse clock, which moves when buffers are created or change
    /// threads and when statistics are read: an upper bound, exact to 10 ms where gets create.
    pub age: Duration,
    /// Where it was got.
    pub site: Site,
}

impl fmt::Display for LeakRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of pool \"{}\", got at {}, {:.2} s ago",
            self.len,
            self.pool,
            self.site,
            self.age.as_secs_f64()
        )
    }
}

/// Lists a pool's live leases, oldest first. As many as memory for the list allows.
pub(crate) fn list(inner: &Arc<Inner>) -> Vec<LeakRecord> {
    clock::tick();
    let mut records: Vec<LeakRecord> = Vec::new();
    slot::for_each(|slot| {
        let taken = slot.taken.load(Ordering::Relaxed);
        let here = std::ptr::eq(slot.pool.load(Ordering::Relaxed), Arc::as_ptr(inner));
        if taken == 0 || !here || records.try_reserve(1).is_err() {
            return;
        }
        records.push(LeakRecord {
            id: slot.handle.load(Ordering::Relaxed),
            pool: inner.name.clone(),
            len: slot.len.load(Ordering::Relaxed),
            capacity: slot.capacity(),
            age: clock::since(taken),
            site: Site::from_bits(slot.site.load(Ordering::Relaxed)),
        });
    });
    records.sort_by_key(|record| std::cmp::Reverse(record.age));
    records
}
