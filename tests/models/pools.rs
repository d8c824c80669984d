//! Whole calls of the C interface against each other: every lock, count and word of them. Their interleavings are many, so
//! the short run bounds how often a thread is interrupted.

use super::common::*;
use crate::buffer::raw;
use crate::{BufferPool, Classes, ErrorKind};

/// Returns a pool, the id that names it, and a lease of it.
fn leased() -> (BufferPool, u64, u64) {
    let pool = pool();
    let id = pool.id();
    (pool, id, get(id).id)
}

/// A put of its own gives the other thread a cache.
fn own_pair(id: u64) {
    put(id, get(id).id).expect("live");
}

#[test]
fn two_puts_of_one_handle() {
    explore("whole calls: two puts of one handle", Some(2), || {
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
fn two_puts_through_two_caches() {
    explore("whole calls: two puts of one handle through two caches", Some(2), || {
        let (pool, id, lease) = leased();
        let other = spawn_prepared(move || own_pair(id), move |()| put(id, lease));
        let results = [put(id, lease), other.join()];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.contains(&Err(ErrorKind::DoublePut)));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_late_put_and_the_next_lease() {
    explore("whole calls: a late put leaves the next lease alone", Some(2), || {
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
fn a_pin_and_a_put_through_a_cache() {
    explore("whole calls: a pin and a put through a cache", Some(2), || {
        let (pool, id, lease) = leased();
        let other = spawn_prepared(move || own_pair(id), move |()| put(id, lease));
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
fn the_pool_of_a_lease() {
    explore("whole calls: the pool of a lease is told, or that the lease is over", Some(1), || {
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
    explore("whole calls: a handle is turned into a lease or put", Some(2), || {
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
    explore("whole calls: a handle is detached or put", Some(1), || {
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
    explore("whole calls: a handle is lost or put", Some(1), || {
        let pool = options().classes(Classes::List(vec![64 << 10])).build().expect("a pool");
        let id = pool.id();
        let lease = get(id).id;
        let other = spawn(move || put(id, lease));
        let mine = raw::lose(id, lease).map_err(|error| error.kind());
        let theirs = other.join();
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        assert_eq!(at_rest(&pool, 0).leaked, u64::from(mine.is_ok()));
    });
}

#[test]
fn a_put_into_the_wrong_pool() {
    explore("whole calls: a put into the wrong pool takes nothing from the right one", Some(2), || {
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
fn a_put_into_the_wrong_pool_meets_the_end_of_the_right_one() {
    explore("whole calls: a put into the wrong pool while the right one goes", Some(2), || {
        let (pool, id, lease) = leased();
        let wrong = pool_without_caches();
        let wrong_id = wrong.id();
        let other = spawn(move || put(wrong_id, lease));
        assert_eq!(put(id, lease), Ok(()));
        drop(pool);
        let theirs = other.join();
        assert!(matches!(theirs, Err(ErrorKind::ForeignLease | ErrorKind::DoublePut)), "{theirs:?}");
    });
}

#[test]
fn a_busy_put_meets_the_end_of_lease_and_pool() {
    explore("whole calls: a put that finds a pin while lease and pool end", Some(2), || {
        let (pool, id, lease) = leased();
        raw::pin(lease).expect("live");
        let other = spawn_prepared(move || own_pair(id), move |()| put(id, lease));
        raw::unpin(lease).expect("live and pinned");
        let mine = put(id, lease);
        drop(pool);
        let theirs = other.join();
        assert!(mine.is_ok() || theirs.is_ok() || put(id, lease).is_ok());
    });
}

#[test]
fn a_lease_outlives_its_pool() {
    explore("whole calls: a lease is put while its pool goes", Some(3), || {
        let pool = pool_without_caches();
        let lease = pool.get(SIZE).expect("a lease");
        let other = spawn(move || drop(lease));
        drop(pool);
        other.join();
    });
}

#[test]
fn a_trim_and_a_pair() {
    explore("whole calls: a get and a put while another thread trims", Some(1), || {
        let pool = pool();
        let id = pool.id();
        own_pair(id);
        let theirs = pool.clone();
        let other = spawn(move || {
            theirs.trim();
        });
        own_pair(id);
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!(stats.puts, 2);
    });
}

#[test]
fn two_closes() {
    explore("whole calls: two closes", Some(3), || {
        let pool = pool();
        own_pair(pool.id());
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        pool.close().expect("not the default pool");
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.created), (0, stats.destroyed));
    });
}
