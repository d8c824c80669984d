//! Remembers who got and put the leases of pools that are told to: places, threads, times.
//!
//! One record for each slot, of its present lease and of the one before: whoever comes with a handle that is over wants to
//! know what ended it, and mostly the slot has had no other lease since.

use std::fmt;

use crate::clock;
use crate::site::{Lossy, Site};
use crate::sync::Lock;

/// A thread, as its system names it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thread {
    number: u32,
    /// Ends at the first zero.
    name: [u8; 16],
}

impl Thread {
    /// Returns the calling thread. The name is read each time: threads are renamed after they began.
    pub(crate) fn current() -> Thread {
        // SAFETY: gettid takes nothing and cannot fail.
        let number = unsafe { libc::gettid() };
        let mut thread = Thread { number: number as u32, name: [0; 16] };
        // SAFETY: PR_GET_NAME writes at most 16 bytes.
        unsafe { libc::prctl(libc::PR_GET_NAME, thread.name.as_mut_ptr()) };
        thread
    }

    /// Says whether the thread still runs. Another one that got its number counts as it.
    pub(crate) fn is_running(self) -> bool {
        // SAFETY: takes nothing; signal 0 below is never sent, the call only looks for the thread.
        let process = unsafe { libc::getpid() };
        // SAFETY: as above.
        self.is_known() && unsafe { libc::syscall(libc::SYS_tgkill, process, self.number, 0) == 0 }
    }

    pub(crate) fn is_known(self) -> bool {
        self.number != 0
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        match end {
            0 => write!(f, "{}", self.number),
            _ => write!(f, "\"{}\" ({})", Lossy(&self.name[..end]), self.number),
        }
    }
}

/// A get or a put: what is known of where, by which thread and when it was done. What is not known is left out of its text,
/// which begins with a space: ` at app.py:7 in read by thread "worker" (4711) 0.02 s ago`.
///
/// *Thread-safe.* *Fork:* plain data.
#[derive(Copy, Clone, Debug, Default)]
pub struct Act {
    pub(crate) site: Option<Site>,
    pub(crate) thread: Thread,
    /// The coarse clock, see `clock.rs`.
    pub(crate) at: u32,
}

impl Act {
    /// Returns an act of which only the place can be known; one that is not is called so.
    pub(crate) fn of(site: Site) -> Act {
        Act { site: Some(site), ..Act::default() }
    }

    /// Returns an act of which at most the place is known.
    pub fn at(site: Site) -> Act {
        Act { site: Some(site).filter(|site| site.is_known()), ..Act::default() }
    }

    /// Returns an act of which the place and the thread's number are known.
    pub(crate) fn by(site: Site, number: u32) -> Act {
        let thread = Thread { number, name: [0; 16] };
        Act { site: Some(site).filter(|site| site.is_known()), thread, at: 0 }
    }

    /// Returns what the calling thread does now.
    pub fn now(site: Site) -> Act {
        clock::tick();
        Act { thread: Thread::current(), at: clock::coarse(), ..Act::at(site) }
    }

    /// Returns the place; [`Site::NONE`] if it is not known.
    pub fn site(&self) -> Site {
        self.site.unwrap_or(Site::NONE)
    }

    /// Says whether anything is known.
    pub fn is_known(&self) -> bool {
        self.site().is_known() || self.thread.is_known()
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(site) = self.site {
            write!(f, " at {site}")?;
        }
        if self.thread.is_known() {
            write!(f, " by thread {}", self.thread)?;
        }
        if self.at != 0 {
            write!(f, " {:.2} s ago", clock::since(self.at).as_secs_f64())?;
        }
        Ok(())
    }
}

/// A lease that is over.
#[derive(Copy, Clone, Default)]
pub(crate) struct Past {
    /// The handle that ended; 0 for none.
    pub handle: u64,
    pub len: usize,
    pub got: Act,
    pub put: Act,
}

#[derive(Copy, Clone, Default)]
struct Record {
    got: Act,
    past: Past,
}

/// Indexed by slot.
static RECORDS: Lock<Vec<Record>> = Lock::new(Vec::new());

pub(crate) fn lock_for_fork() {
    RECORDS.lock_for_fork();
}

/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { RECORDS.unlock_after_fork() };
}

/// Runs `change` on a slot's record. Without memory for it, nothing is remembered.
fn with(index: usize, change: impl FnOnce(&mut Record)) {
    let mut records = RECORDS.lock();
    if records.len() <= index {
        let wanted = index + 1;
        let missing = wanted - records.len();
        if records.try_reserve(missing).is_err() {
            return;
        }
        records.resize_with(wanted, Record::default);
    }
    change(&mut records[index]);
}

/// Remembers a get.
pub(crate) fn got(index: usize, site: Site) {
    let act = Act::now(site);
    with(index, |record| record.got = act);
}

/// Corrects the place of the get of a slot's present lease.
pub(crate) fn got_at(index: usize, site: Site) {
    with(index, |record| record.got.site = Some(site).filter(|site| site.is_known()));
}

/// Remembers a put of the lease with this handle.
pub(crate) fn put(index: usize, handle: u64, len: usize, site: Site) {
    let act = Act::now(site);
    with(index, |record| record.past = Past { handle, len, got: std::mem::take(&mut record.got), put: act });
}

/// Returns who got the present lease of a slot, if that is known.
pub(crate) fn present(index: usize) -> Option<Act> {
    RECORDS.lock().get(index).map(|record| record.got).filter(|act| act.thread.is_known())
}

/// Returns the last lease of a slot that is over.
pub(crate) fn last(index: usize) -> Option<Past> {
    RECORDS.lock().get(index).map(|record| record.past).filter(|past| past.handle != 0)
}

/// Returns what is known of the lease with this handle, which is over.
pub(crate) fn past(index: usize, handle: u64) -> Option<Past> {
    last(index).filter(|past| past.handle == handle)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fork_waits_for_whoever_writes_down_a_lease() {
        let done = AtomicBool::new(false);
        let (begin, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                with(0, |_| {
                    begin.send(()).expect("the test waits");
                    std::thread::sleep(Duration::from_millis(10));
                    done.store(true, Ordering::Relaxed);
                });
            });
            begun.recv().expect("begun");
            lock_for_fork();
            assert!(done.load(Ordering::Relaxed));
            // SAFETY: taken by this thread in the line above.
            unsafe { unlock_after_fork() };
        });
    }

    #[test]
    fn a_thread_without_a_name_is_its_number() {
        let place = Site::interned("app.py", 1, "");
        assert_eq!(Act::by(place, 4711).to_string(), " at app.py:1 by thread 4711");
        assert_eq!(Act::by(Site::NONE, 0).to_string(), "");
        assert!(Act::now(place).to_string().starts_with(" at app.py:1 by thread \""));
    }
}
