//! Holds put buffers back for a while, filled with a pattern, so that a write after the put is found.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use super::depot::{Doomed, Entry};
use super::history;
use super::inner::{Inner, add};
use super::memory;
use crate::check::Check;
use crate::options::ClearPolicy;
use crate::tools;

/// How many buffers and bytes a pool holds back at most. The oldest one leaves when a new one comes.
const BUFFERS_MAX: usize = 256;
const BYTES_MAX: usize = 64 << 20;
/// Of larger buffers the start is filled and looked at.
const PATTERN_MAX: usize = 4 << 20;
const PATTERN: u8 = 0xdb;

#[derive(Default)]
pub(crate) struct Quarantine {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// What a write after the put left in the pattern.
struct Stain {
    first: usize,
    value: u8,
    last: usize,
}

impl Inner {
    /// Holds a clean buffer back; without memory for the list, or when the quarantine is over, it goes its way at once.
    pub(crate) fn hold_back(&self, entry: Entry, doomed: &mut Doomed) {
        let capacity = entry.slot.capacity();
        let class = self.class_of_capacity(capacity);
        fill(entry);
        // Before others can let it go: the count is never less than nothing.
        add(&self.classes[class].counts.held, 1);
        let mut ripe = [None; 8];
        let held = {
            let mut quarantine = self.quarantine.lock();
            // Whoever closes the pool, or changes its mode, says so before it takes this lock to empty the quarantine: what
            // came in behind it would stay.
            let wanted = !self.is_closed() && self.check() == Check::Full;
            let held = wanted && quarantine.entries.try_reserve(1).is_ok();
            if held {
                quarantine.entries.push_back(entry);
                quarantine.bytes += capacity;
            }
            for place in &mut ripe {
                let full = quarantine.entries.len() > BUFFERS_MAX || quarantine.bytes > self.quarantine_bytes();
                *place = if full { quarantine.pop() } else { None };
            }
            held
        };
        for entry in ripe.into_iter().flatten() {
            self.release_held_back(entry, doomed);
        }
        if !held {
            self.release_held_back(entry, doomed);
        }
    }

    fn quarantine_bytes(&self) -> usize {
        BYTES_MAX.min(self.max_bytes / 4)
    }

    /// Lets everything go that is held back.
    pub(crate) fn end_quarantine(&self) {
        let mut doomed = Doomed::default();
        loop {
            let Some(entry) = self.quarantine.lock().pop() else {
                break;
            };
            self.release_held_back(entry, &mut doomed);
        }
        self.destroy_all(&mut doomed);
    }

    /// Looks whether a buffer still has its pattern, and gives it to the depot if so.
    fn release_held_back(&self, entry: Entry, doomed: &mut Doomed) {
        let class = self.class_of_capacity(entry.slot.capacity());
        let clean = self.is_unstained(entry);
        add(&self.classes[class].counts.held, 1_u64.wrapping_neg());
        if !clean {
            add(&self.classes[class].counts.discarded, 1);
            doomed.push(entry);
        } else if self.is_closed() {
            doomed.push(entry);
        } else {
            self.stow(class, entry, doomed);
        }
    }

    /// Looks whether a buffer still has the pattern that [`fill`] left, says so if not, and clears it.
    pub(crate) fn is_unstained(&self, entry: Entry) -> bool {
        let capacity = entry.slot.capacity();
        let len = capacity.min(PATTERN_MAX);
        tools::open(entry);
        // SAFETY: the buffer has its capacity and was filled; whoever writes it now breaks the rule that is checked here, so
        // it is looked at as memory that others may write.
        let bytes = unsafe { std::slice::from_raw_parts(entry.data.cast::<AtomicU8>(), len) };
        let stain = stain(bytes);
        // SAFETY: as above; nothing of the pattern, nor of what was written into it, may stay.
        unsafe { memory::clear(entry.data, len) };
        debug_assert!(self.clear != ClearPolicy::OnPut || len == capacity || capacity > PATTERN_MAX);
        if let Some(stain) = &stain {
            self.report_stain(entry, stain);
        }
        stain.is_none()
    }

    /// Says on standard error who wrote too late: there is no call to return an error from.
    #[cold]
    fn report_stain(&self, entry: Entry, stain: &Stain) {
        add(&self.counts.stale_uses, 1);
        let what = format_args!(
            "bytes {} to {} of a buffer were written after its put (byte {} is {:#04x}); the buffer is discarded",
            stain.first, stain.last, stain.first, stain.value
        );
        let name = &self.name;
        // A closed standard error is no reason to fail.
        let _ = match history::last(entry.slot.index()) {
            Some(past) => writeln!(
                std::io::stderr(),
                "millpond: USE_AFTER_PUT: pool \"{name}\": {what}; its lease of {} bytes was got{}, put{}",
                past.len,
                past.got,
                past.put
            ),
            None => writeln!(std::io::stderr(), "millpond: USE_AFTER_PUT: pool \"{name}\": {what}"),
        };
        entry.slot.taken.store(0, Ordering::Relaxed);
    }
}

/// Fills an idle buffer that is the caller's with the pattern.
pub(crate) fn fill(entry: Entry) {
    tools::open(entry);
    // SAFETY: the buffer is this thread's, idle, and has its capacity.
    unsafe { entry.data.write_bytes(PATTERN, entry.slot.capacity().min(PATTERN_MAX)) };
    tools::close(entry);
}

impl Quarantine {
    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.slot.capacity();
        Some(entry)
    }
}

fn stain(bytes: &[AtomicU8]) -> Option<Stain> {
    let changed = |byte: &AtomicU8| byte.load(Ordering::Relaxed) != PATTERN;
    let first = bytes.iter().position(changed)?;
    let last = bytes.iter().rposition(changed)?;
    Some(Stain { first, value: bytes[first].load(Ordering::Relaxed), last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufferPool;

    #[test]
    fn what_comes_when_the_quarantine_is_over_is_not_held_back() {
        for closes in [true, false] {
            let pool = BufferPool::builder().name("late").check(Check::Full).build().expect("a pool");
            let inner = pool.inner();
            let Ok((entry, _)) = inner.create(0) else { unreachable!("there is memory") };
            if closes {
                pool.close().expect("not the default pool");
            } else {
                pool.set_check(Check::On).expect("not off");
            }
            // As a put does that looked at the mode before.
            let mut doomed = Doomed::default();
            inner.hold_back(entry, &mut doomed);
            assert!(inner.quarantine.lock().entries.is_empty());
            assert_eq!(doomed.count, usize::from(closes));
            inner.destroy_all(&mut doomed);
            assert_eq!(pool.stats().retained_buffers, u64::from(!closes));
        }
    }
}
