//! Uses the pool as a Rust program does.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::BufMut;
use millpond::{BufferPool, Classes, ClearPolicy, ErrorKind, LimitPolicy, Stats};

fn pool(name: &str) -> BufferPool {
    BufferPool::new(name).expect("a pool")
}

fn rest(pool: &BufferPool) -> Stats {
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    stats
}

#[test]
fn a_lease_is_zero_comes_back_and_is_used_again() {
    let pool = pool("again");
    for len in [0, 1, 511, 512, 513, 4096, 65_536, 65_537, 1 << 20, (16 << 20) + 1] {
        let mut lease = pool.get(len).expect("a lease");
        assert_eq!(lease.len(), len);
        assert!(lease.capacity() >= len);
        assert!(lease.iter().all(|byte| *byte == 0));
        lease.fill(0xA5);
        let address = lease.as_ptr();
        drop(lease);
        let lease = pool.get(len).expect("a lease");
        assert!(lease.iter().all(|byte| *byte == 0));
        assert!(len > 16 << 20 || lease.as_ptr() == address, "the same buffer for {len}");
        pool.put(lease).expect("its own pool");
    }
    let stats = rest(&pool);
    assert_eq!((stats.gets, stats.puts, stats.in_use, stats.oversized), (20, 20, 0, 2));
    assert_eq!(stats.discarded, 2);
}

