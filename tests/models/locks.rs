//! The lock that nobody is parked on.

use std::sync::Arc;

use super::common::*;
use crate::sync::{Lock, primitives};

/// A lock around what only one thread may touch at a time.
struct Locked {
    lock: Lock<()>,
    inside: engine::Watched<u64>,
}

// SAFETY: the cell reports accesses that do not happen one after another; the lock is what is looked at.
unsafe impl Sync for Locked {}
// SAFETY: as above.
unsafe impl Send for Locked {}

impl Locked {
    fn new() -> Arc<Locked> {
        Arc::new(Locked { lock: Lock::new(()), inside: engine::Watched::new(0) })
    }

    fn touch(&self) -> u64 {
        self.inside.with_mut(|inside| {
            // SAFETY: the cell reports accesses that are not alone.
            unsafe { *inside += 1 };
            // SAFETY: as above.
            unsafe { *inside }
        })
    }

    fn count(&self) -> u64 {
        let _held = self.lock.lock();
        self.touch()
    }
}

#[test]
fn a_lock_that_is_tried_again_and_again_excludes() {
    explore("a lock that spins excludes", None, || {
        primitives::lock_as_products_do(true);
        let locked = Locked::new();
        let theirs = locked.clone();
        let other = spawn(move || theirs.count());
        locked.count();
        other.join();
        assert_eq!(locked.count(), 3);
        primitives::lock_as_products_do(false);
    });
}

#[test]
fn a_lock_that_is_tried_once_excludes() {
    explore("a lock that is tried once excludes", None, || {
        let locked = Locked::new();
        let theirs = locked.clone();
        let count = |locked: &Locked| locked.lock.try_lock().map_or(0, |_held| locked.touch().min(1));
        let other = spawn(move || count(&theirs));
        let counted = count(&locked) + other.join();
        assert!(counted >= 1, "one of two has it");
        assert_eq!(locked.count(), counted + 1);
    });
}

#[test]
fn a_lock_held_through_a_fork_excludes() {
    explore("a lock held through a fork excludes", None, || {
        let locked = Locked::new();
        let theirs = locked.clone();
        let other = spawn(move || theirs.count());
        locked.lock.lock_for_fork();
        locked.touch();
        // SAFETY: locked above, by this thread.
        unsafe { locked.lock.unlock_after_fork() };
        other.join();
        assert_eq!(locked.count(), 3);
    });
}
