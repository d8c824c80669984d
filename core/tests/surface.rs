//! What the types tell of themselves: options as they were set, lengths, texts, conversions.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::BufMut;
use millpond::{BufferPool, Check, ClearPolicy, Error, ErrorKind, Lease, LimitPolicy, Site, Writer, raw};

fn pool(name: &str) -> BufferPool {
    BufferPool::new(name).expect("a pool")
}

#[test]
fn a_pool_tells_its_options() {
    let wait = LimitPolicy::Wait(Duration::from_millis(7));
    let pool = BufferPool::builder()
        .name("told")
        .max_bytes(1 << 20)
        .max_retained_bytes(256 << 10)
        .thread_cache_bytes(64 << 10)
        .on_limit(wait)
        .clear(ClearPolicy::Never)
        .build()
        .expect("a pool");
    assert_eq!(
        (pool.max_bytes(), pool.max_retained_bytes(), pool.thread_cache_bytes()),
        (1 << 20, 256 << 10, 64 << 10)
    );
    assert_eq!((pool.limit_policy(), pool.clear_policy()), (wait, ClearPolicy::Never));
    assert_eq!((pool.name(), pool.class_sizes().len()), ("told", 9));
    let other = BufferPool::builder().build().expect("a pool");
    assert_eq!((other.limit_policy(), other.clear_policy()), (LimitPolicy::Fail, ClearPolicy::OnPut));
    assert_eq!(other.thread_cache_bytes(), 32 << 20);
    assert!(other.max_retained_bytes() <= other.max_bytes() && other.max_bytes() > 1 << 20);
    assert!(other.name().starts_with("pool-"), "{}", other.name());
}

#[test]
fn debug_texts_name_the_pool_and_its_state() {
    let pool = pool("shown");
    assert_eq!(format!("{pool:?}"), "BufferPool { name: \"shown\", closed: false }");
    let lease = pool.get(100).expect("a lease");
    assert_eq!(format!("{lease:?}"), "Lease { len: 100, capacity: 512, pool: \"shown\" }");
    let (held, _) = lease.put_held(None);
    assert_eq!(format!("{held:?}"), "Held { pool: \"shown\" }");
    drop(held);
    let detached = pool.get(100).expect("a lease").detach().expect("memory");
    assert_eq!(format!("{detached:?}"), "Detached { len: 100 }");
    pool.close().expect("not the default pool");
    assert_eq!(format!("{pool:?}"), "BufferPool { name: \"shown\", closed: true }");
    let builder = BufferPool::builder().name("built");
    assert!(format!("{builder:?}").contains("\"built\""), "{builder:?}");
    // SAFETY: a C string literal is static.
    let site = unsafe { Site::c(c"here.c".as_ptr(), 3) };
    assert_eq!(format!("{site:?}"), "Site(here.c:3)");
    let error = pool.get(1).expect_err("closed");
    assert!(format!("{error:?}").starts_with("Closed: pool \"shown\" is closed"), "{error:?}");
}

#[test]
fn a_lease_is_a_slice_and_knows_its_place() {
    let pool = pool("place");
    let mut lease = pool.get(3).expect("a lease");
    lease.as_mut().copy_from_slice(b"abc");
    assert_eq!(AsRef::<[u8]>::as_ref(&lease), b"abc");
    assert!(!Lease::is_empty(&lease) && Lease::is_empty(&pool.get(0).expect("a lease")));
    assert!(lease.site().to_string().contains("surface.rs"), "{}", lease.site());
    lease.set_site(Site::interned("elsewhere.py", 12, "f"));
    assert_eq!(lease.site().to_string(), "elsewhere.py:12 in f");
    let record = &pool.leaks().expect("memory")[0];
    assert_eq!(record.site, lease.site());
    let text = record.to_string();
    assert!(text.starts_with("3 bytes of pool \"place\", got at elsewhere.py:12 in f, 0."), "{text}");
    assert!(text.ends_with(" s ago"), "{text}");
    assert_eq!((lease.pool_id(), lease.pool().id()), (pool.id(), pool.id()));
    lease.set_written(3);
    drop(lease);
    assert!(pool.get(3).expect("a lease").iter().all(|byte| *byte == 0));
}

#[test]
#[should_panic(expected = "written 4 of 3")]
fn more_than_the_length_cannot_have_been_written() {
    pool("written").get(3).expect("a lease").set_written(4);
}

#[test]
fn a_refused_put_is_an_error_that_holds_the_lease() {
    let (a, b) = (pool("its own"), pool("another"));
    let refused = b.put(a.get(10).expect("a lease")).expect_err("foreign");
    let text = refused.to_string();
    assert_eq!(text, refused.error.to_string());
    assert!(text.contains("\"its own\"") && text.ends_with("[FOREIGN_LEASE]"), "{text}");
    let source: &dyn std::error::Error = &refused;
    assert!(source.source().is_none());
    assert!(refused.lease.is_some());
    // Turned into its error, it lets the lease go, which is a put.
    let error = Error::from(refused);
    assert_eq!((error.kind(), a.stats().in_use, a.stats().puts), (ErrorKind::ForeignLease, 0, 1));
}

