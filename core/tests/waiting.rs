//! What threads keep for themselves while others wait, and afterwards.

use std::time::Duration;

use millpond::{BufferPool, Classes, Lease, LimitPolicy, Site};

const SIZE: usize = 64 << 10;

/// A pool that has room for 64 leases, and those of a thread that keeps some of what it puts.
fn full() -> (BufferPool, Vec<Lease>) {
    let builder = BufferPool::builder().name("full").classes(Classes::List(vec![SIZE])).max_bytes(64 * SIZE);
    let pool = builder.on_limit(LimitPolicy::Wait(Duration::from_secs(20))).build().expect("a pool");
    let leases = (0..64).map(|_| pool.get(SIZE).expect("room")).collect();
    (pool, leases)
}

fn keeps_what_it_puts(pool: &BufferPool) -> bool {
    drop(pool.get(SIZE).expect("room"));
    pool.get_idle(SIZE, Site::NONE).is_some()
}

#[test]
fn a_put_serves_those_who_wait_before_the_thread_itself() {
    let (pool, mut leases) = full();
    drop(leases.pop());
    assert!(keeps_what_it_puts(&pool));
    leases.push(pool.get(SIZE).expect("room"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get(SIZE));
        // Until it waits: then nothing is kept for this thread. What is put before that is for whoever comes too.
        std::thread::sleep(Duration::from_millis(30));
        drop(leases.pop());
        leases.push(waiting.join().expect("no panic").expect("served by the put"));
    });
    drop(leases.pop());
    assert!(keeps_what_it_puts(&pool), "nobody waits any more");
    assert_eq!(pool.stats().check(), Ok(()));
}

#[test]
fn a_thread_that_comes_while_others_wait_keeps_nothing_until_they_are_served() {
    let (pool, mut leases) = full();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get(SIZE).map(drop));
        std::thread::sleep(Duration::from_millis(30));
        let lease = leases.pop().expect("one");
        let put = scope.spawn(|| drop(lease));
        put.join().expect("no panic");
        waiting.join().expect("no panic").expect("served by a thread that had no lease of the pool before");
    });
    assert!(keeps_what_it_puts(&pool));
    assert_eq!(pool.stats().check(), Ok(()));
}
