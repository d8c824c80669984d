//! Uses leases by number, as C does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::{BufferPool, ClearPolicy, ErrorKind, Site, raw};

fn owned(name: &str) -> (BufferPool, u64) {
    let pool = BufferPool::new(name).expect("a pool");
    let id = pool.id();
    (pool, id)
}

#[track_caller]
fn fails<T>(result: Result<T, millpond::Error>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

#[test]
fn every_wrong_put_has_its_own_error() {
    let (a, a_id) = owned("handles-a");
    let (_b, b_id) = owned("handles-b");
    let lease = raw::get(a_id, 100, Site::NONE).expect("a lease");
    assert_eq!(raw::lookup(lease.id).expect("live").data, lease.data);
    assert_eq!(raw::pool_of(lease.id).expect("live"), a_id);
    fails(raw::put(b_id, lease.id, None, Site::NONE), ErrorKind::ForeignLease);
    fails(raw::put(a_id, lease.id, Some(101), Site::NONE), ErrorKind::InvalidArgument);
    fails(raw::put(12345, lease.id, None, Site::NONE), ErrorKind::InvalidHandle);
    raw::pin(lease.id).expect("live");
    raw::pin(lease.id).expect("live");
    fails(raw::put(a_id, lease.id, None, Site::NONE), ErrorKind::Busy);
    fails(raw::detach(a_id, lease.id), ErrorKind::Busy);
    raw::unpin(lease.id).expect("pinned");
    fails(raw::put(a_id, lease.id, None, Site::NONE), ErrorKind::Busy);
    raw::unpin(lease.id).expect("pinned");
    fails(raw::unpin(lease.id), ErrorKind::InvalidArgument);
    raw::put(a_id, lease.id, Some(100), Site::NONE).expect("live");
    fails(raw::put(a_id, lease.id, None, Site::NONE), ErrorKind::DoublePut);
    for result in [raw::pin(lease.id), raw::unpin(lease.id), raw::lookup(lease.id).map(drop)] {
        fails(result, ErrorKind::UseAfterPut);
    }
    fails(raw::detach(a_id, lease.id), ErrorKind::UseAfterPut);
    for forged in [0, 1, u64::MAX, lease.id ^ 1, lease.id ^ (1 << 39), lease.id ^ (1 << 63), 0xDEAD_BEEF] {
        fails(raw::put(a_id, forged, None, Site::NONE), ErrorKind::InvalidHandle);
        fails(raw::lookup(forged), ErrorKind::InvalidHandle);
    }
    let stats = a.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!((stats.double_puts, stats.stale_uses), (1, 4));
}

#[test]
fn overruns_detaching_and_leaking_by_number() {
    let (pool, id) = owned("handles-more");
    let lease = raw::get(id, 512, Site::NONE).expect("a lease");
    // SAFETY: the byte behind the length is in the buffer's tail.
    unsafe { lease.data.wrapping_add(512).write(1) };
    fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::Overrun);
    fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::DoublePut);
    let lease = raw::try_get(id, 10, Site::NONE).expect("a lease");
    assert_eq!(raw::detach(id, lease.id).expect("memory").len(), 10);
    let lease = raw::get_timeout(id, 10, Duration::from_secs(1), Site::NONE).expect("a lease");
    raw::leak_reclaimed(id, lease.id).expect("live");
    let lease = pool.get(10).expect("a lease").into_raw();
    drop(raw::into_lease(id, lease.id).expect("live"));
    fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::DoublePut);
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!((stats.overruns, stats.detached, stats.leaked, stats.puts), (1, 1, 1, 2));
}

#[test]
fn a_released_pool_is_no_handle_but_takes_its_leases_back() {
    let id = raw::retain(&BufferPool::new("released").expect("a pool"));
    let lease = raw::get(id, 100, Site::NONE).expect("a lease");
    assert_eq!(raw::pool(id).expect("retained").name(), "released");
    raw::release(id).expect("retained");
    fails(raw::release(id), ErrorKind::InvalidHandle);
    fails(raw::pool(id), ErrorKind::InvalidHandle);
    fails(raw::get(id, 1, Site::NONE), ErrorKind::InvalidHandle);
    raw::put(id, lease.id, None, Site::NONE).expect("its own pool");
    fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::InvalidHandle);
}

#[test]
fn of_two_threads_that_put_one_handle_one_succeeds() {
    let (pool, id) = owned("race");
    let rounds = 20_000;
    let handle = AtomicU64::new(0);
    let barrier = std::sync::Barrier::new(2);
    let run = || {
        let mut won = 0_u64;
        for _ in 0..rounds {
            if barrier.wait().is_leader() {
                let lease = raw::get(id, 64, Site::NONE).expect("a lease");
                handle.store(lease.id, Ordering::SeqCst);
            }
            barrier.wait();
            won += u64::from(raw::put(id, handle.load(Ordering::SeqCst), None, Site::NONE).is_ok());
            barrier.wait();
        }
        won
    };
    let won: u64 = std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(won, rounds);
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!((stats.puts, stats.double_puts), (rounds, rounds));
}

