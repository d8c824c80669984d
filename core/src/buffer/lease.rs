//! Defines what a user holds from get to put.

mod put_error;

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::BufferPool;
use super::cache::{self, Front};
use super::depot::Entry;
use super::detached::Detached;
use super::held::Held;
use super::inner::{Inner, add};
use super::put;
use super::raw::RawLease;
use super::slot::Slot;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::options::ClearPolicy;
use crate::site::Site;

pub use put_error::PutError;

/// What a lease knows of itself beside its memory, in one word:
///
/// ```text
/// 63   61         37 32  31  30 29                    0
/// +------+----------+-----+---+---+----------------------+
/// | front|          |class| A | C | dirty bytes          |
/// +------+----------+-----+---+---+----------------------+
/// ```
/// The front, the place of the pool's cache in a thread's table, and the class lead a put to its magazine without a
/// load from the slot: that load would make each put wait for the get before it. *A* for armed says that a canary
/// stands behind the length. *C* says that the pool clears at put what was written. As many bytes from the start as
/// *dirty* says may have been written; all ones stand for the whole length.
///
/// *A* and *C* stand above *dirty* so that one comparison of the lower half tells whether the put has nothing to do:
/// see [`State::is_clean`].
#[derive(Copy, Clone)]
pub(crate) struct State(u64);

const DIRTY_ALL: u64 = (1 << 30) - 1;
const CLEARED: u64 = 1 << 30;
const ARMED: u64 = 1 << 31;
const STATE_CLASS: u32 = 32;
const CLASS_MASK: usize = cache::MAGAZINES - 1;
const STATE_FRONT: u32 = 64 - cache::FRONT_BITS;
/// The class of a lease that no magazine takes: caches have none for it.
const NO_CLASS: usize = CLASS_MASK;

impl State {
    /// Returns the state of a clean lease of any buffer. One for a single lease leads to no magazine.
    fn of(entry: Entry) -> State {
        let inner = put::pool_of(entry.slot);
        let class = if inner.is_single(entry) { NO_CLASS } else { usize::from(entry.slot.class()).min(NO_CLASS) };
        State::clean(inner.state, class)
    }

    /// As [`State::of`], as a word and out of line.
    #[cold]
    #[inline(never)]
    fn bits_of(slot: &'static Slot) -> u64 {
        State::of(Entry { data: std::ptr::null_mut(), slot }).0
    }

    /// Returns what all leases of a pool have in common.
    pub(crate) fn of_pool(pool_id: u64, clear: ClearPolicy) -> State {
        let cleared = if clear == ClearPolicy::OnPut { CLEARED } else { 0 };
        State((cache::front_of(pool_id).number() as u64) << STATE_FRONT | cleared)
    }

    #[inline(always)]
    pub(crate) fn clean(pool: State, class: usize) -> State {
        debug_assert!(class <= CLASS_MASK);
        State(pool.0 | (class as u64) << STATE_CLASS)
    }

    #[inline(always)]
    pub(crate) fn front(self) -> Front {
        Front::nth((self.0 >> STATE_FRONT) as usize)
    }

    #[inline(always)]
    fn class(self) -> usize {
        (self.0 >> STATE_CLASS) as usize & CLASS_MASK
    }

    /// Says whether the buffer can be kept as it is: there is no canary, and nobody clears it or nothing was written.
    #[inline(always)]
    fn is_clean(self) -> bool {
        u64::from(self.0 as u32) <= CLEARED
    }

    #[inline(always)]
    fn is_armed(self) -> bool {
        self.0 & ARMED != 0
    }

    #[inline(always)]
    fn dirty(self, len: usize) -> usize {
        match self.0 & DIRTY_ALL {
            DIRTY_ALL => len,
            dirty => dirty as usize,
        }
    }

    #[inline(always)]
    fn set_dirty(&mut self, dirty: usize) {
        self.0 = (self.0 & !DIRTY_ALL) | (dirty as u64).min(DIRTY_ALL);
    }

