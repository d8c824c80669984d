//! Words why a handle is refused, from what the slot still tells of it.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::buffer::history::Act;
use crate::buffer::inner::{Inner, add};
use crate::buffer::put;
use crate::buffer::registry;
use crate::buffer::slot::Slot;
use crate::buffer::strong::Strong;
use crate::error::{Error, ErrorKind};
use crate::misuse;
use crate::site::Site;

#[cold]
pub(crate) fn no_pool(pool_id: u64) -> Error {
    Error::new(
        ErrorKind::InvalidHandle,
        format_args!(
            "{pool_id:#x} is no pool, or one that was freed; use the number that the pool's creation returned"
        ),
    )
}

#[cold]
pub(crate) fn busy(slot: &Slot, len: usize) -> Error {
    // Another thread may have unpinned and put the lease since, and let go of its pool.
    let own = OfPool(registry::find_at(slot.pool_of_any()));
    let got = put::got_of_any(slot, own.0.as_deref());
    Error::new(
        ErrorKind::Busy,
        format_args!(
            "a lease of {len} bytes{own}, got{got}, is pinned and stays live; unpin it, or wait for the operation that pinned \
             it"
        ),
    )
}

#[cold]
pub(crate) fn used_too_much(used: usize, len: usize) -> Error {
    Error::invalid(format_args!("used is {used}, the lease has {len} bytes; it stays live"))
}

#[cold]
#[inline(never)]
pub(crate) fn not_a_lease(lease_id: u64) -> Error {
    Error::new(
        ErrorKind::InvalidHandle,
        format_args!("{lease_id:#x} is no lease of this process; use the id that get returned"),
    )
}

/// Words the pool of a lease, where it is known.
struct OfPool(Option<Strong>);

impl fmt::Display for OfPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(inner) => write!(f, " of pool \"{}\"", inner.name),
            None => Ok(()),
        }
    }
}

/// Counts and words the put of another pool's live lease into `inner`.
#[cold]
pub(crate) fn foreign(inner: &Inner, slot: &Slot, here: Site) -> Error {
    // A stock's: what its owner lends of it is not known here.
    let known = slot.taken.load(Ordering::Relaxed) != 0;
    let lease = known.then(|| {
        // The lease may be over since, and its pool gone.
        let pool = registry::find_at(slot.pool_of_any());
        (slot.len(), put::got_of_any(slot, pool.as_deref()))
    });
    foreign_lease(inner, slot, lease, here)
}

/// As [`foreign`], of a lease whose length and get the caller knows.
#[cold]
pub(crate) fn foreign_lease(inner: &Inner, slot: &Slot, lease: Option<(usize, Act)>, here: Site) -> Error {
    add(&inner.counts.foreign_puts, 1);
    let own = OfPool(registry::find_at(slot.pool.load(Ordering::Relaxed)));
    let here = if here.is_known() { Act::of(here) } else { Act::default() };
    let name = &inner.name;
    let kind = ErrorKind::ForeignLease;
    match lease {
        None => Error::new(
            kind,
            format_args!("a lease{own} was put into pool \"{name}\"{here}; it stays live, put it where it was got"),
        ),
        Some((len, got)) => Error::new(
            kind,
            format_args!(
                "a lease of {len} bytes{own}, got{got}, was put into pool \"{name}\"{here}; it stays live, put it where it \
                 was got"
            ),
        ),
    }
}

/// Tells why a put whose handle does not match is refused.
#[cold]
#[inline(never)]
pub(crate) fn refuse_put(pool_id: u64, slot: &Slot, lease_id: u64, site: Site) -> Error {
    if !slot.was_valid(lease_id) {
        return not_a_lease(lease_id);
    }
    match registry::find(pool_id) {
        None => no_pool(pool_id),
        Some(inner) => misuse::of_ended(Some(&inner), ErrorKind::DoublePut, slot, lease_id, site),
    }
}

/// Tells why a handle that does not match is refused by `put` or a token by a stock.
#[cold]
pub(crate) fn not_present(slot: &Slot, lease_id: u64, site: Site) -> Error {
    if !slot.was_valid(lease_id) {
        return not_a_lease(lease_id);
    }
    let pool = pool_of_ended(slot);
    misuse::of_ended(pool.as_deref(), ErrorKind::DoublePut, slot, lease_id, site)
}

/// Returns the pool that a slot's buffer belongs to, or belonged to while the slot is free.
fn pool_of_ended(slot: &Slot) -> Option<Strong> {
    let address = slot.pool_of_any();
    // Whoever takes the slot meanwhile writes something that is no pool's id.
    if address.is_null() { registry::find(slot.len.load(Ordering::Acquire) as u64) } else { registry::find_at(address) }
}

#[cold]
#[inline(never)]
pub(crate) fn stale(slot: &Slot, lease_id: u64) -> Error {
    if !slot.was_valid(lease_id) {
        return not_a_lease(lease_id);
    }
    let pool = pool_of_ended(slot);
    misuse::of_ended(pool.as_deref(), ErrorKind::UseAfterPut, slot, lease_id, Site::NONE)
}