#[test]
fn a_stock_counts_in_its_block() {
    let (pool, _) = owned("stock");
    let stock = raw::Stock::new(&pool).expect("a stock");
    let (counters, len) = stock.counters();
    assert_eq!(len, 2 + 3 * 9);
    let add = |index: usize, change: f64| {
        let word = counters.wrapping_add(index);
        // SAFETY: inside the block, which this test alone writes.
        let before = unsafe { word.read() };
        // SAFETY: as above.
        unsafe { word.write(before + change) };
    };
    let first = stock.take(1).expect("a buffer");
    assert_eq!(first.capacity, 1024);
    add(4 + 3, 1.0);
    assert_eq!(pool.stats().check(), Ok(()));
    assert_eq!(pool.stats().retained_buffers, 1);
    // A get of 1000 bytes from the stock.
    add(4 + 3, -1.0);
    add(2 + 3, 1.0);
    add(1, 1000.0);
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!((stats.in_use, stats.requested_bytes, stats.live_bytes), (1, 1000, 1024));
    stock.leaked(first.token, 1000).expect("on lease");
    assert_eq!(pool.stats().check(), Ok(()));
    assert_eq!(pool.stats().leaked, 1);
    fails(stock.give(first.token), ErrorKind::DoublePut);
    fails(stock.give(0), ErrorKind::InvalidHandle);
    fails(stock.take(9).map(drop), ErrorKind::InvalidArgument);
    let second = stock.take(4).expect("a buffer");
    stock.put(second.token, 9).expect("idle");
    let third = stock.take(4).expect("a buffer");
    assert_eq!(third.data, second.data);
    add(2 + 3 * 4, 1.0);
    add(1, 5.0);
    stock.lose(third.token, 5).expect("on lease");
    let fourth = stock.take(0).expect("a buffer");
    add(2, 1.0);
    assert_eq!(stock.detach(fourth.token, 0).expect("on lease").len(), 0);
    drop(stock);
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!((stats.gets, stats.leaked, stats.lost, stats.detached), (3, 2, 1, 1));
}

#[test]
fn a_put_and_a_pin_at_once_end_in_one_order() {
    let (pool, id) = owned("pin-race");
    let handle = AtomicU64::new(0);
    let barrier = std::sync::Barrier::new(2);
    let rounds = 20_000;
    let (mut busy, mut late) = (0, 0);
    std::thread::scope(|scope| {
        let pins = scope.spawn(|| {
            let mut late = 0;
            for _ in 0..rounds {
                barrier.wait();
                let lease = handle.load(Ordering::SeqCst);
                match raw::pin(lease) {
                    // Nobody put it before the pin, so it is live until the pin's end.
                    Ok(()) => {
                        assert_eq!(raw::lookup(lease).expect("pinned").len, 64);
                        raw::unpin(lease).expect("pinned");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::UseAfterPut, "{error}");
                        late += 1;
                    }
                }
                barrier.wait();
            }
            late
        });
        for round in 0..rounds {
            let lease = raw::get(id, 64, Site::NONE).expect("a lease");
            handle.store(lease.id, Ordering::SeqCst);
            barrier.wait();
            // With and without something to clear: the two ways of a put.
            match raw::put(id, lease.id, Some(round % 2 * 64), Site::NONE) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    busy += 1;
                    while raw::put(id, lease.id, None, Site::NONE).is_err() {
                        std::thread::yield_now();
                    }
                }
            }
            barrier.wait();
        }
        late = pins.join().expect("no panic");
    });
    println!("{rounds} rounds: {busy} puts met a pin, {late} pins came late");
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.puts, stats.in_use), (rounds as u64, 0));
}

#[test]
fn a_pool_that_was_never_retained_cannot_be_released() {
    let (pool, id) = owned("its own");
    fails(raw::release(id), ErrorKind::InvalidHandle);
    assert!(!pool.is_closed());
    assert_eq!(raw::retain(&pool), id);
    raw::release(id).expect("retained");
    assert!(pool.is_closed());
}

#[test]
fn the_default_pool_is_never_released() {
    let id = raw::retain(millpond::default_pool().expect("memory"));
    fails(raw::release(id), ErrorKind::InvalidArgument);
    assert_eq!(raw::pool(id).expect("still there").name(), "default");
    let lease = raw::get(id, 10, Site::NONE).expect("a lease");
    assert_eq!(raw::pool_of(lease.id).expect("live"), id);
    raw::put(id, lease.id, None, Site::NONE).expect("live");
    fails(raw::pool_of(lease.id), ErrorKind::UseAfterPut);
}

#[test]
fn a_handle_of_a_pool_that_is_gone_is_over_and_says_so() {
    let (pool, id) = owned("gone");
    let lease = raw::get(id, 10, Site::NONE).expect("a lease");
    raw::put(id, lease.id, None, Site::NONE).expect("live");
    drop(pool);
    let error = raw::lookup(lease.id).expect_err("over");
    assert_eq!(error.kind(), ErrorKind::UseAfterPut);
    assert!(error.message().contains("is used after its put"), "{error}");
    fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::InvalidHandle);
}

