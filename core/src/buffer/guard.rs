//! Gives single leases pages of their own between which nothing can be touched, and knows afterwards whose they were.
//!
//! The lease stands flush against an inaccessible page, as far as its alignment lets it; at the put its own pages become
//! inaccessible too, and stay so until the place in the table is needed. The idea is that of GWP-ASan ("GWP-ASan:
//! Sampling-Based Detection of Memory-Safety Bugs in Production", 2023) and of Electric Fence before it.

use std::fmt::{self, Write};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use super::cache;
use super::depot::Entry;
use super::history::{Act, Past};
use super::inner::{Inner, add};
use super::memory;
use super::slot::{self, GUARDED, OVERSIZED, SINGLE, Slot};
use crate::check::Check;
use crate::options::ClearPolicy;
use crate::site::Site;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Lock};

/// The longest lease that is given pages of its own, in bytes.
pub(crate) const LEN_MAX: usize = 1 << 20;
/// Stands in [`Slot::pins`] of a guarded lease, so that the fast path of a put leaves it alone; below it the lease's place in
/// the table, and below that the number of pins.
pub(crate) const PIN: u32 = 1 << 31;
const PLACE_SHIFT: u32 = 20;

/// Returns the number of pins that a slot's word says.
pub(crate) fn pins_of(word: u32) -> u32 {
    if word & PIN == 0 { word } else { word & ((1 << PLACE_SHIFT) - 1) }
}

/// Says whether one pin more would not fit.
pub(crate) fn pins_are_full(word: u32) -> bool {
    pins_of(word) == if word & PIN == 0 { PIN - 1 } else { (1 << PLACE_SHIFT) - 1 }
}

/// Live leases and those of the past that are remembered.
const REGIONS: usize = if cfg!(millpond_models) { 4 } else { 1024 };
/// Mappings of the past are used again, instead of new ones, when this many are remembered.
const REMEMBERED: usize = if cfg!(millpond_models) { 1 } else { 256 };
const NAME_MAX: usize = 64;

const FREE: u32 = 0;
const LIVE: u32 = 1;
const PAST: u32 = 2;

/// What is known of a guarded lease: atomics, because a signal handler reads them whenever a fault comes.
struct Region {
    state: AtomicU32,
    /// Not 0 while somebody may still look at the pages when the lease is over.
    kept: AtomicU32,
    /// The whole mapping: the lease's pages and the one behind.
    start: AtomicUsize,
    bytes: AtomicUsize,
    data: AtomicUsize,
    len: AtomicUsize,
    /// The handle that the put ended.
    handle: AtomicU64,
    got: AtomicU64,
    put: AtomicU64,
    getter: AtomicU32,
    putter: AtomicU32,
    name: [AtomicU8; NAME_MAX],
}

static TABLE: [Region; REGIONS] = [const {
    Region {
        state: AtomicU32::new(FREE),
        kept: AtomicU32::new(0),
        start: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        data: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        handle: AtomicU64::new(0),
        got: AtomicU64::new(0),
        put: AtomicU64::new(0),
        getter: AtomicU32::new(0),
        putter: AtomicU32::new(0),
        name: [const { AtomicU8::new(0) }; NAME_MAX],
    }
}; REGIONS];

/// Which places of the table are free, and which are of the past, in the order of their ends. Whoever changes a state holds
/// it.
struct Places {
    free: [u16; REGIONS],
    free_len: usize,
    past: [u16; REGIONS],
    oldest: usize,
    past_len: usize,
}

static PLACES: Lock<Places> = Lock::new(Places {
    free: {
        let mut free = [0; REGIONS];
        let mut place = 0;
        while place < REGIONS {
            free[place] = place as u16;
            place += 1;
        }
        free
    },
    free_len: REGIONS,
    past: [0; REGIONS],
    oldest: 0,
    past_len: 0,
});

impl Places {
    fn take_free(&mut self) -> Option<usize> {
        self.free_len = self.free_len.checked_sub(1)?;
        Some(usize::from(self.free[self.free_len]))
    }

    fn give_free(&mut self, place: usize) {
        self.free[self.free_len] = place as u16;
        self.free_len += 1;
    }