#[test]
fn errors_are_copied_and_become_those_of_io() {
    let pool = BufferPool::builder().name("io").max_bytes(1024).build().expect("a pool");
    let full = pool.get(4096).expect_err("never fits");
    let copy = full.clone();
    assert_eq!((copy.kind(), copy.message()), (full.kind(), full.message()));
    use std::io::ErrorKind as Io;
    assert_eq!(std::io::Error::from(full).kind(), Io::OutOfMemory);
    let invalid = pool.get(usize::MAX).expect_err("no such length");
    let io = std::io::Error::from(invalid);
    assert_eq!(io.kind(), Io::InvalidInput);
    assert!(io.into_inner().expect("the source").to_string().contains("INVALID_ARGUMENT"));
    pool.close().expect("not the default pool");
    assert_eq!(std::io::Error::from(pool.get(1).expect_err("closed")).kind(), Io::Other);
    assert_eq!(std::io::Error::from(Error::new(ErrorKind::NoMemory, "none")).kind(), Io::OutOfMemory);
    assert_eq!(std::io::Error::from(Error::new(ErrorKind::NullPointer, "null")).kind(), Io::InvalidInput);
}

#[test]
fn a_get_that_may_be_interrupted_asks_until_its_time_is_over() {
    let pool = BufferPool::builder().name("patient").max_bytes(1024).build().expect("a pool");
    let asked = Cell::new(0);
    let mut never = || {
        asked.set(asked.get() + 1);
        false
    };
    let held = pool.get_interruptible(1024, Duration::ZERO, Site::NONE, &mut never).expect("there is room");
    // The time is over before it is asked.
    let error = pool.get_interruptible(1024, Duration::from_millis(20), Site::NONE, &mut never).expect_err("full");
    assert_eq!((error.kind(), asked.get(), pool.stats().exhausted), (ErrorKind::Exhausted, 0, 1));
    // Each 100 ms it is asked; that it gives up is one exhausted get, not one for each time.
    let mut third = || {
        asked.set(asked.get() + 1);
        asked.get() == 3
    };
    let error = pool.get_interruptible(1024, Duration::from_secs(3600), Site::NONE, &mut third).expect_err("full");
    assert_eq!((error.kind(), asked.get(), pool.stats().exhausted), (ErrorKind::Exhausted, 3, 2));
    // No end of the time can be reached either; it is a put that ends the wait.
    let mut held = Some(held);
    let mut puts = || {
        drop(held.take());
        false
    };
    let lease = pool.get_interruptible(1024, Duration::MAX, Site::NONE, &mut puts).expect("put meanwhile");
    assert_eq!(lease.len(), 1024);
    let error = pool
        .get_interruptible(usize::MAX, Duration::MAX, Site::NONE, &mut || panic!("asked"))
        .expect_err("no such length");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_writer_is_empty_until_it_is_written() {
    let pool = pool("writing");
    let mut writer = pool.writer(10).expect("a writer");
    assert!(writer.is_empty());
    writer.write_all(b"ab").expect("room");
    writer.flush().expect("nothing to do");
    assert!(!writer.is_empty());
    assert!(format!("{writer:?}").contains("written: 2"), "{writer:?}");
    writer.write_str("cdefghij").expect("exactly the room");
    assert_eq!(writer.remaining_mut(), 0);
    let lease = Lease::from(writer);
    assert_eq!(&lease[..], b"abcdefghij");
}

#[test]
#[should_panic(expected = "3 bytes into 2 that remain in a lease of pool \"narrow\"")]
fn more_than_remains_cannot_be_put() {
    pool("narrow").writer(2).expect("a writer").put_slice(b"abc");
}

#[test]
#[should_panic(expected = "advance by 3 bytes of 2 that remain in a lease of pool \"narrow\"")]
fn a_writer_cannot_advance_beyond_its_end() {
    let mut writer: Writer = pool("narrow").writer(2).expect("a writer");
    // SAFETY: none: it is refused.
    unsafe { writer.advance_mut(3) };
}

#[test]
fn a_lease_that_is_cut_short_keeps_what_was_written_beyond_its_new_end_to_itself() {
    let pool = pool("short");
    let mut lease = pool.get(100).expect("a lease");
    lease.fill(7);
    lease.truncate(200);
    assert_eq!((lease.len(), pool.stats().requested_bytes), (100, 100));
    lease.as_mut_ptr();
    lease.truncate(10);
    assert_eq!((lease.len(), pool.stats().requested_bytes), (10, 10));
    lease.put().expect("the canary went with the length");
    assert!(pool.get(100).expect("a lease").iter().all(|byte| *byte == 0));
    // One that was written past its end keeps its length, for the put to tell.
    let mut lease = pool.get(100).expect("a lease");
    // SAFETY: inside the capacity.
    unsafe { lease.as_mut_ptr().wrapping_add(100).write(1) };
    lease.truncate(10);
    assert_eq!(lease.len(), 100);
    assert_eq!(lease.put().expect_err("found").kind(), ErrorKind::Overrun);
}

#[test]
fn an_overrun_is_found_by_whatever_ends_the_lease() {
    let pool = pool("ends");
    let overrun = || {
        let mut lease = pool.get(100).expect("a lease");
        // SAFETY: inside the capacity.
        unsafe { lease.as_mut_ptr().wrapping_add(100).write(1) };
        lease
    };
    let refused = overrun().detach().expect_err("found");
    assert_eq!((refused.kind(), refused.lease.is_none()), (ErrorKind::Overrun, true));
    let (refused, held) = overrun().detach_held().expect_err("found");
    assert_eq!(refused.kind(), ErrorKind::Overrun);
    assert!(held.is_some());
    drop(held);
    let (held, result) = overrun().put_held(None);
    assert_eq!(result.expect_err("found").kind(), ErrorKind::Overrun);
    drop(held);
    overrun().leak_reclaimed();
    drop(overrun());
    assert_eq!(overrun().put_used(3).expect_err("found").kind(), ErrorKind::Overrun);
    let handle = overrun().into_raw();
    let id = raw::retain(&pool);
    let lease = raw::into_lease(id, handle.id).expect("live");
    assert_eq!(lease.put().expect_err("found").kind(), ErrorKind::Overrun);
    let handle = overrun().into_raw();
    assert_eq!(raw::detach(id, handle.id).expect_err("found").kind(), ErrorKind::Overrun);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.overruns, stats.discarded, stats.in_use, stats.created - stats.destroyed), (8, 8, 0, 0));
    raw::release(id).expect("retained");
}

