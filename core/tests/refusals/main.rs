//! What happens where the system refuses something other than memory: each refusal in a process of its own.

#[path = "../support/kernel.rs"]
mod kernel;
#[path = "../support/process.rs"]
mod process;
mod system;

use std::process::Command;
use std::time::Duration;

use millpond::{BufferPool, Check, Classes, ErrorKind, Site, raw, text};
use process::addresses;
use system::*;

const VARIABLE: &str = "MILLPOND_TEST_REFUSED";

/// What a program does with a pool, with one thread and with two, and how its books are afterwards.
fn use_it(pool: &BufferPool) {
    let mut seen = std::collections::HashSet::new();
    for round in 0..20 {
        for len in [0, 100, 5000, 70_000, 1 << 20, 5 << 20] {
            let mut lease = pool.get(len).expect("a lease");
            assert!(lease.iter().all(|byte| *byte == 0), "round {round}");
            lease.fill(7);
            let handle = lease.into_raw();
            assert!(seen.insert(handle.id), "a handle is used once");
            raw::put(pool.id(), handle.id, None, Site::NONE).expect("live");
            let twice = raw::put(pool.id(), handle.id, None, Site::NONE).expect_err("twice");
            assert_eq!(twice.kind(), ErrorKind::DoublePut);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|n| drop(pool.get(n * 100).expect("a lease"))));
        }
    });
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!(stats.in_use, 0);
    assert!(stats.hits > 0, "buffers are used again");
    pool.trim();
    assert_eq!(pool.stats().retained_buffers, 0);
}

fn guarded() -> BufferPool {
    let check: Check = "sample:1".parse().expect("a mode");
    BufferPool::builder().name("guarded").check(check).build().expect("a pool")
}

