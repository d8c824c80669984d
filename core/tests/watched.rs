//! Leases that a stock's owner takes from core one by one, and memory that is kept until nobody looks at it any more.

use millpond::raw::{self, Stock, StockLease};
use millpond::{BufferPool, Check, Classes, ClearPolicy, ErrorKind, LimitPolicy, Site};

fn made(check: &str, clear: ClearPolicy) -> (BufferPool, Stock) {
    let builder = BufferPool::builder().name("watched").classes(Classes::List(vec![512, 65536])).clear(clear);
    let pool = builder.check(check.parse::<Check>().expect("a mode")).build().expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    (pool, stock)
}

fn at(line: u32) -> Site {
    Site::interned("app.js", line, "")
}

fn take(stock: &Stock, len: usize, guard: bool) -> StockLease {
    stock.lease(len, false, guard, at(1)).expect("memory").expect("room")
}

fn fill(lease: &StockLease, byte: u8) {
    // SAFETY: the lease is live, that long, and its owner is the test alone.
    unsafe { lease.lease.data.write_bytes(byte, lease.lease.len) };
}

fn is_zero(lease: &StockLease) -> bool {
    // SAFETY: as above; the slice does not outlive the call.
    let bytes = unsafe { std::slice::from_raw_parts(lease.lease.data, lease.lease.len) };
    bytes.iter().all(|byte| *byte == 0)
}

#[test]
fn the_owner_is_told_what_to_ask_for() {
    for (check, all, every, sites, keeps) in [
        ("off", false, 0, false, false),
        ("on", false, 0, false, false),
        ("sites", true, 0, true, false),
        ("sample:7", false, 7, false, false),
        ("full", true, 0, true, true),
    ] {
        let (pool, stock) = made(check, ClearPolicy::OnPut);
        let watch = stock.watch();
        assert_eq!((watch.all, watch.every, watch.sites, watch.keeps), (all, every, sites, keeps), "{check}");
        pool.inject("get=1000".parse().expect("a list"));
        assert!(stock.watch().all, "{check}");
    }
}

#[test]
fn a_lease_of_core_s_is_in_the_books_and_its_handle_is_checked() {
    for check in ["off", "on", "sites", "full"] {
        let (pool, stock) = made(check, ClearPolicy::OnPut);
        let lease = take(&stock, 100, false);
        assert!(!lease.guarded && is_zero(&lease));
        fill(&lease, 9);
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.gets, stats.in_use, stats.requested_bytes), (1, 1, 100), "{check}");
        assert_eq!(pool.leaks().expect("memory")[0].site, at(1));
        raw::put(pool.id(), lease.lease.id, None, at(2)).expect("live");
        assert_eq!(raw::put(pool.id(), lease.lease.id, None, at(3)).expect_err("twice").kind(), ErrorKind::DoublePut);
        pool.stats().check().expect("the books");
        if check == "off" {
            continue;
        }
        let lease = take(&stock, 100, false);
        // SAFETY: inside the capacity.
        unsafe { lease.lease.data.wrapping_add(100).write(1) };
        assert_eq!(raw::put(pool.id(), lease.lease.id, None, at(2)).expect_err("found").kind(), ErrorKind::Overrun);
    }
}

#[test]
fn the_limit_is_no_error_and_what_was_told_to_fail_is() {
    let builder = BufferPool::builder().name("limited").classes(Classes::List(vec![512])).max_bytes(512);
    let pool = builder.on_limit(LimitPolicy::Unpooled).build().expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let only = take(&stock, 10, false);
    assert!(stock.lease(10, false, false, at(1)).expect("no error").is_none());
    assert_eq!(pool.stats().exhausted, 0, "its owner counts it");
    let beyond = stock.lease(10, true, false, at(1)).expect("memory").expect("beyond the limit");
    for lease in [only, beyond] {
        raw::put(pool.id(), lease.lease.id, None, Site::NONE).expect("live");
    }
    assert_eq!(stock.lease(usize::MAX, false, false, at(1)).expect_err("none").kind(), ErrorKind::InvalidArgument);
    pool.inject("get=1".parse().expect("a list"));
    assert_eq!(stock.lease(10, false, false, at(1)).expect_err("told to").kind(), ErrorKind::Exhausted);
    pool.inject("alloc=1".parse().expect("a list"));
    pool.trim();
    assert_eq!(stock.lease(10, false, false, at(1)).expect_err("told to").kind(), ErrorKind::NoMemory);
    pool.close().expect("not the default pool");
    assert_eq!(stock.lease(10, false, false, at(1)).expect_err("closed").kind(), ErrorKind::Closed);
    pool.stats().check().expect("the books");
}

