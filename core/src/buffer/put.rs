//! Takes buffers back: checks what stands behind the length, clears, keeps or destroys.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use super::cache::{self, Front, ThreadCache};
use super::depot::{Doomed, Entry};
use super::guard;
use super::history::{self, Act};
use super::inner::{Inner, add};
use super::magazine::{BATCH_MAX, Magazine};
use super::memory;
use super::slot::{self, Slot};
use super::strong::Strong;
use crate::check::Check;
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::options::ClearPolicy;
use crate::site::Site;
use crate::tools;
use crate::trace;

/// Writes the canary behind the length: always inside the capacity and its tail of 64 bytes.
#[inline(always)]
pub(crate) fn arm_canary(entry: Entry, len: usize, handle: u64) {
    // SAFETY: `len` is at most the capacity, and `memory::TAIL` bytes follow it; the caller holds the buffer.
    let behind = unsafe { entry.data.add(len) };
    // SAFETY: as above, eight bytes fit.
    unsafe { behind.cast::<u64>().write_unaligned(slot::canary(handle).to_le()) };
}

/// Takes the canary of the lease with this handle away; `false` when it was damaged.
#[inline(always)]
pub(crate) fn disarm_canary(entry: Entry, len: usize, handle: u64) -> bool {
    // SAFETY: as in `arm_canary`.
    let behind = unsafe { entry.data.add(len) }.cast::<u64>();
    // SAFETY: as in `arm_canary`.
    let intact = unsafe { behind.read_unaligned() } == slot::canary(handle).to_le();
    if intact {
        // The bytes may be inside the next tenant's length.
        // SAFETY: as in `arm_canary`.
        unsafe { behind.write_unaligned(0) };
    }
    intact
}

/// As [`arm_canary`], for a lease of any kind.
pub(crate) fn arm(entry: Entry, len: usize, handle: u64) {
    tools::open(entry);
    if guard::is_guarded(entry.slot) {
        guard::arm(entry, len, handle);
    } else {
        arm_canary(entry, len, handle);
    }
    tools::lend(entry, len);
}

/// As [`disarm_canary`], for a lease of any kind.
pub(crate) fn disarm(entry: Entry, len: usize, handle: u64) -> bool {
    tools::open(entry);
    if guard::is_guarded(entry.slot) { guard::is_intact(entry, len, handle) } else { disarm_canary(entry, len, handle) }
}

/// Returns what is known of the get of a live lease.
pub(crate) fn got(slot: &Slot) -> Act {
    got_of_any(slot, Some(pool_of(slot)))
}

/// As [`got`], by somebody who does not hold the lease: it may be over, and its pool gone, but for the one that is given.
pub(crate) fn got_of_any(slot: &Slot, pool: Option<&Inner>) -> Act {
    let recorded = || Act::of(Site::from_bits(slot.site.load(Ordering::Relaxed)));
    let records = pool.is_some_and(|pool| pool.check().records());
    history::present(slot.index()).filter(|_| records).unwrap_or_else(recorded)
}

/// Returns the pool of a buffer that the caller holds.
#[inline(always)]
pub(crate) fn pool_of(slot: &Slot) -> &Inner {
    // SAFETY: the buffer exists, so its slot's strong reference keeps the pool alive; the reference is not used
    // after the buffer is given up, except under a reference of its own or inside one of the pool's caches (`take_back`).
    unsafe { &*slot.pool.load(Ordering::Relaxed) }
}

/// Gives a clean buffer back whose pool's caches stand at `front`; a class that no pool has leads to no magazine.
#[inline(always)]
pub(crate) fn finish(slot: &'static Slot, len: usize, front: Front, class: usize, site: Site) {
    if !finish_fast(slot, len, front, class) {
        finish_slow(slot, len, site);
    }
}

/// As [`finish`] where the thread's cache takes the buffer; `false` when it does not.
#[inline(always)]
pub(crate) fn finish_fast(slot: &'static Slot, len: usize, front: Front, class: usize) -> bool {
    slot.taken.store(0, Ordering::Relaxed);
    cache::at_front(front).keep(slot.pool.load(Ordering::Relaxed), class, slot, len)
}

#[cold]
#[inline(never)]
fn finish_slow(slot: &'static Slot, len: usize, site: Site) {
    pool_of(slot).put_slow(Entry::of(slot), len, slot.handle.load(Ordering::Relaxed), site);
}

