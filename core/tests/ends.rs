//! What happens where something comes to its end: pools, names, slots. Each in a process of its own, which is full afterwards.

#[path = "support/process.rs"]
mod process;

use std::process::Command;

use millpond::raw::{self, Stock};
use millpond::{BufferPool, Classes, ErrorKind, Site};
use process::addresses;

const VARIABLE: &str = "MILLPOND_TEST_END";

fn pools() {
    let small = |name| {
        let builder = BufferPool::builder().name(name).classes(Classes::List(vec![64])).max_bytes(1 << 20);
        builder.thread_cache_bytes(0).build()
    };
    let mut pools: Vec<_> = (0..65_535).map(|_| small("many").expect("a number")).collect();
    let error = small("one too many").expect_err("no number is left");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.message().contains("65535 pools are open"), "{error}");
    let ids: std::collections::HashSet<_> = pools.iter().map(BufferPool::id).collect();
    assert_eq!(ids.len(), pools.len());
    assert!(pools.iter().step_by(997).all(|pool| pool.get(64).is_ok()));
    // The place of one that ended is free again, and the number of the old one is nobody's.
    let ended = pools.swap_remove(30_000).id();
    let next = small("one more").expect("a place");
    assert_ne!(next.id(), ended);
    assert_eq!(next.id() >> 48, ended >> 48);
    assert_eq!(raw::pool(ended).expect_err("ended").kind(), ErrorKind::InvalidHandle);
    assert_eq!(small("too many").expect_err("full").kind(), ErrorKind::Exhausted);
}

fn names() {
    // Of many lengths, so that comparing them is quick.
    let name = |number: usize| Site::interned(&"x".repeat(number % 1024), number as u32, "");
    let last = (0..1 << 16).map(name).fold(Site::NONE, |_, site| site);
    assert!(last.is_known());
    assert!(!Site::interned("one too many", 1, "").is_known());
    assert_eq!(name(0).to_string(), ":0");
    assert_eq!(name(1023).to_string(), format!("{}:1023", "x".repeat(1023)));
    assert!(name((1 << 16) - 1) == last, "what is known stays known");
}

fn slots() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
    limit.rlim_cur = 1 << 30;
    // SAFETY: reads one rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    let classes = Classes::List(vec![64]);
    let pool = BufferPool::builder().classes(classes).max_bytes(1 << 30).build().expect("a pool");
    let mut leases = Vec::with_capacity(1 << 21);
    let error = loop {
        match pool.get(64) {
            Ok(lease) => leases.push(lease.into_raw().id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
    // A sixteenth of the addresses, 64 bytes for a slot, of which the first is nobody's.
    assert_eq!(leases.len(), (1 << 20) - 1);
    assert_eq!(raw::lookup(0).expect_err("nobody's").kind(), ErrorKind::InvalidHandle);
    assert_eq!(raw::lookup(1 << 20).expect_err("behind the table").kind(), ErrorKind::InvalidHandle);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!(stats.in_use as usize, leases.len());
    for id in leases {
        raw::put(pool.id(), id, None, Site::NONE).expect("live");
    }
    drop(pool.get(64).expect("there is room again"));
    pool.stats().check().expect("the books");
}

fn guarded() {
    const PLACES: usize = 1024;
    let check = "sample:1".parse().expect("a mode");
    let pool = BufferPool::builder().name("guarded").check(check).build().expect("a pool");
    let get = || raw::get(pool.id(), 100, Site::NONE).expect("a lease").id;
    let put = |id| raw::put(pool.id(), id, None, Site::interned("put.c", 5, ""));
    let unguarded = || pool.stats().unguarded;
    // Of those that are over one by one, the last 256 are remembered.
    let over: Vec<_> = (0..600).map(|_| get()).inspect(|id| put(*id).expect("live")).collect();
    let known = |id: &u64| put(*id).expect_err("over").message().contains(", first put at put.c:5");
    let remembered = over.iter().map(known).collect::<Vec<_>>();
    assert_eq!(remembered.iter().filter(|known| **known).count(), 256);
    assert!(remembered[600 - 256..].iter().all(|known| *known));
    // SAFETY: takes nothing.
    let by = format!("first put at put.c:5 by thread {}", unsafe { libc::gettid() });
    let text = put(over[599]).expect_err("over").message();
    assert!(text.contains(&by), "{text}");
    let before = addresses();
    // What is remembered makes room for what lives, until all places are taken.
    for give_up in [false, true] {
        let live: Vec<_> = (0..PLACES).map(|_| get()).collect();
        assert_eq!(unguarded(), u64::from(give_up));
        assert!(addresses() - before < 64 << 20, "a mapping is two pages");
        put(get()).expect("live");
        assert_eq!(unguarded(), 1 + u64::from(give_up));
        for id in live {
            if give_up {
                raw::lose(pool.id(), id).expect("live");
            } else {
                put(id).expect("live");
            }
        }
    }
    // The places of those whose memory is in foreign hands are free again, and those of leases that went through a stock.
    let stock = Stock::new(&pool).expect("a stock");
    for _ in 0..2 {
        let live: Vec<_> = (0..PLACES).map(|_| get()).collect();
        for id in live {
            stock.put_kept(id, 0, Site::NONE).expect("live").expect("guarded").abandon();
        }
    }
    assert_eq!(unguarded(), 2);
    pool.stats().check().expect("the books");
}

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    match std::env::var(VARIABLE).as_deref() {
        Ok("pools") => pools(),
        Ok("names") => names(),
        Ok("slots") => slots(),
        Ok("guarded") => guarded(),
        _ => {}
    }
}

fn passes(name: &str) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn as_many_pools_as_there_are_numbers() {
    passes("pools");
}

#[test]
fn as_many_names_as_are_kept() {
    passes("names");
}

#[test]
fn as_many_buffers_as_there_are_slots() {
    passes("slots");
}

#[test]
fn as_many_guarded_leases_as_there_are_places() {
    passes("guarded");
}
