//! Keeps a coarse clock that a get may read for the price of a load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One step of the coarse clock. 2^32 of them are 497 days.
const STEP: Duration = Duration::from_millis(10);

/// Steps since the process first used the clock; never 0, which means "no lease is out".
static NOW: AtomicU32 = AtomicU32::new(1);

/// Returns the time of the last [`tick`].
#[inline(always)]
pub(crate) fn coarse() -> u32 {
    NOW.load(Ordering::Relaxed)
}

/// Brings the coarse clock up to date. Called where a buffer is created or moved between threads, and where
/// statistics are read.
pub(crate) fn tick() {
    static START: OnceLock<Instant> = OnceLock::new();
    NOW.store(steps(START.get_or_init(Instant::now).elapsed()), Ordering::Relaxed);
}

/// The number of the step in which so much time has gone.
fn steps(elapsed: Duration) -> u32 {
    ((elapsed.as_millis() / STEP.as_millis()) as u32).wrapping_add(1).max(1)
}

/// Returns how long ago `then` was; a time before the last tick counts as the tick's, so this is an upper bound.
pub(crate) fn since(then: u32) -> Duration {
    STEP * coarse().wrapping_sub(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_ten_milliseconds_and_none_is_zero() {
        for (millis, step) in [(0, 1), (9, 1), (10, 2), (25, 3), (1000, 101)] {
            assert_eq!(steps(Duration::from_millis(millis)), step, "{millis}");
        }
        // Around the whole circle.
        assert_eq!([steps(STEP * u32::MAX), steps(STEP * u32::MAX + STEP)], [1, 1]);
    }
}
