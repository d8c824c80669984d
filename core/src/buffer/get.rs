//! Serves the gets that no magazine could.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cache::{self, ThreadCache};
use super::depot::{Doomed, Entry};
use super::guard;
use super::history;
use super::inner::{Inner, Refusal, add};
use super::memory;
use super::registry;
use super::slot::Slot;
use crate::check::Check;
use crate::clock;
use crate::error::{Error, ErrorKind, Packed, Result};
use crate::options::{ClearPolicy, LimitPolicy};
use crate::site::Site;
use crate::tools;
use crate::trace;

/// What a get does at the limit.
#[derive(Copy, Clone)]
pub(crate) enum Patience {
    /// As the pool's policy says.
    Policy,
    /// Fails at once.
    None,
    /// Waits until then.
    Until(Instant),
    /// Waits until then, and leaves counting the failure to a later call.
    Quietly(Instant),
}

impl Patience {
    /// Waits this long; for a century where the clock does not count as far.
    pub(crate) fn within(timeout: Duration) -> Patience {
        let now = Instant::now();
        let century = Duration::from_secs(100 * 365 * 86_400);
        Patience::Until(now.checked_add(timeout).unwrap_or_else(|| now + century))
    }
}

impl Inner {
    /// Serves a get as [`BufferPool::get`](super::BufferPool::get) does. Two words, which are returned in registers: where a lease
    /// that a call left in memory met the fast path's in registers, the compiler would put both in memory, word by word, and
    /// read them as vectors, which stalls for longer than a get takes. By the pool itself, so that the caller need not keep its
    /// handle in a register.
    #[cold]
    #[inline(never)]
    pub(crate) fn get_in_registers(&self, len: usize, site: Site) -> (Option<&'static Slot>, Packed) {
        if let Some(slot) = self.get_between(len).or_else(|| self.get_kept_by_thread(len)) {
            record(slot, len, site);
            return (Some(slot), Packed::NONE);
        }
        match self.get_slow(len, Patience::Policy) {
            Ok(entry) => {
                self.record(entry, len, site);
                (Some(entry.slot), Packed::NONE)
            }
            Err(error) => (None, Packed::new(error)),
        }
    }

