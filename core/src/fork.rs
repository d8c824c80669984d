//! Keeps the pool usable in a child made by `fork`.
//!
//! Before the fork the forking thread takes every lock and keeps every other thread out of its cache, so that the
//! child's copy is whole. Afterwards both sides let go; the child also takes over the caches of the threads that it
//! does not have. Locks are never parked on (`sync.rs`), so letting go in the child is one store each.

use std::cell::RefCell;
use std::sync::{Arc, MutexGuard, Once, PoisonError};

use crate::buffer::cache;
use crate::buffer::depot::Doomed;
use crate::buffer::inner::Inner;
use crate::buffer::{guard, history, registry, slot};
use crate::site;
use crate::sync;
use crate::tools;

/// What the forking thread holds between the handlers.
struct Held {
    pools: Vec<Arc<Inner>>,
    turns: Vec<MutexGuard<'static, u64>>,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Prepares the process once: the fork handlers and the barrier that caches need.
pub(crate) fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        sync::enable_asymmetric_barrier();
        tools::look();
        // SAFETY: the three functions live as long as the process: the shared library is linked with `nodelete`.
        // A failure for want of memory leaves fork as it is without handlers.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    });
}

extern "C" fn before() {
    registry::lock_for_fork();
    // The lock is held by this thread until `after`: the guard-free access below is exclusive.
    let pools = registry::with_held(|registry| {
        let mut pools = Vec::new();
        for member in registry.members() {
            member.hold();
            if let Some(inner) = member.inner()
                && pools.try_reserve(1).is_ok()
            {
                pools.push(inner);
            }
        }
        pools
    });
    let mut turns = Vec::new();
    for inner in &pools {
        inner.lock_for_fork();
        let guard = inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `HELD` keeps the pool alive until the guard is dropped, `turns` first.
        let guard = unsafe { std::mem::transmute::<MutexGuard<'_, u64>, MutexGuard<'static, u64>>(guard) };
        if turns.try_reserve(1).is_ok() {
            turns.push(guard);
        }
    }
    slot::lock_for_fork();
    site::lock_for_fork();
    history::lock_for_fork();
    guard::lock_for_fork();
    HELD.with(|held| *held.borrow_mut() = Some(Held { pools, turns }));
}

extern "C" fn in_parent() {
    after(false);
}

extern "C" fn in_child() {
    after(true);
}

fn after(child: bool) {
    let Some(Held { pools, turns }) = HELD.with(|held| held.borrow_mut().take()) else {
        return;
    };
    // SAFETY: `before` took the lock on this thread, of which a child has the copy.
    unsafe { guard::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { history::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { site::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { slot::unlock_after_fork() };
    drop(turns);
    for inner in &pools {
        // SAFETY: as above.
        unsafe { inner.unlock_after_fork() };
    }
    let mut doomed = Vec::new();
    registry::with_held(|registry| {
        for member in registry.members_mut() {
            if child && let Some(inner) = member.inner() {
                let mut own = Vec::new();
                cache::for_each_own(|cache| own.push(cache));
                let mut rejected = Doomed::default();
                member.keep_only(|cache| own.contains(&cache), |cache| inner.absorb(cache, &mut rejected));
                doomed.push((inner, rejected));
            }
            member.let_go();
        }
    });
    // SAFETY: as above.
    unsafe { registry::unlock_after_fork() };
    for (inner, mut rejected) in doomed {
        inner.destroy_all(&mut rejected);
        if child {
            inner.forget_waiters();
            inner.settle_after_fork();
        }
    }
    drop(pools);
}
