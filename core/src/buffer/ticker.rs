//! Runs the background thread of `maintain_every`, the only one that millpond ever starts.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::inner::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Starts the thread. It holds the pool weakly and ends soon after the pool is closed.
pub(crate) fn start(inner: &Arc<Inner>, interval: Duration) -> Result<()> {
    let weak = Arc::downgrade(inner);
    std::thread::Builder::new()
        .name("millpond-maintain".into())
        .stack_size(128 << 10)
        .spawn(move || run(&weak, interval))
        .map(drop)
        .map_err(|error| {
            inner.close();
            Error::new(
                ErrorKind::NoMemory,
                format_args!("no thread for maintain_every of pool \"{}\": {error}", inner.name),
            )
        })
}

fn run(weak: &Weak<Inner>, interval: Duration) {
    // Short waits, so that the thread never keeps a pool that everybody else has left alive for long.
    const LONGEST: Duration = Duration::from_millis(100);
    let mut left = interval;
    while let Some(inner) = weak.upgrade() {
        if inner.is_closed() {
            return;
        }
        let step = left.min(LONGEST);
        let turn = inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // A close wakes the thread at once; a put that wakes it only makes the look come a little late.
        drop(inner.turned.wait_timeout(turn, step));
        left -= step;
        if left.is_zero() && !inner.is_closed() {
            inner.maintain();
            left = interval;
        }
    }
}
