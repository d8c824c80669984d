//! Locks and condition variables of the engine, with the interfaces of the ones that ship.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use parking_lot::lock_api::{self, GuardNoSend};

use super::engine::{RawCondvar, StateGuard, StateMutex};
use super::world::{self, Latch};

/// Whether [`Lock`](crate::sync::Lock) tries again and again, as it does in the product. Otherwise a thread that waits for
/// a lock rests until it is free: the same orders of critical sections, without the tries between them.
static AS_PRODUCTS_DO: AtomicBool = AtomicBool::new(false);

#[cfg(loom)]
pub(crate) fn lock_as_products_do(really: bool) {
    AS_PRODUCTS_DO.store(really, Ordering::Relaxed);
}

pub(crate) fn spins() -> bool {
    AS_PRODUCTS_DO.load(Ordering::Relaxed)
}

/// In the place of parking_lot's byte.
pub(crate) struct RawLock {
    place: Cell<u64>,
}

// SAFETY: one thread of an execution runs at a time, on one thread of the system.
unsafe impl Sync for RawLock {}
// SAFETY: as above.
unsafe impl Send for RawLock {}

impl RawLock {
    fn latch(&self) -> *mut Latch {
        let place = self.place.get();
        let generation = world::generation();
        let number = if (place >> 32) as u32 == generation {
            place as u32
        } else {
            let number = world::make_latch();
            self.place.set((u64::from(generation) << 32) | u64::from(number));
            number
        };
        world::latch(number)
    }
}

// SAFETY: the engine's mutex excludes, and its guard is kept from one lock to its unlock.
unsafe impl lock_api::RawMutex for RawLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for the constant")]
    const INIT: RawLock = RawLock { place: Cell::new(0) };
    type Guard = GuardNoSend;

    fn lock(&self) -> GuardNoSend {
        let latch = self.latch();
        // SAFETY: latches stay until the next execution.
        let raw = unsafe { (*latch).raw() };
        let guard = raw.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: this thread has the lock.
        unsafe { (*latch).guard = Some(guard) };
        GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<GuardNoSend> {
        let latch = self.latch();
        // SAFETY: as in `lock`.
        let raw = unsafe { (*latch).raw() };
        if super::faults::leaves_out("lock") {
            return Some(GuardNoSend::new());
        }
        let guard = raw.try_lock().ok()?;
        // SAFETY: as in `lock`.
        unsafe { (*latch).guard = Some(guard) };
        Some(GuardNoSend::new())
    }

    unsafe fn unlock(&self, _guard: GuardNoSend) {
        // SAFETY: this thread has the lock, by the caller's promise.
        let guard = unsafe { (*self.latch()).guard.take() };
        drop(guard);
    }

    fn is_locked(&self) -> bool {
        // SAFETY: as in `lock`; no other thread runs meanwhile.
        unsafe { (*self.latch()).guard.is_some() }
    }
}

/// In the place of `std::sync::Mutex`.
pub(crate) struct Mutex<T>(StateMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(StateMutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

pub(crate) struct MutexGuard<'a, T>(StateGuard<'a, T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// In the place of `std::sync::Condvar`. No wait ever times out: a model that waits for what does not come ends as a
/// deadlock.
pub(crate) struct Condvar(RawCondvar);

pub(crate) struct Waited;

impl Waited {
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(RawCondvar::new())
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, Waited)> {
        let guard = self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner);
        Ok((MutexGuard(guard), Waited))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _limit: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, Waited)> {
        while condition(&mut guard) {
            guard = MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner));
        }
        Ok((guard, Waited))
    }
}