#[test]
fn impossible_lengths_are_invalid() {
    let pool = pool("impossible");
    for len in [usize::MAX, usize::MAX - 63, isize::MAX as usize, isize::MAX as usize + 1] {
        let error = pool.get(len).expect_err("no such buffer");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let error = pool.get(1 << 46).expect_err("above the limit");
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!(rest(&pool).gets, 0);
}

#[test]
fn another_pools_lease_stays_live() {
    let (a, b) = (pool("a"), pool("b"));
    let lease = a.get(10).expect("a lease");
    let refused = b.put(lease).expect_err("foreign");
    assert_eq!(refused.kind(), ErrorKind::ForeignLease);
    let lease = refused.lease.expect("still live");
    assert_eq!(b.stats().foreign_puts, 1);
    a.put(lease).expect("its own pool");
    assert_eq!(rest(&a).puts, 1);
    rest(&b);
}

#[test]
fn a_write_past_the_length_is_found_at_every_length() {
    let pool = pool("overrun");
    let mut overruns = 0;
    for len in [0, 1, 100, 511, 512, 1024, 4096, 16_384, 65_536, 1 << 20] {
        for far in [0, 1, 7] {
            let mut lease = pool.get(len).expect("a lease");
            let end = lease.as_mut_ptr().wrapping_add(len + far);
            // SAFETY: inside the buffer's tail.
            let there = unsafe { end.read() };
            // SAFETY: as above; the pool promises to find it.
            unsafe { end.write(!there) };
            let error = lease.put().expect_err("found");
            assert_eq!(error.kind(), ErrorKind::Overrun);
            assert!(error.message().contains(&format!("byte {} behind", far + 1)), "{error}");
            overruns += 1;
            let clean = pool.get(len).expect("a lease");
            assert!(clean.iter().all(|byte| *byte == 0));
        }
    }
    let stats = rest(&pool);
    assert_eq!(stats.overruns, overruns);
    assert_eq!(stats.discarded, overruns);
}

#[test]
fn raw_access_counts_as_the_whole_length() {
    let pool = pool("raw");
    let mut lease = pool.get(1000).expect("a lease");
    let data = lease.as_mut_ptr();
    for at in 0..1000 {
        // SAFETY: inside the length.
        unsafe { data.wrapping_add(at).write(7) };
    }
    lease.put().expect("within the length");
    assert!(pool.get(1024).expect("a lease").iter().all(|byte| *byte == 0));
}

#[test]
fn frozen_bytes_come_back_from_another_thread() {
    let pool = pool("frozen");
    let mut lease = pool.get(5).expect("a lease");
    lease.copy_from_slice(b"hello");
    let bytes = lease.freeze();
    let part = bytes.slice(1..3);
    drop(bytes);
    assert_eq!(pool.stats().in_use, 1);
    std::thread::spawn(move || assert_eq!(&part[..], b"el")).join().expect("no panic");
    let stats = rest(&pool);
    assert_eq!((stats.in_use, stats.puts), (0, 1));
}

#[test]
fn a_writer_knows_how_far_it_came() {
    let pool = pool("writer");
    let mut writer = pool.writer(100).expect("a writer");
    std::io::Write::write_fmt(&mut writer, format_args!("{}", 12)).expect("room");
    writer.write_str("34").expect("room");
    writer.put_slice(b"56");
    writer.put_u8(b'7');
    let chunk = writer.chunk_mut();
    chunk.write_byte(0, b'8');
    // SAFETY: one byte was written just now.
    unsafe { writer.advance_mut(1) };
    assert_eq!((writer.len(), writer.capacity(), writer.remaining_mut()), (8, 100, 92));
    let lease = writer.finish();
    assert_eq!(&lease[..], b"12345678");
    drop(lease);
    assert!(pool.get(512).expect("a lease").iter().all(|byte| *byte == 0));

    let mut writer = pool.writer(3).expect("a writer");
    assert_eq!(writer.write(b"abcdef").expect("a part"), 3);
    assert_eq!(writer.write(b"g").expect("nothing"), 0);
    assert!(writer.write_str("g").is_err());
    assert_eq!(writer.written(), b"abc");
    drop(writer);

    let mut lease = pool.get(512).expect("a lease");
    lease.fill(9);
    let mut writer = lease.into_writer();
    writer.put_slice(b"x");
    assert_eq!(writer.chunk_mut().len(), 511);
    drop(writer);
    assert!(pool.get(512).expect("a lease").iter().all(|byte| *byte == 0));
    rest(&pool);
}

#[test]
fn what_a_chunk_showed_is_cleared_though_nobody_said_it_was_written() {
    let pool = BufferPool::builder().name("shown").classes(Classes::List(vec![256 << 10])).build().expect("a pool");
    let mut writer = pool.writer(200_000).expect("a writer");
    let chunk = writer.chunk_mut();
    assert_eq!(chunk.len(), 64 << 10);
    chunk.write_byte((64 << 10) - 1, 0xEE);
    drop(writer);
    assert!(pool.get(200_000).expect("a lease").iter().all(|byte| *byte == 0));
}

#[test]
fn detached_memory_is_the_callers() {
    let pool = pool("detach");
    for len in [0, 10, 5000, 70_000, 3 << 20, 20 << 20] {
        let mut lease = pool.get(len).expect("a lease");
        lease.fill(3);
        let mut plain = lease.detach().expect("memory");
        assert_eq!(plain.len(), len);
        plain.iter_mut().for_each(|byte| *byte += 1);
        assert!(plain.iter().all(|byte| *byte == 4));
        let (data, len, mapping) = plain.into_raw_parts();
        // SAFETY: the parts just taken, used once.
        let plain = unsafe { millpond::Detached::from_raw_parts(data, len, mapping) };
        assert_eq!(plain.into_vec().expect("memory"), vec![4; len]);
    }
    let stats = rest(&pool);
    assert_eq!((stats.detached, stats.in_use, stats.requested_bytes), (6, 0, 0));
}

#[test]
fn put_used_takes_the_callers_word() {
    let pool = pool("used");
    let mut lease = pool.get(100).expect("a lease");
    lease.as_mut_ptr();
    lease.put_used(0).expect("nothing written");
    let error = pool.get(100).expect("a lease").put_used(101).expect_err("more than the length");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(rest(&pool).puts, 2);
}

#[test]
fn clear_policies_differ_in_when() {
    let on_get = BufferPool::builder().name("on-get").clear(ClearPolicy::OnGet).build().expect("a pool");
    let never = BufferPool::builder().name("never").clear(ClearPolicy::Never).build().expect("a pool");
    for pool in [&on_get, &never] {
        pool.get(600).expect("a lease").fill(1);
    }
    assert!(on_get.get(600).expect("a lease").iter().all(|byte| *byte == 0));
    assert!(never.get(600).expect("a lease").iter().all(|byte| *byte == 1));
}

#[test]
fn the_limit_fails_names_itself_and_ends_with_a_put() {
    let pool = BufferPool::builder().name("small").max_bytes(4096).build().expect("a pool");
    let first = pool.get(4096).expect("within");
    let error = pool.get(1).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.message().contains("small") && error.message().contains("4096"), "{error}");
    drop(first);
    // The idle buffer of the other class makes room.
    let leases: Vec<_> = (0..8).map(|_| pool.get(512).expect("room")).collect();
    assert_eq!(pool.get(0).expect_err("full").kind(), ErrorKind::Exhausted);
    drop(leases);
    let stats = rest(&pool);
    assert_eq!((stats.exhausted, stats.limit_bytes), (2, 4096));
    assert_eq!(pool.try_get(8192).expect_err("never fits").kind(), ErrorKind::Exhausted);
}

