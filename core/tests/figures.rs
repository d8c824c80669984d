//! What the statistics say, to the unit, and when they are looked at.

use millpond::{BufferPool, ErrorKind, Stats};

fn rest(pool: &BufferPool) -> Stats {
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    stats
}

#[test]
fn the_peak_is_seen_when_buffers_are_created_though_nobody_reads_statistics() {
    let pool = BufferPool::new("peak").expect("a pool");
    let leases = [100, 1000, 1000, 20 << 20].map(|len| pool.get(len).expect("a lease"));
    let capacity: usize = leases.iter().map(|lease| lease.capacity()).sum();
    drop(leases);
    let stats = rest(&pool);
    assert_eq!((stats.live_bytes, stats.peak_live_bytes), (0, capacity as u64));
    // One more of what is idle makes no new peak.
    drop(pool.get(1000).expect("a lease"));
    assert_eq!(rest(&pool).peak_live_bytes, capacity as u64);
}

#[test]
fn what_a_thread_asked_for_is_known_when_it_has_ended() {
    let pool = BufferPool::new("heirs").expect("a pool");
    let get_two_with_one_buffer = || {
        drop(pool.get(300).expect("a lease"));
        pool.get(100).expect("a lease")
    };
    let leases: Vec<_> = std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(get_two_with_one_buffer));
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let stats = rest(&pool);
    assert_eq!((stats.gets, stats.puts, stats.in_use, stats.requested_bytes), (4, 2, 2, 200));
    drop(leases);
    let stats = rest(&pool);
    assert_eq!((stats.puts, stats.in_use, stats.requested_bytes), (4, 0, 0));
}

#[test]
fn the_error_at_the_limit_says_how_much_is_out() {
    let pool = BufferPool::builder().name("full").max_bytes(32 << 20).build().expect("a pool");
    let _leases = [100, 1000, 1000, 20 << 20].map(|len| pool.get(len).expect("a lease"));
    let live = rest(&pool).live_bytes;
    let error = pool.get(15 << 20).expect_err("beyond the limit");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let text = format!("cannot hand out {} bytes: 4 leases hold {live} of at most {} bytes;", 15 << 20, 32 << 20);
    assert!(error.message().contains(&text), "{text} in {error}");
    // What was refused is counted, and no peak.
    let stats = rest(&pool);
    assert_eq!((stats.exhausted, stats.in_use, stats.peak_live_bytes), (1, 4, live));
}
