//! Keeps the pool usable in a child made by `fork`.
//!
//! Before the fork the forking thread takes every lock and keeps every other thread out of its cache, so that the
//! child's copy is whole. Afterwards both sides let go; the child also takes over the caches of the threads that it
//! does not have. Locks are never parked on (`sync.rs`), so letting go in the child is one store each.
//!
//! Nothing here needs memory: what is held from before to after the fork stands in the registry's list.

use std::cell::Cell;
use std::sync::PoisonError;

use crate::buffer::cache;
use crate::buffer::depot::Doomed;
use crate::buffer::inner::Inner;
use crate::buffer::{exit, guard, history, registry, slot};
use crate::error::{Error, ErrorKind, Result};
use crate::site;
use crate::sync::{self, Lock, MutexGuard};
use crate::tools;
use crate::trace;

thread_local! {
    /// Whether this thread is between the handlers.
    static FORKING: Cell<bool> = const { Cell::new(false) };
}

/// Prepares the process once: the fork handlers, the threads' ends, and the barrier that caches need.
///
/// # Errors
/// `NO_MEMORY`: there is none for the handlers. The next call tries again.
pub(crate) fn prepare_process() -> Result<()> {
    // Models call the handlers themselves, and end their threads.
    if cfg!(millpond_models) {
        return Ok(());
    }
    static PREPARED: Lock<bool> = Lock::new(false);
    let mut prepared = PREPARED.lock();
    if *prepared {
        return Ok(());
    }
    // SAFETY: the three functions live as long as the process: the shared library is linked with `nodelete`.
    if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } != 0 {
        return Err(Error::new(
            ErrorKind::NoMemory,
            "the system gives no memory for the fork handlers; nothing was made",
        ));
    }
    exit::prepare();
    sync::enable_heavy_barrier();
    tools::look();
    *prepared = true;
    Ok(())
}

extern "C" fn before() {
    registry::lock_for_fork();
    // The lock is held by this thread until `after`: the guard-free access below is exclusive.
    registry::with_held(|registry| {
        registry.members().for_each(|member| member.hold());
        for member in registry.members_mut() {
            // A fork on another thread may not have given its count back yet. Then that one serves both.
            if member.kept.is_none() {
                member.kept = member.inner();
            }
            let Some(inner) = &member.kept else { continue };
            inner.lock_for_fork();
            let turn = inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: `kept` keeps the pool alive until the guard is dropped, under the same lock.
            member.turn = Some(unsafe { std::mem::transmute::<MutexGuard<'_, u64>, MutexGuard<'static, u64>>(turn) });
        }
    });
    slot::lock_for_fork();
    site::lock_for_fork();
    history::lock_for_fork();
    guard::lock_for_fork();
    trace::lock_for_fork();
    FORKING.set(true);
}

extern "C" fn in_parent() {
    after(false);
}

extern "C" fn in_child() {
    after(true);
}

fn after(child: bool) {
    if !FORKING.replace(false) {
        return;
    }
    // SAFETY: `before` took the lock on this thread, of which a child has the copy.
    unsafe { trace::unlock_after_fork(child) };
    // SAFETY: as above.
    unsafe { guard::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { history::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { site::unlock_after_fork() };
    // SAFETY: as above.
    unsafe { slot::unlock_after_fork() };
    registry::with_held(|registry| {
        for member in registry.members_mut() {
            member.turn = None;
            if let Some(inner) = &member.kept {
                // SAFETY: as above.
                unsafe { inner.unlock_after_fork() };
            }
            // A child first takes over the caches of the others.
            if !child || member.kept.is_none() {
                member.let_go();
            }
        }
    });
    // SAFETY: as above.
    unsafe { registry::unlock_after_fork() };
    let mut place = 0;
    while let Some((inner, next)) = registry::take_kept(place) {
        if child {
            settle(&inner);
        }
        place = next;
    }
}

/// Makes a pool the child's own.
fn settle(inner: &Inner) {
    let mut doomed = Doomed::default();
    if let Some(member) = registry::lock().member(inner.id) {
        let is_own = |cache| {
            let mut own = false;
            cache::for_each_own(|other| own |= std::ptr::eq(other, cache));
            own
        };
        member.keep_only(is_own, |cache| inner.absorb(cache, &mut doomed));
        member.let_go();
    }
    inner.destroy_all(&mut doomed);
    inner.forget_waiters();
    inner.settle_after_fork();
}
