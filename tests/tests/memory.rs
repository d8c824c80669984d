//! Measures the memory of the whole process: an idle pool is small, long use does not grow, and a burst goes back to the system.
//! One test, so that nothing else moves the numbers.

use std::fs;
use std::thread;

use millpond::{BufferPool, Lease};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Reads how much memory of its own the process has, exact to the page (`VmRSS` lags behind by design). The pages of
/// programs and libraries are not counted: they are the files', and come sixteen at a time.
fn resident() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux says what is resident");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a line Anonymous");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of KiB") * KIB
}

fn available() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").expect("Linux says what is available");
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("a line MemAvailable");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of KiB") * KIB
}

fn an_idle_default_pool_is_small() {
    resident();
    let before = resident();
    drop(millpond::get(1).expect("one byte"));
    let grown = resident().saturating_sub(before);
    println!("idle default pool: {} KiB", grown / KIB);
    assert!(grown < 100 * KIB, "an idle default pool holds {grown} bytes");
}

/// Uses a pool from four threads that end, with sizes around each class and every way for a lease to end.
fn round(pool: &BufferPool, seed: usize) {
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                let mut held: Vec<Lease> = Vec::new();
                for step in 0..2000_usize {
                    let mixed = (step * 31 + number * 7 + seed).wrapping_mul(0x9E37_79B9) >> 7;
                    let len = [100, 513, 4000, 17000, 70000, 300_000][mixed % 6] + mixed % 13;
                    let mut lease = pool.get(len).expect("below the limit");
                    lease[len - 1] = 1;
                    match mixed % 17 {
                        0 => drop(lease.detach().expect("memory to copy into")),
                        1 => drop(lease.freeze()),
                        2 => lease.leak_reclaimed(),
                        3 => drop(lease.into_writer()),
                        _ => held.push(lease),
                    }
                    if held.len() > 8 {
                        held.swap_remove(mixed % 8).put().expect("nothing was written past the length");
                    }
                }
            });
        }
    });
}

fn long_use_does_not_grow() {
    let pool = BufferPool::new("soak").expect("the defaults agree");
    (0..10).for_each(|seed| round(&pool, seed));
    let before = resident();
    (10..60).for_each(|seed| round(&pool, seed));
    let grown = resident().saturating_sub(before);
    println!("400 000 leases by 200 threads: {} KiB more", grown / KIB);
    assert!(grown < 8 * MIB, "grown by {grown} bytes; {:?}", pool.stats());
    assert_eq!(pool.stats().check(), Ok(()));
}

fn pools_leave_nothing_behind() {
    let make = |count: usize| {
        for _ in 0..count {
            let pool = BufferPool::new("short").expect("the defaults agree");
            let mut lease = pool.get(5000).expect("below the limit");
            lease[0] = 1;
            drop(pool);
            drop(lease);
        }
    };
    make(200);
    let before = resident();
    make(2000);
    let grown = resident().saturating_sub(before);
    println!("2000 pools made and dropped: {} KiB more", grown / KIB);
    assert!(grown < 4 * MIB, "grown by {grown} bytes");
}

fn a_burst_goes_back() {
    // A quarter of it on machines that have no 3 GiB to spare.
    let burst = if available() > 3 << 30 { 1 << 30 } else { 256 * MIB };
    let limit = 2_usize << 30;
    let pool = BufferPool::builder().name("burst").max_bytes(limit).build().expect("the options agree");
    drop(pool.get(1).expect("below the limit"));
    let before = resident();
    let sizes = [16 * MIB, 4 * MIB, 256 * KIB, 64 * KIB, 4 * KIB];
    let mut held: Vec<Lease> = Vec::new();
    for size in sizes {
        for _ in 0..burst / 5 / size {
            let mut lease = pool.get(size as usize).expect("below the limit");
            lease.fill(1);
            held.push(lease);
        }
    }
    let most = resident();
    assert!(most - before > burst / 5 * 4, "the burst was not in memory: {most}");
    drop(held);
    for _ in 0..64 {
        pool.maintain();
    }
    let (after, retained) = (resident(), pool.stats().retained_bytes);
    println!("burst of {} MiB: {} KiB before, {} KiB after decay", burst / MIB, before / KIB, after / KIB);
    // What stays are the slots, 64 bytes for each buffer there ever was at once: handles of the past must stay refusable.
    assert!(
        after <= before + before / 20 + retained + burst / 128,
        "{before} before, {after} after, {retained} retained"
    );
    pool.trim();
    assert_eq!(pool.stats().retained_bytes, 0);
}

#[test]
fn memory_is_bounded_and_given_back() {
    an_idle_default_pool_is_small();
    long_use_does_not_grow();
    pools_leave_nothing_behind();
    a_burst_goes_back();
}
