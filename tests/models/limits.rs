//! A pool never holds more than it may, and whoever waits for room is told of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::common::*;
use crate::buffer::depot::{Doomed, Entry};
use crate::buffer::raw;
use crate::buffer::strong::Strong;
use crate::{BufferPool, Builder, ErrorKind, Site};

/// A pool that may hold `count` buffers.
fn pool_of(count: usize) -> BufferPool {
    limited(count).build().expect("a pool")
}

fn limited(count: usize) -> Builder {
    options().max_bytes(count * SIZE).max_retained_bytes(count * SIZE).thread_cache_bytes(0)
}

fn total(inner: &Strong) -> usize {
    inner.total_bytes.load(Ordering::Relaxed)
}

#[test]
fn two_reservations_share_what_is_left() {
    explore("of two reservations of the last room, one is granted", None, || {
        let pool = pool_of(1);
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.reserve(SIZE));
        let mine = pool.inner().reserve(SIZE);
        assert!(mine != other.join(), "room for one");
        assert_eq!(total(pool.inner()), SIZE);
        pool.inner().unreserve_total(SIZE);
    });
}

#[test]
fn a_reservation_meets_one_that_is_given_back() {
    explore("a reservation that is given back may be had by another", None, || {
        let pool = pool_of(1);
        assert!(pool.inner().reserve(SIZE));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.unreserve_total(SIZE));
        let mine = pool.inner().reserve(SIZE);
        other.join();
        assert_eq!(total(pool.inner()), if mine { SIZE } else { 0 });
        if mine {
            pool.inner().unreserve_total(SIZE);
        }
    });
}

#[test]
fn two_caches_share_what_may_be_kept() {
    explore("two caches' shares are at most half of what may be kept", None, || {
        let pool = options().max_retained_bytes(300 << 10).build().expect("a pool");
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.reserve_for_stock());
        let (mine, theirs) = (pool.inner().reserve_for_stock(), other.join());
        assert!(mine + theirs <= 150 << 10);
        pool.inner().unreserve(mine);
        pool.inner().unreserve(theirs);
        let again = pool.inner().reserve_for_stock();
        assert_eq!(again, mine.max(theirs), "all came back");
        pool.inner().unreserve(again);
    });
}

#[test]
fn two_givers_stay_within_what_may_be_kept() {
    explore("of two buffers that are given, as many are kept as may be", Some(3), || {
        let pool = limited(2).max_retained_bytes(SIZE).build().expect("a pool");
        let id = pool.id();
        let entries = [get(id).id, get(id).id].map(|lease| {
            let slot = crate::buffer::slot::find(lease).expect("a slot");
            assert!(slot.end_handle(lease));
            slot
        });
        let theirs = pool.inner().keep_alive();
        let give = |inner: &Strong, slot| {
            let mut doomed = Doomed::default();
            inner.give_idle(0, 0, &[Entry::of(slot)], &mut doomed);
            inner.count_put(0, SIZE);
            let rejected = doomed.count;
            inner.destroy_all(&mut doomed);
            rejected
        };
        let other = spawn(move || give(&theirs, entries[1]));
        let rejected = give(pool.inner(), entries[0]) + other.join();
        assert_eq!(rejected, 1, "room for one");
        assert_eq!(at_rest(&pool, 0).retained_buffers, 1);
    });
}

/// A pool that may retain four buffers and whose threads have no share of them: each keeps one buffer, as long as one is all
/// that all threads keep. `count` leases of it are out.
fn lending(count: usize) -> (BufferPool, u64, Vec<u64>) {
    let pool = options().max_retained_bytes(4 * SIZE).thread_cache_bytes(SIZE).build().expect("a pool");
    let id = pool.id();
    let leases = (0..count).map(|_| get(id).id).collect();
    (pool, id, leases)
}

fn lent(pool: &BufferPool) -> usize {
    pool.inner().lent_bytes.load(Ordering::Relaxed)
}

