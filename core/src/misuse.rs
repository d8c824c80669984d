//! Words and counts misuse, the same for every boundary.

use std::fmt;

use crate::buffer::inner::{Inner, add};
use crate::error::{Error, ErrorKind};
use crate::site::Site;

/// Counts a misuse in the pool and describes it. Sites that are not known are left out.
#[cold]
pub(crate) fn report(inner: &Inner, kind: ErrorKind, len: usize, got: Site, first_put: Site, here: Site) -> Error {
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
    let report = Report {
        pool: &inner.name,
        kind,
        len,
        what,
        advice,
        sites: [("got", got), ("first put", first_put), ("now", here)],
    };
    Error::new(kind, report)
}

/// What a misuse's message is made of.
struct Report<'a> {
    pool: &'a str,
    kind: ErrorKind,
    len: usize,
    what: &'a str,
    advice: &'a str,
    sites: [(&'a str, Site); 3],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { pool, len, what, advice, .. } = self;
        if self.kind == ErrorKind::ForeignLease {
            write!(f, "a lease that was put into pool \"{pool}\" {what}")?;
        } else {
            write!(f, "a lease of {len} bytes of pool \"{pool}\" {what}")?;
        }
        for (label, site) in self.sites.iter().filter(|(_, site)| site.is_known()) {
            write!(f, ", {label} at {site}")?;
        }
        write!(f, "; {advice}")
    }
}