fn case(name: &str) {
    match name {
        "barrier" | "key" => {
            refuse(if name == "key" { KEY } else { BARRIER });
            let pool = BufferPool::new(name).expect("a pool");
            use_it(&pool);
            // Nothing is kept by threads: what one put, any other gets.
            let address = std::thread::spawn({
                let pool = pool.clone();
                move || pool.get(100).expect("a lease").as_ptr() as usize
            });
            let address = address.join().expect("no panic");
            assert_eq!(pool.get(100).expect("a lease").as_ptr() as usize, address);
        }
        "random" => {
            refuse(RANDOM);
            let pools: Vec<_> = (0..50).map(|_| BufferPool::new(name).expect("a pool")).collect();
            let ids: std::collections::HashSet<_> = pools.iter().map(|pool| pool.id() & ((1 << 48) - 1)).collect();
            assert_eq!(ids.len(), 50, "nonces differ");
            use_it(&pools[0]);
        }
        "affinity" => {
            refuse(AFFINITY);
            use_it(&BufferPool::new(name).expect("a pool"));
        }
        "handler" => {
            refuse(HANDLER);
            let error = millpond::report_faults().expect_err("no handler");
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.message().contains("no handler for signal 11"), "{error}");
        }
        "attributes" | "stack" => {
            refuse(if name == "stack" { STACK } else { ATTRIBUTES });
            let every = Duration::from_millis(1);
            let error = BufferPool::builder().maintain_every(every).build().expect_err("no thread");
            assert_eq!(error.kind(), ErrorKind::NoMemory);
        }
        "exit" => {
            refuse(EXIT);
            let error = BufferPool::new(name).expect_err("no report at the end");
            assert_eq!(error.kind(), ErrorKind::NoMemory);
            refuse(0);
            count_refusal();
            use_it(&BufferPool::new(name).expect("a pool"));
        }
        "forbid at get" => {
            let pool = guarded();
            drop(pool.get(100).expect("a lease"));
            refuse(FORBID);
            let leases: Vec<_> = (0..5).map(|_| pool.get(200_000).expect("a lease without pages of its own")).collect();
            assert_eq!(pool.stats().unguarded, 5);
            drop(leases);
            // Nothing of what was mapped in vain stays.
            let before = addresses();
            (0..3000).for_each(|_| drop(pool.get(100).expect("a lease without pages of its own")));
            assert!(addresses() - before < 8 << 20, "{} bytes", addresses() - before);
            pool.stats().check().expect("the books");
        }
        "forbid at put" | "give back at put" => {
            let pool = guarded();
            let before = pool.get(100).expect("a lease");
            refuse(if name == "forbid at put" { FORBID } else { GIVE_BACK });
            drop(before);
            refuse(0);
            // Its place in the table is free, its pages are unmapped.
            for _ in 0..2000 {
                drop(pool.get(100).expect("a lease"));
            }
            let stats = pool.stats();
            stats.check().expect("the books");
            assert_eq!((stats.unguarded, stats.in_use, stats.created), (0, 0, stats.destroyed));
        }
        "forbid a kept one" | "forbid a kept one for good" => {
            let pool = guarded();
            let stock = raw::Stock::new(&pool).expect("a stock");
            let lease = stock.lease(20_000, false, true, Site::NONE).expect("memory").expect("room");
            assert!(lease.guarded);
            refuse(FORBID);
            let kept = stock.put_kept(lease.lease.id, 100, Site::NONE).expect("live").expect("guarded");
            // SAFETY: its pages could not be made inaccessible, and nobody gets them while they are kept.
            unsafe { lease.lease.data.write_bytes(1, 20_000) };
            if name == "forbid a kept one" {
                refuse(0);
            }
            drop(kept);
            refuse(0);
            let mut pages = [1_u8; 4];
            let inside = lease.lease.data.wrapping_add(4096 - lease.lease.data as usize % 4096);
            // SAFETY: looks at addresses, of which some may be mapped no more.
            let seen = unsafe { libc::mincore(inside.cast(), 4 * 4096, pages.as_mut_ptr()) };
            assert!(seen != 0 || pages.iter().all(|page| page & 1 == 0), "nothing of the lease is left: {pages:?}");
            for _ in 0..2000 {
                drop(pool.get(100).expect("a lease"));
            }
            let stats = pool.stats();
            stats.check().expect("the books");
            assert_eq!((stats.in_use, stats.created), (0, stats.destroyed));
        }
        "stain" => {
            let pool = BufferPool::builder().name(name).check(Check::Full).build().expect("a pool");
            drop((0..100).map(|_| pool.get(100).expect("a lease")).collect::<Vec<_>>());
            // Slots that nothing is remembered of, for which there will be no room.
            let other = BufferPool::new("other").expect("a pool");
            let mut others: Vec<_> = (0..5000).map(|_| other.get(100).expect("a lease")).collect();
            others.truncate(4900);
            other.trim();
            refuse(HEAP);
            let lease = pool.get(100).map(|mut lease| (lease.as_mut_ptr(), lease.put().is_ok()));
            refuse(0);
            let (data, put) = lease.expect("a lease");
            assert!(put);
            // SAFETY: held back, so still there; the write is the bug.
            unsafe { data.wrapping_add(2).write(1) };
            pool.trim();
            let stats = pool.stats();
            stats.check().expect("the books");
            assert_eq!(stats.stale_uses, 1);
        }
        "look" | "give back" => {
            // Large buffers of which little was used are cleared page by page, those without such a look whole.
            let classes = Classes::List(vec![8 << 20]);
            let pool = BufferPool::builder().classes(classes).build().expect("a pool");
            refuse(if name == "look" { LOOK } else { GIVE_BACK });
            for len in [5 << 20, (6 << 20) + 5] {
                let mut lease = pool.get(len).expect("a lease");
                lease.as_mut_ptr();
                lease[len - 1] = 1;
                lease[len / 2] = 1;
                drop(lease);
                assert!(pool.get(8 << 20).expect("a lease").iter().all(|byte| *byte == 0));
            }
        }
        "history" => {
            let pool = BufferPool::new(name).expect("a pool");
            let id = raw::retain(&pool);
            drop((0..300).map(|_| pool.get(100).expect("a lease")).collect::<Vec<_>>());
            pool.set_check(Check::Sites).expect("not off");
            let here = Site::interned("here.c", 1, "");
            refuse(HEAP);
            let lease = raw::get(id, 100, here);
            let put = lease.as_ref().map(|lease| raw::put(id, lease.id, None, here)).is_ok_and(|put| put.is_ok());
            let twice = lease.as_ref().map(|lease| raw::put(id, lease.id, None, here).map_err(|error| error.kind()));
            refuse(0);
            assert!(put, "nothing is remembered of it, and it goes on");
            assert_eq!(twice.expect("a lease"), Err(ErrorKind::DoublePut));
            pool.stats().check().expect("the books");
        }
        "report" | "report json" => {
            // So that the text has to grow at each of its parts.
            for case in 0..1200 {
                let (after, long) = (case % 12, case as usize / 12 * 3);
                let pool = BufferPool::new(name).expect("a pool");
                let mut lease = pool.get(100).expect("a lease");
                lease.set_site(Site::interned(&"long name ".repeat(40)[..9 + long], 1, ""));
                refuse_heap_after(after);
                pool.close().expect("closing needs no memory");
                refuse(0);
                drop(lease);
            }
        }
        "names" => {
            let known = Site::interned("known.py", 1, "f");
            refuse(HEAP);
            let (new, again) = (Site::interned("new.py", 2, "g"), Site::interned("known.py", 1, "f"));
            refuse(0);
            assert!(!new.is_known() && !again.is_known() && known.is_known());
            // What has room for a text, and none or little more to remember it.
            let mut known = 0;
            for number in 0..3000 {
                refuse_heap_after(2);
                let site = Site::interned("more.py", number, "");
                refuse(0);
                known += u32::from(site.is_known());
                let again = Site::interned("more.py", number, "");
                assert!(again.is_known() && (again == site || !site.is_known()));
                assert_eq!(again.to_string(), format!("more.py:{number}"));
            }
            assert!(known > 2900 && known < 3000, "{known}");
        }
        "texts" => {
            let part = "é".repeat(text::ROOM);
            let whole = format!("x{}", part.repeat(8));
            let mut lengths = Vec::with_capacity(10);
            for after in 0..10 {
                refuse_heap_after(after);
                let text = text::Text::of(format_args!("x{part}{part}{part}{part}{part}{part}{part}{part}"));
                refuse(0);
                assert_eq!(text.as_str(), &whole[..text.as_str().len()]);
                assert_eq!(text.whole().is_some(), text.as_str() == whole);
                lengths.push(text.as_str().len());
            }
            // The beginning needs no heap, each request that is granted brings more.
            assert!(lengths[0] == 1 && lengths[9] == whole.len(), "{lengths:?}");
            assert!(lengths.windows(2).all(|two| two[0] < two[1] || two[1] == whole.len()), "{lengths:?}");
        }
        "blocks" => {
            let pool = BufferPool::new(name).expect("a pool");
            let stock = raw::Stock::new(&pool).expect("a stock");
            let first = stock.counters().0;
            refuse(HEAP);
            drop(stock);
            refuse(MAP);
            let none = raw::Stock::new(&pool).map(drop).map_err(|error| error.kind());
            refuse(0);
            assert_eq!(none, Err(ErrorKind::NoMemory));
            let stock = raw::Stock::new(&pool).expect("a stock");
            // What could not be remembered stays mapped, and is not used again.
            assert_ne!(stock.counters().0, first);
            use_it(&pool);
        }
        "list" => {
            let builder = BufferPool::builder().classes(Classes::List(vec![2 << 20])).max_retained_bytes(2 << 20);
            let pool = builder.build().expect("a pool");
            let first = pool.get(1).expect("a lease");
            refuse(HEAP);
            drop(first);
            refuse(0);
            // What found no place in the list of idle buffers takes no room from the next one.
            drop(pool.get(1).expect("a lease"));
            assert_eq!((pool.stats().retained_buffers, pool.stats().destroyed), (1, 1));
        }
        "trace" | "trace at exit" => {
            refuse(if name == "trace" { HEAP } else { EXIT });
            let result = BufferPool::new(name).map(drop).map_err(|error| error.kind());
            refuse(0);
            assert_eq!(result, Err(ErrorKind::NoMemory));
        }
        "reserve" | "table" | "table of the heap" => {
            refuse(if name == "reserve" { RESERVE } else { TABLE });
            let pool = BufferPool::new(name).expect("a pool");
            let error = pool.get(100).expect_err("no slot");
            assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
            let guarded = guarded();
            assert_eq!(guarded.get(100).expect_err("no slot").kind(), ErrorKind::NoMemory);
            for pool in [&pool, &guarded] {
                let stats = pool.stats();
                stats.check().expect("the books");
                assert_eq!((stats.gets, stats.created - stats.destroyed), (0, 0));
            }
            refuse(0);
            for pool in [&pool, &guarded] {
                drop(pool.get(100).expect("there is memory again"));
                pool.stats().check().expect("the books");
            }
        }
        "table of the parked" => {
            let pool = BufferPool::new(name).expect("a pool");
            let stock = raw::Stock::new(&pool).expect("a stock");
            let large = stock.lease(40 << 20, false, false, Site::NONE).expect("memory").expect("room").lease;
            refuse(TABLE);
            let mut leases: Vec<_> = std::iter::from_fn(|| pool.get(100).ok()).collect();
            let mut parked = stock.put_parked(large.id, Site::NONE).expect("live");
            leases.push(pool.get(100).expect("the slot of the one that ended"));
            let error = stock.lease_parked(&mut parked, 40 << 20, false, Site::NONE).expect_err("no slot");
            refuse(0);
            assert_eq!((error.kind(), parked.is_some()), (ErrorKind::NoMemory, true), "{error}");
            leases.pop();
            let again =
                stock.lease_parked(&mut parked, 40 << 20, false, Site::NONE).expect("memory").expect("room").lease;
            assert_eq!(again.data, large.data);
            raw::put(pool.id(), again.id, None, Site::NONE).expect("live");
            drop(leases);
            pool.stats().check().expect("the books");
        }
        _ => unreachable!("{name}"),
    }
    assert!(times() > 0, "{name}: nothing was refused");
}

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    if let Ok(name) = std::env::var(VARIABLE) {
        case(&name);
    }
}

