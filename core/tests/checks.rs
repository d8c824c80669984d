//! The modes of a pool: what each finds and says.

use millpond::{BufferPool, Check, Classes, ClearPolicy, ErrorKind, Site, raw};

fn pool(check: Check) -> BufferPool {
    BufferPool::builder().name("checked").check(check).build().expect("a pool")
}

fn modes() -> [Check; 6] {
    ["off", "on", "sites", "sample:1", "sample:3", "full"].map(|text| text.parse().expect(text))
}

#[test]
fn every_mode_keeps_the_books() {
    for check in modes() {
        let pool = pool(check);
        let id = raw::retain(&pool);
        assert_eq!(pool.check(), check);
        for round in 0..300_usize {
            let mut leases: Vec<_> = (0..5).map(|n| pool.get(n * 3000 + round).expect("a lease")).collect();
            for lease in &mut leases {
                assert!(lease.iter().all(|byte| *byte == 0), "{check}: a lease is all zero");
                lease.fill(0xaa);
            }
            let handle = raw::get(id, 1000 + round, Site::NONE).expect("a lease");
            // SAFETY: the lease is live and that long.
            unsafe { handle.data.write_bytes(0xbb, handle.len) };
            raw::put(id, handle.id, None, Site::NONE).expect("live");
            assert_eq!(raw::lookup(handle.id).expect_err("over").kind(), ErrorKind::UseAfterPut);
            let error = raw::put(id, handle.id, None, Site::NONE).expect_err("twice");
            assert_eq!(error.kind(), ErrorKind::DoublePut, "{check}: {error}");
        }
        let stats = pool.stats();
        stats.check().unwrap_or_else(|text| panic!("{check}: {text}"));
        assert_eq!((stats.in_use, stats.double_puts), (0, 300), "{check}");
        // A guarded lease's slot is free after the put: nobody knows any more which pool the handle was of.
        let counted = if matches!(check, Check::Sample(_)) { stats.stale_uses <= 300 } else { stats.stale_uses == 300 };
        assert!(counted, "{check}: {}", stats.stale_uses);
        pool.trim();
        let stats = pool.stats();
        stats.check().unwrap_or_else(|text| panic!("{check}: {text}"));
        assert_eq!(stats.retained_bytes, 0, "{check}");
        raw::release(id).expect("retained");
    }
}