#[test]
fn memory_that_somebody_else_took_is_lost_by_number() {
    let (pool, id) = owned("lost");
    for len in [100, 70_000] {
        let lease = raw::get(id, len, Site::NONE).expect("a lease");
        raw::lose(id, lease.id).expect("live");
        fails(raw::lose(id, lease.id), ErrorKind::UseAfterPut);
        fails(raw::put(id, lease.id, None, Site::NONE), ErrorKind::DoublePut);
        let next = raw::get(id, len, Site::NONE).expect("a lease");
        assert_ne!(next.data, lease.data, "it is never handed out again");
        // SAFETY: it stays mapped, too.
        assert_eq!(unsafe { lease.data.read() }, 0);
        raw::put(id, next.id, None, Site::NONE).expect("live");
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.lost, stats.leaked, stats.in_use, stats.requested_bytes), (2, 2, 0, 0));
    fails(raw::lose(id, 12345), ErrorKind::InvalidHandle);
}

#[test]
fn a_guarded_lease_that_is_lost_stays_as_it_is() {
    let check = "sample:1".parse().expect("a mode");
    let pool = BufferPool::builder().name("lost guarded").check(check).build().expect("a pool");
    let lease = raw::get(pool.id(), 100, Site::NONE).expect("a lease");
    // SAFETY: inside the length.
    unsafe { lease.data.write(5) };
    raw::lose(pool.id(), lease.id).expect("live");
    for _ in 0..1500 {
        assert_ne!(pool.get(100).expect("a lease").as_ptr(), lease.data.cast_const());
    }
    // SAFETY: it stays mapped and accessible.
    assert_eq!(unsafe { lease.data.read() }, 5);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.lost, stats.unguarded), (1, 0));
}

#[test]
fn a_lease_without_a_canary_is_turned_back_too() {
    let check = millpond::Check::Off;
    let pool = BufferPool::builder().name("without").check(check).build().expect("a pool");
    let handle = raw::get(pool.id(), 100, Site::NONE).expect("a lease");
    // SAFETY: inside the length.
    unsafe { handle.data.write(9) };
    let lease = raw::into_lease(pool.id(), handle.id).expect("live");
    assert_eq!(lease[0], 9);
    drop(lease);
    let handle = raw::get(pool.id(), 100, Site::NONE).expect("a lease");
    assert_eq!(raw::detach(pool.id(), handle.id).expect("memory")[..], [0; 100]);
    pool.stats().check().expect("the books");
}

#[test]
fn a_lease_keeps_its_buffer_and_slot_on_its_way_through_a_number() {
    let (_pool, id) = owned("there and back");
    let handle = raw::get(id, 100, Site::NONE).expect("a lease");
    // SAFETY: inside the length.
    unsafe { handle.data.write(3) };
    let lease = raw::into_lease(id, handle.id).expect("live");
    assert_eq!((lease.as_ptr(), lease.len(), lease[0]), (handle.data.cast_const(), 100, 3));
    let again = lease.into_raw();
    assert_ne!(again.id, handle.id);
    if !cfg!(millpond_short_generations) {
        assert_eq!(again.id & 0xff_ffff, handle.id & 0xff_ffff);
    }
    raw::put(id, again.id, None, Site::NONE).expect("live");
}

#[test]
fn a_put_by_number_clears_what_was_written_if_the_pool_does_so_at_put() {
    // Where slots wear out in between, a buffer does not always come back.
    if cfg!(millpond_short_generations) {
        return;
    }
    for (clear, used, cleared) in [
        (ClearPolicy::OnPut, None, true),
        (ClearPolicy::OnPut, Some(1), false),
        (ClearPolicy::OnPut, Some(100), true),
        (ClearPolicy::OnGet, Some(100), true),
        (ClearPolicy::Never, None, false),
        (ClearPolicy::Never, Some(100), false),
    ] {
        // With a cache, and without one, as a put on the long way is.
        for cache in [2 << 20, 0] {
            let builder = BufferPool::builder().name("clearing").clear(clear).thread_cache_bytes(cache);
            let pool = builder.build().expect("a pool");
            let lease = raw::get(pool.id(), 100, Site::NONE).expect("a lease");
            // SAFETY: as long as the lease.
            unsafe { lease.data.write_bytes(9, 100) };
            raw::put(pool.id(), lease.id, used, Site::NONE).expect("live");
            let next = raw::get(pool.id(), 100, Site::NONE).expect("a lease");
            assert_eq!(next.data, lease.data);
            // SAFETY: inside the length.
            let last = unsafe { next.data.wrapping_add(99).read() };
            assert_eq!(last == 0, cleared, "{clear:?} {used:?} {cache}");
            raw::put(pool.id(), next.id, None, Site::NONE).expect("live");
        }
    }
}
