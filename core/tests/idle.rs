//! The short way of gets and puts, which C and the bindings inline: what it does, and what it leaves to the long one.
#![cfg(not(millpond_short_generations))] // There slots wear out in between, and their puts go the long way.

use millpond::raw::{self, Idle, RawLease};
use millpond::{BufferPool, Check, Classes, ClearPolicy, ErrorKind, Site};

fn made(clear: ClearPolicy, check: Check) -> (BufferPool, u64) {
    let builder = BufferPool::builder().name("idle").classes(Classes::List(vec![512, 4096])).clear(clear);
    let pool = builder.check(check).build().expect("a pool");
    let id = raw::retain(&pool);
    (pool, id)
}

fn get(id: u64, len: usize) -> RawLease {
    raw::get(id, len, Site::NONE).expect("a lease")
}

fn is_done(idle: &Idle) -> bool {
    matches!(idle, Idle::Done)
}

fn is_untouched(idle: &Idle) -> bool {
    matches!(idle, Idle::Untouched)
}

#[test]
fn an_idle_buffer_of_the_thread_is_got_without_a_call() {
    let (pool, id) = made(ClearPolicy::OnPut, Check::On);
    assert!(raw::get_idle(id, 100, Site::NONE).is_none(), "nothing is idle");
    assert!(pool.get_idle(100, Site::NONE).is_none());
    assert_eq!(pool.stats().gets, 0, "nothing was counted");
    let first = get(id, 100);
    raw::put(id, first.id, None, Site::NONE).expect("live");
    let site = Site::interned("idle.c", 3, "");
    let again = raw::get_idle(id, 200, site).expect("it is idle now");
    assert_eq!((again.data, again.len, again.capacity), (first.data, 200, 512));
    assert_ne!(again.id, first.id);
    assert_eq!(raw::lookup(again.id).expect("live").data, first.data);
    assert_eq!(pool.leaks().expect("memory")[0].site, site);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.hits, stats.requested_bytes), (2, 1, 200));
    // Its canary stands.
    // SAFETY: inside the capacity.
    unsafe { again.data.wrapping_add(200).write(1) };
    assert_eq!(raw::put(id, again.id, None, Site::NONE).expect_err("found").kind(), ErrorKind::Overrun);
    for foreign in [0, id + 1, id ^ (1 << 50), u64::MAX] {
        assert!(raw::get_idle(foreign, 100, Site::NONE).is_none());
    }
    let lease = pool.get(100).expect("a lease");
    let data = lease.as_ptr();
    drop(lease);
    let lease = pool.get_idle(300, site).expect("it is idle now");
    assert_eq!((lease.as_ptr(), lease.len(), lease.site()), (data, 300, site));
    assert!(pool.get_idle(600, Site::NONE).is_none(), "of another class");
    drop(lease);
    raw::release(id).expect("retained");
}

#[test]
fn a_put_that_has_nothing_to_clear_is_done_without_a_call() {
    for (clear, used) in [(ClearPolicy::OnPut, Some(0)), (ClearPolicy::OnGet, None), (ClearPolicy::Never, None)] {
        for check in [Check::Off, Check::On] {
            let (pool, id) = made(clear, check);
            // The thread's cache is made on the long way.
            raw::put(id, get(id, 100).id, None, Site::NONE).expect("live");
            let lease = get(id, 100);
            assert!(is_done(&raw::put_idle(id, lease.id, used)), "{clear:?} {check}");
            assert!(is_untouched(&raw::put_idle(id, lease.id, used)), "a second time");
            assert_eq!(raw::put(id, lease.id, None, Site::NONE).expect_err("twice").kind(), ErrorKind::DoublePut);
            assert!(pool.leaks().expect("memory").is_empty());
            let stats = pool.stats();
            stats.check().expect("the books");
            assert_eq!((stats.puts, stats.in_use, stats.retained_buffers, stats.requested_bytes), (2, 0, 1, 0));
            raw::release(id).expect("retained");
        }
    }
}

#[test]
fn what_takes_longer_is_left_untouched() {
    let (pool, id) = made(ClearPolicy::OnPut, Check::On);
    let (other, other_id) = made(ClearPolicy::OnPut, Check::On);
    for id in [id, other_id] {
        raw::put(id, get(id, 100).id, None, Site::NONE).expect("live");
    }
    let lease = get(id, 100);
    let untouched = |pool_id, lease_id, used| {
        assert!(is_untouched(&raw::put_idle(pool_id, lease_id, used)));
        assert_eq!(raw::lookup(lease.id).expect("still live").len, 100);
    };
    untouched(id, lease.id, None);
    untouched(id, lease.id, Some(1));
    untouched(id, lease.id, Some(101));
    untouched(other_id, lease.id, Some(0));
    untouched(u64::MAX, lease.id, Some(0));
    for forged in [0, lease.id ^ 1, lease.id ^ (1 << 30), u64::MAX] {
        untouched(id, forged, Some(0));
    }
    raw::pin(lease.id).expect("live");
    untouched(id, lease.id, Some(0));
    raw::unpin(lease.id).expect("pinned");
    // A thread without a cache.
    std::thread::scope(|scope| scope.spawn(|| untouched(id, lease.id, Some(0))).join().expect("no panic"));
    assert!(is_done(&raw::put_idle(id, lease.id, Some(0))));
    pool.stats().check().expect("the books");
    assert_eq!((pool.stats().puts, other.stats().foreign_puts), (2, 0));
    raw::release(id).expect("retained");
    raw::release(other_id).expect("retained");
}