#[test]
fn unpooled_buffers_go_beyond_the_limit_and_are_not_kept() {
    let pool =
        BufferPool::builder().name("beyond").max_bytes(1024).on_limit(LimitPolicy::Unpooled).build().expect("a pool");
    let leases: Vec<_> = (0..5).map(|_| pool.get(1000).expect("beyond")).collect();
    assert_eq!(pool.try_get(1000).expect_err("within only").kind(), ErrorKind::Exhausted);
    drop(leases);
    let stats = rest(&pool);
    assert_eq!((stats.gets, stats.discarded, stats.retained_buffers, stats.oversized), (5, 4, 1, 0));
    drop(pool.get(100_000_000).expect("beyond, and oversized"));
    assert_eq!(rest(&pool).oversized, 1);
}

#[test]
fn a_waiting_get_is_served_by_a_put_of_another_thread() {
    let pool = BufferPool::builder()
        .name("wait")
        .max_bytes(1024)
        .on_limit(LimitPolicy::Wait(Duration::from_secs(20)))
        .build()
        .expect("a pool");
    let held = pool.get(1024).expect("within");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get(1024).map(|lease| lease.len()));
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        assert_eq!(waiting.join().expect("no panic").expect("served"), 1024);
    });
    let held = pool.get(1024).expect("within");
    let before = Instant::now();
    let error = pool.get_timeout(1024, Duration::from_millis(30)).expect_err("nobody puts");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert!(pool.get_deadline(1024, Instant::now()).is_err());
    assert!(pool.get_timeout(2048, Duration::MAX).is_err(), "could never be served");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get_timeout(1024, Duration::MAX).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        pool.close().expect("closes");
        assert_eq!(waiting.join().expect("no panic").expect_err("closed").kind(), ErrorKind::Closed);
    });
    drop(held);
    rest(&pool);
}

#[test]
fn a_policy_may_be_to_wait_for_ever() {
    let builder = BufferPool::builder().name("for ever").max_bytes(1024).on_limit(LimitPolicy::Wait(Duration::MAX));
    let pool = builder.build().expect("a pool");
    let held = pool.get(1024).expect("within");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get(1024).map(|lease| lease.len()));
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        assert_eq!(waiting.join().expect("no panic").expect("served"), 1024);
    });
    rest(&pool);
}