/// Returns what the case said on standard error.
fn passes(name: &str) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(VARIABLE, name);
    match name {
        "exit" | "report" => command.env("MILLPOND_LEAKS", "report"),
        "report json" => command.env("MILLPOND_LEAKS", "json"),
        "trace" | "trace at exit" => command.env("MILLPOND_TRACE", "/dev/null"),
        "table of the heap" => command.env("MILLPOND_POOL", "off"),
        _ => &mut command,
    };
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    said
}

#[test]
fn without_a_heap_what_is_only_remembered_is_forgotten() {
    passes("history");
    passes("names");
    passes("texts");
    passes("blocks");
    passes("list");
    for (name, whole) in [
        ("report", "at close: 1 leases of 100 bytes are out"),
        ("report json", "\"when\":\"close\",\"leases\":1,\"bytes\":100"),
    ] {
        let said = passes(name);
        let without = said.matches("millpond: leases are out, and there is no memory to report them").count();
        let (begun, ended) = (said.matches(whole).count(), said.matches("long name").count());
        // First there is none for a report, then for all of it; never for a part.
        assert!(without > 2 && begun > 2 && without + begun == 1200 && ended >= begun, "{said}");
    }
    passes("trace");
    let said = passes("stain");
    assert!(
        said.contains("bytes 2 to 2 of a buffer were written after its put") && !said.contains("its lease"),
        "{said}"
    );
}

#[test]
fn without_room_for_slots_there_is_no_lease_and_nothing_is_lost() {
    for name in ["reserve", "table", "table of the heap", "table of the parked"] {
        passes(name);
    }
}

#[test]
fn without_caches_buffers_come_from_the_depots() {
    passes("barrier");
    passes("key");
}

#[test]
fn without_randomness_or_the_number_of_processors_pools_work() {
    passes("random");
    passes("affinity");
}

#[test]
fn what_cannot_be_set_up_is_an_error() {
    for name in ["handler", "attributes", "stack", "exit", "trace at exit"] {
        passes(name);
    }
}

#[test]
fn where_pages_cannot_be_forbidden_leases_are_not_guarded() {
    for name in
        ["forbid at get", "forbid at put", "give back at put", "forbid a kept one", "forbid a kept one for good"]
    {
        passes(name);
    }
}

#[test]
fn memory_is_cleared_whether_or_not_the_system_tells_what_was_touched() {
    passes("look");
    passes("give back");
}
