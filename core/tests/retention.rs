//! How much a pool keeps idle: never more than it may, and as much as it may however often things come and go.

#[path = "support/process.rs"]
mod process;

use std::sync::mpsc;

use millpond::raw::Stock;
use millpond::{BufferPool, Builder, Classes, Lease, Site, Stats};
use process::addresses;

const MIB: usize = 1 << 20;

fn builder(name: &str, sizes: &[usize]) -> Builder {
    BufferPool::builder().name(name).classes(Classes::List(sizes.to_vec()))
}

fn rest(pool: &BufferPool) -> Stats {
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    stats
}

fn get(pool: &BufferPool, len: usize, count: usize) -> Vec<Lease> {
    (0..count).map(|_| pool.get(len).expect("a lease")).collect()
}

#[test]
fn a_buffer_that_comes_and_goes_is_kept_each_time() {
    let pool = builder("one", &[2 * MIB]).max_retained_bytes(6 * MIB).build().expect("a pool");
    for _ in 0..10 {
        drop(get(&pool, 2 * MIB, 3));
    }
    let stats = rest(&pool);
    assert_eq!((stats.created, stats.discarded, stats.retained_bytes), (3, 0, 6 * MIB as u64));
}

#[test]
fn what_was_given_back_to_the_system_makes_room_again() {
    let pool = builder("room", &[2 * MIB, 4 * MIB]).max_retained_bytes(16 * MIB).build().expect("a pool");
    let fill = || {
        drop((get(&pool, 2 * MIB, 4), get(&pool, 4 * MIB, 2)));
        let stats = rest(&pool);
        assert_eq!((stats.retained_bytes, stats.discarded), (16 * MIB as u64, 0));
    };
    for _ in 0..3 {
        fill();
        assert_eq!(pool.trim(), 16 * MIB);
        fill();
        // The first look finds that nothing was idle all the time, the second one takes half of each class.
        assert_eq!((pool.maintain(), pool.maintain()), (0, 8 * MIB));
        fill();
    }
}

#[test]
fn threads_stocks_and_depots_keep_no_more_than_the_pool_may() {
    let most = 512 << 10;
    let pool = builder("together", &[4096]).max_retained_bytes(most).thread_cache_bytes(32 << 10).build();
    let pool = pool.expect("a pool");
    drop(get(&pool, 4096, 200));
    let full = rest(&pool).retained_bytes as usize;
    assert!(full <= most && full > most - (64 << 10), "{full} of {most}");
    // A stock's share is taken from what the depots keep.
    let stock = Stock::new(&pool).expect("a stock");
    let share = stock.share();
    let left = rest(&pool).retained_bytes as usize;
    assert!(share >= 16 << 10 && left + share <= most, "{left} and {share} of {most}");
    // What a stock keeps beyond its share too.
    pool.trim();
    let counters = stock.counters().0;
    let mut kept = Vec::new();
    while kept.len() * 4096 < share || stock.may_keep(0) {
        kept.push(stock.take(0).expect("a buffer").token);
        // SAFETY: the idle buffers of the first class, in the block of a stock that is this test's.
        unsafe { counters.wrapping_add(2 + 2).write(kept.len() as f64) };
    }
    drop(get(&pool, 4096, 200));
    let stats = rest(&pool);
    assert!(stats.retained_bytes as usize <= most, "{} of {most}", stats.retained_bytes);
}

#[test]
fn what_an_ended_stock_had_reserved_is_free_again() {
    let pool = builder("shares", &[4096]).max_retained_bytes(MIB).thread_cache_bytes(64 << 10).build();
    let pool = pool.expect("a pool");
    for _ in 0..20 {
        assert_eq!(Stock::new(&pool).expect("a stock").share(), 64 << 10);
    }
}

#[test]
fn a_thread_keeps_something_of_classes_up_to_1_mib_and_from_16_kib_in_all() {
    let share = |size: usize, bytes: usize| {
        let pool = builder("share", &[size]).thread_cache_bytes(bytes).build().expect("a pool");
        Stock::new(&pool).expect("a stock").share()
    };
    assert_eq!((share(MIB, MIB), share(MIB + 64, MIB)), (MIB, 0));
    assert_eq!((share(512, 16 << 10), share(512, (16 << 10) - 1)), (16 << 10, 0));
}

