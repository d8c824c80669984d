//! A thread's cache is its owner's, unless somebody else has raised a gate: the asymmetric lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::common::*;
use crate::buffer::cache::{GATE_ORPHAN, GATE_REVOKED, GATE_WAITERS, ThreadCache};
use crate::buffer::inner::Inner;
use crate::buffer::magazine::Magazine;
use crate::sync::{self, AtomicBool, Lock};

/// The length of all leases here.
const LEN: usize = 7;

/// A cache that stands in no list, with what only one thread may touch at a time.
struct Guarded {
    cache: Box<ThreadCache>,
    inside: engine::Watched<u64>,
}

// SAFETY: the cell reports accesses that do not happen one after another; the cache's protocol is what is looked at.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new(inner: &Inner) -> Arc<Guarded> {
        let cache = ThreadCache::new(inner, 0, 0).expect("memory");
        Arc::new(Guarded { cache, inside: engine::Watched::new(0) })
    }

    fn touch(&self) {
        self.inside.with_mut(|inside| {
            // SAFETY: the cell reports accesses that are not alone.
            unsafe { *inside += 1 };
        });
    }

    /// Uses the cache as its owner does; `false` when it may not.
    fn own(&self) -> bool {
        let entered = self.cache.enter(self.cache.inner);
        if entered {
            self.touch();
            self.cache.leave();
        }
        entered
    }

    /// Uses one of the cache's magazines as a get does; `false` when it may not.
    fn own_to_get(&self) -> bool {
        let act = |_: &Magazine| {
            self.touch();
            Some(())
        };
        self.cache.use_for_get(self.cache.inner, 0, LEN, act).is_some()
    }

    /// Uses one of the cache's magazines as a put does; `false` when it may not.
    fn own_to_put(&self) -> bool {
        let act = |_: &Magazine| {
            self.touch();
            Some(())
        };
        self.cache.use_for_put(self.cache.inner, 0, LEN, act).is_some()
    }

    /// Waits for the owner, and finds the bytes of what it did and of no more.
    fn wait_until_idle(&self) {
        self.cache.wait_until_idle();
        let leases = self.cache.gets(0).wrapping_sub(self.cache.puts(0));
        assert_eq!(self.cache.settled(), leases.wrapping_mul(LEN as u64), "the bytes of its leases");
    }

    /// Uses the cache as `Member::revoke` does.
    fn revoke(&self) {
        self.cache.raise(GATE_REVOKED);
        sync::heavy_barrier();
        self.wait_until_idle();
        self.touch();
        self.cache.lower(GATE_REVOKED);
    }
}

fn own_once(guarded: &Guarded) {
    guarded.own();
}

/// Explores what an owner does with its cache while another thread does something else with it.
fn race<T: Send + 'static>(
    name: &'static str,
    owner: impl Fn(&Guarded) + Copy + Send + Sync + 'static,
    other: impl Fn(&Guarded) -> T + Copy + Send + Sync + 'static,
    after: impl Fn(&Guarded, T) + Copy + Send + Sync + 'static,
) {
    explore(name, None, move || {
        let pool = pool_without_caches();
        let guarded = Guarded::new(pool.inner());
        let theirs = guarded.clone();
        let thread = spawn(move || other(&theirs));
        owner(&guarded);
        let result = thread.join();
        after(&guarded, result);
    });
}

fn owns_again(guarded: &Guarded, _: ()) {
    assert!(guarded.own(), "the gate is open again");
}

#[test]
fn owner_and_revoker_are_never_inside_together() {
    race("owner and revoker are never inside together", own_once, Guarded::revoke, owns_again);
}

#[test]
fn an_owner_that_enters_twice_meets_one_revocation() {
    let twice = |guarded: &Guarded| {
        guarded.own();
        guarded.own();
    };
    race("an owner that enters twice and a revoker are never inside together", twice, Guarded::revoke, owns_again);
}

#[test]
fn an_owner_meets_two_revocations() {
    let twice = |guarded: &Guarded| {
        guarded.revoke();
        guarded.revoke();
    };
    race("an owner and two revocations are never inside together", own_once, twice, owns_again);
}

#[test]
fn the_pool_that_an_owner_enters_by_number_is_there() {
    let enter = |guarded: &Guarded| {
        if let Some(inner) = guarded.cache.enter_by_id(guarded.cache.pool_id) {
            assert_eq!(inner.id, guarded.cache.pool_id);
            guarded.touch();
            guarded.cache.leave();
        }
    };
    race("owner by number and revoker are never inside together", enter, Guarded::revoke, owns_again);
}

fn serves_again(guarded: &Guarded, _: ()) {
    owns_again(guarded, ());
    assert!(guarded.own_to_get() && guarded.own_to_put(), "the gate is open again for both");
}

#[test]
fn an_owner_that_gets_meets_a_revocation() {
    let once = |guarded: &Guarded| {
        guarded.own_to_get();
    };
    race("owner that gets and revoker are never inside together", once, Guarded::revoke, serves_again);
}

#[test]
fn an_owner_that_gets_twice_meets_a_revocation() {
    let twice = |guarded: &Guarded| {
        guarded.own_to_get();
        guarded.own_to_get();
    };
    race("owner that gets twice and revoker are never inside together", twice, Guarded::revoke, serves_again);
}

#[test]
fn an_owner_that_gets_meets_two_revocations() {
    let twice = |guarded: &Guarded| {
        guarded.revoke();
        guarded.revoke();
    };
    let once = |guarded: &Guarded| {
        guarded.own_to_get();
    };
    race("an owner that gets and two revocations are never inside together", once, twice, serves_again);
}

