//! Lists the leases that are out.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::buffer::inner::Inner;
use crate::buffer::slot::{self, Slot};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
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

/// Lists a pool's live leases, oldest first.
pub(crate) fn list(inner: &Inner) -> Result<Vec<LeakRecord>> {
    clock::tick();
    let mut records = Vec::new();
    let mut whole = true;
    slot::for_each(|slot| {
        let taken = slot.taken.load(Ordering::Relaxed);
        if taken != 0 && std::ptr::eq(slot.pool.load(Ordering::Relaxed), inner) {
            whole = whole && append(&mut records, inner, slot, taken).is_some();
        }
    });
    if !whole {
        drop(records);
        return Err(Error::new(
            ErrorKind::NoMemory,
            format_args!("no memory for the list of the leases of pool \"{}\"", inner.name),
        ));
    }
    // A stable sort would need memory. Leases of the same age stay in the order of their slots.
    records.sort_unstable_by_key(|record| (std::cmp::Reverse(record.age), slot::index_of(record.id)));
    Ok(records)
}

fn append(records: &mut Vec<LeakRecord>, inner: &Inner, slot: &Slot, taken: u32) -> Option<()> {
    let mut pool = String::new();
    pool.try_reserve_exact(inner.name.len()).ok()?;
    pool.push_str(&inner.name);
    records.try_reserve(1).ok()?;
    records.push(LeakRecord {
        id: slot.handle.load(Ordering::Relaxed),
        pool,
        len: slot.len(),
        capacity: slot.capacity(),
        age: clock::since(taken),
        site: Site::from_bits(slot.site.load(Ordering::Relaxed)),
    });
    Some(())
}
