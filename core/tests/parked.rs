//! Oversized leases of a stock's owner whose mapping outlives them for the next one.

use millpond::raw::{self, Parked, Stock, StockLease};
use millpond::{BufferPool, Check, Classes, ErrorKind, LimitPolicy, Site, Stats};

const LEN: usize = 100_000;

fn made(check: &str, max_bytes: usize) -> (BufferPool, Stock) {
    let builder = BufferPool::builder().name("parked").classes(Classes::List(vec![512, 65536])).max_bytes(max_bytes);
    let builder = builder.on_limit(LimitPolicy::Unpooled).check(check.parse::<Check>().expect("a mode"));
    let pool = builder.build().expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    (pool, stock)
}

fn take(stock: &Stock, len: usize) -> StockLease {
    stock.lease(len, false, false, Site::NONE).expect("memory").expect("room")
}

fn park(stock: &Stock, lease: &StockLease) -> Option<Parked> {
    stock.put_parked(lease.lease.id, Site::NONE).expect("live")
}

fn again(stock: &Stock, parked: &mut Option<Parked>, len: usize) -> Option<StockLease> {
    stock.lease_parked(parked, len, false, Site::NONE).expect("memory")
}

fn fill(lease: &StockLease, byte: u8) {
    // SAFETY: the lease is live, that long, and its owner is the test alone.
    unsafe { lease.lease.data.write_bytes(byte, lease.lease.len) };
}

fn is_zero(lease: &StockLease) -> bool {
    // SAFETY: as above, and behind the capacity there is room for a canary; the slice does not outlive the call.
    let bytes = unsafe { std::slice::from_raw_parts(lease.lease.data, lease.lease.len) };
    bytes.iter().all(|byte| *byte == 0)
}

fn put(pool: &BufferPool, lease: &StockLease) {
    raw::put(pool.id(), lease.lease.id, None, Site::NONE).expect("live");
}

