//! What goes wrong on purpose goes wrong as often as was asked for, and what is held back comes out once.

use super::common::*;
use crate::buffer::depot::{Doomed, Entry};
use crate::buffer::slot;
use crate::{BufferPool, Check, Injection};

fn injection(text: &str) -> Injection {
    text.parse().expect("an injection")
}

#[test]
fn the_next_get_fails_for_one_of_two() {
    explore("of two gets, the one that is told to fail does", None, || {
        let pool = pool_without_caches();
        pool.inject(injection("get=1"));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.fails_get());
        let mine = pool.inner().fails_get();
        assert!(mine != other.join(), "one fails");
        assert!(!pool.inner().fails_get());
    });
}

#[test]
fn the_second_get_fails_for_one_of_three() {
    explore("of three gets by two threads, the second fails", None, || {
        let pool = pool_without_caches();
        pool.inject(injection("get=2"));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || u32::from(theirs.fails_get()));
        let failed: u32 = (0..2).map(|_| u32::from(pool.inner().fails_get())).sum();
        assert_eq!(failed + other.join(), 1);
    });
}

#[test]
fn an_injection_ends_caches_before_it_returns() {
    explore("once an injection is set, the next get is asked", Some(3), || {
        let pool = pool();
        let id = pool.id();
        put(id, get(id).id).expect("live");
        let theirs = pool.clone();
        let other = spawn(move || theirs.inject(injection("get=1")));
        let mine = crate::buffer::raw::get_idle(id, SIZE, crate::Site::NONE);
        other.join();
        let next = crate::buffer::raw::get(id, SIZE, crate::Site::NONE);
        assert!(next.is_err(), "the first get from then on fails");
        if let Some(lease) = mine {
            put(id, lease.id).expect("live");
        }
        at_rest(&pool, 0);
    });
}

/// A pool that holds put buffers back, and two buffers that were put by the books.
fn holding() -> (BufferPool, [Entry; 2]) {
    let pool = options().thread_cache_bytes(0).check(Check::Full).build().expect("a pool");
    let id = pool.id();
    let entries = [get(id).id, get(id).id].map(|lease| {
        let slot = slot::find(lease).expect("a slot");
        assert!(slot.end_handle(lease));
        assert!(crate::buffer::put::disarm(Entry::of(slot), SIZE, lease));
        pool.inner().count_put(0, SIZE);
        Entry::of(slot)
    });
    (pool, entries)
}

fn hold_back(pool: &crate::buffer::inner::Inner, entry: Entry) {
    let mut doomed = Doomed::default();
    pool.hold_back(entry, &mut doomed);
    assert_eq!(doomed.count, 0);
}

#[test]
fn what_is_held_back_comes_out_once() {
    explore("a buffer that is held back while the quarantine ends is in one place", None, || {
        let (pool, [first, second]) = holding();
        hold_back(pool.inner(), first);
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.end_quarantine());
        hold_back(pool.inner(), second);
        other.join();
        assert_eq!(at_rest(&pool, 0).retained_buffers, 2);
        pool.inner().end_quarantine();
        assert_eq!(at_rest(&pool, 0).retained_buffers, 2);
    });
}

#[test]
fn two_ends_of_a_quarantine_share_it() {
    explore("two threads that end a quarantine take different buffers", Some(2), || {
        let (pool, entries) = holding();
        entries.into_iter().for_each(|entry| hold_back(pool.inner(), entry));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.end_quarantine());
        pool.inner().end_quarantine();
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.discarded), (2, 0));
    });
}

#[test]
fn what_is_held_back_while_the_pool_closes_is_destroyed() {
    explore("a buffer that is held back while the pool closes is destroyed in the end", Some(2), || {
        let (pool, [first, second]) = holding();
        hold_back(pool.inner(), first);
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        pool.inner().take_back(0, second);
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.created), (0, stats.destroyed));
    });
}
