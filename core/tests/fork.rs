//! Forks while four threads use the pool: 300 children, or as many as `MILLPOND_FORK_CHILDREN` says. A process of its own: the
//! test harness's threads are not to be copied.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::{BufferPool, Lease, LimitPolicy, Site};

const LEASE: u8 = 0xC5;
/// All that the pool with the waiting thread may have.
const ALL: usize = 16 << 20;

/// What a child does with the pools it inherited; its exit status. All of the second one's memory is on lease, and a thread of
/// the parent waits for it.
fn child(pool: &BufferPool, inherited: &mut Lease, waiting: &BufferPool, all: &mut Option<Lease>) -> i32 {
    if inherited.iter().any(|byte| *byte != LEASE) {
        return 2;
    }
    // Nobody waits here, so the thread keeps what it puts.
    drop(all.take());
    drop(waiting.get(1024));
    if waiting.get_idle(1024, Site::NONE).is_none() {
        return 7;
    }
    inherited.fill(1);
    for len in [10, 5000, 100_000, 3 << 20] {
        let Ok(mut lease) = pool.get(len) else { return 3 };
        if lease.iter().any(|byte| *byte != 0) {
            return 4;
        }
        lease.fill(9);
    }
    let ran = std::thread::scope(|scope| {
        (0..2)
            .map(|_| scope.spawn(|| (0..50).all(|n| pool.get(n * 97).is_ok())))
            .collect::<Vec<_>>()
            .into_iter()
            .all(|thread| thread.join().unwrap_or(false))
    });
    if !ran {
        return 5;
    }
    pool.trim();
    pool.maintain();
    // Leases of the threads that the child does not have stay in use; everything else reconciles.
    match pool.stats().check() {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("{why}");
            6
        }
    }
}

fn children() -> u64 {
    std::env::var("MILLPOND_FORK_CHILDREN").map_or(300, |count| count.parse().expect("a number of children"))
}

/// What a thread of the parent keeps idle is the child's to use, and both go on keeping what they put.
fn threads_leave_what_they_keep_to_the_child() -> bool {
    let pool = BufferPool::builder().name("kept").build().expect("a pool");
    let use_ten = || drop((0..10).map(|_| pool.get(1000).expect("a lease")).collect::<Vec<_>>());
    let keeps = || pool.get_idle(1000, Site::NONE).is_some();
    let (ready, done) = (Barrier::new(2), Barrier::new(2));
    let child = || {
        use_ten();
        let stats = pool.stats();
        i32::from(!keeps() || stats.created != 11 || stats.check().is_err())
    };
    // Both threads have a cache when the child is made.
    drop(pool.get(5000).expect("a lease"));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            use_ten();
            ready.wait();
            done.wait();
            drop(pool.get(1000).expect("a lease"));
            keeps()
        });
        ready.wait();
        let passed = run_child(0, child);
        done.wait();
        drop(pool.get(1000).expect("a lease"));
        passed && keeps() && other.join().expect("no panic")
    })
}

fn main() {
    assert!(threads_leave_what_they_keep_to_the_child());
    let children = children();
    let pool = BufferPool::builder().name("forked").max_bytes(64 << 20).build().expect("a pool");
    let waiting = BufferPool::builder()
        .name("waiting")
        .max_bytes(ALL)
        .on_limit(LimitPolicy::Wait(Duration::from_secs(600)))
        .build()
        .expect("a pool");
    let mut held = Some(waiting.get(ALL).expect("a lease"));
    let mut inherited = pool.get(1000).expect("a lease");
    inherited.fill(LEASE);
    let stop = AtomicBool::new(false);
    let pairs = AtomicU64::new(0);
    let failed = std::thread::scope(|scope| {
        for seed in 0..4_usize {
            let (pool, stop, pairs) = (&pool, &stop, &pairs);
            scope.spawn(move || {
                let mut n = seed;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let leases: Vec<_> = (0..n >> 60).filter_map(|k| pool.get((n >> 40) % 300_000 + k).ok()).collect();
                    pairs.fetch_add(leases.len() as u64, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| drop(waiting.get(1024)));
        let failed: u64 = (0..children)
            .map(|number| u64::from(!run_child(number, || child(&pool, &mut inherited, &waiting, &mut held))))
            .sum();
        stop.store(true, Ordering::Relaxed);
        drop(held);
        failed
    });
    drop(inherited);
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!(stats.in_use, 0);
    println!("{} pairs beside {children} children", pairs.load(Ordering::Relaxed));
    println!("{} passed, {failed} failed", children - failed);
    std::process::exit(i32::from(failed > 0));
}

/// Forks one child and waits for it; a child that hangs is killed and counts as failed.
fn run_child(number: u64, child: impl FnOnce() -> i32) -> bool {
    // SAFETY: the child only uses pools, which are made for it, and ends by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = child();
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(status) };
    }
    assert!(pid > 0, "fork");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut status = 0;
    loop {
        // SAFETY: waits for the child just made.
        let done = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if done == pid {
            if status != 0 {
                println!("child {number}: status {status:#x}");
            }
            return status == 0;
        }
        if Instant::now() > deadline {
            println!("child {number} hangs");
            // SAFETY: the child is ours and was not waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