/// What a pool did in a few pairs, which must not depend on where the leases stand.
fn books(parks: bool) -> Stats {
    let (pool, stock) = made("on", usize::MAX);
    let mut parked = None;
    for len in [LEN, LEN, LEN + 64, LEN] {
        let lease = again(&stock, &mut parked, len).expect("room");
        fill(&lease, 9);
        let out = pool.stats();
        assert_eq!((out.in_use, out.requested_bytes, out.check()), (1, len as u64, Ok(())));
        match parks {
            true => parked = park(&stock, &lease),
            false => put(&pool, &lease),
        }
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    stats
}

#[test]
fn the_next_lease_of_the_capacity_stands_where_the_last_one_did_and_is_empty() {
    for check in ["off", "on", "sites", "sample:1000"] {
        let (pool, stock) = made(check, usize::MAX);
        let first = take(&stock, LEN);
        fill(&first, 9);
        let mut parked = park(&stock, &first);
        assert_eq!(parked.as_ref().map(Parked::as_ptr), Some(first.lease.data), "{check}");
        // Another length of the same capacity.
        let second = again(&stock, &mut parked, LEN - 1).expect("room");
        assert!(parked.is_none() && is_zero(&second) && !second.guarded, "{check}");
        assert_eq!((second.lease.data, second.lease.len), (first.lease.data, LEN - 1), "{check}");
        assert_ne!(second.lease.id, first.lease.id);
        let late = stock.put_parked(first.lease.id, Site::NONE).expect_err("over").kind();
        assert_eq!(late, ErrorKind::UseAfterPut, "{check}");
        put(&pool, &second);
        assert_eq!((pool.stats().in_use, pool.stats().check()), (0, Ok(())), "{check}");
    }
}

#[test]
fn the_books_are_the_same_as_without() {
    let (with, without) = (books(true), books(false));
    let shown = |stats: &Stats| {
        let kept = (stats.retained_buffers, stats.retained_bytes, stats.live_bytes, stats.peak_live_bytes);
        (stats.gets, stats.puts, stats.allocations, stats.destroyed, stats.discarded, stats.oversized, kept)
    };
    assert_eq!(shown(&with), shown(&without));
    assert_eq!((with.allocations, with.discarded, with.oversized), (4, 4, 4));
}

#[test]
fn another_capacity_stands_elsewhere_and_what_is_parked_stays() {
    let (pool, stock) = made("on", usize::MAX);
    let first = take(&stock, LEN);
    let mut parked = park(&stock, &first);
    for len in [LEN + 64, LEN - 64, 65536, 10] {
        let other = again(&stock, &mut parked, len).expect("room");
        assert_ne!(other.lease.data, first.lease.data, "{len}");
        assert!(parked.is_some(), "{len}");
        put(&pool, &other);
    }
    drop(parked);
    assert_eq!(pool.stats().check(), Ok(()));
}

#[test]
fn what_is_parked_is_unmapped_when_it_is_dropped() {
    const HUGE: usize = 1 << 30;
    let size = || {
        let text = std::fs::read_to_string("/proc/self/statm").expect("the kernel's word");
        let pages: usize = text.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
        pages * 4096
    };
    let (_pool, stock) = made("on", usize::MAX);
    let lease = take(&stock, HUGE);
    let (leased, parked) = (size(), park(&stock, &lease));
    assert!(parked.is_some() && size() + HUGE / 2 > leased);
    drop(parked);
    assert!(size() + HUGE / 2 < leased);
}

#[test]
fn only_oversized_leases_of_a_pool_that_does_not_look_closely_are_parked() {
    let (pool, stock) = made("on", usize::MAX);
    let of_a_class = take(&stock, 65536);
    assert!(park(&stock, &of_a_class).is_none());
    put(&pool, &of_a_class);
    let guarded = stock.lease(LEN, false, true, Site::NONE).expect("memory").expect("room");
    assert!(guarded.guarded);
    let (full, full_stock) = made("full", usize::MAX);
    let looked_at = take(&full_stock, LEN);
    let (closed, closed_stock) = made("on", usize::MAX);
    let late = take(&closed_stock, LEN);
    closed.close().expect("not the default pool");
    for (pool, stock, lease) in
        [(&pool, &stock, guarded), (&full, &full_stock, looked_at), (&closed, &closed_stock, late)]
    {
        assert!(park(stock, &lease).is_none());
        put(pool, &lease);
        assert_eq!((pool.stats().in_use, pool.stats().check()), (0, Ok(())));
    }
    // What was parked before is not used when the pool looks closely.
    let lease = take(&stock, LEN);
    let mut parked = park(&stock, &lease);
    pool.set_check(Check::Full).expect("not off");
    put(&pool, &again(&stock, &mut parked, LEN).expect("room"));
    assert!(parked.is_some());
    pool.close().expect("not the default pool");
    let error = stock.lease_parked(&mut parked, LEN, false, Site::NONE).expect_err("closed");
    assert_eq!((error.kind(), parked.is_some()), (ErrorKind::Closed, true));
}

#[test]
fn a_write_past_the_end_is_found() {
    let (pool, stock) = made("on", usize::MAX);
    let lease = take(&stock, LEN);
    // SAFETY: inside the capacity and its tail.
    unsafe { lease.lease.data.wrapping_add(LEN).write(7) };
    let error = stock.put_parked(lease.lease.id, Site::NONE).expect_err("an overrun");
    assert_eq!((error.kind(), pool.stats().overruns, pool.stats().check()), (ErrorKind::Overrun, 1, Ok(())));
    assert_eq!(pool.stats().in_use, 0);
    // Where nobody looks, nothing is found.
    let (_pool, stock) = made("off", usize::MAX);
    let lease = take(&stock, LEN);
    // SAFETY: as above.
    unsafe { lease.lease.data.wrapping_add(LEN).write(7) };
    assert!(park(&stock, &lease).is_some());
}

#[test]
fn the_limit_and_missing_memory_leave_what_is_parked() {
    let (pool, stock) = made("on", 2 * LEN);
    let first = take(&stock, LEN);
    let mut parked = park(&stock, &first);
    let other = take(&stock, LEN);
    let more = take(&stock, 65536);
    assert!(again(&stock, &mut parked, LEN).is_none() && parked.is_some());
    let beyond = stock.lease_parked(&mut parked, LEN, true, Site::NONE).expect("memory").expect("beyond the limit");
    for lease in [other, more, beyond] {
        put(&pool, &lease);
    }
    pool.inject("alloc=1".parse().expect("a list"));
    let error = stock.lease_parked(&mut parked, LEN, false, Site::NONE).expect_err("told to fail");
    assert_eq!((error.kind(), parked.is_some()), (ErrorKind::NoMemory, true));
    pool.inject("".parse().expect("nothing"));
    // Nothing of the failures counts against the limit.
    let (second, third) = (again(&stock, &mut parked, LEN).expect("room"), take(&stock, LEN - 64));
    assert!(parked.is_none() && second.lease.data == first.lease.data);
    put(&pool, &second);
    put(&pool, &third);
    let error = stock.lease_parked(&mut parked, usize::MAX, false, Site::NONE).expect_err("no such buffer");
    assert_eq!((error.kind(), pool.stats().check()), (ErrorKind::InvalidArgument, Ok(())));
}

#[test]
fn locked_memory_is_overwritten() {
    let (pool, stock) = made("on", usize::MAX);
    let first = take(&stock, LEN);
    fill(&first, 9);
    // SAFETY: the lease's own memory.
    let locked = unsafe { libc::mlock(first.lease.data.cast(), LEN) };
    assert_eq!(locked, 0, "the limit of locked memory is below 100 KB");
    let mut parked = park(&stock, &first);
    let second = again(&stock, &mut parked, LEN).expect("room");
    assert!(second.lease.data == first.lease.data && is_zero(&second));
    put(&pool, &second);
}