#[test]
fn a_closed_pool_hands_out_nothing_and_takes_its_leases_back() {
    let pool = pool("closing");
    let (a, b) = (pool.get(100).expect("a lease"), pool.get(1 << 20).expect("a lease"));
    drop(pool.get(100).expect("a lease"));
    pool.close().expect("closes");
    pool.close().expect("closing twice does nothing");
    assert!(pool.is_closed());
    assert_eq!(pool.get(1).expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(pool.try_get(1).expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(pool.writer(1).expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(a.len(), 100);
    pool.put(a).expect("taken back");
    drop(b);
    let stats = rest(&pool);
    assert_eq!((stats.in_use, stats.retained_buffers, stats.created), (0, 0, stats.destroyed));
    assert_eq!((pool.trim(), pool.maintain()), (0, 0));
    assert!(pool.leaks().expect("memory").is_empty());
    assert_eq!(
        millpond::default_pool().expect("memory").close().expect_err("never").kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_lease_outlives_its_pool() {
    let pool = pool("gone");
    let mut lease = pool.get(1000).expect("a lease");
    drop(pool);
    lease.fill(1);
    assert!(lease.pool().is_closed());
    assert_eq!(lease.pool().name(), "gone");
    drop(lease);
}

#[test]
fn a_pool_goes_with_its_last_lease_from_every_path() {
    for len in [10, 100_000, 1 << 20, 40 << 20] {
        let pools: Vec<_> = (0..6).map(|n| pool(&format!("last-{n}"))).collect();
        let mut leases: Vec<_> = pools.iter().map(|pool| pool.get(len).expect("a lease")).collect();
        drop(pools);
        drop(leases.pop());
        leases.pop().map(millpond::Lease::leak_reclaimed).expect("a lease");
        drop(leases.pop().map(|lease| lease.freeze()));
        drop(leases.pop().map(|lease| lease.put_held(None)));
        drop(leases.pop().map(|lease| lease.detach().expect("memory")));
        let end = leases[0].as_mut_ptr().wrapping_add(len);
        // SAFETY: inside the buffer's tail.
        unsafe { end.write(1) };
        assert!(leases.pop().expect("a lease").put().is_err());
    }
}

#[test]
fn the_peak_is_what_was_out_at_once_when_the_last_buffer_was_made() {
    let pool = pool("peak");
    drop((0..3).map(|_| pool.get(1 << 20).expect("a lease")).collect::<Vec<_>>());
    drop(pool.get(1 << 20).expect("a lease"));
    let stats = rest(&pool);
    assert_eq!((stats.live_bytes, stats.peak_live_bytes), (0, 3 << 20));
}

#[test]
fn held_memory_is_retained_until_nobody_looks() {
    let pool = pool("held");
    let mut lease = pool.get(1000).expect("a lease");
    let data = lease.as_mut_ptr();
    let (held, result) = lease.put_held(None);
    result.expect("intact");
    let stats = rest(&pool);
    assert_eq!((stats.puts, stats.in_use, stats.retained_buffers), (1, 0, 1));
    assert_ne!(pool.get(1000).expect("a lease").as_ptr(), data.cast_const());
    // SAFETY: held, so still there, and nobody else's.
    unsafe { data.write(9) };
    drop(held);
    let lease = pool.get(1000).expect("a lease");
    assert_eq!((lease.as_ptr(), lease[0]), (data.cast_const(), 0));
    drop(lease);
    let (held, result) = pool.get(100).expect("a lease").put_held(Some(100));
    result.expect("as much as there is");
    drop(held);
    let (held, result) = pool.get(100).expect("a lease").put_held(Some(101));
    assert_eq!(result.expect_err("more than the length").kind(), ErrorKind::InvalidArgument);
    drop(held);
    let (held, _) = pool.get(20 << 20).expect("a lease").put_held(None);
    assert_eq!((rest(&pool).retained_buffers, rest(&pool).retained_bytes), (3, 2560));
    drop(held);
    rest(&pool);
    let mut lease = pool.get(100).expect("a lease");
    lease.fill(1);
    let (plain, held) = lease.detach_held().expect("memory");
    assert!(held.is_some() && plain[0] == 1);
    drop(held);
    rest(&pool);
}

#[test]
fn leaks_name_the_place_of_the_get() {
    let pool = pool("leaky");
    let here = line!() + 1;
    let lease = pool.get(77).expect("a lease");
    let leaks = pool.leaks().expect("memory");
    assert_eq!(leaks.len(), 1);
    assert_eq!((leaks[0].len, leaks[0].capacity, leaks[0].pool.as_str()), (77, 512, "leaky"));
    assert!(leaks[0].site.to_string().ends_with(&format!("pool.rs:{here}")), "{}", leaks[0]);
    std::thread::sleep(Duration::from_millis(25));
    assert!(pool.leaks().expect("memory")[0].age >= Duration::from_millis(10));
    lease.leak_reclaimed();
    let stats = rest(&pool);
    assert_eq!((stats.leaked, stats.puts, stats.in_use), (1, 0, 0));
    assert!(pool.leaks().expect("memory").is_empty());
}

#[test]
fn trim_reaches_the_caches_of_other_threads() {
    let pool = pool("trim");
    let (ready, wait) = (std::sync::Barrier::new(3), std::sync::Barrier::new(3));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                drop([100, 5000, 100_000, 200_000].map(|len| pool.get(len).expect("a lease")));
                ready.wait();
                wait.wait();
                drop(pool.get(100).expect("a lease"));
            });
        }
        ready.wait();
        assert!(rest(&pool).retained_buffers >= 4);
        assert!(pool.trim() > 0);
        let stats = rest(&pool);
        assert_eq!((stats.retained_buffers, stats.retained_bytes), (0, 0));
        wait.wait();
    });
    assert!(rest(&pool).trimmed_bytes > 0);
}

