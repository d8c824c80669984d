//! Holds the locks and the one asymmetric barrier that the pool is built from.
//!
//! All that threads share comes from here, so that `tests/models` can run the same code on a model checker's atomics,
//! locks and threads.

#[cfg(not(millpond_models))]
mod primitives;
#[cfg(millpond_models)]
#[path = "../../tests/models/shim/mod.rs"]
pub(crate) mod primitives;

use std::ops::{Deref, DerefMut};

use parking_lot::lock_api::{self, GuardNoSend};

use primitives::RawLock;
pub(crate) use primitives::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, enable_heavy_barrier,
    has_heavy_barrier, heavy_barrier, light_barrier, relax, thread_words,
};

/// A parking_lot mutex that never parks: it spins, yields, then sleeps for short times.
///
/// parking_lot keeps its sleepers in a process-wide table. A child made by `fork` would inherit sleepers that no
/// longer exist, and could hand a lock to one of them. The critical sections here are some dozen instructions, and
/// a lock that is never parked on is one byte that the child can simply set free.
pub(crate) struct Lock<T>(lock_api::Mutex<RawLock, T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock(lock_api::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        #[cfg(millpond_models)]
        if !primitives::spins() {
            return LockGuard(self.0.lock());
        }
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

pub(crate) struct LockGuard<'a, T>(lock_api::MutexGuard<'a, RawLock, T>);

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

#[cfg(all(test, not(millpond_models)))]
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
