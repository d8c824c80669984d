//! The lock that nobody is parked on.

use std::sync::Arc;

use super::common::*;
use crate::sync::{Lock, primitives};

/// Counts in two steps, which only a lock makes one.
fn count(lock: &Lock<u64>) {
    let mut held = lock.lock();
    let before = *held;
    *held = before + 1;
}

#[test]
fn a_lock_that_is_tried_again_and_again_excludes() {
    // A thread that tries gives way to the other; the tries between are the same again.
    explore("a lock that spins excludes", None, || {
        primitives::lock_as_products_do(true);
        let lock = Arc::new(Lock::new(0));
        let theirs = lock.clone();
        let other = spawn(move || count(&theirs));
        count(&lock);
        other.join();
        assert_eq!(*lock.lock(), 2);
        primitives::lock_as_products_do(false);
    });
}

#[test]
fn a_lock_that_is_tried_once_excludes() {
    explore("a lock that is tried once excludes", None, || {
        let lock = Arc::new(Lock::new(0));
        let theirs = lock.clone();
        let try_count = |lock: &Lock<u64>| match lock.try_lock() {
            Some(mut held) => {
                *held += 1;
                1
            }
            None => 0,
        };
        let other = spawn(move || try_count(&theirs));
        let counted = try_count(&lock) + other.join();
        assert!(counted >= 1, "one of two has it");
        assert_eq!(*lock.lock(), counted);
    });
}

#[test]
fn a_lock_held_through_a_fork_excludes() {
    explore("a lock held through a fork excludes", None, || {
        let lock = Arc::new(Lock::new(0));
        let theirs = lock.clone();
        let other = spawn(move || count(&theirs));
        lock.lock_for_fork();
        // SAFETY: held by this thread, and no other reference.
        let value = unsafe { lock.get_held() };
        let before = *value;
        *value = before + 1;
        // SAFETY: locked above.
        unsafe { lock.unlock_after_fork() };
        other.join();
        assert_eq!(*lock.lock(), 2);
    });
}