    fn take_oldest(&mut self) -> Option<usize> {
        self.past_len = self.past_len.checked_sub(1)?;
        let place = self.past[self.oldest];
        self.oldest = (self.oldest + 1) % REGIONS;
        Some(usize::from(place))
    }

    fn give_past(&mut self, place: usize) {
        self.past[(self.oldest + self.past_len) % REGIONS] = place as u16;
        self.past_len += 1;
    }
}

/// Forgets all guarded leases, at the end of an execution of a model: the process may not have as many mappings as a model
/// has executions.
#[cfg(millpond_models)]
pub(crate) fn forget_all() {
    for region in &TABLE {
        let bytes = region.bytes.load(Ordering::Relaxed);
        if let Some(start) = NonNull::new(region.start.swap(0, Ordering::SeqCst) as *mut u8) {
            // SAFETY: the mapping of a lease of the execution that ends; no other thread is left.
            unsafe { memory::unmap(start, bytes) };
        }
    }
    let mut places = PLACES.lock();
    (places.free_len, places.oldest, places.past_len) = (REGIONS, 0, 0);
    for (place, number) in places.free.iter_mut().enumerate() {
        *number = place as u16;
    }
}

pub(crate) fn lock_for_fork() {
    PLACES.lock_for_fork();
}

/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { PLACES.unlock_after_fork() };
}

/// Says whether a lease has pages of its own.
#[inline]
pub(crate) fn is_guarded(slot: &Slot) -> bool {
    slot.flags() & GUARDED != 0
}

impl Inner {
    /// Serves a get of a pool that guards each N-th lease when this is none of them and the thread has an idle buffer: what
    /// nearly all gets of such a pool do.
    #[inline(always)]
    pub(crate) fn get_between(&self, len: usize) -> Option<&'static Slot> {
        let cache = cache::at_front(self.front);
        if cache.until_guarded.get() <= 1 || !cache.enter(self) {
            return None;
        }
        let idle = if self.clear == ClearPolicy::OnGet { None } else { cache.pop(self.table.magazine(len), len) };
        if idle.is_some() {
            cache.until_guarded.set(cache.until_guarded.get() - 1);
        }
        cache.leave();
        idle
    }

    /// Serves the gets of a pool that guards each N-th lease. `None`: as if it did not.
    pub(crate) fn get_sampled(&self, class: usize, len: usize) -> Option<Entry> {
        let Check::Sample(every) = self.check() else {
            return None;
        };
        let own = self.own_cache().filter(|cache| cache.enter(self));
        let turn = match own {
            Some(cache) => {
                let left = cache.until_guarded.get();
                cache.until_guarded.set(if left <= 1 { every.get() } else { left - 1 });
                // What is cleared at get goes the long way.
                let keeps = left > 1 && self.clear != ClearPolicy::OnGet;
                let idle = if keeps { cache.pop(self.table.magazine(len), len) } else { None };
                cache.leave();
                if let Some(slot) = idle {
                    return Some(Entry::of(slot));
                }
                left <= 1
            }
            None => self.sampled.fetch_add(1, Ordering::Relaxed).is_multiple_of(u64::from(every.get())),
        };
        if !turn || len > LEN_MAX {
            return None;
        }
        let entry = self.create_guarded(len);
        match entry {
            Some(_) => self.count_get(class, len),
            None => add(&self.counts.unguarded, 1),
        }
        entry
    }

    /// Makes a lease's buffer on pages of its own. `None` without memory, addresses or a place in the table.
    pub(crate) fn create_guarded(&self, len: usize) -> Option<Entry> {
        let page = memory::page_size();
        let capacity = len.max(1).next_multiple_of(memory::TAIL);
        let align = self.alignment();
        let inside = capacity.next_multiple_of(page.max(align));
        if self.fails_alloc() || !self.reserve(self.charge(capacity)) {
            return None;
        }
        let Some(slot) = self.map_guarded(capacity, inside, page.max(align)) else {
            self.unreserve_total(self.charge(capacity));
            return None;
        };
        self.count_created(capacity);
        Some(Entry::of(slot))
    }

    /// Maps `inside` bytes and a page behind them, and makes the slot of the lease of `capacity` bytes that ends there.
    fn map_guarded(&self, capacity: usize, inside: usize, align: usize) -> Option<&'static Slot> {
        let page = memory::page_size();
        let bytes = inside + page;
        let (place, spare) = take_place()?;
        let region = &TABLE[place];
        // One that another pool left may stand where this pool's alignment does not let it.
        let fits = |spare: &Spare| spare.bytes == bytes && spare.start.as_ptr().align_offset(align) == 0;
        let base = match spare {
            // SAFETY: the mapping of a lease that is over; the table named it alone, and no longer does.
            Some(spare) if fits(&spare) && unsafe { memory::allow(spare.start, inside) } => Some(spare.start),
            other => {
                if let Some(spare) = other {
                    // SAFETY: as above.
                    unsafe { memory::unmap(spare.start, spare.bytes) };
                }
                map_with_guard(inside, page, align)
            }
        };
        let Some(base) = base else {
            free_place(place);
            return None;
        };
        // SAFETY: the page behind the mapping's inside.
        let behind = unsafe { base.add(inside) };
        // SAFETY: the sum is at most `inside`. An alignment above the usual one leaves a gap before the page.
        let data = unsafe { behind.sub(capacity.next_multiple_of(self.alignment())) };
        let Some(slot) = slot::allocate(self.strong(), OVERSIZED, SINGLE | GUARDED, data, capacity) else {
            self.release();
            free_place(place);
            // SAFETY: known to nobody else.
            unsafe { memory::unmap(base, bytes) };
            return None;
        };
        let name = self.name.bytes().chain(std::iter::repeat(0));
        region.name.iter().zip(name).for_each(|(place, byte)| place.store(byte, Ordering::Relaxed));
        region.bytes.store(bytes, Ordering::Relaxed);
        region.data.store(data.as_ptr() as usize, Ordering::Relaxed);
        region.handle.store(0, Ordering::Relaxed);
        region.put.store(0, Ordering::Relaxed);
        region.putter.store(0, Ordering::Relaxed);
        region.start.store(base.as_ptr() as usize, Ordering::SeqCst);
        slot.pins.store(PIN | ((place as u32) << PLACE_SHIFT), Ordering::Relaxed);
        Some(slot)
    }
}