#[test]
fn the_mode_changes_while_leases_are_out() {
    let pool = pool(Check::On);
    for check in modes().into_iter().filter(|check| *check != Check::Off).cycle().take(23) {
        let lease = pool.get(5000).expect("a lease");
        pool.set_check(check).expect("not off");
        drop(pool.get(100).expect("a lease"));
        drop(lease);
        pool.stats().check().unwrap_or_else(|text| panic!("{check}: {text}"));
    }
    assert_eq!(pool.set_check(Check::Off).expect_err("off").kind(), ErrorKind::InvalidArgument);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn sites_name_the_get_the_first_put_and_this_put() {
    for check in [Check::Sites, Check::Full] {
        let pool = pool(check);
        let id = raw::retain(&pool);
        let handle = raw::get(id, 1000, Site::interned("get.c", 1, "")).expect("a lease");
        let at = |file| Site::interned(file, 2, "");
        std::thread::scope(|scope| {
            let put = || raw::put(id, handle.id, None, at("put.c")).expect("live");
            std::thread::Builder::new().name("putter".into()).spawn_scoped(scope, put).expect("a thread");
        });
        let error = raw::put(id, handle.id, None, at("again.c")).expect_err("twice");
        let text = error.message();
        for part in [
            "1000 bytes",
            "\"checked\"",
            "got at get.c:1",
            "first put at put.c:2",
            "\"putter\"",
            "second time at again.c:2",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = raw::lookup(handle.id).expect_err("over").message();
        for part in ["used after its put", "got at get.c:1", "first put at put.c:2"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        raw::release(id).expect("retained");
    }
}

#[test]
fn without_sites_the_place_of_the_get_is_named_as_long_as_nobody_got_the_buffer_again() {
    let pool = pool(Check::On);
    let id = raw::retain(&pool);
    let handle = raw::get(id, 1000, Site::interned("first.c", 7, "")).expect("a lease");
    raw::put(id, handle.id, None, Site::NONE).expect("live");
    let text = raw::put(id, handle.id, None, Site::NONE).expect_err("twice").message();
    assert!(text.contains("1000 bytes") && text.contains("got at first.c:7"), "{text}");
    // Neither while it is somebody else's nor afterwards, when the place of that get stands there.
    let next = raw::get(id, 900, Site::interned("second.c", 8, "")).expect("a lease");
    let out = raw::put(id, handle.id, None, Site::NONE).expect_err("twice").message();
    raw::put(id, next.id, None, Site::NONE).expect("live");
    let idle = raw::put(id, handle.id, None, Site::NONE).expect_err("twice").message();
    for text in [out, idle] {
        assert!(text.starts_with("a lease was put") && !text.contains("got at"), "{text}");
    }
    raw::release(id).expect("retained");
}

#[test]
fn without_canaries_a_stray_byte_is_not_looked_for() {
    for (check, found) in [(Check::Off, false), (Check::On, true), (Check::Sites, true), (Check::Full, true)] {
        let pool = pool(check);
        let id = raw::retain(&pool);
        let handle = raw::get(id, 1000, Site::NONE).expect("a lease");
        // SAFETY: behind the length there are 24 bytes of capacity.
        unsafe { handle.data.wrapping_add(1000).write(1) };
        let result = raw::put(id, handle.id, None, Site::NONE);
        assert_eq!(result.is_err_and(|error| error.kind() == ErrorKind::Overrun), found, "{check}");
        raw::release(id).expect("retained");
    }
}

#[test]
fn a_write_after_the_put_is_found_when_the_buffer_comes_back() {
    let pool = pool(Check::Full);
    let mut lease = pool.get(5000).expect("a lease");
    let data = lease.as_mut_ptr();
    lease.put().expect("unharmed");
    // SAFETY: what is tried: the buffer is held back, so nobody else uses it.
    unsafe { data.wrapping_add(17).write(1) };
    let second = pool.get(5000).expect("a lease");
    assert_ne!(second.as_ptr(), data.cast_const(), "a buffer is used again as late as possible");
    drop(second);
    pool.trim();
    let stats = pool.stats();
    assert_eq!((stats.stale_uses, stats.discarded, stats.in_use), (1, 1, 0));
    stats.check().expect("the books");
}

#[test]
fn buffers_come_back_first_in_first_out() {
    let pool = pool(Check::Full);
    let addresses: Vec<_> = (0..400).map(|_| pool.get(600).expect("a lease").as_ptr() as usize).collect();
    let again = addresses[256..].iter().filter(|address| addresses[..256].contains(address)).count();
    assert!(addresses[..256].iter().collect::<std::collections::HashSet<_>>().len() == 256, "held back");
    assert!(again > 100, "and used again: {again}");
}

#[test]
fn a_guarded_lease_stands_flush_against_its_page_and_keeps_the_books() {
    let pool = pool("sample:1".parse().expect("a mode"));
    let id = raw::retain(&pool);
    for len in [0, 1, 63, 64, 65, 1000, 4096, 5000, 1 << 20] {
        let mut lease = pool.get(len).expect("a lease");
        assert_eq!((lease.as_ptr() as usize + lease.capacity()) % 4096, 0, "{len}");
        assert!(lease.capacity() - len < 64 || len == 0);
        lease.fill(7);
        let copy = lease.detach().expect("memory for a copy");
        assert!(copy.iter().all(|byte| *byte == 7));
        let handle = raw::get(id, len, Site::NONE).expect("a lease");
        raw::pin(handle.id).expect("live");
        assert_eq!(raw::put(id, handle.id, None, Site::NONE).expect_err("pinned").kind(), ErrorKind::Busy);
        raw::unpin(handle.id).expect("pinned");
        assert!(raw::unpin(handle.id).is_err());
        raw::put(id, handle.id, None, Site::NONE).expect("live");
    }
    let handle = raw::get(id, 100, Site::NONE).expect("a lease");
    // SAFETY: 28 bytes of capacity follow.
    unsafe { handle.data.wrapping_add(103).write(9) };
    let text = raw::put(id, handle.id, None, Site::NONE).expect_err("damaged").message();
    assert!(text.contains("byte 4 behind the length is 0x09"), "{text}");
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.in_use, stats.retained_buffers, stats.overruns), (0, 0, 1));
    raw::release(id).expect("retained");
}

#[test]
fn each_nth_lease_of_a_thread_is_guarded() {
    let pool = pool("sample:10".parse().expect("a mode"));
    let guarded = (0..100)
        .filter(|_| {
            let lease = pool.get(1000).expect("a lease");
            // Only one that has pages of its own ends where a page does.
            lease.capacity() == 1024 && (lease.as_ptr() as usize + 1024).is_multiple_of(4096)
        })
        .count();
    assert_eq!(guarded, 10);
    assert!(pool.stats().created <= 12, "the others are used again");
}

#[test]
fn more_guarded_leases_than_there_are_places_go_on_without() {
    let pool = pool("sample:1".parse().expect("a mode"));
    let leases: Vec<_> = (0..1200).map(|_| pool.get(100).expect("a lease")).collect();
    drop(leases);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.in_use), (1200, 0));
    assert!(stats.unguarded >= 176, "{}", stats.unguarded);
}

