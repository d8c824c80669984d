//! Gets and puts of bindings, which say the place themselves, and ask for it only where somebody will read it.

use std::cell::Cell;

use millpond::{BufferPool, Check, ErrorKind, Site, raw};

fn pool(check: &str) -> BufferPool {
    BufferPool::builder().name("placed").check(check.parse::<Check>().expect("a mode")).build().expect("a pool")
}

fn at(line: u32) -> Site {
    Site::interned("app.py", line, "f")
}

#[test]
fn a_get_records_the_place_that_it_is_told() {
    for check in ["off", "on", "sites", "sample:1", "sample:2", "full"] {
        let pool = pool(check);
        for round in 0..6 {
            let lease = pool.get_at(100, at(1)).expect("a lease");
            assert_eq!(lease.site(), at(1), "{check}, round {round}");
            let text = lease.got().to_string();
            assert!(text.starts_with(" at app.py:1 in f"), "{check}: {text}");
            assert_eq!(text.contains(" by thread "), pool.records(), "{check}: {text}");
            drop(lease);
        }
        let lease = pool.try_get_at(100, at(2)).expect("a lease");
        assert_eq!(pool.leaks().expect("memory")[0].site, at(2), "{check}");
        drop(lease);
        let unknown = pool.get_at(100, Site::NONE).expect("a lease");
        let text = unknown.got().to_string();
        assert!(!text.contains(" at "), "{check}: {text}");
        drop(unknown);
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.gets, stats.puts), (8, 8), "{check}");
    }
}

#[test]
fn a_try_stays_within_the_limit() {
    let builder = BufferPool::builder().name("within").max_bytes(512);
    let pool = builder.on_limit(millpond::LimitPolicy::Unpooled).build().expect("a pool");
    let only = pool.try_get_at(10, at(1)).expect("a lease");
    assert_eq!(pool.try_get_at(10, at(1)).expect_err("full").kind(), ErrorKind::Exhausted);
    drop(pool.get_at(10, at(1)).expect("beyond the limit"));
    drop(only);
    pool.close().expect("not the default pool");
    assert_eq!(pool.get_at(10, at(1)).expect_err("closed").kind(), ErrorKind::Closed);
}

#[test]
fn what_is_recorded_of_a_get_can_be_corrected() {
    for check in ["on", "sites", "sample:1"] {
        let pool = pool(check);
        let id = raw::retain(&pool);
        let mut lease = pool.get_at(100, at(1)).expect("a lease");
        lease.set_site(at(9));
        assert_eq!(lease.site(), at(9), "{check}");
        let handle = lease.into_raw().id;
        raw::put(id, handle, None, Site::NONE).expect("live");
        let text = raw::put(id, handle, None, Site::NONE).expect_err("twice").message();
        assert!(text.contains("got at app.py:9 in f"), "{check}: {text}");
        raw::release(id).expect("retained");
    }
}

#[test]
fn the_place_of_a_put_is_asked_for_where_it_is_recorded_or_reported() {
    for (check, asked_for) in [("off", false), ("on", false), ("sites", true), ("sample:1", true), ("full", true)] {
        let pool = pool(check);
        let asked = Cell::new(0);
        let site = || {
            asked.set(asked.get() + 1);
            at(5)
        };
        let lease = pool.get_at(100, at(1)).expect("a lease");
        assert_eq!(lease.is_guarded(), check == "sample:1", "{check}");
        pool.put_at(lease, site).expect("its own pool");
        pool.get_at(100, at(1)).expect("a lease").put_at(None, site).expect("unharmed");
        assert_eq!(asked.get(), if asked_for { 2 } else { 0 }, "{check}");
        assert!(!pool.injects());
        pool.inject("delay=0,get=1000".parse().expect("a list"));
        assert!(pool.injects());
    }
}

#[test]
fn a_put_at_a_place_says_what_is_wrong() {
    let (pool, other) = (pool("on"), BufferPool::new("another").expect("a pool"));
    let refused = other.put_at(pool.get_at(64, at(1)).expect("a lease"), || at(2)).expect_err("foreign");
    assert_eq!(refused.kind(), ErrorKind::ForeignLease);
    let text = refused.error.message();
    assert!(text.contains("got at app.py:1 in f") && text.contains("at app.py:2 in f"), "{text}");
    let mut lease = refused.lease.expect("still live");
    // SAFETY: inside the capacity.
    unsafe { lease.as_mut_ptr().wrapping_add(64).write(1) };
    let refused = pool.put_at(lease, || at(3)).expect_err("written past its end");
    assert_eq!((refused.kind(), refused.lease.is_none()), (ErrorKind::Overrun, true));
    assert!(refused.error.message().contains("put at app.py:3 in f"), "{refused}");
    pool.stats().check().expect("the books");
}

#[test]
fn only_what_is_said_to_be_used_is_cleared() {
    let pool = pool("on");
    let mut lease = pool.get_at(100, at(1)).expect("a lease");
    // SAFETY: inside the length.
    unsafe { lease.as_mut_ptr().wrapping_add(50).write(7) };
    lease.put_at(Some(50), || at(2)).expect("unharmed");
    // Somebody who breaks his word shows what he wrote to the next tenant: the byte is still there.
    let mut lease = pool.get_at(100, at(1)).expect("a lease");
    assert_eq!(lease[50], 7);
    lease[99] = 8;
    // More than there is counts as all of it.
    lease.put_at(Some(1000), || at(2)).expect("unharmed");
    assert!(pool.get_at(100, at(1)).expect("a lease").iter().all(|byte| *byte == 0));
}

#[test]
fn a_held_put_names_its_place_too() {
    let pool = pool("sites");
    let id = raw::retain(&pool);
    let lease = pool.get_at(100, at(1)).expect("a lease");
    let handle = lease.into_raw().id;
    let lease = raw::into_lease(id, handle).expect("live");
    let (held, result) = lease.put_held(Some(10));
    result.expect("unharmed");
    drop(held);
    let (held, result) = pool.get_at(100, at(1)).expect("a lease").put_held(Some(101));
    assert_eq!(result.expect_err("more than the length").kind(), ErrorKind::InvalidArgument);
    drop(held);
    pool.stats().check().expect("the books");
    raw::release(id).expect("retained");
}
