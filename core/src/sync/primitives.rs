//! What the machine, the kernel and the standard library give. `tests/models` puts a model checker's in the place of all
//! of it.

use std::sync::atomic::{Ordering, compiler_fence};
use std::time::Duration;

pub(crate) use parking_lot::RawMutex as RawLock;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread_local as thread_words;

/// Whether the kernel runs a barrier on the other threads for us.
static EXPEDITED: AtomicBool = AtomicBool::new(false);

/// Asks the kernel for the right to [`heavy_barrier`].
pub(crate) fn enable_heavy_barrier() {
    if membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
        EXPEDITED.store(true, Ordering::SeqCst);
    }
}

/// Says whether [`heavy_barrier`] works.
pub(crate) fn has_heavy_barrier() -> bool {
    EXPEDITED.load(Ordering::Relaxed)
}

/// Has every thread of the process pass a full barrier, where that works.
pub(crate) fn heavy_barrier() {
    if has_heavy_barrier() {
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        // Registered once, the command cannot fail (membarrier(2)); a child of fork inherits the registration.
        debug_assert!(done, "membarrier");
    }
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// The frequent side's half of a [`heavy_barrier`]: that one orders the machine, this one orders the compiler.
#[inline(always)]
pub(crate) fn light_barrier() {
    compiler_fence(Ordering::SeqCst);
}

/// Waits a moment, longer the more often it was tried: spinning first, then yielding, then sleeping, so that a
/// thread of lower priority that holds the lock gets to run.
pub(crate) fn relax(tries: u32) {
    match tries {
        0..64 => std::hint::spin_loop(),
        64..256 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(50)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often this thread went to sleep of its own will.
    fn sleeps() -> libc::c_long {
        // SAFETY: integers, which may all be zero.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: writes one rusage.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
        usage.ru_nvcsw
    }

    #[test]
    fn who_waits_spins_and_yields_before_it_sleeps() {
        let awake = [0, 1, 63, 64, 255];
        // Once before, for the code to be in memory.
        awake.into_iter().for_each(relax);
        let before = sleeps();
        awake.into_iter().for_each(relax);
        assert_eq!(sleeps(), before);
        [256, 1000, u32::MAX].into_iter().for_each(relax);
        assert!(sleeps() >= before + 3);
    }
}
