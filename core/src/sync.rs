//! Holds the locks and the one asymmetric barrier that the pool is built from.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};
use std::time::Duration;

use parking_lot::lock_api::GuardNoSend;

pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

/// A parking_lot mutex that never parks: it spins, yields, then sleeps for short times.
///
/// parking_lot keeps its sleepers in a process-wide table. A child made by `fork` would inherit sleepers that no
/// longer exist, and could hand a lock to one of them. The critical sections here are some dozen instructions, and
/// a lock that is never parked on is one byte that the child can simply set free.
pub(crate) struct Lock<T>(parking_lot::Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock(parking_lot::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => LockGuard(guard),
            None => self.lock_contended(),
        }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        self.0.try_lock().map(LockGuard)
    }

    #[cold]
    fn lock_contended(&self) -> LockGuard<'_, T> {
        let mut tries = 0_u32;
        loop {
            if let Some(guard) = self.0.try_lock() {
                return LockGuard(guard);
            }
            relax(tries);
            tries = tries.saturating_add(1);
        }
    }

    /// Takes the lock and forgets the guard; [`Lock::unlock_after_fork`] is its other half.
    pub(crate) fn lock_for_fork(&self) {
        std::mem::forget(self.lock());
    }

    /// Frees the lock that [`Lock::lock_for_fork`] took, in the parent and in the child.
    ///
    /// # Safety
    /// This thread, or the thread it is the copy of, called `lock_for_fork` and has not unlocked since.
    pub(crate) unsafe fn unlock_after_fork(&self) {
        // SAFETY: the caller keeps the promise, which makes a second guard the guard; nobody ever parks on the lock,
        // so there is nobody to wake.
        drop(unsafe { self.0.make_guard_unchecked(GuardNoSend::new()) });
    }

    /// Lends the value to the thread that holds the lock without a guard.
    ///
    /// # Safety
    /// This thread called [`Lock::lock_for_fork`], has not unlocked since, and holds no other reference to the value.
    #[expect(clippy::mut_from_ref, reason = "the lock is held, which makes the access exclusive")]
    pub(crate) unsafe fn get_held(&self) -> &mut T {
        // SAFETY: the lock is held by the caller, as it promises.
        unsafe { &mut *self.0.data_ptr() }
    }
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

pub(crate) struct LockGuard<'a, T>(parking_lot::MutexGuard<'a, T>);

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Whether the kernel runs a barrier on the other threads for us. Where it does not, there are no caches.
static EXPEDITED: AtomicBool = AtomicBool::new(false);

/// Asks the kernel once for the right to [`heavy_barrier`].
pub(crate) fn enable_asymmetric_barrier() {
    if membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
        EXPEDITED.store(true, Ordering::SeqCst);
    }
}

/// Says whether [`heavy_barrier`] works.
pub(crate) fn has_asymmetric_barrier() -> bool {
    EXPEDITED.load(Ordering::Relaxed)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// The owner's half of a Dekker pair: after it, the owner's store to `flag` and its later loads are in order for
/// anybody who runs [`heavy_barrier`] between a store of its own and a load of `flag`.
#[inline(always)]
pub(crate) fn light_store(flag: &AtomicU32, value: u32) {
    flag.store(value, Ordering::Relaxed);
    // The kernel's barrier orders the machine; this one orders the compiler.
    compiler_fence(Ordering::SeqCst);
}

/// The other half: every thread of the process has passed a full barrier when it returns.
pub(crate) fn heavy_barrier() {
    if EXPEDITED.load(Ordering::Relaxed) {
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        // Registered once, the command cannot fail (membarrier(2)); a child of fork inherits the registration.
        debug_assert!(done, "membarrier");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes() {
        let lock = Lock::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        *lock.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }
}
