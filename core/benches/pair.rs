//! Measures one get and put by itself, on criterion: for those who change their way. What a program would take instead is
//! measured by `make bench`, in turns with the pool.
//!
//! `cargo bench -p millpond-benches` runs all, `cargo bench -p millpond-benches -- untouched/pool` what is so named; the last
//! run's times are what the next one's are compared with.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime};
use millpond::{BufferPool, Builder, ClearPolicy};

/// Lengths in bytes: classes that a thread keeps, one between two of them, and one of those that are kept for all threads.
const LENS: [usize; 8] = [512, 1 << 10, 4 << 10, 5000, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
const WRITTEN: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];

thread_local! {
    static STACK: UnsafeCell<Vec<Vec<u8>>> = const { UnsafeCell::new(Vec::new()) };
}

fn builder() -> Builder {
    BufferPool::builder().name("bench")
}

fn pool_pair(pool: &BufferPool, len: usize) {
    let lease = pool.get(len).expect("a lease");
    black_box(lease.as_ptr());
}

/// A bare stack of the thread's own: no limit, no statistics, no checks.
fn stack_pair(len: usize) {
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

fn malloc_pair(len: usize) {
    let buffer = Vec::<u8>::with_capacity(len);
    black_box(buffer.as_ptr());
}

/// Nothing written, statistics on.
fn untouched(criterion: &mut Criterion) {
    let mut group = group(criterion, "untouched");
    let pool = builder().build().expect("a pool");
    for len in LENS {
        group.bench_with_input(BenchmarkId::new("pool", len), &len, |bencher, len| {
            bencher.iter(|| pool_pair(&pool, *len));
        });
        group.bench_with_input(BenchmarkId::new("stack", len), &len, |bencher, len| bencher.iter(|| stack_pair(*len)));
        group
            .bench_with_input(BenchmarkId::new("malloc", len), &len, |bencher, len| bencher.iter(|| malloc_pair(*len)));
        // The next length's buffers are others.
        STACK.with(|stack| {
            // SAFETY: as in `stack_pair`.
            unsafe { &mut *stack.get() }.clear();
        });
    }
    group.finish();
}

/// Two threads at once: the longer time of both.
fn two_threads(criterion: &mut Criterion) {
    let mut group = group(criterion, "two threads");
    let pool = builder().build().expect("a pool");
    for len in [1 << 10, 4 << 20] {
        group.bench_with_input(BenchmarkId::new("pool", len), &len, |bencher, len| {
            let run = |pairs: u64| {
                let start = Instant::now();
                (0..pairs).for_each(|_| pool_pair(&pool, *len));
                start.elapsed()
            };
            bencher.iter_custom(|pairs| {
                thread::scope(|scope| {
                    let threads = [scope.spawn(move || run(pairs)), scope.spawn(move || run(pairs))];
                    threads.map(|thread| thread.join().expect("no panic")).into_iter().max().expect("two")
                })
            });
        });
    }
    group.finish();
}

/// 64 bytes written by a writer, which knows how many; all of them through the slice, where the pool clears at put, and where
/// it does not.
fn written(criterion: &mut Criterion) {
    let mut group = group(criterion, "written");
    let clearing = builder().build().expect("a pool");
    let keeping = builder().clear(ClearPolicy::Never).build().expect("a pool");
    let fill = |pool: &BufferPool, len: usize| {
        let mut lease = pool.get(len).expect("a lease");
        lease.fill(1);
        black_box(lease.as_ptr());
    };
    for len in WRITTEN {
        group.bench_with_input(BenchmarkId::new("64 bytes", len), &len, |bencher, len| {
            bencher.iter(|| {
                let mut writer = clearing.writer(*len).expect("a lease");
                writer.write_all(&[1; 64]).expect("it fits");
                black_box(writer.written().as_ptr());
            });
        });
        group.bench_with_input(BenchmarkId::new("all", len), &len, |bencher, len| {
            bencher.iter(|| fill(&clearing, *len))
        });
        group.bench_with_input(BenchmarkId::new("all, not cleared", len), &len, |bencher, len| {
            bencher.iter(|| fill(&keeping, *len));
        });
    }
    group.finish();
}

/// What looking more closely costs: 64 KiB, nothing written.
fn modes(criterion: &mut Criterion) {
    let mut group = group(criterion, "mode");
    for mode in ["off", "on", "sample:1000", "sample:100", "sites", "full"] {
        let pool = builder().check(mode.parse().expect("a mode")).build().expect("a pool");
        group.bench_function(mode, |bencher| bencher.iter(|| pool_pair(&pool, 64 << 10)));
    }
    group.finish();
}

/// A group of short measurements: a pair takes nanoseconds.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800)).sample_size(50);
    group
}

criterion_group!(benches, untouched, two_threads, written, modes);
criterion_main!(benches);