#[test]
fn a_guarded_lease_has_pages_of_its_own_which_are_kept_after_the_put() {
    let (pool, stock) = made("sample:4", ClearPolicy::OnPut);
    let lease = take(&stock, 100, true);
    assert!(lease.guarded);
    fill(&lease, 9);
    let kept = stock.put_kept(lease.lease.id, 100, at(2)).expect("live").expect("guarded");
    assert_eq!(raw::lookup(lease.lease.id).expect_err("over").kind(), ErrorKind::UseAfterPut);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.puts, stats.in_use), (1, 0));
    // However many come after it: its pages are nobody else's.
    for _ in 0..1500 {
        let other = take(&stock, 100, true);
        assert!(other.guarded && other.lease.data != lease.lease.data);
        raw::put(pool.id(), other.lease.id, None, Site::NONE).expect("live");
    }
    drop(kept);
    // Longer ones are not guarded, and those whose owner cannot show them are counted.
    let long = take(&stock, (1 << 20) + 1, true);
    assert!(!long.guarded);
    raw::put(pool.id(), long.lease.id, None, Site::NONE).expect("live");
    assert_eq!(pool.stats().unguarded, 0);
    stock.not_guarded();
    assert_eq!(pool.stats().unguarded, 1);
    pool.stats().check().expect("the books");
}

#[test]
fn a_guarded_lease_that_cannot_be_is_counted_as_unguarded() {
    let builder = BufferPool::builder().name("small").classes(Classes::List(vec![512])).max_bytes(512);
    let pool = builder.check("sample:1".parse::<Check>().expect("a mode")).build().expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let first = take(&stock, 10, false);
    assert!(stock.lease(10, false, true, at(1)).expect("no error").is_none());
    assert!(pool.stats().unguarded > 0);
    raw::put(pool.id(), first.lease.id, None, Site::NONE).expect("live");
}

#[test]
fn kept_pages_that_are_given_up_stay_as_they_are() {
    let (pool, stock) = made("sample:1", ClearPolicy::OnPut);
    let lease = take(&stock, 100, true);
    stock.put_kept(lease.lease.id, 0, at(2)).expect("live").expect("guarded").abandon();
    for _ in 0..1500 {
        let other = take(&stock, 100, true);
        assert_ne!(other.lease.data, lease.lease.data);
        raw::put(pool.id(), other.lease.id, None, Site::NONE).expect("live");
    }
    pool.stats().check().expect("the books");
    // A put that fails keeps nothing: the lease lives.
    let lease = take(&stock, 64, true);
    raw::pin(lease.lease.id).expect("live");
    assert_eq!(stock.put_kept(lease.lease.id, 0, at(2)).err().expect("pinned").kind(), ErrorKind::Busy);
    fill(&lease, 1);
    raw::unpin(lease.lease.id).expect("pinned");
    raw::put(pool.id(), lease.lease.id, None, Site::NONE).expect("live");
}

#[test]
fn kept_memory_is_nobody_s_until_it_is_let_go() {
    for (check, clear) in [
        ("off", ClearPolicy::OnPut),
        ("on", ClearPolicy::OnPut),
        ("on", ClearPolicy::Never),
        ("sites", ClearPolicy::OnPut),
        ("full", ClearPolicy::OnPut),
        ("full", ClearPolicy::OnGet),
    ] {
        let (pool, stock) = made(check, clear);
        let lease = take(&stock, 100, false);
        fill(&lease, 9);
        let kept = stock.put_kept(lease.lease.id, 100, at(2)).expect("live").expect("of a class");
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.puts, stats.in_use, stats.retained_buffers), (1, 0, 1), "{check}");
        let error = raw::put(pool.id(), lease.lease.id, None, at(3)).expect_err("twice");
        assert_eq!(error.kind(), ErrorKind::DoublePut);
        assert_eq!(error.message().contains("first put at app.js:2"), pool.records(), "{error}");
        let other = take(&stock, 100, false);
        assert_ne!(other.lease.data, lease.lease.data, "{check}");
        raw::put(pool.id(), other.lease.id, None, Site::NONE).expect("live");
        // SAFETY: kept, so still there.
        let seen = unsafe { lease.lease.data.read() };
        let expected = match (check, clear) {
            ("full", _) => 0xdb,
            (_, ClearPolicy::Never) => 9,
            _ => 0,
        };
        assert_eq!(seen, expected, "{check} {clear:?}");
        drop(kept);
        pool.stats().check().expect("the books");
        pool.trim();
        assert_eq!(pool.stats().retained_buffers, 0, "{check}");
    }
}