impl Inner {
    /// Takes back what no magazine could: the buffer of the lease with this handle. The pool may be gone afterwards,
    /// with its last buffer.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_slow(&self, entry: Entry, len: usize, handle: u64, site: Site) {
        self.dawdle();
        self.note_put(entry, len, handle, site);
        let class = self.class_of_capacity(entry.slot.capacity());
        if self.is_kept(entry)
            && let Some(cache) = self.enter_own_cache()
        {
            cache.count_put(class, len);
            return self.keep_in(cache, class, entry);
        }
        self.count_put(class, len);
        self.take_back(class, entry);
    }

    /// Remembers the end of the lease with this handle, as closely as the pool looks.
    pub(crate) fn note_put(&self, entry: Entry, len: usize, handle: u64, site: Site) {
        if guard::is_guarded(entry.slot) {
            guard::note_put(entry, handle, site);
        }
        if self.check().records() {
            history::put(entry.slot.index(), handle, len, site);
        }
        trace::put(self.id, entry.slot.index(), len);
    }

    /// Keeps or destroys a buffer that is clean and whose lease is counted; what is destroyed counts as discarded.
    /// The pool may be gone afterwards, with its last buffer.
    pub(crate) fn take_back(&self, class: usize, entry: Entry) {
        if self.is_kept(entry)
            && let Some(cache) = self.enter_own_cache()
        {
            return self.keep_in(cache, class, entry);
        }
        let mut doomed = Doomed::default();
        // The buffer's own reference may be the last one, and goes with it.
        let pool = self.keep_alive();
        if self.ends(entry) {
            doomed.push(entry);
        } else if self.check() == Check::Full {
            self.hold_back(entry, &mut doomed);
        } else {
            self.give_idle(class, self.home(), &[entry], &mut doomed);
        }
        pool.settle(class, &mut doomed);
    }

    /// Says whether a buffer that comes back is destroyed.
    fn ends(&self, entry: Entry) -> bool {
        self.is_single(entry) || self.is_closed() || entry.slot.is_worn_out()
    }

    /// Says whether a buffer that comes back can be handed out again at once.
    fn is_kept(&self, entry: Entry) -> bool {
        !self.ends(entry) && self.check() != Check::Full
    }

    /// Keeps a buffer, and ends the use of the calling thread's cache. The pool may be gone afterwards.
    fn keep_in(&self, cache: &ThreadCache, class: usize, entry: Entry) {
        let mut doomed = Doomed::default();
        self.stow_in(cache, class, entry, &mut doomed);
        let unsettled = doomed.count > 0 || self.has_waiters();
        // SAFETY: a pool that ends waits for whoever is in one of its caches before it is freed. Its last reference
        // may be gone already, but not while one of its buffers is doomed: they hold one each.
        let pool = if unsettled { unsafe { Strong::upgrade(NonNull::from(self)) } } else { None };
        cache.leave();
        if let Some(pool) = pool {
            pool.settle(class, &mut doomed);
        }
    }

    /// Ends what was not kept, and tells those who wait.
    fn settle(&self, class: usize, doomed: &mut Doomed) {
        // The pool may have been closed since the check; its depots refuse then, and this is what they refused.
        add(&self.classes[class].counts.discarded, doomed.count as u64);
        self.destroy_all(doomed);
        self.wake_waiters();
    }

    /// Puts a buffer into the calling thread's magazine, which spills half when it is full, or into the depot.
    pub(crate) fn stow(&self, class: usize, entry: Entry, doomed: &mut Doomed) {
        match self.enter_own_cache() {
            Some(cache) => {
                self.stow_in(cache, class, entry, doomed);
                cache.leave();
            }
            None => self.give_idle(class, self.home(), &[entry], doomed),
        }
    }

    /// Begins a use of the calling thread's cache, made now if it has none; ends with [`ThreadCache::leave`].
    fn enter_own_cache(&self) -> Option<&'static ThreadCache> {
        self.own_cache().filter(|cache| cache.enter(self))
    }

    /// As [`Inner::stow`], with the thread's cache in use.
    fn stow_in(&self, cache: &ThreadCache, class: usize, entry: Entry, doomed: &mut Doomed) {
        let home = cache.home as usize;
        let keeps = |magazine: &&Magazine| magazine.is_open() || self.lend(cache, class);
        let Some(magazine) = cache.magazine(class).filter(keeps) else {
            return self.give_idle(class, home, &[entry], doomed);
        };
        if magazine.push(entry.slot) {
            return;
        }
        clock::tick();
        // A magazine that spills has room for one more then.
        let mut batch = [entry; BATCH_MAX];
        let mut count = 0;
        magazine.spill(magazine.batch(), |cold| {
            batch[count] = cold;
            count += 1;
        });
        if !magazine.push(entry.slot) {
            batch[count] = entry;
            count += 1;
        }
        self.give_idle(class, home, &batch[..count], doomed);
    }

    /// Returns a reference of the caller's own.
    pub(crate) fn keep_alive(&self) -> Strong {
        Strong::of(self)
    }

    /// Destroys a buffer whose canary was damaged, and says so. The lease is counted as put and discarded.
    #[cold]
    #[inline(never)]
    pub(crate) fn overrun(&self, entry: Entry, len: usize, handle: u64, site: Site) -> Error {
        let pool = self.keep_alive();
        let (error, class) = self.overrun_error(entry, len, handle, site);
        self.count_put(class, len);
        add(&self.classes[class].counts.discarded, 1);
        self.destroy(entry);
        pool.wake_waiters();
        error
    }

    /// Counts and describes a damaged canary, and clears the buffer. Returns the buffer's class too.
    #[cold]
    pub(crate) fn overrun_error(&self, entry: Entry, len: usize, handle: u64, site: Site) -> (Error, usize) {
        let slot = entry.slot;
        let capacity = slot.capacity();
        let expected = slot::canary(handle).to_le_bytes();
        // What stands behind the canary is zero where the pool clears at put; elsewhere it may be an earlier tenant's.
        let guarded = guard::is_guarded(slot);
        let end = match self.clear {
            _ if guarded => guard::reach(entry),
            ClearPolicy::OnPut => capacity + memory::TAIL,
            _ => len + expected.len(),
        };
        // SAFETY: `len` is at most the capacity, and the tail follows; whoever still writes there breaks the rule that is
        // reported here, so it is looked at as memory that others may write.
        let behind = unsafe { entry.data.add(len) }.cast::<AtomicU8>();
        // SAFETY: as above.
        let behind = unsafe { std::slice::from_raw_parts(behind, end - len) };
        let found = |place: usize| behind[place].load(Ordering::Relaxed);
        let wanted = |place: usize| match expected.get(place) {
            Some(byte) => *byte,
            None if guarded => expected[place % expected.len()],
            None => 0,
        };
        let changed = |place: &usize| found(*place) != wanted(*place);
        let first = (0..behind.len()).find(changed).unwrap_or(0);
        let last = (0..behind.len()).rev().find(changed).unwrap_or(first);
        let bytes = Bytes { first, last, shown: (first..=last.min(first + 15)).map(found).collect() };
        let put = if site.is_known() { Act::of(site) } else { Act::default() };
        let comma = if site.is_known() { ", put" } else { "" };
        let got = got(slot);
        let error = Error::new(
            ErrorKind::Overrun,
            format_args!(
                "a lease of {len} bytes (capacity {capacity}) of pool \"{}\" was written past its end: {bytes}; got{got}{comma}{put}. The buffer is discarded; write at most the length",
                self.name
            ),
        );
        if self.clear != ClearPolicy::Never {
            // A slab's memory is cut again: nothing of the lease, nor of what ran over, may stay.
            self.wipe(entry, if guarded { capacity } else { capacity + memory::TAIL });
        }
        add(&self.counts.overruns, 1);
        (error, self.class_of_capacity(capacity))
    }

    /// Takes back a lease that was lost: its language's collector found it.
    pub(crate) fn take_leaked(&self, entry: Entry, len: usize) {
        let class = self.class_of_capacity(entry.slot.capacity());
        self.note_put(entry, len, entry.slot.handle.load(Ordering::Relaxed), Site::NONE);
        entry.slot.taken.store(0, Ordering::Relaxed);
        add(&self.classes[class].counts.leaked, 1);
        self.count_returned(len);
        self.take_back(class, entry);
    }
}

/// Up to 16 bytes that were found where nothing should have been written.
struct Bytes {
    first: usize,
    last: usize,
    shown: ArrayOf16,
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bytes { first, last, .. } = self;
        match first == last {
            true => write!(f, "byte {} behind the length is ", first + 1)?,
            false => write!(f, "bytes {} to {} behind the length are ", first + 1, last + 1)?,
        }
        for (number, byte) in self.shown.bytes[..self.shown.count].iter().enumerate() {
            write!(f, "{}{byte:02x}", if number == 0 { "0x" } else { " " })?;
        }
        f.write_str(if last - first > 15 { " …" } else { "" })
    }
}

#[derive(Default)]
struct ArrayOf16 {
    bytes: [u8; 16],
    count: usize,
}

impl FromIterator<u8> for ArrayOf16 {
    fn from_iter<I: IntoIterator<Item = u8>>(from: I) -> ArrayOf16 {
        let mut array = ArrayOf16::default();
        for (place, byte) in array.bytes.iter_mut().zip(from) {
            *place = byte;
            array.count += 1;
        }
        array
    }
}
