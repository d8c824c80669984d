//! Keeps the mapping of an oversized lease that is over, without its pages, for the next one of the same capacity.
//!
//! For an owner to whom showing memory costs more than the mapping does: V8 counts the bytes of every ArrayBuffer that it
//! meets and collects its garbage for each 64 MiB of them. What can be kept is the address, and with it the owner's view.

use std::ptr::NonNull;

use super::{Stock, StockLease};
use crate::buffer::depot::Entry;
use crate::buffer::guard;
use crate::buffer::inner::{Inner, add};
use crate::buffer::memory;
use crate::buffer::put;
use crate::buffer::raw;
use crate::buffer::slot::{self, MAPPED, OVERSIZED, SINGLE, UNTOUCHED};
use crate::check::Check;
use crate::error::Result;
use crate::site::Site;
use crate::tools;

/// The mapping of an oversized lease that is over, by [`Stock::put_parked`]: zeroes without pages, that is address space
/// and no memory, except where the process locks its memory. It belongs to no pool and counts nowhere; dropping it unmaps
/// it.
///
/// *Thread-safe*: may move to another thread. *Fork:* the child's copy is its own.
#[derive(Debug)]
#[must_use]
pub struct Parked {
    base: NonNull<u8>,
    capacity: usize,
}

// SAFETY: an address that is this value's alone.
unsafe impl Send for Parked {}

impl Parked {
    /// Returns the address of the first byte, for the owner's view. Nobody may write there before it is a lease again.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    fn len(&self) -> usize {
        memory::mapping_len(self.capacity).unwrap_or(self.capacity)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // SAFETY: mapped by `map_buffer` with this length for a lease that is over (`put_parked`), and whoever made a lease
        // of it again has forgotten this value (`unpark`).
        unsafe { memory::unmap(self.base, self.len()) };
    }
}

impl Stock {
    /// Puts a lease of [`lease`](Stock::lease) and keeps its mapping, without what was in it, for a later
    /// [`lease_parked`](Stock::lease_parked). The lease is in the books as put and discarded, like any other of its kind.
    /// The owner makes sure that nobody but itself reaches the memory any more.
    ///
    /// `None`: there is nothing to keep, and nothing has changed; put it by [`raw::put`]. So it is for leases that are not
    /// oversized, in mode `full`, in a pool that is closed, and where a memory checker looks.
    ///
    /// # Errors
    /// As [`raw::put`]. After `OVERRUN` the memory is gone.
    pub fn put_parked(&self, lease_id: u64, site: Site) -> Result<Option<Parked>> {
        let inner = self.pool.inner();
        let slot = raw::check(lease_id)?;
        let entry = Entry::of(slot);
        let capacity = slot.capacity();
        let oversized = inner.class_of_capacity(capacity) == inner.table.sizes().len() && !guard::is_guarded(slot);
        let Some(base) = NonNull::new(entry.data).filter(|_| oversized && inner.parks()) else {
            return Ok(None);
        };
        let (inner, entry, len) = raw::redeem(inner.id, lease_id)?;
        inner.dawdle();
        if inner.has_canaries() && !put::disarm(entry, len, lease_id) {
            return Err(inner.overrun(entry, len, lease_id, site));
        }
        let parked = Parked { base, capacity };
        // SAFETY: the whole mapping of a lease that is over, and the caller's word that nobody else reaches it.
        unsafe { memory::empty(base, parked.len()) };
        inner.note_put(entry, len, lease_id, site);
        let class = inner.table.sizes().len();
        inner.count_put(class, len);
        add(&inner.classes[class].counts.discarded, 1);
        inner.give_up(entry);
        inner.wake_waiters();
        Ok(Some(parked))
    }

    /// As [`lease`](Stock::lease) without a guard; an oversized lease of the capacity that is parked stands there, and `parked`
    /// is `None` then. Otherwise it is as before, and whether to drop it is the owner's choice.
    ///
    /// # Errors
    /// As [`lease`](Stock::lease).
    pub fn lease_parked(
        &self,
        parked: &mut Option<Parked>,
        len: usize,
        unbounded: bool,
        site: Site,
    ) -> Result<Option<StockLease>> {
        let inner = self.pool.inner();
        inner.admit(len)?;
        match inner.unpark(parked, len)? {
            Some(entry) => Ok(Some(self.lend(entry, len, site))),
            None => self.serve(len, unbounded, false, site),
        }
    }
}

impl Inner {
    /// Says whether mappings are kept: where nobody looks at memory that was put, and gets find them.
    fn parks(&self) -> bool {
        self.keeps && self.check() != Check::Full && !tools::watch() && !self.is_closed()
    }

    /// Makes a lease's buffer of a mapping that was parked, if it fits and the limit allows it, and counts the get.
    fn unpark(&self, parked: &mut Option<Parked>, len: usize) -> Result<Option<Entry>> {
        let class = self.table.index(len);
        let capacity = self.capacity_for(len);
        let fits = parked.as_ref().is_some_and(|parked| parked.capacity == capacity);
        if !fits || class != self.table.sizes().len() || !self.parks() || !self.reserve(capacity) {
            return Ok(None);
        }
        let Some(there) = parked.take_if(|_| !self.fails_alloc()) else {
            self.unreserve_total(capacity);
            return Err(self.memory_error(len));
        };
        let Some(slot) = slot::allocate(self.strong(), OVERSIZED, SINGLE | MAPPED | UNTOUCHED, there.base, capacity)
        else {
            self.release();
            self.unreserve_total(capacity);
            *parked = Some(there);
            return Err(self.memory_error(len));
        };
        // The buffer's now.
        std::mem::forget(there);
        self.count_created(capacity);
        self.count_get(class, len);
        Ok(Some(Entry::of(slot)))
    }
}
