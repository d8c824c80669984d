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
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often this thread yielded and slept.
        static RESTS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }

    // Functions of an executable go before those of the libraries: these serve the standard library's calls.

    #[unsafe(no_mangle)]
    extern "C" fn sched_yield() -> libc::c_int {
        RESTS.set((RESTS.get().0 + 1, RESTS.get().1));
        // SAFETY: takes nothing.
        unsafe { libc::syscall(libc::SYS_sched_yield) as libc::c_int }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn nanosleep(wanted: *const libc::timespec, left: *mut libc::timespec) -> libc::c_int {
        RESTS.set((RESTS.get().0, RESTS.get().1 + 1));
        // SAFETY: the caller's arguments.
        unsafe { libc::syscall(libc::SYS_nanosleep, wanted, left) as libc::c_int }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_nanosleep(
        clock: libc::clockid_t,
        flags: libc::c_int,
        wanted: *const libc::timespec,
        left: *mut libc::timespec,
    ) -> libc::c_int {
        RESTS.set((RESTS.get().0, RESTS.get().1 + 1));
        // SAFETY: the caller's arguments.
        let failed = unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, wanted, left) } != 0;
        // This one returns what the others leave in `errno`.
        if failed { std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL) } else { 0 }
    }

    #[test]
    fn who_waits_spins_and_yields_before_it_sleeps() {
        for (tries, wanted) in [
            (0, (0, 0)),
            (1, (0, 0)),
            (63, (0, 0)),
            (64, (1, 0)),
            (255, (1, 0)),
            (256, (0, 1)),
            (1000, (0, 1)),
            (u32::MAX, (0, 1)),
        ] {
            RESTS.set((0, 0));
            relax(tries);
            // A signal may interrupt a sleep, which then goes on.
            let (yields, sleeps) = RESTS.get();
            assert_eq!((yields, sleeps.min(1)), wanted, "{tries} tries");
        }
    }
}