#[test]
fn a_late_write_into_kept_memory_is_found_or_wiped() {
    let (pool, stock) = made("full", ClearPolicy::OnPut);
    let lease = take(&stock, 100, false);
    let kept = stock.put_kept(lease.lease.id, 100, at(2)).expect("live").expect("of a class");
    // SAFETY: kept, so still there; the write is the bug that is found.
    unsafe { lease.lease.data.wrapping_add(3).write(1) };
    drop(kept);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.stale_uses, stats.discarded, stats.created - stats.destroyed), (1, 1, 0));
    let (_pool, stock) = made("on", ClearPolicy::OnPut);
    let lease = take(&stock, 100, false);
    let kept = stock.put_kept(lease.lease.id, 0, at(2)).expect("live").expect("of a class");
    // SAFETY: as above.
    unsafe { lease.lease.data.wrapping_add(300).write(1) };
    drop(kept);
    let next = take(&stock, 512, false);
    assert_eq!(next.lease.data, lease.lease.data);
    assert!(is_zero(&next));
}

#[test]
fn what_may_not_be_kept_is_refused_as_at_a_put() {
    let (pool, stock) = made("on", ClearPolicy::OnPut);
    let single = take(&stock, 100_000, false);
    assert!(stock.put_kept(single.lease.id, 0, at(2)).expect("no error").is_none());
    assert_eq!(raw::lookup(single.lease.id).expect("nothing has changed").len, 100_000);
    raw::put(pool.id(), single.lease.id, None, Site::NONE).expect("live");
    assert_eq!(stock.put_kept(single.lease.id, 0, at(2)).err().expect("over").kind(), ErrorKind::UseAfterPut);
    let lease = take(&stock, 100, false);
    let (_other, theirs) = made("on", ClearPolicy::OnPut);
    assert_eq!(theirs.put_kept(lease.lease.id, 0, at(2)).err().expect("foreign").kind(), ErrorKind::ForeignLease);
    // SAFETY: inside the capacity.
    unsafe { lease.lease.data.wrapping_add(100).write(1) };
    assert_eq!(stock.put_kept(lease.lease.id, 0, at(2)).err().expect("found").kind(), ErrorKind::Overrun);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.overruns, stats.in_use, stats.discarded), (1, 0, 2));
}

#[test]
fn kept_memory_that_is_given_up_is_destroyed_in_the_books_only() {
    for len in [100, 65536] {
        let (pool, stock) = made("on", ClearPolicy::OnPut);
        let lease = take(&stock, len, false);
        stock.put_kept(lease.lease.id, len, at(2)).expect("live").expect("of a class").abandon();
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.puts, stats.created, stats.destroyed, stats.retained_buffers), (1, 1, 1, 0));
        for _ in 0..20 {
            let other = take(&stock, len, false);
            assert_ne!(other.lease.data, lease.lease.data);
        }
        // SAFETY: stays mapped for ever.
        assert_eq!(unsafe { lease.lease.data.read() }, 0);
    }
}

#[test]
fn a_buffer_of_another_stock_is_foreign_with_what_its_owner_knows() {
    let (pool, stock) = made("on", ClearPolicy::OnPut);
    let (_other, theirs) = made("on", ClearPolicy::OnPut);
    let buffer = theirs.take(0).expect("a buffer");
    let error = stock.foreign(buffer.token, 77, at(1), at(2));
    assert_eq!((error.kind(), pool.stats().foreign_puts), (ErrorKind::ForeignLease, 1));
    let text = error.message();
    assert!(text.contains("77 bytes") && text.contains("got at app.js:1") && text.contains("at app.js:2"), "{text}");
    assert_eq!(stock.foreign(u64::MAX, 77, at(1), at(2)).kind(), ErrorKind::InvalidHandle);
    theirs.give(buffer.token).expect("still theirs");
}

#[test]
fn all_that_is_behind_a_lease_is_looked_at_where_it_is_known() {
    for (check, clear, guard, known) in [
        ("on", ClearPolicy::OnPut, false, true),
        ("sites", ClearPolicy::OnPut, false, true),
        ("on", ClearPolicy::OnGet, false, false),
        ("on", ClearPolicy::Never, false, false),
        ("off", ClearPolicy::OnPut, false, false),
        ("sample:1", ClearPolicy::OnPut, true, false),
    ] {
        let (pool, stock) = made(check, clear);
        let lease = take(&stock, 100, guard);
        stock.look_behind(lease.lease.id, at(2)).expect("nothing was written");
        let far = if guard { 0 } else { 300 };
        // Behind the canary, where a put does not look; of a guarded lease nothing.
        if far > 0 {
            // SAFETY: inside the capacity.
            unsafe { lease.lease.data.wrapping_add(100 + far).write(1) };
        }
        let result = stock.look_behind(lease.lease.id, at(2)).map_err(|error| error.kind());
        assert_eq!(result, if known { Err(ErrorKind::Overrun) } else { Ok(()) }, "{check} {clear:?}");
        if !known {
            raw::put(pool.id(), lease.lease.id, None, Site::NONE).expect("live");
        }
        assert!(stock.look_behind(lease.lease.id, at(2)).is_err(), "it is over");
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.overruns, stats.in_use), (u64::from(known), 0), "{check} {clear:?}");
    }
}
