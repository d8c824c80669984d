//! What the environment variables do. Each case runs in a process of its own, because they are the process's.

use std::process::{Command, Output};

use millpond::{BufferPool, ErrorKind, Site, raw};

const VARIABLE: &str = "MILLPOND_TEST_CASE";

fn run(case: &str, variables: &[(&str, &str)]) -> Output {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, case)
        .envs(variables.iter().copied())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{case}: {}", errors(&output));
    output
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    match std::env::var(VARIABLE).as_deref() {
        Ok("refused") => refused(),
        Ok("books") => books(),
        Ok("leaks") => leaks(),
        Ok("told") => told(),
        _ => {}
    }
}

fn refused() {
    let error = BufferPool::new("refused").expect_err("a wrong value");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    eprintln!("{error}");
    // The default pool says so too, each time.
    assert_eq!(millpond::get(100).expect_err("a wrong value").kind(), ErrorKind::InvalidArgument);
    assert_eq!(millpond::get(100).expect_err("a wrong value").kind(), ErrorKind::InvalidArgument);
}

fn books() {
    let pool = BufferPool::new("books").expect("a pool");
    let id = raw::retain(&pool);
    for len in [0, 1, 511, 512, 5000, 65_536, 1 << 20, 20 << 20] {
        let mut lease = pool.get(len).expect("a lease");
        assert!(lease.iter().all(|byte| *byte == 0));
        lease.fill(9);
        // SAFETY: the lease is that long.
        unsafe { lease.as_mut_ptr().write_bytes(8, len) };
        lease.put().expect("unharmed");
        let handle = raw::get(id, len, Site::NONE).expect("a lease");
        raw::put(id, handle.id, None, Site::NONE).expect("live");
        assert_eq!(raw::put(id, handle.id, None, Site::NONE).expect_err("twice").kind(), ErrorKind::DoublePut);
        let detached = pool.get(len).expect("a lease").detach().expect("memory");
        assert_eq!(detached.len(), len);
    }
    // What is to be guarded is not made as others are.
    if !matches!(pool.check(), millpond::Check::Sample(_)) {
        pool.inject("alloc=1".parse().expect("a list"));
        pool.trim();
        assert_eq!(pool.get(100).expect_err("told to").kind(), ErrorKind::NoMemory);
        pool.inject("".parse().expect("nothing"));
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.in_use), (24, 0));
    let stock = raw::Stock::new(&pool).expect("a stock");
    assert!(!stock.watch().keeps || pool.check() == millpond::Check::Full);
    let buffer = stock.take(0).expect("a buffer");
    stock.give(buffer.token).expect("the stock's");
    pool.stats().check().expect("the books");
    eprintln!("check {} retained {} hits {}", pool.check(), pool.stats().retained_buffers, stats.hits);
    raw::release(id).expect("retained");
}

fn leaks() {
    let pool = BufferPool::new("a \"leaky\" one").expect("a pool");
    let kept: Vec<_> = (0..3).map(|_| pool.get(1000).expect("a lease")).collect();
    std::mem::forget(pool.get(50).expect("a lease"));
    let mut odd = pool.get(7).expect("a lease");
    odd.set_site(Site::interned("a\ttab.py", 9, "f"));
    std::mem::forget(odd);
    // Got by a thread that has ended since.
    let ended = std::thread::scope(|scope| scope.spawn(|| pool.get(9).expect("a lease")).join().expect("no panic"));
    std::mem::forget(ended);
    std::mem::forget(millpond::get(77).expect("a lease"));
    BufferPool::new("with nothing out").expect("a pool").close().expect("not the default pool");
    pool.close().expect("not the default pool");
    drop(kept);
}

/// A binding whose leases end before the process does.
fn told() {
    let pool = BufferPool::new("told").expect("a pool");
    let id = raw::retain(&pool);
    let mine: Vec<_> =
        (0..2).map(|_| raw::get(id, 100, Site::interned("mine.js", 1, "")).expect("a lease").id).collect();
    let other = raw::get(id, 7, Site::interned("other.js", 2, "")).expect("a lease").id;
    let watch = raw::Stock::new(&pool).expect("a stock").watch();
    eprintln!("all by core: {}, with places: {}", watch.all, watch.sites);
    raw::report_leaks(&pool, "the worker's end", |id| mine.contains(&id));
    raw::report_leaks(&pool, "nobody's end", |_| false);
    raw::report_exit();
    raw::report_exit();
    eprintln!("the end");
    for lease in mine.into_iter().chain([other]) {
        raw::put(id, lease, None, Site::NONE).expect("live");
    }
    std::mem::forget(pool.get(9).expect("a lease"));
}

