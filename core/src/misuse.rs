//! Words and counts misuse, the same for every boundary.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::buffer::guard;
use crate::buffer::history::{self, Act, Thread};
use crate::buffer::inner::{Inner, add};
use crate::buffer::slot::Slot;
use crate::error::{Error, ErrorKind};
use crate::site::Site;

/// Counts a misuse in the pool and describes it. What is not known of the acts is left out.
#[cold]
pub(crate) fn report(inner: &Inner, kind: ErrorKind, len: usize, got: Act, first_put: Act, here: Site) -> Error {
    let counts = &inner.counts;
    let (counter, what, advice) = match kind {
        ErrorKind::DoublePut => {
            (Some(&counts.double_puts), "was put a second time", "nothing was changed, put each lease once")
        }
        ErrorKind::UseAfterPut => {
            (Some(&counts.stale_uses), "is used after its put", "its memory may be somebody else's by now")
        }
        ErrorKind::ForeignLease => {
            (Some(&counts.foreign_puts), "is another pool's", "it stays live, put it where it was got")
        }
        ErrorKind::Overrun => {
            (Some(&counts.overruns), "was written past its end", "the buffer is discarded, write at most the length")
        }
        ErrorKind::Exhausted => (Some(&counts.exhausted), "cannot be handed out", "put some, or raise max_bytes"),
        ErrorKind::Busy => {
            (None, "is pinned or looked into by a view", "it stays live, release the views and pins first")
        }
        _ => (None, kind.description(), "see the documentation of the error"),
    };
    if let Some(counter) = counter {
        add(counter, 1);
    }
    let recorded = got.thread.is_known() || first_put.thread.is_known();
    let thread = if recorded { Thread::current() } else { Thread::default() };
    let now = Act { thread, ..Act::at(here) };
    let acts = [("got", got), ("first put", first_put), ("now", now)];
    let report = Report { pool: &inner.name, kind, len, what, advice, acts };
    Error::new(kind, report)
}

/// Counts and describes what was done with a handle that is over: `DOUBLE_PUT` or `USE_AFTER_PUT`, here. Names what is
/// remembered of the lease: all of it in the modes `sites` and `full`; otherwise its length and the place of its get, as
/// long as nobody got the buffer again.
#[cold]
pub(crate) fn of_ended(pool: Option<&Inner>, kind: ErrorKind, slot: &Slot, handle: u64, here: Site) -> Error {
    let double = kind == ErrorKind::DoublePut;
    if let Some(inner) = pool {
        add(if double { &inner.counts.double_puts } else { &inner.counts.stale_uses }, 1);
    }
    let past = history::past(slot.index(), handle).or_else(|| guard::past(handle));
    // Nobody got the buffer since.
    let is_as_left = || slot.is_next_after(handle) && slot.taken.load(Ordering::Relaxed) == 0;
    let (mut len, mut got) = (None, None);
    if let Some(past) = &past {
        (len, got) = (Some(past.len), Some(past.got));
    } else if is_as_left() {
        let site = Site::from_bits(slot.site.load(Ordering::Relaxed));
        (len, got) = (Some(slot.len()), site.is_known().then(|| Act::of(site)));
        // Somebody who got the buffer meanwhile has written other values.
        if !is_as_left() {
            (len, got) = (None, None);
        }
    }
    let here = here.is_known().then_some(here);
    let thread = past.map(|_| Thread::current());
    let ended = Ended {
        pool: pool.map(|inner| inner.name.as_str()),
        double,
        len,
        got,
        put: past.map(|past| past.put),
        here,
        thread,
    };
    Error::new(kind, ended)
}

/// What the message about an ended lease is made of.
struct Ended<'a> {
    pool: Option<&'a str>,
    double: bool,
    len: Option<usize>,
    got: Option<Act>,
    put: Option<Act>,
    here: Option<Site>,
    thread: Option<Thread>,
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a lease")?;
        if let Some(len) = self.len {
            write!(f, " of {len} bytes")?;
        }
        match (self.pool, self.double) {
            (Some(pool), true) => write!(f, " was put into pool \"{pool}\" a second time")?,
            (None, true) => write!(f, " of an ended pool was put a second time")?,
            (Some(pool), false) => write!(f, " of pool \"{pool}\" is used after its put")?,
            (None, false) => write!(f, " is used after its put")?,
        }
        if let Some(here) = self.here {
            write!(f, " at {here}")?;
        }
        if let Some(thread) = self.thread {
            write!(f, " by thread {thread}")?;
        }
        if let Some(got) = &self.got {
            write!(f, ", got{got}")?;
        }
        if let Some(put) = &self.put {
            write!(f, ", first put{put}")?;
        }
        f.write_str(if self.double {
            "; nothing was changed, put each lease once"
        } else {
            "; its memory may be somebody else's by now"
        })
    }
}

/// What a misuse's message is made of.
struct Report<'a> {
    pool: &'a str,
    kind: ErrorKind,
    len: usize,
    what: &'a str,
    advice: &'a str,
    acts: [(&'a str, Act); 3],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { pool, len, what, advice, .. } = self;
        if self.kind == ErrorKind::ForeignLease {
            write!(f, "a lease that was put into pool \"{pool}\" {what}")?;
        } else {
            write!(f, "a lease of {len} bytes of pool \"{pool}\" {what}")?;
        }
        for (label, act) in self.acts.iter().filter(|(_, act)| act.is_known()) {
            write!(f, ", {label}{act}")?;
        }
        write!(f, "; {advice}")
    }
}
