//! What a thread keeps for itself is its own, and nobody loses it: the fast ways of get and put while other threads look
//! at the caches, empty them or end them.

use super::common::*;
use crate::buffer::raw::{self, Idle};
use crate::buffer::{cache, registry};
use crate::{BufferPool, Check, ErrorKind, Site};

/// A pool, its id, and the calling thread's cache with one idle buffer in it.
fn kept() -> (BufferPool, u64) {
    let pool = pool();
    let id = pool.id();
    put(id, get(id).id).expect("live");
    (pool, id)
}

/// Takes a buffer from the calling thread's cache.
fn get_idle(id: u64) -> Option<u64> {
    raw::get_idle(id, SIZE, Site::NONE).map(|lease| lease.id)
}

/// Puts a lease into the calling thread's cache. `false`: nothing was done.
fn put_idle(id: u64, lease: u64) -> bool {
    match raw::put_idle(id, lease, None) {
        Idle::Done => true,
        Idle::Untouched => false,
        Idle::Begun(begun) => {
            raw::put_rest(begun, lease, Site::NONE).expect("neither pinned nor damaged");
            true
        }
    }
}

fn in_depots(pool: &BufferPool) -> usize {
    pool.inner().classes.iter().map(|class| class.depot.len()).sum()
}

#[test]
fn a_get_meets_a_revocation() {
    explore("a buffer is got from a cache or flushed out of it", None, || {
        let (pool, id) = kept();
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.flush_caches(|_| true));
        let mine = get_idle(id);
        other.join();
        assert_eq!(usize::from(mine.is_some()) + in_depots(&pool), 1);
        if let Some(lease) = mine {
            put(id, lease).expect("live");
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn a_put_meets_a_revocation() {
    explore("a buffer that is put into a cache while that is flushed is in one place", None, || {
        // One is idle already: the put moves it to make room at the front.
        let (pool, id) = kept();
        let [first, lease] = [get(id).id, get(id).id];
        assert!(put_idle(id, first));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.flush_caches(|_| true));
        let done = put_idle(id, lease);
        other.join();
        if !done {
            put(id, lease).expect("live");
        }
        assert_eq!(at_rest(&pool, 0).retained_buffers, 2, "two buffers are kept");
    });
}

#[test]
fn a_pair_meets_a_revocation() {
    explore("a get and a put meet a revocation", Some(2), || {
        let (pool, id) = kept();
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.flush_caches(|_| true));
        if let Some(lease) = get_idle(id)
            && !put_idle(id, lease)
        {
            put(id, lease).expect("live");
        }
        other.join();
        assert_eq!(at_rest(&pool, 0).retained_buffers, 1);
    });
}

#[test]
fn what_a_tenant_did_comes_before_who_gets_the_flushed_buffer() {
    explore("what a tenant did comes before the tenant of the flushed buffer", None, || {
        let (pool, id) = kept();
        let lease = get_idle(id).expect("idle");
        let tenants = Tenants::new();
        let watched = tenants.clone();
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || {
            theirs.flush_caches(|_| true);
            let mut taken = None;
            theirs.take_idle(0, 0, 1, |entry| taken = Some(entry));
            if let Some(entry) = taken {
                watched.write_at(entry.slot.index());
                let mut doomed = crate::buffer::depot::Doomed::default();
                theirs.give_idle(0, 0, &[entry], &mut doomed);
            }
        });
        tenants.write(lease);
        let done = put_idle(id, lease);
        other.join();
        if !done {
            put(id, lease).expect("live");
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn a_full_magazine_spills_while_it_is_flushed() {
    explore("a full magazine spills while it is flushed", Some(1), || {
        let (pool, id) = kept();
        let leases: [u64; 4] = std::array::from_fn(|_| get(id).id);
        leases[..3].iter().for_each(|lease| assert!(put_idle(id, *lease)));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || theirs.flush_caches(|_| true));
        put(id, leases[3]).expect("live");
        other.join();
        assert_eq!(at_rest(&pool, 0).retained_buffers, 4);
    });
}

#[test]
fn a_full_magazine_spills_while_another_takes() {
    explore("a full magazine spills while another thread takes from the depot", None, || {
        let (pool, id) = kept();
        let leases: [u64; 4] = std::array::from_fn(|_| get(id).id);
        leases[..3].iter().for_each(|lease| assert!(put_idle(id, *lease)));
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || {
            let mut taken = Vec::new();
            theirs.take_idle(0, 1, 2, |entry| taken.push(entry));
            let mut doomed = crate::buffer::depot::Doomed::default();
            theirs.give_idle(0, 1, &taken, &mut doomed);
            assert_eq!(doomed.count, 0);
        });
        let cache = cache::find(id).expect("a cache");
        let entry = crate::buffer::depot::Entry::of(crate::buffer::slot::find(leases[3]).expect("a slot"));
        assert!(entry.slot.end_handle(leases[3]));
        let mut doomed = crate::buffer::depot::Doomed::default();
        pool.inner().stow(0, entry, &mut doomed);
        assert!(cache.enter(pool.inner().as_ptr()));
        cache.count_put(0, SIZE);
        cache.leave();
        other.join();
        assert_eq!((doomed.count, at_rest(&pool, 0).retained_buffers), (0, 4));
    });
}

#[test]
fn an_empty_magazine_refills_while_another_takes() {
    explore("of two threads that take the same idle buffers, each has its own", None, || {
        let (pool, id) = kept();
        let leases: [u64; 2] = std::array::from_fn(|_| get(id).id);
        leases.iter().for_each(|lease| put(id, *lease).expect("live"));
        pool.inner().flush_caches(|_| true);
        assert_eq!(in_depots(&pool), 2);
        let theirs = pool.inner().keep_alive();
        let other = spawn(move || {
            let mut taken = Vec::new();
            theirs.take_idle(0, 1, 1, |entry| taken.push(entry.data as usize));
            taken
        });
        let mine = pool.inner().find_idle(0).map(|entry| entry.data as usize);
        let theirs = other.join();
        assert!(!theirs.contains(&mine.unwrap_or_default()), "one buffer, two tenants");
        let kept = cache::find(id).expect("a cache").idle(0);
        assert_eq!(usize::from(mine.is_some()) + theirs.len() + kept + in_depots(&pool), 2);
        // The model took them past the books.
        let taken = (usize::from(mine.is_some()) + theirs.len()) as u64;
        pool.inner().classes[0].counts.held.fetch_add(taken, std::sync::atomic::Ordering::Relaxed);
        at_rest(&pool, 0);
        std::mem::forget(pool);
        registry::forget_all();
    });
}

#[test]
fn a_pair_meets_the_close() {
    explore("a get and a put meet the close of the pool", Some(2), || {
        let (pool, id) = kept();
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        let lease = raw::get(id, SIZE, Site::NONE).map_err(|error| error.kind());
        match lease {
            Ok(lease) => put(id, lease.id).expect("live"),
            Err(kind) => assert_eq!(kind, ErrorKind::Closed),
        }
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.created), (0, stats.destroyed), "a closed pool keeps nothing");
    });
}