/// Maps memory with an inaccessible page behind it.
fn map_with_guard(inside: usize, page: usize, align: usize) -> Option<NonNull<u8>> {
    let base = memory::map(inside + page, align)?;
    // SAFETY: the last page of the mapping.
    let behind = unsafe { base.add(inside) };
    // SAFETY: as above; nobody knows the mapping yet.
    if unsafe { memory::forbid(behind, page) } {
        // SAFETY: as above.
        unsafe { memory::set_apart(behind, page) };
        return Some(base);
    }
    // SAFETY: just mapped, known to nobody else.
    unsafe { memory::unmap(base, inside + page) };
    None
}

/// A mapping that the table no longer needs.
struct Spare {
    start: NonNull<u8>,
    bytes: usize,
}

/// Takes a place in the table: a free one, or from the time on when enough are remembered the oldest of the past. The mapping
/// that stood there comes back.
fn take_place() -> Option<(usize, Option<Spare>)> {
    let place = {
        let mut places = PLACES.lock();
        let fresh = if places.past_len < REMEMBERED { places.take_free() } else { None };
        fresh.or_else(|| places.take_oldest()).or_else(|| places.take_free())?
    };
    let region = &TABLE[place];
    let start = NonNull::new(region.start.swap(0, Ordering::SeqCst) as *mut u8);
    let spare = start.map(|start| Spare { start, bytes: region.bytes.load(Ordering::Relaxed) });
    // The handler looks at the state last.
    region.state.store(LIVE, Ordering::SeqCst);
    Some((place, spare))
}

/// Gives a place back whose mapping is gone.
fn free_place(place: usize) {
    TABLE[place].start.store(0, Ordering::SeqCst);
    TABLE[place].state.store(FREE, Ordering::SeqCst);
    PLACES.lock().give_free(place);
}

/// Returns the place of a guarded lease.
fn place_of(slot: &Slot) -> usize {
    ((slot.pins.load(Ordering::Relaxed) & !PIN) >> PLACE_SHIFT) as usize % REGIONS
}

fn find(address: usize) -> Option<&'static Region> {
    TABLE.iter().find(|region| {
        let start = region.start.load(Ordering::SeqCst);
        start != 0
            && (start..start + region.bytes.load(Ordering::Relaxed)).contains(&address)
            && region.state.load(Ordering::SeqCst) != FREE
    })
}

