//! The table of guarded leases, which a signal handler reads.

use super::common::*;
use crate::buffer::guard;
use crate::buffer::raw;
use crate::{BufferPool, Check, Site};

/// A pool that guards every lease.
fn guarding() -> BufferPool {
    options().thread_cache_bytes(0).check(Check::Sample(std::num::NonZeroU32::MIN)).build().expect("a pool")
}

#[test]
fn two_guarded_leases_have_two_places() {
    explore("two guarded leases have pages of their own", Some(1), || {
        let pool = guarding();
        let id = pool.id();
        let got = move || {
            let lease = get(id);
            (lease.data as usize, lease.id)
        };
        let other = spawn(got);
        let (mine, theirs) = (got(), other.join());
        assert!(mine.0 != theirs.0 && mine.1 != theirs.1);
        put(id, mine.1).expect("live");
        put(id, theirs.1).expect("live");
        assert_eq!(at_rest(&pool, 0).unguarded, 0);
    });
}

#[test]
fn what_is_told_of_a_past_lease_is_its_own() {
    explore("what is told of a past guarded lease is that lease's, or nothing", Some(2), || {
        let pool = guarding();
        let id = pool.id();
        let first = raw::get(id, 10, Site::NONE).expect("a lease");
        put(id, first.id).expect("live");
        let other = spawn(move || guard::past(first.id).map(|past| (past.handle, past.len)));
        // The place of the oldest one is used again.
        let second = raw::get(id, 20, Site::NONE).expect("a lease");
        put(id, second.id).expect("live");
        let found = other.join();
        assert!(found.is_none_or(|found| found == (first.id, 10)), "{found:?}");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_fault_in_a_guarded_lease_is_told_of() {
    explore("an access to a guarded lease is described while it is put", None, || {
        let pool = guarding();
        let id = pool.id();
        let lease = raw::get(id, 10, Site::NONE).expect("a lease");
        let address = lease.data as usize + 5;
        let other = spawn(move || {
            let mut text = String::new();
            guard::describe(address, &mut text).map(|result| {
                result.expect("a string takes all");
                text
            })
        });
        put(id, lease.id).expect("live");
        let text = other.join().expect("the place is live or past");
        assert!(text.contains("at byte 5 of a lease of 10 bytes of pool \"model\""), "{text}");
        at_rest(&pool, 0);
    });
}