#[test]
fn failures_are_injected_where_they_were_asked_for() {
    let pool = pool(Check::On);
    drop(pool.get(1000).expect("a lease"));
    pool.inject("get=2".parse().expect("a list"));
    drop(pool.get(1000).expect("the first"));
    assert_eq!(pool.get(1000).expect_err("the second").kind(), ErrorKind::Exhausted);
    drop(pool.get(1000).expect("the third"));
    pool.inject("alloc=1".parse().expect("a list"));
    drop(pool.get(1000).expect("one is idle"));
    assert_eq!(pool.get(5000).expect_err("none is").kind(), ErrorKind::NoMemory);
    drop(pool.get(5000).expect("the second creation"));
    pool.inject("delay=30".parse().expect("a list"));
    let lease = pool.get(1000).expect("a lease");
    let start = std::time::Instant::now();
    drop(lease);
    assert!(start.elapsed() >= std::time::Duration::from_millis(30));
    pool.inject("p=1".parse().expect("a list"));
    assert!(pool.get(1).is_err());
    pool.inject(millpond::Injection::default());
    drop(pool.get(1).expect("a lease"));
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.in_use, stats.exhausted), (0, 2));
}

#[test]
fn every_refusal_names_length_pool_and_places() {
    for check in [Check::On, "sample:1".parse().expect("a mode"), Check::Sites] {
        let (pool, other) = (pool(check), BufferPool::new("other").expect("a pool"));
        let (id, other_id) = (raw::retain(&pool), raw::retain(&other));
        let at = |file| Site::interned(file, 3, "");
        let lease = raw::get(id, 1000, at("got.c")).expect("a lease");
        let named = |result: millpond::Result<()>, parts: &[&str]| {
            let text = result.expect_err("refused").message();
            for part in parts.iter().chain(&["1000 bytes", "got at got.c:3", "\"checked\""]) {
                assert!(text.contains(part), "{check}: {part} in {text}");
            }
        };
        named(raw::put(other_id, lease.id, None, at("foreign.c")), &["\"other\"", "at foreign.c:3"]);
        raw::pin(lease.id).expect("live");
        named(raw::put(id, lease.id, None, at("busy.c")), &["pinned"]);
        raw::unpin(lease.id).expect("pinned");
        raw::put(id, lease.id, None, at("put.c")).expect("live");
        named(raw::put(id, lease.id, None, at("again.c")), &["second time at again.c:3"]);
        let damaged = raw::get(id, 1000, at("got.c")).expect("a lease");
        // SAFETY: 24 bytes of capacity follow.
        unsafe { damaged.data.wrapping_add(1002).write(0x41) };
        named(raw::put(id, damaged.id, None, at("overrun.c")), &["0x41", "put at overrun.c:3"]);
        raw::release(id).expect("retained");
        raw::release(other_id).expect("retained");
    }
}