#[test]
fn an_owner_that_puts_meets_a_revocation() {
    let once = |guarded: &Guarded| {
        guarded.own_to_put();
    };
    race("owner that puts and revoker are never inside together", once, Guarded::revoke, serves_again);
}

#[test]
fn an_owner_that_puts_twice_meets_a_revocation() {
    let twice = |guarded: &Guarded| {
        guarded.own_to_put();
        guarded.own_to_put();
    };
    race("owner that puts twice and revoker are never inside together", twice, Guarded::revoke, serves_again);
}

#[test]
fn an_owner_that_puts_meets_two_revocations() {
    let twice = |guarded: &Guarded| {
        guarded.revoke();
        guarded.revoke();
    };
    let once = |guarded: &Guarded| {
        guarded.own_to_put();
    };
    race("an owner that puts and two revocations are never inside together", once, twice, serves_again);
}

#[test]
fn an_owner_that_gets_and_puts_meets_a_revocation() {
    let pair = |guarded: &Guarded| {
        guarded.own_to_get();
        guarded.own_to_put();
    };
    race("owner that gets and puts and revoker are never inside together", pair, Guarded::revoke, serves_again);
}

#[test]
fn the_pool_that_a_get_enters_by_number_is_there() {
    let enter = |guarded: &Guarded| {
        if let Some(inner) = guarded.cache.enter_to_pop_by_id(guarded.cache.pool_id) {
            assert_eq!(inner.id, guarded.cache.pool_id);
            guarded.touch();
            guarded.cache.leave();
        }
    };
    race("owner that gets by number and revoker are never inside together", enter, Guarded::revoke, serves_again);
}

#[test]
fn an_orphan_is_nobodys_but_the_one_that_ended_it() {
    let orphan = |guarded: &Guarded| {
        guarded.cache.raise(GATE_ORPHAN);
        sync::heavy_barrier();
        guarded.wait_until_idle();
        guarded.touch();
    };
    let after = |guarded: &Guarded, ()| {
        assert!(guarded.cache.is_orphan() && !guarded.own(), "its owner never gets in again");
        assert!(!guarded.own_to_get() && !guarded.own_to_put(), "nor one by one");
    };
    race("an ended cache is its owner's no more", own_once, orphan, after);
    let pair = |guarded: &Guarded| {
        guarded.own_to_get();
        guarded.own_to_put();
    };
    race("an ended cache serves its owner no more", pair, orphan, after);
}

/// Has an owner try another pool's cache, in two ways, while that is revoked.
fn never_entered(name: &'static str, refused: fn(&ThreadCache, &Inner) -> [bool; 2], open: fn(&Guarded) -> bool) {
    explore(name, None, move || {
        let (pool, other) = (pool_without_caches(), pool_without_caches());
        let guarded = Guarded::new(pool.inner());
        let theirs = guarded.clone();
        let thread = spawn(move || theirs.revoke());
        assert_eq!(refused(&guarded.cache, other.inner()), [true, true]);
        thread.join();
        assert!(open(&guarded));
    });
}

#[test]
fn the_other_pools_cache_is_never_entered() {
    let refused = |cache: &ThreadCache, other: &Inner| [!cache.enter(other), cache.enter_by_id(other.id).is_none()];
    never_entered("a cache is entered for its own pool only", refused, Guarded::own);
}

#[test]
fn the_other_pools_cache_serves_no_get() {
    let refused = |cache: &ThreadCache, other: &Inner| {
        let act = |_: &Magazine| Some(());
        [cache.use_for_get(other, 0, LEN, act).is_none(), cache.enter_to_pop_by_id(other.id).is_none()]
    };
    never_entered("a cache serves gets of its own pool only", refused, Guarded::own_to_get);
    let refused = |cache: &ThreadCache, other: &Inner| {
        let act = |_: &Magazine| Some(());
        [cache.use_for_put(other, 0, LEN, act).is_none(), cache.enter_by_id(other.id).is_none()]
    };
    never_entered("a cache takes puts of its own pool only", refused, Guarded::own_to_put);
}

#[test]
fn a_gate_opens_when_the_last_reason_is_gone() {
    explore("a gate opens when the last of two reasons is gone", None, || {
        let pool = pool_without_caches();
        let guarded = Guarded::new(pool.inner());
        // In the place of the registry's lock.
        let lock = Arc::new(Lock::new(()));
        let change = |guarded: &Guarded, lock: &Lock<()>, reason| {
            let held = lock.lock();
            guarded.cache.raise(reason);
            drop(held);
            assert!(!guarded.own(), "shut, whatever others do with their reasons");
            let _held = lock.lock();
            guarded.cache.lower(reason);
        };
        // The owner itself, and another thread that only looks at the word.
        let (theirs, their_lock) = (guarded.clone(), lock.clone());
        let thread = spawn(move || {
            let _held = their_lock.lock();
            theirs.cache.raise(GATE_REVOKED);
            theirs.cache.lower(GATE_REVOKED);
        });
        change(&guarded, &lock, GATE_WAITERS);
        thread.join();
        assert!(guarded.own());
    });
}

#[test]
fn light_and_heavy_side_see_each_other() {
    explore("of a light and a heavy side, one sees the other", None, || {
        let words = Arc::new((sync::AtomicU32::new(0), AtomicBool::new(false)));
        let theirs = words.clone();
        let other = spawn(move || {
            theirs.1.store(true, Ordering::Relaxed);
            sync::heavy_barrier();
            theirs.0.load(Ordering::Relaxed) == 1
        });
        words.0.store(1, Ordering::Relaxed);
        sync::light_barrier();
        let mine = words.1.load(Ordering::Relaxed);
        assert!(mine | other.join(), "one sees the other");
    });
}