fn thread() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Notes who got a guarded lease.
pub(crate) fn note_get(entry: Entry, len: usize, site: Site) {
    let region = &TABLE[place_of(entry.slot)];
    region.len.store(len, Ordering::Relaxed);
    region.got.store(site.bits(), Ordering::Relaxed);
    region.getter.store(thread(), Ordering::Relaxed);
}

/// Corrects the place where a guarded lease was got.
pub(crate) fn got_at(slot: &Slot, site: Site) {
    TABLE[place_of(slot)].got.store(site.bits(), Ordering::Relaxed);
}

/// Notes who put a guarded lease.
pub(crate) fn note_put(entry: Entry, handle: u64, site: Site) {
    let region = &TABLE[place_of(entry.slot)];
    region.handle.store(handle, Ordering::Relaxed);
    region.put.store(site.bits(), Ordering::Relaxed);
    region.putter.store(thread(), Ordering::Relaxed);
}

/// Returns what is known of the guarded lease with this handle, which is over.
pub(crate) fn past(handle: u64) -> Option<Past> {
    let is_it = |region: &&Region| {
        region.state.load(Ordering::SeqCst) == PAST && region.handle.load(Ordering::Relaxed) == handle
    };
    let region = TABLE.iter().find(is_it)?;
    let act = |site: &AtomicU64, thread: &AtomicU32| {
        Act::by(Site::from_bits(site.load(Ordering::Relaxed)), thread.load(Ordering::Relaxed))
    };
    let past = Past {
        handle,
        len: region.len.load(Ordering::Relaxed),
        got: act(&region.got, &region.getter),
        put: act(&region.put, &region.putter),
    };
    // Another lease may have taken the place meanwhile.
    is_it(&region).then_some(past)
}

/// Ends a guarded lease's slot, and makes its pages inaccessible for as long as its place is not needed.
pub(crate) fn give_up(entry: Entry, pool_id: u64) {
    let place = place_of(entry.slot);
    let region = &TABLE[place];
    slot::free(entry.slot, pool_id);
    let start = region.start.load(Ordering::Relaxed);
    let bytes = region.bytes.load(Ordering::Relaxed);
    let Some(base) = NonNull::new(start as *mut u8) else {
        return;
    };
    // The page behind is inaccessible anyway.
    // SAFETY: the mapping of a lease that is over, by the caller's word.
    let forbidden = unsafe { memory::forbid(base, bytes - memory::page_size()) };
    {
        let mut places = PLACES.lock();
        let kept = region.kept.load(Ordering::Relaxed) != 0;
        if forbidden || kept {
            region.state.store(PAST, Ordering::SeqCst);
            if !kept {
                places.give_past(place);
            }
            return;
        }
    }
    free_place(place);
    // SAFETY: as above; the table no longer names it.
    unsafe { memory::unmap(base, bytes) };
}

/// Forgets a guarded lease whose memory is in foreign hands: it stays mapped as it is.
pub(crate) fn abandon(entry: Entry) {
    free_place(place_of(entry.slot));
}

/// Keeps the pages of a guarded lease from being used again or unmapped when it is over.
pub(crate) struct Keep {
    place: usize,
}

/// Begins to keep the pages of a lease that the caller holds.
pub(crate) fn keep(entry: Entry) -> Keep {
    let place = place_of(entry.slot);
    TABLE[place].kept.store(1, Ordering::Relaxed);
    Keep { place }
}

impl Keep {
    /// Leaves the pages as they are for good: somebody may look at them for ever. The lease is over.
    pub(crate) fn abandon(self) {
        let place = std::mem::ManuallyDrop::new(self).place;
        TABLE[place].kept.store(0, Ordering::Relaxed);
        free_place(place);
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let region = &TABLE[self.place];
        let start = NonNull::new(region.start.load(Ordering::Relaxed) as *mut u8);
        let bytes = region.bytes.load(Ordering::Relaxed);
        let len = bytes - memory::page_size();
        let mut places = PLACES.lock();
        region.kept.store(0, Ordering::Relaxed);
        if region.state.load(Ordering::SeqCst) != PAST {
            // The put failed, and the lease lives.
            return;
        }
        // What could not be made inaccessible at the put may have been written since.
        // SAFETY: the mapping of a lease that is over, which nobody looks at any more.
        if start.is_some_and(|start| unsafe { memory::forbid(start, len) }) {
            places.give_past(self.place);
            return;
        }
        drop(places);
        free_place(self.place);
        if let Some(start) = start {
            // SAFETY: as above; the table no longer names it.
            unsafe { memory::unmap(start, bytes) };
        }
    }
}