#[test]
fn classes_beyond_the_magazines_keep_their_buffers_apart() {
    let sizes: Vec<usize> = (1..=123).map(|number| 704 / 64 * 64 * number).collect();
    let pool = BufferPool::builder().name("many").classes(millpond::Classes::List(sizes)).build().expect("a pool");
    let id = raw::retain(&pool);
    for len in [70_000, 25_000, 45_000, 86_000, 704] {
        for _ in 0..5 {
            let handle = raw::get(id, len, Site::NONE).expect("a lease");
            assert_eq!(handle.capacity, len.next_multiple_of(704));
            raw::put(id, handle.id, Some(0), Site::NONE).expect("live");
            drop(pool.get(len).expect("a lease"));
        }
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.puts, stats.in_use), (50, 50, 0));
    raw::release(id).expect("retained");
}

#[test]
fn guarded_leases_keep_to_the_limit_and_to_any_alignment() {
    let build = |check: Check| {
        let builder = BufferPool::builder().name("aligned").alignment(4096).max_bytes(64 << 10).check(check);
        builder.classes(millpond::Classes::List(vec![128, 512, 4096])).build().expect("a pool")
    };
    for check in [Check::On, "sample:1".parse().expect("a mode")] {
        let pool = build(check);
        let leases: Vec<_> = std::iter::from_fn(|| pool.get(2100).ok()).collect();
        assert_eq!((leases.len(), pool.stats().live_bytes), (16, 64 << 10), "{check}");
        drop(leases);
        let id = raw::retain(&pool);
        let handle = raw::get(id, 64, Site::NONE).expect("a lease");
        assert_eq!(handle.data as usize % 4096, 0);
        // SAFETY: the page goes on.
        unsafe { handle.data.wrapping_add(70).write(1) };
        assert_eq!(
            raw::put(id, handle.id, None, Site::NONE).expect_err("damaged").kind(),
            ErrorKind::Overrun,
            "{check}"
        );
        raw::release(id).expect("retained");
    }
}

#[test]
fn a_pool_that_guards_some_leases_clears_them_as_its_policy_says() {
    for clear in [ClearPolicy::OnPut, ClearPolicy::OnGet] {
        let check: Check = "sample:3".parse().expect("a mode");
        let pool = BufferPool::builder().name("some").check(check).clear(clear).build().expect("a pool");
        for round in 0..30 {
            let mut lease = pool.get(1000).expect("a lease");
            assert!(lease.iter().all(|byte| *byte == 0), "{clear:?}, round {round}");
            lease.fill(0xcc);
        }
        let stats = pool.stats();
        stats.check().expect("the books");
        // Each third lease stood on pages of its own, which no other lease gets.
        assert_eq!((stats.discarded, stats.hits), (10, 19), "{clear:?}");
    }
}