    /// Says that the whole length may have been written, without a look at it.
    #[inline(always)]
    fn set_dirty_all(&mut self) {
        self.0 |= DIRTY_ALL;
    }

    #[inline(always)]
    fn set_armed(&mut self, armed: bool) {
        self.0 = if armed { self.0 | ARMED } else { self.0 & !ARMED };
    }
}

/// The right to use one buffer, from get to put. A slice of bytes that goes back to its pool when it is dropped.
///
/// Only the length asked for is visible. A safe program cannot write past it; one that takes
/// [`as_mut_ptr`](Lease::as_mut_ptr) can, and `put` reports it.
///
/// Two words, cheap to move. Address and length stand in the pool's table, so a loop that writes byte by byte takes the
/// slice first (`let bytes = &mut lease[..];`) to be as fast as over a `Vec`.
///
/// ```
/// let pool = millpond::BufferPool::new("docs")?;
/// let mut lease = pool.get(1000)?;
/// assert!(lease.iter().all(|byte| *byte == 0));
/// lease[..5].copy_from_slice(b"hello");
/// assert_eq!(lease.len(), 1000);
/// drop(lease);
/// assert_eq!(pool.stats().puts, 1);
/// # Ok::<(), millpond::Error>(())
/// ```
///
/// *Thread-safe*: may move to, and be put on, another thread. *Fork:* the child has its own copy of the lease and of
/// the pool.
pub struct Lease {
    slot: &'static Slot,
    state: State,
}

// Two words, which the compiler keeps in two registers. A longer lease it copies by sixteen bytes at a time, and a
// processor that has just written them by eight waits for that: 5 ns for each lease that is moved into a list.
const _: () = assert!(size_of::<Lease>() == 16 && size_of::<Option<Lease>>() == 16);

// SAFETY: a lease is the only right to its buffer; the slot is made of atomics, and the pool takes buffers back on
// any thread.
unsafe impl Send for Lease {}
// SAFETY: a shared lease only lends shared slices.
unsafe impl Sync for Lease {}

impl Lease {
    /// Makes the lease of a buffer that was just taken from a pool.
    #[inline(always)]
    pub(crate) fn issue(slot: &'static Slot, len: usize, state: State, site: Site) -> Lease {
        super::get::record(slot, len, site);
        Lease { slot, state }
    }

    /// Makes a lease of a buffer whose handle just ended; the canary of the handle stands behind its length.
    pub(crate) fn from_handle(entry: Entry, len: usize, handle: u64) -> Lease {
        let canaries = put::pool_of(entry.slot).has_canaries();
        // A damaged one stays, for the put to find.
        if canaries && put::disarm(entry, len, handle) {
            put::arm(entry, len, entry.slot.handle.load(Ordering::Relaxed));
        }
        let mut state = State::of(entry);
        state.set_dirty(len);
        state.set_armed(canaries);
        Lease { slot: entry.slot, state }
    }

    /// Makes the lease of a buffer that was taken and recorded.
    #[inline(always)]
    pub(crate) fn of_slot(slot: &'static Slot) -> Lease {
        Lease { slot, state: State(State::bits_of(slot)) }
    }

    #[inline(always)]
    pub(crate) fn entry(&self) -> Entry {
        Entry::of(self.slot)
    }

    #[inline(always)]
    fn data(&self) -> *mut u8 {
        self.slot.bytes_of_holder().0
    }

