//! A pool lives as long as anybody can reach it, and goes once.

use super::common::*;
use crate::ErrorKind;
use crate::buffer::{raw, registry};

#[test]
fn of_two_references_the_last_one_ends_the_pool() {
    explore("the last of two references ends the pool", None, || {
        let pool = pool_without_caches();
        let reference = pool.inner().keep_alive();
        let other = spawn(move || drop(reference));
        drop(pool);
        other.join();
    });
}

#[test]
fn a_pool_that_is_found_stays() {
    explore("a pool that is found while its last handle goes stays until it is let go", None, || {
        let pool = pool_without_caches();
        let id = pool.id();
        let other = spawn(move || registry::find(id).map(|inner| inner.is_closed()));
        drop(pool);
        // Whoever found it looked at a pool that was there.
        other.join();
        assert!(registry::find(id).is_none());
    });
}

#[test]
fn a_pool_found_by_its_address_is_that_pool() {
    explore("a pool found by an address is the one that is there", None, || {
        let pool = pool_without_caches();
        let (id, address) = (pool.id(), pool.inner().as_ptr() as usize);
        let other = spawn(move || registry::find_at(address as *const _).map(|inner| inner.id));
        drop(pool);
        let found = other.join();
        assert!(found.is_none_or(|found| found == id));
    });
}

#[test]
fn a_number_that_is_used_again_names_the_new_pool_only() {
    explore("an old pool's number never names a new pool", None, || {
        let old = pool_without_caches();
        let id = old.id();
        let other = spawn(move || registry::find(id).map(|inner| (inner.id, &raw const *inner as usize)));
        drop(old);
        let new = pool_without_caches();
        let found = other.join();
        assert!(found.is_none_or(|(found, _)| found == id));
        drop(new);
    });
}

#[test]
fn two_new_pools_have_two_places() {
    explore("two new pools have two places", None, || {
        let other = spawn(|| {
            let pool = pool_without_caches();
            let place = pool.id() >> 48;
            (pool, place)
        });
        let pool = pool_without_caches();
        let (theirs, place) = other.join();
        assert_ne!(pool.id() >> 48, place);
        drop((pool, theirs));
    });
}

#[test]
fn the_last_of_two_handles_closes_the_pool() {
    explore("the last of two handles closes the pool, once", None, || {
        let pool = pool_without_caches();
        let keep = pool.inner().keep_alive();
        let clone = pool.clone();
        let other = spawn(move || drop(clone));
        drop(pool);
        other.join();
        assert!(keep.is_closed());
    });
}

#[test]
fn a_number_is_released_once() {
    explore("of two releases of a pool's number, one is done", None, || {
        let pool = pool_without_caches();
        let id = raw::retain(&pool);
        let release = move || raw::release(id).map_err(|error| error.kind());
        let other = spawn(release);
        let results = [release(), other.join()];
        assert!(results.contains(&Ok(())) && results.contains(&Err(ErrorKind::InvalidHandle)), "{results:?}");
        assert!(pool.is_closed());
    });
}
