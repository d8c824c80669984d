//! Statistics that are read while others work are what they were at some moment, each number by itself.

use std::sync::atomic::Ordering;

use super::common::*;
use crate::buffer::inner::add;
use crate::buffer::raw;
use crate::{Site, Stats};

#[test]
fn a_counter_of_two_threads_has_both() {
    explore("two threads that count are both counted", None, || {
        let pool = pool_without_caches();
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || add(&theirs.counts.double_puts, 1));
        add(&pool.inner().counts.double_puts, 2);
        other.join();
        assert_eq!(pool.stats().double_puts, 3);
    });
}

#[test]
fn an_owners_counts_only_grow() {
    explore("what a thread counts for itself only grows in others' eyes", None, || {
        let pool = pool();
        let id = pool.id();
        put(id, get(id).id).expect("live");
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || {
            let mut registry = crate::buffer::registry::lock();
            let member = registry.member(id).expect("registered");
            let read = || member.caches().map(|cache| cache.gets(0)).sum::<u64>();
            let seen = [read(), read(), read()];
            assert!(seen.is_sorted() && seen[0] >= 1 && seen[2] <= 3, "{seen:?}");
            drop(registry);
            drop(theirs);
        });
        let first = raw::get_idle(id, SIZE, Site::NONE).expect("idle");
        put(id, first.id).expect("live");
        let second = raw::get_idle(id, SIZE, Site::NONE).expect("idle");
        other.join();
        put(id, second.id).expect("live");
        at_rest(&pool, 0);
    });
}

/// Checks what holds of statistics at any moment.
fn plausible(stats: &Stats) {
    assert!(stats.gets >= stats.puts, "gets {} and puts {}", stats.gets, stats.puts);
    assert!(stats.in_use <= 1 && stats.live_bytes <= SIZE as u64);
    assert!(stats.peak_live_bytes <= SIZE as u64);
}

#[test]
fn statistics_meet_a_pair() {
    explore("statistics that are read during a get and a put never have more puts than gets", Some(3), || {
        let pool = pool();
        let id = pool.id();
        put(id, get(id).id).expect("live");
        let theirs = pool.clone();
        let other = spawn(move || plausible(&theirs.stats()));
        let lease = raw::get_idle(id, SIZE, Site::NONE).expect("idle").id;
        put(id, lease).expect("live");
        other.join();
        at_rest(&pool, 0);
    });
}

#[test]
fn statistics_meet_a_lease_that_moves() {
    explore("statistics that are read while a lease moves never have more puts than gets", Some(2), || {
        let pool = pool();
        let id = pool.id();
        put(id, get(id).id).expect("live");
        // Got by this thread, put by the other, each in its own cache, and read by this one.
        let lease = raw::get_idle(id, SIZE, Site::NONE).expect("idle").id;
        let own = move || put(id, get(id).id).expect("live");
        let other = spawn_prepared(own, move |()| put(id, lease).expect("live"));
        let stats = pool.stats();
        assert!(stats.gets >= stats.puts, "gets {} and puts {}", stats.gets, stats.puts);
        other.join();
        at_rest(&pool, 0);
    });
}

#[test]
fn the_peak_is_the_most_that_was_live() {
    explore("the peak of two threads' looks is the higher one", None, || {
        let pool = pool_without_caches();
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.counts.peak_live_bytes.fetch_max(64, Ordering::Relaxed));
        pool.inner().counts.peak_live_bytes.fetch_max(128, Ordering::Relaxed);
        other.join();
        assert_eq!(pool.stats().peak_live_bytes, 128);
    });
}