    #[inline]
    pub(crate) fn slot(&self) -> &'static Slot {
        self.slot
    }

    /// Returns the length asked for, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.slot.bytes_of_holder().1
    }

    /// Says whether the length is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes the buffer holds: its size class, or the length rounded up for an oversized lease.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slot.capacity()
    }

    /// Returns the address of the first byte, for reading.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.data()
    }

    /// Returns the address of the first byte, for writing.
    ///
    /// What is written through it is not seen by the lease: the whole length counts as written. A canary is put
    /// behind the length, and the put reports `OVERRUN` when it was overwritten.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        let canaries = put::pool_of(self.slot).has_canaries();
        if canaries && !self.state.is_armed() {
            put::arm(self.entry(), self.len(), self.canary());
        }
        self.state.set_armed(canaries);
        self.state.set_dirty(self.len());
        self.data()
    }

    /// Returns the pool that the lease is from, closed or not.
    pub fn pool(&self) -> BufferPool {
        BufferPool::from_inner(put::pool_of(self.slot).keep_alive())
    }

    /// Returns the id of the pool that the lease is from, without holding on to the pool.
    #[inline]
    pub fn pool_id(&self) -> u64 {
        put::pool_of(self.slot).id
    }

    /// Replaces the recorded place of the get, which [`leaks`](BufferPool::leaks) and reports name.
    pub fn set_site(&mut self, site: Site) {
        self.slot.site.store(site.bits(), Ordering::Relaxed);
        self.correct_site(site);
    }

    /// Returns the recorded place of the get.
    pub fn site(&self) -> Site {
        Site::from_bits(self.slot.site.load(Ordering::Relaxed))
    }

    /// Gives the buffer back. The same act as dropping the lease, which tells nobody what it found.
    ///
    /// # Errors
    /// `OVERRUN`: something was written past the length through a raw pointer. The buffer is discarded, the lease
    /// is over all the same.
    #[inline]
    #[track_caller]
    pub fn put(self) -> Result<()> {
        ManuallyDrop::new(self).give_back(Site::rust(Location::caller()))
    }

    /// Gives the buffer back, with the caller's word that only the first `used` bytes were written: only those are
    /// cleared.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: `used` is above the length; the lease was put as if all of it were written.
    /// `OVERRUN` as for [`put`](Lease::put).
    #[track_caller]
    pub fn put_used(self, used: usize) -> Result<()> {
        let (len, name) = (self.len(), &put::pool_of(self.slot).name);
        if used > len {
            let error = Error::invalid(format_args!(
                "used is {used}, the lease of pool \"{name}\" has {len} bytes; it was put whole"
            ));
            let mut whole = self;
            whole.set_written(len);
            drop(whole);
            return Err(error);
        }
        let mut this = ManuallyDrop::new(self);
        this.set_dirty(used);
        this.give_back(Site::rust(Location::caller()))
    }

    /// Says that at least the first `written` bytes were written, by somebody who has the address: a binding, or
    /// the kernel.
    ///
    /// # Panics
    /// If `written` is above the length.
    #[inline]
    pub fn set_written(&mut self, written: usize) {
        assert!(written <= self.len(), "written {written} of {}", self.len());
        self.state.set_dirty(self.dirty().max(written));
    }

    /// Takes the canary away if one stands; `false` when it was damaged.
    pub(crate) fn disarm(&mut self) -> bool {
        let armed = self.state.is_armed();
        self.state.set_armed(false);
        !armed || put::disarm(self.entry(), self.len(), self.canary())
    }

    /// Returns the handle that the canary is made from: nobody changes it while the lease lives.
    pub(super) fn canary(&self) -> u64 {
        self.slot.handle.load(Ordering::Relaxed)
    }

    /// Returns how many bytes from the start may have been written.
    pub(crate) fn dirty(&self) -> usize {
        self.state.dirty(self.len())
    }

    /// Takes the caller's word on how many bytes from the start may have been written.
    pub(super) fn set_dirty(&mut self, dirty: usize) {
        self.state.set_dirty(dirty);
    }

    #[inline(always)]
    pub(super) fn give_back(&mut self, site: Site) -> Result<()> {
        // By value, so that a lease that lives in registers stays there.
        let (slot, state) = (self.slot, self.state);
        if state.is_clean() {
            finish(slot, state, site);
            return Ok(());
        }
        give_back_dirty(slot, state, site)
    }

    /// Turns the lease into shared read-only bytes. The buffer goes back by itself when the last clone is dropped,
    /// on whatever thread; until then it counts as in use.
    ///
    /// This is the one operation that can end the process for want of memory: [`Bytes::from_owner`] puts 24 bytes on the
    /// heap and has no other answer when they are refused. Where that must not be, [`detach`](Lease::detach) answers, or
    /// the lease itself is shared: it is `Sync`.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(Frozen(self))
    }

    /// Takes the buffer out of the pool for good; the caller owns plain memory.
    ///
    /// From 64 KiB up the memory itself changes hands; below, the bytes are copied into memory of their own and
    /// the buffer goes back to the pool.
    ///
    /// # Errors
    /// `NO_MEMORY`: there is none for the copy; the error holds the lease, still live. `OVERRUN` as for
    /// [`put`](Lease::put).
    #[track_caller]
    pub fn detach(self) -> Result<Detached, PutError> {
        let site = Site::rust(Location::caller());
        let dirty = self.dirty();
        let inner = put::pool_of(self.slot).keep_alive();
        let (detached, copied) = self.part(&inner, || site).map_err(|(error, held)| {
            drop(held);
            error
        })?;
        Detached::take_back(&inner, copied, dirty);
        Ok(detached)
    }

    /// As [`detach`](Lease::detach), and keeps a buffer that was copied, or discarded, from everybody until the
    /// [`Held`] is dropped.
    ///
    /// # Errors
    /// As [`detach`](Lease::detach); `OVERRUN` comes with the memory of the lease.
    #[track_caller]
    pub fn detach_held(self) -> Result<(Detached, Option<Held>), (PutError, Option<Held>)> {
        let site = Site::rust(Location::caller());
        self.detach_held_at(|| site)
    }

    /// As [`detach_held`](Lease::detach_held), for a binding that knows the place better; it is asked for when there is an
    /// overrun to report.
    ///
    /// # Errors
    /// As [`detach_held`](Lease::detach_held).
    pub fn detach_held_at(
        self,
        site: impl FnOnce() -> Site,
    ) -> Result<(Detached, Option<Held>), (PutError, Option<Held>)> {
        let inner = put::pool_of(self.slot).keep_alive();
        let len = self.len();
        let (detached, copied) = self.part(&inner, site)?;
        Ok((detached, copied.map(|entry| Held::new(entry, len))))
    }

    fn part(
        self,
        inner: &Inner,
        site: impl FnOnce() -> Site,
    ) -> Result<(Detached, Option<Entry>), (PutError, Option<Held>)> {
        let (entry, len) = (self.entry(), self.len());
        let prepared = match Detached::prepare(inner, entry, len) {
            Ok(prepared) => prepared,
            Err(error) => return Err((PutError { error, lease: Some(self) }, None)),
        };
        let mut this = ManuallyDrop::new(self);
        if this.disarm() {
            return Ok(Detached::take(inner, entry, len, prepared));
        }
        let (error, class) = inner.overrun_error(entry, len, this.canary(), site());
        inner.count_put(class, len);
        add(&inner.classes[class].counts.discarded, 1);
        Err((PutError { error, lease: None }, Some(Held::dead(entry))))
    }

    /// Turns the lease into an empty writer over the same buffer. What was written before is overwritten with
    /// zeroes first.
    pub fn into_writer(mut self) -> Writer {
        put::pool_of(self.slot).wipe(self.entry(), self.dirty());
        self.state.set_dirty(0);
        Writer::over(self)
    }

    /// Gives back a lease that nobody put: for a language whose collector finds lost objects. The buffer is
    /// cleared and kept, and counted as `leaked` instead of as a put.
    pub fn leak_reclaimed(self) {
        let mut this = ManuallyDrop::new(self);
        let inner = put::pool_of(this.slot);
        if this.disarm() {
            inner.scrub(this.entry(), this.dirty());
            inner.take_leaked(this.entry(), this.len());
        } else {
            drop(inner.overrun(this.entry(), this.len(), this.canary(), Site::NONE));
        }
    }

    /// Turns the lease into a handle, which any caller of [`raw`](crate::raw) may put; see there.
    pub fn into_raw(self) -> RawLease {
        let mut this = ManuallyDrop::new(self);
        RawLease {
            id: this.slot.handle.load(Ordering::Relaxed),
            data: this.as_mut_ptr(),
            len: this.len(),
            capacity: this.capacity(),
        }
    }

    /// Makes the length shorter, for a writer that knows how far it came. Where the pool clears at put, what was written
    /// beyond is cleared now: nobody knows of it later. A lease that was written past its end keeps its length, so that the
    /// put reports it; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        if self.state.is_armed() {
            // The canary stands at the old length, and would be found damaged at the new one.
            if !put::disarm(self.entry(), self.len(), self.canary()) {
                return;
            }
            self.state.set_armed(false);
        }
        let (inner, dirty) = (put::pool_of(self.slot), self.dirty());
        if dirty > len {
            inner.scrub_between(self.entry(), len, dirty);
        }
        self.state.set_dirty(dirty.min(len));
        inner.count_returned(self.len() - len);
        self.slot.len.store(len, Ordering::Relaxed);
    }
}