#[test]
fn a_creation_that_is_told_to_fail_fails_on_every_way() {
    let fails = |pool: &BufferPool, text: &str, len| {
        pool.inject(text.parse().expect("a list"));
        let error = pool.get(len).expect_err("told to");
        assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
        pool.stats().check().expect("the books");
    };
    // An oversized one.
    let oversized = BufferPool::new("oversized").expect("a pool");
    fails(&oversized, "alloc=1", 20 << 20);
    drop(oversized.get(20 << 20).expect("only once"));
    // At the limit, at each of the tries with room made in between.
    let classes = Classes::List(vec![512, 1024]);
    let full = BufferPool::builder().name("full").classes(classes).max_bytes(1024).build().expect("a pool");
    for text in ["alloc=2", "alloc=3", "alloc=4"] {
        let lease = full.get(1024).expect("a lease");
        fails(&full, text, 100);
        assert_eq!(full.get(100).expect_err("full").kind(), ErrorKind::Exhausted);
        drop(lease);
        drop(full.get(100).expect("room is made"));
        full.trim();
    }
    assert_eq!(full.stats().in_use, 0);
    // Of one for a guarded lease, which is then one that is not guarded.
    let guarded = pool(Check::Sample(std::num::NonZeroU32::MIN));
    guarded.inject("alloc=1".parse().expect("a list"));
    drop(guarded.get(1000).expect("a lease"));
    assert_eq!(guarded.stats().unguarded, 1);
    fails(&guarded, "get=9,alloc=1", 20 << 20);
}

#[test]
fn a_lease_is_pinned_as_often_as_it_can_be() {
    let pool = BufferPool::builder().name("pinned").check("sample:1".parse().expect("a mode")).build().expect("a pool");
    let id = raw::retain(&pool);
    let handle = raw::get(id, 100, Site::NONE).expect("a lease").id;
    let most = (1 << 20) - 1;
    for _ in 0..most {
        raw::pin(handle).expect("live");
    }
    assert_eq!(raw::pin(handle).expect_err("no more").kind(), ErrorKind::InvalidArgument);
    assert_eq!(raw::put(id, handle, None, Site::NONE).expect_err("pinned").kind(), ErrorKind::Busy);
    assert_eq!(raw::lookup(handle).expect("still live").len, 100);
    for _ in 0..most {
        raw::unpin(handle).expect("pinned");
    }
    assert_eq!(raw::unpin(handle).expect_err("no more").kind(), ErrorKind::InvalidArgument);
    raw::put(id, handle, None, Site::NONE).expect("live");
    raw::release(id).expect("retained");
}

#[test]
fn as_much_is_held_back_as_is_promised_and_all_of_it_comes_back_in_another_mode() {
    // 256 buffers; a quarter of what the pool may have; and never more than 64 MiB.
    for (size, max_bytes, held) in [(64, 1 << 20, 256), (256 << 10, 4 << 20, 4), (16 << 20, 1 << 30, 4)] {
        let builder = BufferPool::builder().name("held").classes(Classes::List(vec![size])).max_bytes(max_bytes);
        let pool = builder.max_retained_bytes(max_bytes).check(Check::Full).build().expect("a pool");
        let created_by = |count: usize| {
            let before = pool.stats().created;
            let leases: Vec<_> = (0..count).map(|_| pool.get(1).expect("a lease")).collect();
            let created = pool.stats().created - before;
            drop(leases);
            created
        };
        assert_eq!(created_by(held + 1), held as u64 + 1);
        for more in 1..6 {
            // What is idle is used again, what is held back is not.
            assert_eq!(created_by(more + 1), 1, "{size}");
        }
        pool.set_check(Check::On).expect("not off");
        assert_eq!(created_by(held + 6), 0, "{size}");
        assert_eq!(pool.stats().check(), Ok(()));
    }
}

#[test]
fn a_thread_counts_the_gets_of_each_of_many_pools_until_one_is_guarded() {
    let check: Check = "sample:3".parse().expect("a mode");
    let pools: Vec<_> = (0..20).map(|_| pool(check)).collect();
    let mut guarded = vec![0; pools.len()];
    for _ in 0..6 {
        for (pool, count) in pools.iter().zip(&mut guarded) {
            *count += u32::from(pool.get(100).expect("a lease").is_guarded());
        }
    }
    assert!(guarded.iter().all(|count| *count == 2), "{guarded:?}");
}