/// How many pages of a buffer are in memory.
fn resident(data: *const u8, capacity: usize) -> usize {
    let mut pages = vec![0_u8; capacity / 4096];
    // SAFETY: looks at the buffer, which stays mapped.
    assert_eq!(unsafe { libc::mincore(data.cast_mut().cast(), capacity, pages.as_mut_ptr()) }, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

/// How many are when a lease of `len` bytes of which the first was written is put, `times` over.
fn resident_after(pool: &BufferPool, len: usize, times: usize) -> usize {
    let mut data = std::ptr::null_mut();
    let mut capacity = 0;
    for _ in 0..times {
        let mut lease = pool.get(len).expect("a lease");
        lease[0] = 1;
        (data, capacity) = (lease.as_mut_ptr(), lease.capacity());
    }
    resident(data, capacity)
}

#[test]
fn pages_that_nobody_touched_stay_so_where_tenants_use_little_of_a_large_buffer() {
    for (len, times, resident) in [
        // Few pages are overwritten sooner than looked for. The canary stands on one more.
        (252 << 10, 1, 63 + 1),
        (256 << 10, 1, 1 + 1),
        (300 << 10, 1, 1 + 1),
        (300 << 10, 5, 1 + 1),
        // Where tenants use half of the buffer, nobody looks a second time.
        (600 << 10, 1, 1 + 1),
        (600 << 10, 2, 150 + 1),
    ] {
        let pool = builder("untouched", &[MIB]).build().expect("a pool");
        assert_eq!(resident_after(&pool, len, times), resident, "{len} bytes, {times} times");
        // What they read there is zero all the same.
        assert!(pool.get(MIB).expect("a lease").iter().all(|byte| *byte == 0));
        rest(&pool);
    }
}

#[test]
fn they_stay_so_too_where_a_lease_is_cut_short() {
    for (from, len, puts, pages) in [
        // Less than what is looked at, then as much, which ends in a page that nobody touched and begins in one or with one.
        (100, 100 + (256 << 10) - 1, 0, 65),
        (100, 100 + (256 << 10), 0, 1 + 1),
        (4096, 4096 + (256 << 10), 0, 1),
        (100, 600 << 10, 0, 1),
        // Where tenants use half of the buffer, nobody looks any more.
        (100, 600 << 10, 1, 150),
    ] {
        let pool = builder("cut", &[MIB]).build().expect("a pool");
        resident_after(&pool, len, puts);
        let mut lease = pool.get(len).expect("a lease");
        lease[0] = 1;
        lease.truncate(from);
        assert_eq!(resident(lease.as_ptr(), lease.capacity()), pages + puts, "{len} bytes, cut to {from}, {puts} puts");
        drop(lease);
        assert!(pool.get(MIB).expect("a lease").iter().all(|byte| *byte == 0));
        rest(&pool);
    }
}

#[test]
fn detached_memory_goes_back_to_the_system_with_its_owner() {
    let pool = builder("detached", &[MIB]).build().expect("a pool");
    let before = addresses();
    for _ in 0..100 {
        let detached = pool.get(64 * MIB).expect("a lease").detach().expect("memory");
        assert_eq!(detached.len(), 64 * MIB);
    }
    // Other tests take little.
    assert!(addresses().saturating_sub(before) < 2 << 30);
    assert_eq!(rest(&pool).detached, 100);
}

#[test]
fn a_thread_that_works_keeps_its_stock_and_one_that_rests_does_not() {
    let pool = builder("busy", &[4096]).build().expect("a pool");
    let idle = |pool: &BufferPool| pool.get_idle(4096, Site::NONE).is_some();
    for _ in 0..3 {
        drop(pool.get(1).expect("a lease"));
        pool.maintain();
        assert!(idle(&pool), "it put something since the last look");
    }
    pool.maintain();
    pool.maintain();
    assert!(!idle(&pool), "nothing was got or put between two looks");
    // A thread that only gets works too. What another one left stands in the depot, and a get takes several at once.
    let pool = builder("only got", &[4096]).build().expect("a pool");
    std::thread::scope(|scope| scope.spawn(|| drop(get(&pool, 1, 20))).join().expect("no panic"));
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.get(1).expect("a lease"));
        pool.maintain();
        leases.push(pool.get_idle(1, Site::NONE).expect("it got something since the last look"));
    }
    drop(leases);
    rest(&pool);
}

#[test]
fn no_more_is_destroyed_than_a_get_at_the_limit_takes() {
    let builder = builder("limit", &[2 * MIB, 4 * MIB, 8 * MIB]).max_bytes(14 * MIB).max_retained_bytes(14 * MIB);
    let pool = builder.build().expect("a pool");
    drop((get(&pool, 4 * MIB, 1), get(&pool, 2 * MIB, 4)));
    assert_eq!(rest(&pool).retained_bytes, 12 * MIB as u64);
    let lease = pool.get(8 * MIB).expect("room is made");
    let stats = rest(&pool);
    assert_eq!((stats.retained_bytes, stats.destroyed), (4 * MIB as u64, 3), "as much as the lease takes");
    drop(lease);
}