/// Ends a lease whose buffer is as it is to be kept.
#[inline(always)]
fn finish(slot: &'static Slot, state: State, site: Site) {
    put::finish(slot, slot.len.load(Ordering::Relaxed), state.front(), state.class(), site);
}

/// Ends a lease that a drop has nobody to tell of: a call in the tail, so that the drop needs no frame.
#[inline(never)]
fn release_dirty(slot: &'static Slot, state: State) {
    if state.is_armed() {
        // An overrun is counted in the statistics.
        let _ = give_back_armed(slot, state, Site::NONE);
    } else {
        give_back_written(slot, state, Site::NONE);
    }
}

#[inline(never)]
fn give_back_dirty(slot: &'static Slot, state: State, site: Site) -> Result<()> {
    if state.is_armed() {
        return give_back_armed(slot, state, site);
    }
    give_back_written(slot, state, site);
    Ok(())
}

#[inline(never)]
fn give_back_armed(slot: &'static Slot, state: State, site: Site) -> Result<()> {
    let (entry, len) = (Entry::of(slot), slot.len.load(Ordering::Relaxed));
    let canary = slot.handle.load(Ordering::Relaxed);
    if !put::disarm(entry, len, canary) {
        return Err(put::pool_of(slot).overrun(entry, len, canary, site));
    }
    give_back_written(slot, state, site);
    Ok(())
}

#[inline(always)]
fn give_back_written(slot: &'static Slot, state: State, site: Site) {
    let dirty = state.dirty(slot.len.load(Ordering::Relaxed));
    put::pool_of(slot).scrub(Entry::of(slot), dirty);
    finish(slot, state, site);
}

impl Drop for Lease {
    #[inline(always)]
    fn drop(&mut self) {
        // By value, so that a lease that lives in registers stays there.
        let (slot, state) = (self.slot, self.state);
        if state.is_clean() {
            finish(slot, state, Site::NONE);
        } else {
            release_dirty(slot, state);
        }
    }
}

impl Deref for Lease {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the lease owns `len` initialised bytes: mapped memory is.
        unsafe { std::slice::from_raw_parts(self.data(), self.len()) }
    }
}

impl DerefMut for Lease {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.state.set_dirty_all();
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.len()) }
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Lease {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("pool", &put::pool_of(self.slot).name)
            .finish()
    }
}

/// What [`Lease::freeze`] hands to `bytes`.
struct Frozen(Lease);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests;
