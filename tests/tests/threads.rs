//! Threads that come and go: 10,000 of them, or as many as `MILLPOND_THREADS` says, leave no byte behind in caches that
//! nobody reaches any more.
//! One test, so that nothing else moves the numbers.

use std::sync::Mutex;
use std::thread;

use millpond::{BufferPool, Lease, raw};

const RETAINED: usize = 4 << 20;
const AT_ONCE: u64 = 8;
const LENGTHS: [usize; 6] = [100, 1000, 4096, 16_000, 60_000, 250_000];

fn threads() -> u64 {
    std::env::var("MILLPOND_THREADS").map_or(10_000, |count| count.parse().expect("MILLPOND_THREADS is a number"))
}

/// What a short-lived thread does: fills its cache with several sizes, puts leases that others got, and leaves one for
/// others.
fn live(pool: &BufferPool, exchange: &Mutex<Vec<Lease>>, number: u64) {
    let mut held: Vec<Lease> = LENGTHS
        .iter()
        .cycle()
        .skip(number as usize % LENGTHS.len())
        .take(10)
        .map(|len| pool.get(*len).expect("below the limit"))
        .collect();
    held.iter_mut().for_each(|lease| lease[0] = 1);
    let mut shared = exchange.lock().expect("nobody panics");
    let others = shared.pop();
    shared.extend(held.pop());
    drop(shared);
    drop(others);
    // Some through the pool's other doors.
    if let Some(lease) = held.pop() {
        let id = lease.into_raw().id;
        raw::put(pool.id(), id, None, millpond::Site::NONE).expect("live");
    }
}

#[test]
fn threads_that_end_strand_nothing() {
    let pool = BufferPool::builder()
        .name("short lives")
        .max_bytes(64 << 20)
        .max_retained_bytes(RETAINED)
        .build()
        .expect("the options agree");
    let exchange = Mutex::new(Vec::new());
    let threads = threads();
    let mut most = 0;
    for number in 0..threads / AT_ONCE {
        thread::scope(|scope| {
            for one in 0..AT_ONCE {
                let (pool, exchange) = (&pool, &exchange);
                scope.spawn(move || live(pool, exchange, number * AT_ONCE + one));
            }
        });
        if number % 64 == 0 {
            // No thread is left: what is kept is within the limit, and the rest is on lease.
            let stats = pool.stats();
            most = stats.retained_bytes.max(most);
            assert_eq!(stats.check(), Ok(()));
            assert_eq!(stats.in_use, exchange.lock().expect("nobody panics").len() as u64);
        }
    }
    drop(exchange);
    let stats = pool.stats();
    println!(
        "{threads} threads: {} leases, {} buffers created, at most {} KiB retained",
        stats.gets,
        stats.created,
        most >> 10
    );
    assert!(most > 0 && most <= RETAINED as u64, "{most} bytes were retained");
    assert_eq!((stats.gets, stats.puts, stats.in_use), (threads / AT_ONCE * AT_ONCE * 10, stats.gets, 0));
    assert_eq!(stats.check(), Ok(()));
    // A trim reaches all that is idle: what stayed would be stranded.
    assert_eq!(pool.trim() as u64, stats.retained_bytes);
    let stats = pool.stats();
    assert_eq!((stats.retained_bytes, stats.retained_buffers, stats.live_bytes), (0, 0, 0));
    assert_eq!((stats.created, stats.check()), (stats.destroyed, Ok(())));
    // The share of a cache that ended is free for the next one: a thread still keeps its buffers to itself.
    let before = pool.stats();
    drop(pool.get(100).expect("below the limit"));
    drop(pool.get(100).expect("below the limit"));
    let after = pool.stats();
    assert_eq!((after.allocations - before.allocations, after.hits - before.hits), (1, 1));
}