#[test]
fn idle_memory_decays_by_halves_even_in_a_sleeping_threads_cache() {
    let pool = pool("decay");
    drop((0..64).map(|_| pool.get(1 << 20).expect("a lease")).collect::<Vec<_>>());
    drop((0..40).map(|_| pool.get(1024).expect("a lease")).collect::<Vec<_>>());
    let full = rest(&pool).retained_bytes;
    assert!(full >= 64 << 20);
    pool.maintain();
    let mut before = rest(&pool).retained_bytes;
    for _ in 0..20 {
        pool.maintain();
        let now = rest(&pool).retained_bytes;
        assert!(now <= before);
        before = now;
    }
    assert_eq!(before, 0);
    assert_eq!(rest(&pool).trimmed_bytes, full);
}

#[test]
fn the_ticker_maintains_and_ends_with_the_pool() {
    let pool = BufferPool::builder().name("ticking").maintain_every(Duration::from_millis(2)).build().expect("a pool");
    drop(pool.get(1 << 20).expect("a lease"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while pool.stats().retained_buffers > 0 {
        assert!(Instant::now() < deadline, "the ticker gives idle memory back");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn retention_is_bounded() {
    let pool = BufferPool::builder()
        .name("bounded")
        .max_retained_bytes(3 << 20)
        .thread_cache_bytes(0)
        .build()
        .expect("a pool");
    drop((0..10).map(|_| pool.get(1 << 20).expect("a lease")).collect::<Vec<_>>());
    let stats = rest(&pool);
    assert_eq!((stats.retained_bytes, stats.discarded), (3 << 20, 7));
    let none = BufferPool::builder().name("none").max_retained_bytes(0).build().expect("a pool");
    drop(none.get(100).expect("a lease"));
    assert_eq!(rest(&none).retained_buffers, 0);
}

#[test]
fn a_thread_that_has_room_for_one_buffer_leaves_the_others_to_the_depot() {
    let builder =
        BufferPool::builder().name("one").classes(Classes::List(vec![64 << 10])).thread_cache_bytes(100 << 10);
    let pool = builder.max_bytes(64 << 20).max_retained_bytes(16 << 20).build().expect("a pool");
    for _ in 0..3 {
        let leases: Vec<_> = (0..4).map(|_| pool.get(1000).expect("a lease")).collect();
        drop(leases);
        let stats = rest(&pool);
        assert_eq!((stats.retained_buffers, stats.created), (4, 4));
        // Another thread finds those in the depot.
        std::thread::scope(|scope| {
            let get = || drop((0..3).map(|_| pool.get(1000).expect("a lease")).collect::<Vec<_>>());
            scope.spawn(get).join().expect("no panic");
        });
        assert_eq!(rest(&pool).created, 4);
    }
}

#[test]
fn ended_threads_leave_nothing_behind() {
    let pool = pool("threads");
    for _ in 0..50 {
        let pool = pool.clone();
        // A join, unlike the end of a scope, waits for the destructors of thread-local values.
        let thread =
            std::thread::spawn(move || drop((0..20).map(|n| pool.get(n * 300).expect("a lease")).collect::<Vec<_>>()));
        thread.join().expect("no panic");
    }
    let stats = rest(&pool);
    assert_eq!((stats.gets, stats.in_use), (1000, 0));
    assert!(stats.created <= 20, "the next thread uses what the last one left: {}", stats.created);
    pool.trim();
    assert_eq!(rest(&pool).retained_bytes, 0);
}

#[test]
fn a_pool_serves_a_thread_that_is_about_to_end() {
    extern "C" fn last(pool: *mut libc::c_void) {
        // SAFETY: the pool of the test, which waits for the thread.
        let pool = unsafe { &*pool.cast::<BufferPool>() };
        let leases: Vec<_> = (0..3).map(|_| pool.get(100).expect("a lease")).collect();
        drop(leases);
        assert!(pool.get_idle(100, millpond::Site::NONE).is_none(), "nothing is kept for it any more");
    }
    let pool = pool("ending");
    let mut key = 0;
    // Later than the pool's own key, so that it is called after that one.
    // SAFETY: writes the key.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(last)) }, 0);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let work = || {
                drop(pool.get(100).expect("a lease"));
                // SAFETY: the key just made; the pool outlives the thread.
                assert_eq!(unsafe { libc::pthread_setspecific(key, (&raw const pool).cast()) }, 0);
            };
            scope.spawn(work);
        });
    }
    // A thread counts as over for its scope before its last functions were called.
    let deadline = Instant::now() + Duration::from_secs(20);
    while pool.stats().puts < 12 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = rest(&pool);
    assert_eq!((stats.gets, stats.puts, stats.in_use), (12, 12, 0));
    // SAFETY: no thread has a value of it any more.
    assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
}