#[test]
fn an_oversized_buffer_is_detached_as_it_is() {
    let pool = pool("large");
    let (detached, held) = pool.get(20 << 20).expect("a lease").detach_held().expect("memory");
    assert!(held.is_none() && detached.len() == 20 << 20);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.detached, stats.created, stats.destroyed), (1, 1, 1));
}

#[test]
fn misuse_that_a_binding_saw_is_worded_and_counted() {
    let pool = pool("seen");
    let at = |line| Site::interned("app.js", line, "");
    let tell = |kind| pool.misuse(kind, 64, at(1), at(2), at(3)).message();
    let sites = ", got at app.js:1, first put at app.js:2, now at app.js:3; ";
    for (kind, text) in [
        (ErrorKind::DoublePut, format!("was put a second time{sites}nothing was changed, put each lease once")),
        (ErrorKind::UseAfterPut, format!("is used after its put{sites}its memory may be somebody else's by now")),
        (
            ErrorKind::Overrun,
            format!("was written past its end{sites}the buffer is discarded, write at most the length"),
        ),
        (ErrorKind::Exhausted, format!("cannot be handed out{sites}put some, or raise max_bytes")),
        (
            ErrorKind::Busy,
            format!("is pinned or looked into by a view{sites}it stays live, release the views and pins first"),
        ),
        (
            ErrorKind::InvalidHandle,
            format!("{}{sites}see the documentation of the error", ErrorKind::InvalidHandle.description()),
        ),
    ] {
        assert_eq!(tell(kind), format!("a lease of 64 bytes of pool \"seen\" {text} [{}]", kind.name()));
    }
    let text = tell(ErrorKind::ForeignLease);
    assert!(text.starts_with("a lease that was put into pool \"seen\" is another pool's, got at app.js:1"), "{text}");
    assert!(text.ends_with("it stays live, put it where it was got [FOREIGN_LEASE]"), "{text}");
    let plain = pool.misuse(ErrorKind::DoublePut, 64, Site::NONE, Site::NONE, Site::NONE).message();
    assert!(plain.contains("a second time; nothing"), "{plain}");
    let stats = pool.stats();
    assert_eq!((stats.double_puts, stats.stale_uses, stats.foreign_puts), (2, 1, 1));
    assert_eq!((stats.overruns, stats.exhausted), (1, 1));
}

#[test]
fn a_mode_is_a_mode_of_its_own_pool() {
    let (off, on) = (Check::Off, Check::On);
    let pool = BufferPool::builder().check(off).build().expect("a pool");
    let error = pool.set_check(on).expect_err("made with off");
    assert!(error.message().contains("check is \"on\"") && error.message().contains("has \"off\""), "{error}");
    pool.set_check(off).expect("as it is");
}

#[test]
fn more_than_two_gigabytes_are_cleared_to_their_end() {
    let len = (2 << 30) + 4096;
    let pool = BufferPool::builder().name("huge").max_bytes(4 << 30).build().expect("a pool");
    let mut lease = pool.get(len).expect("addresses");
    let end = lease.as_mut_ptr().wrapping_add(len - 1);
    // SAFETY: inside the length.
    unsafe { end.write(7) };
    let writer = lease.into_writer();
    // SAFETY: still the lease's memory, which the writer holds.
    assert_eq!(unsafe { end.read() }, 0);
    assert_eq!(writer.capacity(), len);
}
