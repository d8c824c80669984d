//! A handle names one lease, and ends once.

use super::common::*;
use crate::buffer::{raw, slot};
use crate::{BufferPool, ErrorKind, Site};

/// Returns a pool, the id that names it, and a lease of it.
fn leased() -> (BufferPool, u64, u64) {
    let pool = pool();
    let id = pool.id();
    (pool, id, get(id).id)
}

#[test]
fn two_puts_of_one_handle_one_wins() {
    explore("two puts of one handle: one wins", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || put(id, lease));
        let results = [put(id, lease), other.join()];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.contains(&Err(ErrorKind::DoublePut)));
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.double_puts), (1, 1, 1));
    });
}

#[test]
fn two_puts_through_two_caches_one_wins() {
    explore("two puts through two caches: one wins", None, || {
        let (pool, id, lease) = leased();
        let prepare = move || put(id, get(id).id).expect("a put of its own");
        let other = spawn_prepared(prepare, move |()| put(id, lease));
        let results = [put(id, lease), other.join()];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.contains(&Err(ErrorKind::DoublePut)));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_put_that_comes_late_leaves_the_next_lease_alone() {
    explore("a late put leaves the next lease of the buffer alone", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || put(id, lease));
        let mine = put(id, lease);
        let next = get(id).id;
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok());
        assert_eq!(raw::lookup(next).map(|lease| lease.id).ok(), Some(next), "the next lease is live");
        assert_eq!(put(id, next), Ok(()));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_pinned_lease_is_not_put() {
    explore("a lease is never pinned and put at once", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || raw::pin(lease).map_err(|error| error.kind()));
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
fn a_pinned_lease_is_not_put_through_a_cache() {
    explore("a lease is never pinned and put through a cache at once", None, || {
        let (pool, id, lease) = leased();
        let other = spawn_prepared(
            move || put(id, get(id).id).expect("a put of its own"),
            move |()| put(id, lease),
        );
        let mine = raw::pin(lease).map_err(|error| error.kind());
        match (mine, other.join()) {
            (Err(ErrorKind::UseAfterPut), Ok(())) => {}
            (Ok(()), Err(ErrorKind::Busy)) => {
                raw::unpin(lease).expect("pinned");
                assert_eq!(put(id, lease), Ok(()));
            }
            // Each saw the other half-way and stepped back.
            (Err(ErrorKind::UseAfterPut), Err(ErrorKind::Busy)) => assert_eq!(put(id, lease), Ok(())),
            other => panic!("{other:?}"),
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn a_put_that_meets_the_last_pin_is_done_or_busy() {
    explore("a put that meets the last unpin is done or busy", None, || {
        let (pool, id, lease) = leased();
        raw::pin(lease).expect("live");
        let other = spawn(move || raw::unpin(lease).expect("pinned"));
        let mine = put(id, lease);
        other.join();
        match mine {
            Ok(()) => {}
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Busy);
                assert_eq!(put(id, lease), Ok(()));
            }
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn pins_are_counted() {
    explore("two threads' pins are both counted", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || raw::pin(lease).expect("live"));
        raw::pin(lease).expect("live");
        raw::unpin(lease).expect("pinned");
        other.join();
        assert_eq!(put(id, lease), Err(ErrorKind::Busy));
        raw::unpin(lease).expect("pinned");
        assert_eq!(put(id, lease), Ok(()));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_lookup_never_tells_of_another_lease() {
    explore("a lookup tells of its lease or fails, while the buffer goes on", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || raw::lookup(lease).map(|found| found.len).map_err(|error| error.kind()));
        put(id, lease).expect("live");
        let next = raw::get(id, SIZE / 2, Site::NONE).expect("a lease");
        let found = other.join();
        assert!(matches!(found, Ok(SIZE) | Err(ErrorKind::UseAfterPut)), "{found:?}");
        put(id, next.id).expect("live");
        at_rest(&pool, 0);
    });
}

#[test]
fn the_pool_of_a_lease_is_told_or_the_lease_is_over() {
    explore("the pool of a lease is told, or that the lease is over", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || raw::pool_of(lease).map_err(|error| error.kind()));
        put(id, lease).expect("live");
        pool.trim();
        let found = other.join();
        assert!(found == Ok(id) || found == Err(ErrorKind::UseAfterPut), "{found:?}");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_handle_is_redeemed_or_put() {
    explore("a handle is turned into a lease or put, not both", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || put(id, lease));
        let mine = raw::into_lease(id, lease).map_err(|error| error.kind());
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        at_rest(&pool, u64::from(mine.is_ok()));
        drop(mine);
        at_rest(&pool, 0);
    });
}

#[test]
fn a_handle_is_detached_or_put() {
    explore("a handle is detached or put, not both", None, || {
        let (pool, id, lease) = leased();
        let other = spawn(move || put(id, lease));
        let mine = raw::detach(id, lease).map_err(|error| error.kind());
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        let stats = at_rest(&pool, 0);
        assert_eq!(stats.detached, u64::from(mine.is_ok()));
    });
}

#[test]
fn a_handle_is_lost_or_put() {
    explore("a handle is lost or put, not both", None, || {
        let pool = options().classes(crate::Classes::List(vec![64 << 10])).build().expect("a pool");
        let id = pool.id();
        let lease = get(id).id;
        let other = spawn(move || put(id, lease));
        let mine = raw::lose(id, lease).map_err(|error| error.kind());
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        let stats = at_rest(&pool, 0);
        assert_eq!(stats.leaked, u64::from(mine.is_ok()));
    });
}

#[test]
fn a_lease_put_into_the_wrong_pool_stays_live_for_the_right_one() {
    explore("a put into the wrong pool takes nothing from the right one", None, || {
        let (pool, id, lease) = leased();
        let wrong = pool_without_caches();
        let wrong_id = wrong.id();
        let other = spawn(move || put(wrong_id, lease));
        assert_eq!(put(id, lease), Ok(()));
        let theirs = other.join();
        assert!(matches!(theirs, Err(ErrorKind::ForeignLease | ErrorKind::DoublePut)), "{theirs:?}");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_last_handle_ends_once_and_its_slot_serves_nobody_again() {
    explore("the last handle of a slot ends once, and the slot is retired", None, || {
        let pool = pool();
        let id = pool.id();
        let mut lease = get(id).id;
        let place = slot::index_of(lease);
        while {
            let (put, next) = (put(id, lease), get(id).id);
            assert_eq!(put, Ok(()));
            let same = slot::index_of(next) == place;
            if same {
                lease = next;
            } else {
                // The slot is worn out: this is the first lease of another one.
                raw::put(id, next, None, Site::NONE).expect("live");
            }
            same
        } {}
        // The same again, with the next slot, and two threads at its last handle.
        let mut last = get(id).id;
        for _ in 0..5 {
            put(id, last).expect("live");
            last = get(id).id;
        }
        let other = spawn(move || put(id, last));
        let mine = put(id, last);
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        let fresh = get(id).id;
        assert_ne!(slot::index_of(fresh), slot::index_of(last), "a worn out slot serves nobody");
        assert_eq!(put(id, last), Err(ErrorKind::DoublePut));
        put(id, fresh).expect("live");
        at_rest(&pool, 0);
    });
}

#[test]
fn numbers_that_were_never_handles_find_nothing_while_the_table_grows() {
    explore("a guessed handle finds nothing while the table grows", None, || {
        let (pool, id, first) = leased();
        let (second, third) = (get(id).id, get(id).id);
        // The fourth place is the first of the table's next part.
        let guesses = [4, (1 << 24) | 4, (1 << 24) | 5];
        let other = spawn(move || guesses.map(|guess| put(id, guess)));
        let fourth = get(id).id;
        assert_eq!(slot::index_of(fourth), 4);
        assert_eq!(other.join(), [Err(ErrorKind::InvalidHandle); 3]);
        [first, second, third, fourth].into_iter().for_each(|lease| put(id, lease).expect("live"));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_busy_lease_may_go_with_its_pool_while_the_refusal_is_worded() {
    explore("a put that finds a pin survives the end of lease and pool", Some(3), || {
        let (pool, id, lease) = leased();
        raw::pin(lease).expect("live");
        let other = spawn(move || put(id, lease));
        raw::unpin(lease).expect("pinned");
        let mine = put(id, lease);
        drop(pool);
        let theirs = other.join();
        match mine {
            Ok(()) => assert!(theirs.is_err()),
            Err(_) => assert!(theirs.is_ok() || put(id, lease).is_ok()),
        }
    });
}