/// Returns how far it is from a guarded lease's start to the inaccessible page: the capacity, unless the alignment leaves a
/// gap.
pub(crate) fn reach(entry: Entry) -> usize {
    let region = &TABLE[place_of(entry.slot)];
    let end = region.start.load(Ordering::Relaxed) + region.bytes.load(Ordering::Relaxed) - memory::page_size();
    end - entry.data as usize
}

/// Returns what the alignment leaves between a guarded lease's length and the inaccessible page.
fn slack(entry: Entry, len: usize) -> &'static [AtomicU8] {
    // SAFETY: the length is at most the capacity, which ends before the page.
    let start = unsafe { entry.data.add(len) }.cast::<AtomicU8>();
    // SAFETY: inside the accessible pages of a buffer that the caller holds, which does not keep the slice.
    unsafe { std::slice::from_raw_parts(start, reach(entry) - len) }
}

/// Fills what stands behind a guarded lease's length.
pub(crate) fn arm(entry: Entry, len: usize, handle: u64) {
    let canary = slot::canary(handle).to_le_bytes();
    let bytes = canary.into_iter().cycle();
    slack(entry, len).iter().zip(bytes).for_each(|(place, byte)| place.store(byte, Ordering::Relaxed));
}

/// Says whether what [`arm`] wrote is still there.
pub(crate) fn is_intact(entry: Entry, len: usize, handle: u64) -> bool {
    let canary = slot::canary(handle).to_le_bytes();
    let bytes = canary.into_iter().cycle();
    slack(entry, len).iter().zip(bytes).all(|(place, byte)| place.load(Ordering::Relaxed) == byte)
}

/// Says whether an address is in a guarded lease's pages. For a signal handler, as [`describe`].
pub(crate) fn is_known(address: usize) -> bool {
    find(address).is_some()
}

/// Describes the access to `address`, if it is in a guarded lease's pages. For a signal handler: takes no lock and no
/// memory.
pub(crate) fn describe(address: usize, to: &mut impl Write) -> Option<fmt::Result> {
    let region = find(address)?;
    Some(write_report(region, address, to))
}

fn write_report(region: &Region, address: usize, to: &mut impl Write) -> fmt::Result {
    let load = |word: &AtomicUsize| word.load(Ordering::Relaxed);
    let (data, len) = (load(&region.data), load(&region.len));
    let past = region.state.load(Ordering::SeqCst) == PAST;
    let what = if past { "USE_AFTER_PUT" } else { "OVERRUN" };
    let mut name = [0_u8; NAME_MAX];
    name.iter_mut().zip(&region.name).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_MAX);
    let name = std::str::from_utf8(&name[..end]).unwrap_or("?");
    write!(to, "millpond: {what}: the access to {address:#x} is ")?;
    match address.checked_sub(data) {
        Some(offset) if offset < len => write!(to, "at byte {offset} of ")?,
        Some(offset) => write!(to, "{} bytes behind the end of ", offset - len + 1)?,
        None => write!(to, "{} bytes before ", data - address)?,
    }
    write!(to, "a lease of {len} bytes of pool \"{name}\"")?;
    let act = |to: &mut dyn Write, what: &str, site: &AtomicU64, thread: &AtomicU32| {
        let thread = thread.load(Ordering::Relaxed);
        if thread == 0 {
            return Ok(());
        }
        write!(to, ", {what}")?;
        let site = Site::from_bits(site.load(Ordering::Relaxed));
        if site.is_known() {
            write!(to, " at {}", site.in_signal())?;
        }
        write!(to, " by thread {thread}")
    };
    act(to, "got", &region.got, &region.getter)?;
    act(to, "put", &region.put, &region.putter)?;
    writeln!(to, ", now in thread {}", thread())
}

#[cfg(test)]
mod tests;