#[test]
fn many_pools_on_one_thread_do_not_disturb_each_other() {
    let pools: Vec<_> = (0..40).map(|n| pool(&format!("many-{n}"))).collect();
    for round in 0..3 {
        for pool in &pools {
            drop(pool.get(100 + round).expect("a lease"));
        }
    }
    for pool in &pools {
        let stats = rest(pool);
        assert_eq!((stats.gets, stats.created), (3, 1));
    }
    for n in 0..200 {
        drop(pool(&format!("short-{n}")).get(1).expect("a lease"));
    }
}

#[test]
fn alignment_is_honoured() {
    for alignment in [64, 256, 4096, 2 << 20] {
        let pool = BufferPool::builder().name("aligned").alignment(alignment).build().expect("a pool");
        for len in [1, 5000, 65_000, 70_000, 5 << 20] {
            let leases = [pool.get(len).expect("a lease"), pool.get(len).expect("a lease")];
            assert!(leases.iter().all(|lease| lease.as_ptr().align_offset(alignment) == 0));
        }
        rest(&pool);
    }
}

/// Of buffers that all begin at a page, the first lines share one set of the first-level cache.
#[test]
fn live_buffers_begin_at_different_lines_of_their_pages() {
    for (alignment, len, places) in [(64, 64 << 10, 64), (64, 1 << 20, 64), (256, 256 << 10, 16), (4096, 64 << 10, 1)] {
        let pool = BufferPool::builder().name("lines").alignment(alignment).build().expect("a pool");
        let mut leases: Vec<_> = (0..64).map(|_| pool.get(len).expect("a lease")).collect();
        let begins: HashSet<_> = leases.iter().map(|lease| lease.as_ptr().addr() % 4096).collect();
        assert_eq!(begins.len(), places, "{len} bytes aligned to {alignment}");
        // All of each is there, and its tail.
        for lease in &mut leases {
            assert!(lease.iter().all(|byte| *byte == 0));
            lease.fill(7);
        }
        leases.clear();
        assert_eq!(pool.trim(), 64 * len);
        rest(&pool);
    }
}

#[test]
fn the_default_pool_serves_without_configuration() {
    let lease = millpond::get(123).expect("a lease");
    assert_eq!(lease.pool_id(), millpond::default_pool().expect("memory").id());
    assert_eq!(millpond::default_pool().expect("memory").name(), "default");
}
