//! Words and counts misuse, the same for every boundary.

use std::fmt::Write;

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
    let mut message = format!("a lease of {len} bytes of pool \"{}\" {what}", inner.name);
    if kind == ErrorKind::ForeignLease {
        message = format!("a lease that was put into pool \"{}\" {what}", inner.name);
    }
    for (label, site) in [("got", got), ("first put", first_put), ("now", here)] {
        if site.is_known() {
            let _ = write!(message, ", {label} at {site}");
        }
    }
    Error::new(kind, format!("{message}; {advice}"))
}