    fn get_kept_by_thread(&self, len: usize) -> Option<&'static Slot> {
        let cache = cache::at_front(self.front);
        if !cache.enter(self) {
            return None;
        }
        let found = self.get_kept(cache, len);
        cache.leave();
        found
    }

    /// Serves a get from the depot, by creating a buffer, by making room, or by waiting.
    #[cold]
    #[inline(never)]
    pub(crate) fn get_slow(&self, len: usize, patience: Patience) -> Result<Entry> {
        self.admit(len)?;
        self.serve(len, patience).inspect_err(|error| {
            if error.kind() == ErrorKind::Exhausted && !matches!(patience, Patience::Quietly(_)) {
                add(&self.counts.exhausted, 1);
            }
        })
    }

    /// Refuses a get whatever is idle: of a closed pool, of an impossible length, or because it was told to.
    pub(crate) fn admit(&self, len: usize) -> Result<()> {
        if self.is_closed() {
            return Err(self.closed_error());
        }
        self.check_len(len)?;
        if self.fails_get() {
            add(&self.counts.exhausted, 1);
            return Err(Error::new(
                ErrorKind::Exhausted,
                format_args!("pool \"{}\" was told to fail this get of {len} bytes (inject)", self.name),
            ));
        }
        Ok(())
    }

    /// Serves a get that was admitted. `EXHAUSTED` is not counted.
    pub(crate) fn serve(&self, len: usize, patience: Patience) -> Result<Entry> {
        let class = self.table.index(len);
        if let Some(entry) = self.get_sampled(class, len) {
            return Ok(entry);
        }
        let (entry, zero) = match self.find_or_create(class, len) {
            Ok(found) => found,
            Err(Refusal::Memory) => return Err(self.memory_error(len)),
            Err(Refusal::Limit) => self.get_at_limit(class, len, patience)?,
        };
        tools::open(entry);
        if self.clear == ClearPolicy::OnGet && !zero {
            self.wipe(entry, len);
        }
        self.count_get(class, len);
        Ok(entry)
    }

    /// Records a lease that was just got, as closely as the pool looks.
    pub(crate) fn record(&self, entry: Entry, len: usize, site: Site) {
        record(entry.slot, len, site);
        if guard::is_guarded(entry.slot) {
            guard::note_get(entry, len, site);
        }
        if self.check().records() {
            history::got(entry.slot.index(), site);
        }
        trace::got(self.id, entry.slot.index(), len);
        tools::lend(entry, len);
    }

    /// Refuses lengths whose buffer could not exist.
    fn check_len(&self, len: usize) -> Result<()> {
        let possible = len.checked_next_multiple_of(memory::TAIL).and_then(memory::mapping_len).is_some();
        if possible {
            return Ok(());
        }
        Err(Error::invalid(format_args!(
            "len is {len} bytes; a buffer of pool \"{}\" has at most {} with its management",
            self.name,
            isize::MAX
        )))
    }

    fn find_or_create(&self, class: usize, len: usize) -> Result<(Entry, bool), Refusal> {
        if !self.keeps {
            return self.create_on_heap(len);
        }
        if class == self.table.sizes().len() {
            return self.create_single(len, true);
        }
        match self.find_idle(class) {
            Some(entry) => Ok((entry, false)),
            None => self.create(class),
        }
    }

    /// Takes one idle buffer, and half a magazine more for the calling thread.
    pub(crate) fn find_idle(&self, class: usize) -> Option<Entry> {
        let Some(cache) = self.own_cache().filter(|cache| cache.enter(self)) else {
            return self.find_in_depot(class, self.home());
        };
        let found = self.find_idle_in(cache, class);
        cache.leave();
        found
    }

    /// As [`Inner::find_idle`], with the thread's cache in use.
    fn find_idle_in(&self, cache: &ThreadCache, class: usize) -> Option<Entry> {
        let Some(magazine) = cache.magazine(class).filter(|magazine| magazine.is_open()) else {
            return self.find_in_depot(class, cache.home as usize);
        };
        let mut found = magazine.pop().map(Entry::of);
        if found.is_none() {
            clock::tick();
            let mut unplaced = None;
            self.take_idle(class, cache.home as usize, magazine.batch().max(1), |entry| {
                if found.is_none() {
                    found = Some(entry);
                } else if !magazine.push(entry.slot) {
                    unplaced = Some(entry);
                }
            });
            debug_assert!(unplaced.is_none(), "half a magazine fits into an empty one");
        }
        found
    }

    fn find_in_depot(&self, class: usize, home: usize) -> Option<Entry> {
        let mut found = None;
        self.take_idle(class, home, 1, |entry| found = Some(entry));
        found
    }

    /// Takes an idle buffer out of the calling thread's cache, which is in use, or out of the depot, and counts the get:
    /// what the fast path does, for classes whose buffers threads do not keep, and where a thread has none left. `None`
    /// says nothing but that the long way is to be gone; nothing was counted.
    pub(crate) fn get_kept(&self, cache: &ThreadCache, len: usize) -> Option<&'static Slot> {
        let class = self.table.index(len);
        let watched = self.clear == ClearPolicy::OnGet || matches!(self.check(), Check::Sample(_));
        if watched || class == self.table.sizes().len() {
            return None;
        }
        let entry = self.find_idle_in(cache, class)?;
        cache.count_get(class, len);
        Some(entry.slot)
    }

    #[cold]
    fn get_at_limit(&self, class: usize, len: usize, patience: Patience) -> Result<(Entry, bool)> {
        if let Some(found) = self.retry_after_making_room(class, len)? {
            return Ok(found);
        }
        let deadline = match (patience, self.on_limit) {
            (Patience::Policy, LimitPolicy::Unpooled) => {
                return self.create_single(len, false).map_err(|_| self.memory_error(len));
            }
            (Patience::Policy, LimitPolicy::Wait(most)) => Instant::now().checked_add(most),
            (Patience::Until(deadline) | Patience::Quietly(deadline), _) => Some(deadline),
            (Patience::None, _) | (Patience::Policy, LimitPolicy::Fail) => return Err(self.exhausted(len, None)),
        };
        if self.capacity_for(len) > self.max_bytes {
            // No put could ever make room for it.
            return Err(self.exhausted(len, None));
        }
        self.wait_for_put(class, len, deadline)
    }

    /// Makes room for a stock's buffer of a class, or says that there is none.
    #[cold]
    pub(crate) fn take_at_limit(&self, class: usize, size: usize) -> Result<Entry> {
        match self.retry_after_making_room(class, size)? {
            Some((entry, _)) => Ok(entry),
            None => Err(self.exhausted(size, None)),
        }
    }

    pub(crate) fn capacity_for(&self, len: usize) -> usize {
        match self.table.sizes().get(self.table.index(len)) {
            Some(size) => *size,
            None => len.next_multiple_of(memory::TAIL),
        }
    }

    /// Destroys idle buffers, in the depots first, then those in threads' caches, and tries again.
    fn retry_after_making_room(&self, class: usize, len: usize) -> Result<Option<(Entry, bool)>> {
        let wanted = self.capacity_for(len);
        self.end_quarantine();
        for flush in [false, true] {
            if flush {
                self.flush_caches(|_| true);
            }
            match self.find_or_create(class, len) {
                Ok(found) => return Ok(Some(found)),
                Err(Refusal::Memory) => return Err(self.memory_error(len)),
                Err(Refusal::Limit) => {}
            }
            self.destroy_idle(wanted);
            match self.find_or_create(class, len) {
                Ok(found) => return Ok(Some(found)),
                Err(Refusal::Memory) => return Err(self.memory_error(len)),
                Err(Refusal::Limit) => {}
            }
        }
        Ok(None)
    }

    /// Destroys idle buffers of the depots, the largest classes first, until `wanted` bytes are free or none is left.
    pub(crate) fn destroy_idle(&self, wanted: usize) {
        let mut freed = 0;
        for (class, size) in self.table.sizes().iter().enumerate().rev() {
            if freed >= wanted {
                return;
            }
            let mut doomed = Doomed::default();
            self.drain_idle(class, (wanted - freed).div_ceil(*size), false, &mut doomed);
            freed += self.destroy_all(&mut doomed);
        }
    }

    /// Moves what threads keep for themselves to the depots, and asks stocks to do so.
    pub(crate) fn flush_caches(&self, which: impl Fn(&ThreadCache) -> bool) {
        let mut doomed = Doomed::default();
        {
            let mut registry = registry::lock();
            if let Some(member) = registry.member(self.id) {
                member.revoke(which, |cache| self.flush(cache, &mut doomed));
                member.blocks.iter().for_each(|block| block.ask());
            }
        }
        self.destroy_all(&mut doomed);
    }

    fn wait_for_put(&self, class: usize, len: usize, deadline: Option<Instant>) -> Result<(Entry, bool)> {
        let _waiting = Waiting::begin(self);
        loop {
            let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_closed() {
                return Err(self.closed_error());
            }
            if let Some(found) = self.retry_after_making_room(class, len)? {
                return Ok(found);
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                // Further away than the clock counts.
                None => Duration::from_secs(1 << 32),
            };
            let guard = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let (_guard, waited) =
                self.turned.wait_timeout_while(guard, left, |now| *now == turn).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Err(self.exhausted(len, deadline));
            }
        }
    }

    /// Tells waiting gets that something came back. Cheap when nobody waits.
    #[inline]
    pub(crate) fn wake_waiters(&self) {
        if self.has_waiters() {
            self.wake_all();
        }
    }

    #[cold]
    pub(crate) fn wake_all(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.turned.notify_all();
    }

    #[cold]
    fn exhausted(&self, len: usize, waited: Option<Instant>) -> Error {
        let (in_use, live_bytes) = self.out();
        let after = if waited.is_some() { " until the deadline" } else { "" };
        Error::new(
            ErrorKind::Exhausted,
            format_args!(
                "pool \"{}\" cannot hand out {len} bytes{after}: {in_use} leases hold {live_bytes} of at most {} bytes; \
                 put some, or raise max_bytes",
                self.name, self.max_bytes
            ),
        )
    }

    #[cold]
    pub(crate) fn memory_error(&self, len: usize) -> Error {
        Error::new(
            ErrorKind::NoMemory,
            format_args!("the system gives pool \"{}\" no memory for {len} bytes; nothing was changed", self.name),
        )
    }
}