#[test]
fn a_binding_reports_its_own_leases_and_the_exit_before_it() {
    let text = errors(&run("told", &[("MILLPOND_LEAKS", "report")]));
    assert!(text.contains("pool \"told\" at the worker's end: 2 leases of 200 bytes are out\n"), "{text}");
    assert!(text.contains("all by core: true, with places: true"), "{text}");
    assert!(!text.contains("nobody's end"), "{text}");
    assert!(text.contains("pool \"told\" at exit: 3 leases of 207 bytes are out\n"), "{text}");
    assert_eq!(text.matches("at exit").count(), 1, "{text}");
    let (_, after) = text.split_once("the end\n").expect("it goes on");
    assert!(!after.contains("millpond"), "{text}");
    let text = errors(&run("told", &[]));
    assert!(!text.contains("millpond"), "{text}");
    assert!(text.contains("all by core: false, with places: false"), "{text}");
}

#[test]
fn wrong_values_are_errors_that_list_the_right_ones() {
    for (variable, right) in [
        ("MILLPOND_CHECK", "off, on, sites, sample:N"),
        ("MILLPOND_POOL", "on or off"),
        ("MILLPOND_LEAKS", "report, json or off"),
        ("MILLPOND_INJECT", "get=N, alloc=N"),
    ] {
        for value in ["bogus", "OFF", "sample:0", "on,off"] {
            let text = errors(&run("refused", &[(variable, value)]));
            assert!(text.contains(&format!("{variable} is \"{value}\"")) && text.contains(right), "{text}");
        }
    }
}

#[test]
fn every_mode_comes_from_the_environment() {
    for mode in ["off", "on", "sites", "sample:1", "sample:1000", "full"] {
        let text = errors(&run("books", &[("MILLPOND_CHECK", mode)]));
        assert!(text.contains(&format!("check {mode} ")), "{text}");
    }
}

#[test]
fn pools_that_keep_nothing_allocate_and_free_each_time() {
    let text = errors(&run("books", &[("MILLPOND_POOL", "off")]));
    assert!(text.contains("retained 0 hits 0"), "{text}");
    let text = errors(&run("books", &[("MILLPOND_POOL", "on"), ("MILLPOND_TRACE", "")]));
    assert!(!text.contains("hits 0"), "{text}");
}

#[test]
fn leases_that_are_out_are_reported_at_close_and_at_exit_if_asked_for() {
    let text = errors(&run("leaks", &[("MILLPOND_LEAKS", "report")]));
    for part in [
        "pool \"a \"leaky\" one\" at close: 6 leases of 3066 bytes are out\n",
        "  3 leases of 3000 bytes, the oldest for 0.",
        "got at core/tests/environment.rs:",
        "pool \"a \"leaky\" one\" at exit: 3 leases of 66 bytes are out\n",
        "got at a\ttab.py:9 in f\n",
        "pool \"default\" at exit: 1 leases of 77 bytes are out\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("with nothing out") && !text.contains("still run"), "{text}");
    // The largest first.
    let order = ["3 leases of 3000", "1 leases of 50", "1 leases of 9", "1 leases of 7"].map(|part| text.find(part));
    assert!(order.is_sorted() && order[0].is_some(), "{text}");
    let text = errors(&run("leaks", &[("MILLPOND_LEAKS", "report"), ("MILLPOND_CHECK", "sites")]));
    assert!(text.contains("; 3 by threads that still run\n"), "{text}");
    // Neither of the ended thread's lease nor, at the exit, of those of the thread that tested.
    assert_eq!(text.matches("still run").count(), 3, "{text}");
    let text = errors(&run("leaks", &[("MILLPOND_LEAKS", "json"), ("MILLPOND_CHECK", "sites")]));
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with(
        "{\"millpond\":\"leaks\",\"pool\":\"a \\\"leaky\\\" one\",\"when\":\"close\",\"leases\":6,\"bytes\":3066,\"groups\":[{\"site\":\""
    ));
    assert!(
        lines[0].contains("\"leases\":3,\"bytes\":3000,\"oldest_seconds\":0.") && lines[0].ends_with("]}"),
        "{text}"
    );
    assert!(lines[0].contains("\"by_running_threads\":3},{\"site\":"), "{text}");
    assert!(lines[0].contains("\"site\":\"a\\u0009tab.py:9 in f\",\"leases\":1,\"bytes\":7"), "{text}");
    for quiet in [&[][..], &[("MILLPOND_LEAKS", "off")][..]] {
        let text = errors(&run("leaks", quiet));
        assert!(!text.contains("millpond"), "{text}");
    }
}