/// Gets and puts a buffer on a thread of its own, has `look` look, and ends the thread.
fn beside(pool: &BufferPool, len: usize, look: impl FnOnce()) {
    let (done, has_put) = mpsc::channel();
    // Ends the thread when it is dropped, by a panic too.
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            drop(get(pool, len, 1));
            done.send(()).expect("somebody waits");
            ended.recv().expect_err("nothing is sent");
        });
        has_put.recv().expect("no panic");
        let end = end;
        look();
        drop(end);
        thread.join().expect("no panic");
    });
}

#[test]
fn a_thread_keeps_one_buffer_of_a_class_beyond_its_share_while_there_is_room() {
    let large = 16 * MIB;
    let pool_of = |retained: usize, thread: usize| {
        let pool = builder("lent", &[4096, large]).max_retained_bytes(retained).thread_cache_bytes(thread).build();
        pool.expect("a pool")
    };
    // What the thread's share leaves of what it may keep, which is here 257 buffers of 4096 bytes.
    let share = 257 * 4096;
    for (retained, thread, kept) in [
        (256 * MIB, share + large, 1),
        (256 * MIB, share + large - 1, 0),
        (256 * MIB, 0, 0),
        // A quarter of what may be retained is for such buffers.
        (64 * MIB, 32 * MIB, 1),
        (64 * MIB - 4, 32 * MIB, 0),
    ] {
        let pool = pool_of(retained, thread);
        beside(&pool, large, || {
            drop(get(&pool, large, 1));
            assert_eq!(rest(&pool).created, 1 + kept, "{retained} and {thread}");
        });
        // What a thread kept is everybody's when it ends.
        drop(get(&pool, large, 1 + kept as usize));
        let stats = rest(&pool);
        assert_eq!((stats.created, stats.discarded), (1 + kept, 0), "{retained} and {thread}");
    }
    // Of several threads, until the quarter is used up.
    let pool = pool_of(128 * MIB, 32 * MIB);
    beside(&pool, large, || {
        beside(&pool, large, || {
            beside(&pool, large, || drop(get(&pool, large, 1)));
            assert_eq!(rest(&pool).created, 3, "the third one's is for all");
        });
    });
    drop(get(&pool, large, 3));
    assert_eq!((rest(&pool).created, rest(&pool).discarded), (3, 0));
}

#[test]
fn nothing_is_lent_where_the_pool_keeps_all_it_may() {
    let pool = builder("full", &[4096, 16 * MIB]).max_retained_bytes(64 * MIB).build().expect("a pool");
    let (one, four) = (get(&pool, 16 * MIB, 1), get(&pool, 16 * MIB, 4));
    let puts = |leases: Vec<Lease>| {
        std::thread::scope(|scope| scope.spawn(|| drop(leases)).join().expect("no panic"));
    };
    puts(four);
    // Three stand in the depot: some of the room is reserved for threads, and a fourth one does not fit.
    let full = |discarded: u64| {
        let stats = rest(&pool);
        assert_eq!((stats.retained_bytes, stats.discarded), (48 * MIB as u64, discarded));
    };
    full(1);
    drop(one);
    full(2);
}

#[test]
fn what_a_thread_was_lent_comes_back_when_it_is_not_used() {
    let large = 16 * MIB;
    let pool = builder("loans", &[4096, large]).max_retained_bytes(64 * MIB).build().expect("a pool");
    let own = |len: usize| pool.get_idle(len, Site::NONE).is_some();
    for _ in 0..2 {
        drop(get(&pool, large, 1));
        pool.maintain();
        assert!(own(large), "it was used since the last look");
        pool.maintain();
        // The thread works on, without the large buffer.
        drop(get(&pool, 1, 1));
        pool.maintain();
        assert!(!own(large) && own(1), "its share is kept");
        let stats = rest(&pool);
        assert_eq!((stats.created, stats.trimmed_bytes), (2, 0), "it stands in the depot");
    }
    drop(get(&pool, large, 1));
    assert!(own(large));
    assert_eq!(pool.trim(), large + 4096);
    drop(get(&pool, large, 1));
    assert!(own(large), "it is lent again");
    assert_eq!(rest(&pool).created, 3);
    // A get at the limit finds it, wherever it stands.
    let tight =
        builder("tight", &[4096, large]).max_bytes(64 * MIB).max_retained_bytes(64 * MIB).build().expect("a pool");
    beside(&tight, large, || drop(get(&tight, large, 4)));
    assert_eq!(rest(&tight).created, 4);
}