/// Marks a get as waiting, and keeps threads from hiding puts in their caches meanwhile.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(inner: &'a Inner) -> Waiting<'a> {
        // Pairs with the load in `has_waiters`: a cache enlisted from here on is gated by `enlist`, the others below.
        inner.waiters.fetch_add(1, Ordering::SeqCst);
        if let Some(member) = registry::lock().member(inner.id) {
            member.gate_for_waiters(true);
        }
        Waiting(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut registry = registry::lock();
        if self.0.waiters.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(member) = registry.member(self.0.id)
        {
            member.gate_for_waiters(false);
        }
    }
}

/// Writes into the slot what `leaks` tells of a live lease.
#[inline(always)]
pub(crate) fn record(slot: &Slot, len: usize, site: Site) {
    // Pairs with the load in `lookup`, see `Slot`.
    slot.len.store(len, Ordering::Release);
    slot.site.store(site.bits(), Ordering::Relaxed);
    slot.taken.store(clock::coarse(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_clock_does_not_count_is_a_century() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let until = |timeout| match Patience::within(timeout) {
            Patience::Until(until) => until,
            _ => unreachable!("a deadline"),
        };
        let now = Instant::now();
        assert!(until(Duration::MAX) > now + 99 * year && until(Duration::MAX) < now + 101 * year);
        assert!(until(year) >= now + year && until(year) < now + 2 * year);
    }
}