#[test]
fn two_threads_share_what_may_be_lent() {
    explore("of two threads that put a buffer, one is lent its place", Some(2), || {
        let (pool, id, leases) = lending(2);
        let theirs = leases[1];
        let pool_again = pool.clone();
        let other = spawn(move || {
            put(id, theirs).expect("live");
            assert!(lent(&pool_again) <= SIZE, "one is lent");
        });
        put(id, leases[0]).expect("live");
        other.join();
        assert!(lent(&pool) <= SIZE, "one is lent");
        assert_eq!(at_rest(&pool, 0).retained_buffers, 2, "both are kept");
        pool.inner().flush_caches(|_| true);
        assert_eq!((lent(&pool), at_rest(&pool, 0).retained_buffers), (0, 2));
    });
}

#[test]
fn a_loan_meets_its_end() {
    explore("a put into a lent place meets the end of the loan", Some(2), || {
        let (pool, id, leases) = lending(2);
        put(id, leases[0]).expect("live");
        assert_eq!(lent(&pool), SIZE);
        let lease = get(id).id;
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.flush_caches(|_| true));
        put(id, lease).expect("live");
        other.join();
        put(id, leases[1]).expect("live");
        // Of two, one stands in the lent place.
        assert_eq!((lent(&pool), at_rest(&pool, 0).retained_buffers), (SIZE, 2));
    });
}

#[test]
fn a_loan_and_a_giver_stay_within_what_may_be_kept() {
    explore("a loan and a giver stay within what may be kept", Some(3), || {
        let (pool, id, leases) = lending(5);
        let give = |inner: &Strong, lease| {
            let slot = crate::buffer::slot::find(lease).expect("a slot");
            assert!(slot.end_handle(lease));
            let mut doomed = Doomed::default();
            inner.give_idle(0, 0, &[Entry::of(slot)], &mut doomed);
            inner.count_put(0, SIZE);
            inner.destroy_all(&mut doomed);
        };
        leases[2..].iter().for_each(|lease| give(pool.inner(), *lease));
        let (theirs, lease) = (pool.inner().keep_alive(), leases[1]);
        let other = spawn(move || give(&theirs, lease));
        put(id, leases[0]).expect("live");
        other.join();
        let kept = at_rest(&pool, 0).retained_buffers;
        assert!((3..=4).contains(&kept), "room for four, {kept} kept");
    });
}

#[test]
fn a_get_at_the_limit_meets_a_put() {
    explore("a get at the limit that meets a put fails or has its buffer", Some(1), || {
        let pool = pool_of(1);
        let id = pool.id();
        let lease = get(id).id;
        let other = spawn(move || put(id, lease).expect("live"));
        match raw::get(id, SIZE, Site::NONE) {
            Ok(next) => {
                assert_ne!(next.id, lease);
                at_rest(&pool, 1);
                put(id, next.id).expect("live");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted),
        }
        other.join();
        at_rest(&pool, 0);
    });
}

const LONG: Duration = Duration::from_secs(1 << 20);

#[test]
fn a_put_wakes_a_get_that_waits() {
    explore("a put wakes a get that waits, however they meet", Some(1), || {
        let pool = pool_of(1);
        let id = pool.id();
        let lease = get(id).id;
        let other = spawn(move || put(id, lease).expect("live"));
        // No wait times out in a model: a put that wakes nobody ends it as a deadlock.
        let next = raw::get_timeout(id, SIZE, LONG, Site::NONE).expect("the buffer that was put");
        other.join();
        put(id, next.id).expect("live");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_put_into_a_cache_wakes_a_get_that_waits() {
    explore("a put through a thread's cache wakes a get that waits", Some(1), || {
        let pool = options().max_bytes(256 << 10).max_retained_bytes(256 << 10).build().expect("a pool");
        let id = pool.id();
        // All but one buffer.
        let rest = (256 << 10) - SIZE;
        pool.inner().reserve(rest);
        let other = spawn_prepared(move || get(id).id, move |lease| put(id, lease).expect("live"));
        let next = raw::get_timeout(id, SIZE, LONG, Site::NONE).expect("the buffer that was put");
        other.join();
        put(id, next.id).expect("live");
        pool.inner().unreserve_total(rest);
        at_rest(&pool, 0);
    });
}

#[test]
fn a_close_wakes_a_get_that_waits() {
    explore("a close wakes a get that waits", Some(1), || {
        let pool = pool_of(1);
        let id = pool.id();
        let lease = get(id).id;
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        let refused = raw::get_timeout(id, SIZE, LONG, Site::NONE).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Closed));
        other.join();
        put(id, lease).expect("live");
        at_rest(&pool, 0);
    });
}