#[test]
fn a_put_into_a_cache_meets_the_close() {
    explore("a put into a cache meets the close of the pool", None, || {
        let (pool, id) = kept();
        let lease = get_idle(id).expect("idle");
        let theirs = pool.inner().keep_alive();
        // What `close` does to the caches.
        let other = spawn(move || {
            let mut doomed = crate::buffer::depot::Doomed::default();
            if let Some(member) = registry::lock().member(theirs.id) {
                member.orphan(|cache| theirs.absorb(cache, &mut doomed));
            }
            assert_eq!(doomed.count, 0);
        });
        let done = put_idle(id, lease);
        other.join();
        assert!(get_idle(id).is_none() && cache::find(id).is_some_and(|cache| cache.is_orphan()));
        if !done {
            put(id, lease).expect("live");
        }
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.retained_buffers), (2, 2, 1));
    });
}

#[test]
fn a_cache_is_not_listed_by_a_closed_pool() {
    explore("a cache that is made while the pool closes is listed or refused", Some(2), || {
        let pool = pool();
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        let cache = pool.inner().own_cache();
        other.join();
        if let Some(cache) = cache {
            assert!(cache.is_orphan(), "the close has ended it");
        }
        assert_eq!(registry::lock().member(pool.id()).map(|member| member.caches().count()), Some(0));
        at_rest(&pool, 0);
    });
}

