//! Three threads and more, with whole calls: too many interleavings to run them all, so schedules are drawn.

use std::sync::Arc;
use std::time::Duration;

use super::common::*;
use crate::buffer::{cache, raw, registry, slot};
use crate::sync::Lock;
use crate::{BufferPool, Check, ErrorKind, Site};

/// Runs a body on so many threads and returns their results.
fn threads<T: Send + 'static>(count: usize, body: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let body = Arc::new(body);
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let body = body.clone();
            spawn(move || body(number))
        })
        .collect();
    threads.into_iter().map(JoinHandle::join).collect()
}

fn wins<E>(results: &[Result<(), E>]) -> usize {
    results.iter().filter(|result| result.is_ok()).count()
}

#[test]
fn three_puts_of_one_handle() {
    draw("of three puts of one handle, one wins", || {
        let pool = pool();
        let id = pool.id();
        // So that the lease comes from the thread's cache, and has its mark.
        put(id, get(id).id).expect("live");
        let lease = get(id).id;
        let results = threads(3, move |number| {
            if number > 0 {
                put(id, get(id).id).expect("live");
            }
            put(id, lease)
        });
        assert_eq!(wins(&results), 1, "one wins");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_put_a_pin_and_a_lookup() {
    draw("a put, a pin and a lookup of one lease", || {
        let pool = pool();
        let id = pool.id();
        // So that the lease comes from the thread's cache, and has its mark.
        put(id, get(id).id).expect("live");
        let lease = get(id).id;
        let pinner = spawn(move || {
            if raw::pin(lease).is_ok() {
                assert_eq!(raw::lookup(lease).map(|found| found.len).ok(), Some(SIZE), "a pinned lease is live");
                raw::unpin(lease).expect("pinned");
            }
        });
        let looker = spawn(move || raw::lookup(lease).map(|found| found.len).map_err(|error| error.kind()));
        let mine = put(id, lease);
        pinner.join();
        let found = looker.join();
        assert!(matches!(found, Ok(SIZE) | Err(ErrorKind::UseAfterPut)), "{found:?}");
        if mine.is_err() {
            assert_eq!((mine, put(id, lease)), (Err(ErrorKind::Busy), Ok(())));
        }
        at_rest(&pool, 0);
    });
}

#[test]
fn leases_that_move() {
    draw("leases that are got, passed on and put by four threads while one trims", || {
        let pool = pool();
        let id = pool.id();
        let passed = Arc::new(Lock::new(Vec::new()));
        let tenants = Tenants::new();
        let theirs = pool.clone();
        threads(4, move |number| {
            if number == 3 {
                theirs.trim();
                return;
            }
            for _ in 0..3 {
                let lease = get(id).id;
                tenants.write(lease);
                let other = {
                    let mut passed = passed.lock();
                    passed.push(lease);
                    passed.remove(0)
                };
                tenants.write(other);
                put(id, other).expect("live");
            }
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts), (9, 9));
    });
}

#[test]
fn a_limit_and_four_threads() {
    draw("four threads at a limit never hold more than it", || {
        let pool = options().max_bytes(2 * SIZE).max_retained_bytes(2 * SIZE).build().expect("a pool");
        let id = pool.id();
        let theirs = pool.clone();
        let got = threads(4, move |_| {
            let Ok(lease) = raw::get(id, SIZE, Site::NONE) else { return 0 };
            assert!(theirs.stats().live_bytes <= 2 * SIZE as u64);
            put(id, lease.id).expect("live");
            1
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.exhausted), (got.iter().sum(), 4 - got.iter().sum::<u64>()));
        assert!(stats.peak_live_bytes <= 2 * SIZE as u64);
    });
}

#[test]
fn a_close_and_three_threads() {
    draw("a close while three threads get and put", || {
        let pool = pool();
        let id = pool.id();
        let theirs = pool.clone();
        threads(4, move |number| {
            if number == 3 {
                return theirs.close().expect("not the default pool");
            }
            for _ in 0..2 {
                match raw::get(id, SIZE, Site::NONE) {
                    Ok(lease) => put(id, lease.id).expect("live"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                }
            }
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.created), (0, stats.destroyed), "a closed pool keeps nothing");
    });
}

#[test]
fn a_pool_that_goes() {
    draw("a pool goes while its last leases are put by three threads", || {
        let pool = pool();
        let id = pool.id();
        let leases: [u64; 3] = std::array::from_fn(|_| get(id).id);
        let threads: Vec<_> = leases.map(|lease| spawn(move || put(id, lease).expect("live"))).into();
        drop(pool);
        threads.into_iter().for_each(JoinHandle::join);
        assert!(registry::find(id).is_none());
    });
}

#[test]
fn waiting_gets() {
    draw("two gets that wait are both served by two puts", || {
        let pool = options().max_bytes(2 * SIZE).max_retained_bytes(2 * SIZE).build().expect("a pool");
        let id = pool.id();
        let leases = [get(id).id, get(id).id];
        threads(4, move |number| match leases.get(number) {
            Some(lease) => put(id, *lease).expect("live"),
            None => {
                let next = raw::get_timeout(id, SIZE, Duration::from_secs(1 << 20), Site::NONE);
                put(id, next.expect("room").id).expect("live");
            }
        });
        at_rest(&pool, 0);
    });
}

#[test]
fn waiting_gets_and_caches() {
    draw("two gets that wait are served by puts through threads' caches", || {
        let pool = pool();
        let id = pool.id();
        // All but two buffers.
        let rest = (1 << 20) - 2 * SIZE;
        assert!(pool.inner().reserve(rest));
        let putters = [(); 2].map(|()| spawn_prepared(move || get(id).id, move |lease| put(id, lease).expect("live")));
        let waiters = [(); 2].map(|()| {
            spawn(move || {
                let next = raw::get_timeout(id, SIZE, Duration::from_secs(1 << 20), Site::NONE);
                put(id, next.expect("room").id).expect("live");
            })
        });
        putters.into_iter().chain(waiters).for_each(JoinHandle::join);
        pool.inner().unreserve_total(rest);
        at_rest(&pool, 0);
    });
}

#[test]
fn a_fork_and_two_owners() {
    draw("a fork meets two owners and leaves them their caches", || {
        let pool = pool();
        let id = pool.id();
        let theirs = pool.clone();
        threads(3, move |number| {
            if number == 2 {
                let mut registry = registry::lock();
                let member = registry.member(id).expect("registered");
                member.hold();
                theirs.inner().lock_for_fork();
                let whole = |member: &registry::Member| {
                    member.caches().map(|cache| (cache.idle(0), cache.gets(0), cache.puts(0))).collect::<Vec<_>>()
                };
                assert_eq!(whole(member), whole(member), "what a child would have stands still");
                // SAFETY: locked above, by this thread.
                unsafe { theirs.inner().unlock_after_fork() };
                return member.let_go();
            }
            (0..2).for_each(|_| put(id, get(id).id).expect("live"));
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts), (4, 4));
    });
}

#[test]
fn modes_that_change() {
    draw("modes that change while two threads get and put", || {
        let pool = pool();
        let id = pool.id();
        let theirs = pool.clone();
        threads(3, move |number| {
            if number == 2 {
                for check in [Check::Full, Check::Sites, Check::On] {
                    theirs.set_check(check).expect("none is off");
                }
                return;
            }
            (0..2).for_each(|_| put(id, get(id).id).expect("live"));
        });
        assert!(cache::find(id).is_none_or(|cache| cache.is_orphan()));
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts, stats.discarded), (4, 4, 0));
        pool.trim();
        let stats = at_rest(&pool, 0);
        assert_eq!(stats.created, stats.destroyed, "nothing is held back by a mode that is over");
    });
}

#[test]
fn a_quarantine_and_a_close() {
    draw("three threads put into a quarantine while the pool closes", || {
        let pool = options().check(Check::Full).build().expect("a pool");
        let id = pool.id();
        let leases: [u64; 3] = std::array::from_fn(|_| get(id).id);
        let theirs = pool.clone();
        threads(4, move |number| match leases.get(number) {
            Some(lease) => put(id, *lease).expect("live"),
            None => theirs.close().expect("not the default pool"),
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.retained_buffers, stats.created), (0, stats.destroyed), "a closed pool keeps nothing");
    });
}

#[test]
fn worn_out_slots() {
    draw("slots that wear out under three threads serve nobody twice", || {
        let pool = pool_without_caches();
        let id = pool.id();
        let served = threads(3, move |_| {
            (0..4).map(|_| get(id).id).inspect(|lease| put(id, *lease).expect("live")).collect::<Vec<_>>()
        });
        let mut all = served.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 12, "no handle comes twice");
        all.iter()
            .for_each(|lease| assert_eq!(put(id, *lease), Err(ErrorKind::DoublePut), "{}", slot::index_of(*lease)));
        at_rest(&pool, 0);
    });
}

#[test]
fn guarded_leases() {
    draw("three threads with guarded leases have pages of their own", || {
        let check = Check::Sample(std::num::NonZeroU32::new(2).expect("not 0"));
        let pool = options().check(check).build().expect("a pool");
        let id = pool.id();
        let tenants = Tenants::new();
        threads(3, move |_| {
            for _ in 0..2 {
                let lease = get(id).id;
                tenants.write(lease);
                put(id, lease).expect("live");
            }
        });
        let stats = at_rest(&pool, 0);
        assert_eq!((stats.gets, stats.puts), (6, 6));
    });
}

#[test]
fn pools_that_come_and_go() {
    draw("pools that come and go while a third thread looks for them", || {
        let known = Arc::new(Lock::new(Vec::<u64>::new()));
        let others = known.clone();
        threads(3, move |number| {
            if number == 2 {
                let known = known.lock().clone();
                return known.into_iter().for_each(|id| {
                    let found = registry::find(id).map(|inner| inner.id);
                    assert!(found.is_none_or(|found| found == id));
                });
            }
            for _ in 0..2 {
                let pool: BufferPool = pool_without_caches();
                known.lock().push(pool.id());
                put(pool.id(), get(pool.id()).id).expect("live");
            }
        });
        assert!(others.lock().iter().all(|id| registry::find(*id).is_none()));
    });
}