#[test]
fn a_put_that_found_something_is_ended_by_a_call() {
    let (pool, id) = made(ClearPolicy::OnPut, Check::On);
    raw::put(id, get(id, 100).id, None, Site::NONE).expect("live");
    let lease = get(id, 100);
    // SAFETY: inside the capacity.
    unsafe { lease.data.wrapping_add(100).write(1) };
    let Idle::Begun(begun) = raw::put_idle(id, lease.id, Some(0)) else {
        panic!("the damage is found");
    };
    let error = raw::put_rest(begun, lease.id, Site::interned("put.c", 8, "")).expect_err("found");
    assert_eq!(error.kind(), ErrorKind::Overrun);
    assert!(error.message().contains("put at put.c:8"), "{error}");
    // A magazine that is full.
    let leases: Vec<_> = (0..5000).map(|_| get(id, 4096)).collect();
    let mut begun_puts = 0;
    for lease in &leases {
        match raw::put_idle(id, lease.id, Some(0)) {
            Idle::Done => {}
            Idle::Begun(begun) => {
                begun_puts += 1;
                assert_eq!(raw::lookup(lease.id).expect_err("over").kind(), ErrorKind::UseAfterPut);
                raw::put_rest(begun, lease.id, Site::NONE).expect("there is room in the depot");
            }
            Idle::Untouched => panic!("it is on the way"),
        }
    }
    assert!(begun_puts > 0 && begun_puts < leases.len() / 2, "{begun_puts}");
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.in_use, stats.puts, stats.requested_bytes), (0, 5002, 0));
    raw::release(id).expect("retained");
}

#[test]
fn each_of_128_classes_gets_its_own_buffers_again() {
    let sizes: Vec<usize> = (1..=128).map(|number| number * 64).collect();
    let builder = BufferPool::builder().name("many").classes(Classes::List(sizes.clone())).thread_cache_bytes(16 << 20);
    let pool = builder.max_retained_bytes(1 << 30).max_bytes(2 << 30).build().expect("a pool");
    let id = raw::retain(&pool);
    for round in 0..4 {
        for size in &sizes {
            let lease = get(id, *size);
            assert_eq!(lease.capacity, *size, "round {round}");
            raw::put(id, lease.id, Some(0), Site::NONE).expect("live");
            let lease = pool.get(*size).expect("a lease");
            assert_eq!(lease.capacity(), *size, "round {round}");
            drop(lease);
        }
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.created, stats.retained_buffers, stats.gets), (128, 128, 1024));
    raw::release(id).expect("retained");
}

#[test]
fn the_short_way_is_open_again_after_others_looked_into_the_cache() {
    let (pool, id) = made(ClearPolicy::OnPut, Check::On);
    let goes = |when: &str| {
        drop(pool.get(100).expect("a lease"));
        let lease = raw::get_idle(id, 100, Site::NONE).unwrap_or_else(|| panic!("{when}"));
        assert!(is_done(&raw::put_idle(id, lease.id, Some(0))), "{when}");
        drop(pool.get_idle(100, Site::NONE).unwrap_or_else(|| panic!("{when}")));
    };
    goes("at first");
    pool.trim();
    goes("after a trim");
    pool.maintain();
    pool.maintain();
    goes("after two looks");
    for check in [Check::Sites, Check::Full] {
        pool.set_check(check).expect("not off");
        assert!(pool.get_idle(100, Site::NONE).is_none(), "all goes the long way");
        drop(pool.get(100).expect("a lease"));
        pool.set_check(Check::On).expect("not off");
        goes("in another mode");
    }
    pool.inject("get=1000".parse().expect("a list"));
    pool.inject("".parse().expect("nothing"));
    goes("after an injection");
    // A get that waits keeps every put from the caches for as long.
    let builder = BufferPool::builder().name("small").max_bytes(1 << 20).classes(Classes::List(vec![512]));
    let small = builder.build().expect("a pool");
    let held: Vec<_> = (0..2048).map(|_| small.get(100).expect("a lease")).collect();
    assert!(small.get_timeout(100, std::time::Duration::from_millis(5)).is_err());
    drop(held);
    drop(small.get_idle(100, Site::NONE).expect("the wait is over"));
    raw::release(id).expect("retained");
}

#[test]
fn a_thread_keeps_something_of_each_of_eight_pools_within_reach() {
    let pools: Vec<_> = (0..8).map(|_| made(ClearPolicy::OnPut, Check::On)).collect();
    for (_, id) in &pools {
        raw::put(*id, get(*id, 100).id, None, Site::NONE).expect("live");
        assert!(raw::get_idle(*id, 100, Site::NONE).is_some());
    }
}

#[test]
fn up_to_256_kib_are_got_without_a_call() {
    const LARGEST: usize = 256 << 10;
    let classes = Classes::List(vec![LARGEST, 2 * LARGEST]);
    let builder = BufferPool::builder().name("largest").classes(classes).thread_cache_bytes(16 * LARGEST);
    let pool = builder.build().expect("a pool");
    let id = raw::retain(&pool);
    for (len, idle) in [(LARGEST, true), (LARGEST + 1, false)] {
        raw::put(id, get(id, len).id, None, Site::NONE).expect("live");
        assert_eq!(raw::get_idle(id, len, Site::NONE).is_some(), idle, "{len}");
    }
}

#[test]
fn what_a_handles_tenant_wrote_stays_in_a_pool_that_never_clears() {
    let (_pool, id) = made(ClearPolicy::Never, Check::On);
    let first = get(id, 100);
    // SAFETY: the lease's memory.
    unsafe { first.data.write_bytes(9, 100) };
    raw::put(id, first.id, None, Site::NONE).expect("live");
    let again = get(id, 100);
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(again.data, 100) };
    assert!(again.data == first.data && bytes.iter().all(|byte| *byte == 9));
}
