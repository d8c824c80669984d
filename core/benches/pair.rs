//! Measures get and put beside a bare thread-local stack and the C library's allocator, as ratios in one run: for those
//! who change the way of a pair. What a program would take instead is in `make bench`.
//!
//! Each figure is the least of many short repetitions, the contenders taking turns. `--quick` makes it short.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::time::Instant;

use millpond::BufferPool;

thread_local! {
    static STACK: UnsafeCell<Vec<Vec<u8>>> = const { UnsafeCell::new(Vec::new()) };
}

/// The least nanoseconds per call of each contender.
fn least<const N: usize>(rounds: usize, calls: usize, mut contenders: [&mut dyn FnMut(usize); N]) -> [f64; N] {
    let mut best = [f64::MAX; N];
    for _ in 0..rounds {
        for (contender, best) in contenders.iter_mut().zip(&mut best) {
            let start = Instant::now();
            contender(calls);
            *best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
        }
    }
    best
}

#[inline(never)]
fn pool_pairs(pool: &BufferPool, len: usize, calls: usize) {
    for _ in 0..calls {
        let lease = pool.get(len).expect("a lease");
        black_box(lease.as_ptr());
    }
}

#[inline(never)]
fn stack_pairs(len: usize, calls: usize) {
    for _ in 0..calls {
        let popped = STACK.with(|stack| {
            // SAFETY: the thread's own, and nothing else refers to it inside this closure.
            unsafe { &mut *stack.get() }.pop()
        });
        let buffer = popped.unwrap_or_else(|| Vec::with_capacity(len));
        black_box(buffer.as_ptr());
        STACK.with(|stack| {
            // SAFETY: as above.
            unsafe { &mut *stack.get() }.push(buffer);
        });
    }
}

#[inline(never)]
fn malloc_pairs(len: usize, calls: usize) {
    for _ in 0..calls {
        let buffer = Vec::<u8>::with_capacity(len);
        black_box(buffer.as_ptr());
    }
}

fn pairs(rounds: usize) {
    println!("get + put, nothing written, statistics on; ns per pair");
    println!("{:>9} {:>8} {:>8} {:>8}   pool / stack", "bytes", "pool", "stack", "malloc");
    let pool = BufferPool::new("bench").expect("a pool");
    for len in [512, 1 << 10, 4 << 10, 5000, 64 << 10, 256 << 10, 1 << 20] {
        let len = black_box(len);
        let [own, stack, malloc] = least(
            rounds,
            100_000,
            [&mut |calls| pool_pairs(&pool, len, calls), &mut |calls| stack_pairs(len, calls), &mut |calls| {
                malloc_pairs(len, calls)
            }],
        );
        println!("{len:>9} {own:>8.2} {stack:>8.2} {malloc:>8.2}   {:.2}", own / stack);
        STACK.with(|stack| {
            // SAFETY: the thread's own, and nothing else refers to it inside this closure.
            unsafe { &mut *stack.get() }.clear();
        });
    }
    let [alone] = least(rounds, 100_000, [&mut |calls| pool_pairs(&pool, 1000, calls)]);
    let both = std::thread::scope(|scope| {
        let run = || least(rounds, 100_000, [&mut |calls| pool_pairs(&pool, 1000, calls)])[0];
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    println!("two threads at once: {:.2} and {:.2} of one alone", both[0] / alone, both[1] / alone);
}

/// What looking more closely costs.
fn modes(rounds: usize) {
    println!("\nget + put of 64 KiB by mode, nothing written; ns per pair");
    let pools = ["off", "on", "sample:1000", "sample:100", "sites", "full"].map(|mode| {
        let check: millpond::Check = mode.parse().expect("a mode");
        (mode, BufferPool::builder().name("modes").check(check).build().expect("a pool"))
    });
    let [off, on, thousand, hundred, sites, full] = &pools;
    let pairs = |(_, pool): &(&str, BufferPool), calls: usize| pool_pairs(pool, 64 << 10, calls);
    let times = least(
        rounds,
        20_000,
        [
            &mut |calls| pairs(off, calls),
            &mut |calls| pairs(on, calls),
            &mut |calls| pairs(thousand, calls),
            &mut |calls| pairs(hundred, calls),
            &mut |calls| pairs(sites, calls),
            // Each fills and looks through 64 KiB.
            &mut |calls| pairs(full, calls / 20),
        ],
    );
    for ((mode, _), time) in pools.iter().zip(times) {
        // It ran a twentieth of the calls.
        let time = if *mode == "full" { time * 20.0 } else { time };
        println!("{mode:>12} {time:>9.1}   {:+.1}", time - times[1]);
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds: usize = if quick { 7 } else { 41 };
    pairs(rounds);
    modes(rounds.div_ceil(2));
}