#[test]
fn a_thread_ends_while_its_cache_is_flushed() {
    explore("a thread ends while its cache is flushed", Some(2), || {
        let pool = pool();
        let id = pool.id();
        let other = spawn_prepared(move || put(id, get(id).id).expect("live"), |()| ());
        pool.inner().flush_caches(|_| true);
        other.join();
        assert_eq!(registry::lock().member(id).map(|member| member.caches().count()), Some(0));
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.retained_buffers), (1, 1, 1), "neither lost nor twice");
    });
}

#[test]
fn a_thread_ends_while_its_pool_closes() {
    explore("a thread ends while its pool closes", Some(2), || {
        let pool = pool();
        let id = pool.id();
        let other = spawn_prepared(move || put(id, get(id).id).expect("live"), |()| ());
        pool.close().expect("not the default pool");
        other.join();
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.retained_buffers), (1, 1, 0), "neither lost nor twice");
    });
}

#[test]
fn a_thread_ends_while_statistics_are_read() {
    explore("a thread that ends while statistics are read is counted once", None, || {
        let pool = pool();
        let id = pool.id();
        let other = spawn_prepared(move || put(id, get(id).id).expect("live"), |()| ());
        let stats = pool.stats();
        assert_eq!((stats.gets, stats.puts, stats.retained_buffers), (1, 1, 1), "neither lost nor twice");
        other.join();
        at_rest(&pool, 0);
    });
}

#[test]
fn a_resting_cache_is_emptied_while_its_owner_comes_back() {
    explore("a resting cache is emptied while its owner comes back", Some(2), || {
        let (pool, id) = kept();
        pool.maintain();
        let theirs = pool.clone();
        let other = spawn(move || {
            theirs.maintain();
        });
        let mine = get_idle(id);
        other.join();
        if let Some(lease) = mine {
            put(id, lease).expect("live");
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn a_fork_keeps_every_owner_out() {
    explore("a fork keeps every owner out of its cache", None, || {
        let (pool, id) = kept();
        let other = spawn(move || {
            let mut registry = registry::lock();
            let member = registry.member(id).expect("registered");
            member.hold();
            let seen: Vec<_> = member.caches().map(|cache| (cache.idle(0), cache.gets(0), cache.puts(0))).collect();
            let again: Vec<_> = member.caches().map(|cache| (cache.idle(0), cache.gets(0), cache.puts(0))).collect();
            assert_eq!(seen, again, "what a child would have is whole");
            // Got or not, counted and gone are one.
            assert!(matches!(seen[0], (1, 1, 1) | (0, 2, 1)), "{seen:?}");
            member.let_go();
        });
        let mine = get_idle(id);
        other.join();
        assert!(get_idle(id).is_some() != mine.is_some(), "the gate is open again");
        std::mem::forget(pool);
        registry::forget_all();
    });
}

#[test]
fn a_mode_that_is_changed_counts_for_the_next_get() {
    explore("after a change of the mode, no thread gets or puts by the old one", None, || {
        let (pool, id) = kept();
        let lease = get_idle(id).expect("idle");
        let theirs = pool.clone();
        let other = spawn(move || theirs.set_check(Check::Sites).expect("neither is off"));
        let done = put_idle(id, lease);
        other.join();
        assert!(get_idle(id).is_none(), "the cache went by the old mode");
        if !done {
            put(id, lease).expect("live");
        }
        at_rest(&pool, 0);
    });
}
