//! A thread ends the leases that it got itself without an atomic operation, and nobody else ends one of them meanwhile.

use super::common::*;
use crate::buffer::raw;
use crate::{BufferPool, ErrorKind};

/// Returns a pool, the id that names it, and a lease with the mark of the calling thread.
fn marked() -> (BufferPool, u64, u64) {
    let pool = pool();
    let id = pool.id();
    (pool, id, marked_of(id))
}

/// Gets a lease from the calling thread's cache, which it makes and fills before.
fn marked_of(id: u64) -> u64 {
    put(id, get(id).id).expect("live");
    let lease = get(id).id;
    assert_ne!(mark(lease), 0, "got from a cache");
    lease
}

fn mark(lease: u64) -> u16 {
    raw::check(lease).expect("live").len_and_mark().1
}

/// Is a tenant of one buffer.
fn write_one(tenants: &Tenants, id: u64) {
    let lease = get(id).id;
    tenants.write(lease);
    put(id, lease).expect("live");
}

fn pin(lease: u64) -> Result<(), ErrorKind> {
    raw::pin(lease).map_err(|error| error.kind())
}

#[test]
fn of_the_owners_put_and_another_one_wins() {
    explore("of the owner's put and another's, one wins", Some(2), || {
        let (pool, id, lease) = marked();
        let other = spawn(move || put(id, lease));
        let results = [put(id, lease), other.join()];
        assert!(results[0].is_ok() != results[1].is_ok(), "one wins");
        assert!(results.contains(&Err(ErrorKind::DoublePut)));
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.double_puts), (2, 2, 1));
    });
}

#[test]
fn of_the_owners_put_and_two_others_one_wins_each_time() {
    explore("of an owner's put and another's, one wins the first and the second time", Some(1), || {
        let (pool, id, lease) = marked();
        let second = get(id).id;
        let other = spawn(move || [put(id, lease).is_ok(), put(id, second).is_ok()]);
        let mine = [put(id, lease).is_ok(), put(id, second).is_ok()];
        let theirs = other.join();
        assert!(mine[0] != theirs[0] && mine[1] != theirs[1], "one wins");
        at_rest(&pool, 0);
    });
}

#[test]
fn the_owner_does_not_put_what_another_pins() {
    explore("a lease is never pinned by another and put by its owner at once", Some(2), || {
        let (pool, id, lease) = marked();
        let other = spawn(move || pin(lease));
        let mine = put(id, lease);
        match (mine, other.join()) {
            (Ok(()), Err(ErrorKind::UseAfterPut)) => {}
            (Err(ErrorKind::Busy), Ok(())) => {
                raw::unpin(lease).expect("pinned");
                assert_eq!(put(id, lease), Ok(()));
            }
            // Each saw the other half-way and stepped back.
            (Err(ErrorKind::Busy), Err(ErrorKind::UseAfterPut)) => assert_eq!(put(id, lease), Ok(())),
            other => panic!("{other:?}"),
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn who_puts_anothers_lease_sees_what_its_owner_did() {
    explore("the next tenant sees what the owner did, whoever put", Some(1), || {
        let (pool, id, lease) = marked();
        let tenants = Tenants::new();
        let theirs = tenants.clone();
        // Who puts another's lease is told of it before the owner is done: only the buffer's next tenants are watched.
        let other = spawn(move || {
            let done = put(id, lease).is_ok();
            write_one(&theirs, id);
            done
        });
        let done = put(id, lease).is_ok();
        write_one(&tenants, id);
        assert!(done != other.join(), "one wins");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_mark_that_is_given_again_marks_no_older_lease() {
    explore("a lease of a thread that ended, put by the next that has its mark, and by another", Some(1), || {
        let pool = pool();
        let id = pool.id();
        // There is one mark in models. It is free again, and the lease still has it.
        let lease = spawn(move || marked_of(id)).join();
        let other = spawn(move || put(id, lease));
        put(id, get(id).id).expect("live");
        let mine = put(id, lease);
        assert!(mine.is_ok() != other.join().is_ok(), "one wins");
        at_rest(&pool, 0);
    });
}
