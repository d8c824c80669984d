//! `MILLPOND_TRACE`: the file, and what is in it. Each case runs in a process of its own, because the variable is the
//! process's.

#[path = "support/kernel.rs"]
mod kernel;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kernel::{ask, failed};
use millpond::{BufferPool, ErrorKind, Site, raw};

const VARIABLE: &str = "MILLPOND_TEST_CASE";

fn run(case: &str, trace: &Path) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, case)
        .env("MILLPOND_TRACE", trace)
        .output()
        .expect("the program starts")
}

/// Whether the system interrupts each second write and writes but a part at the others.
static DISTURBED: AtomicBool = AtomicBool::new(false);
static WRITES: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
extern "C" fn write(file: libc::c_int, bytes: usize, len: usize) -> isize {
    let disturbed = DISTURBED.load(Ordering::SeqCst);
    if disturbed && WRITES.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
        return failed(libc::EINTR) as isize;
    }
    let len = if disturbed { len.div_ceil(3) } else { len };
    ask(libc::SYS_write, [file as usize, bytes, len, 0, 0, 0]) as isize
}

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    match std::env::var(VARIABLE).as_deref() {
        Ok("work") => work(),
        Ok("disturbed") => {
            DISTURBED.store(true, Ordering::SeqCst);
            work();
        }
        Ok("without standard input") => {
            // SAFETY: nobody reads it; the file that is opened next has its number.
            assert_eq!(unsafe { libc::close(0) }, 0);
            work();
        }
        Ok("refused") => {
            let error = BufferPool::new("refused").expect_err("a wrong value");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            eprintln!("{error}");
            let again = BufferPool::new("refused").expect_err("still wrong");
            assert_eq!(again.kind(), ErrorKind::InvalidArgument);
        }
        _ => {}
    }
}

const LENGTHS: [usize; 6] = [0, 1, 512, 513, 70_000, 20 << 20];

fn work() {
    let first = BufferPool::new("secret name").expect("a pool");
    let second = BufferPool::new("another").expect("a pool");
    std::thread::scope(|scope| {
        for pool in [&first, &second] {
            scope.spawn(|| {
                for _ in 0..500 {
                    let leases: Vec<_> = LENGTHS.map(|len| pool.get(len).expect("a lease")).into();
                    drop(leases);
                }
            });
        }
    });
    let id = raw::retain(&second);
    let handle = raw::get(id, 77, Site::NONE).expect("a lease").id;
    raw::put(id, handle, None, Site::NONE).expect("live");
    raw::release(id).expect("retained");
    // SAFETY: the other threads are over; the child does what a child of fork may do here, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        first.get(4321).expect("a lease").put().expect("live");
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    // A trace that ended does not begin again.
    drop(BufferPool::new("late").expect("a pool"));
    // Out at the end: a line without its other half.
    std::mem::forget(first.get(99).expect("a lease"));
}

#[test]
fn a_trace_has_each_get_and_put_and_nothing_but_numbers() {
    let folder = std::env::temp_dir();
    let path = |name: &str| folder.join(format!("millpond-{}-{name}", std::process::id()));
    let before = path("of-%p.csv");
    let output = run("work", &before);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let start = format!("millpond-{}-of-", std::process::id());
    let files: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder")
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
        .collect();
    // The process's number stands for %p, and the child of fork made none.
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].file_name().expect("a file").to_string_lossy();
    let number = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".csv"));
    assert!(number.is_some_and(|number| number.parse::<u32>().is_ok()), "{files:?}");
    let text = std::fs::read_to_string(&files[0]).expect("a trace");
    std::fs::remove_file(&files[0]).expect("ours");

    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# millpond trace 1: ns,thread,pool,act,lease,bytes"));
    let mut live = HashMap::new();
    let mut lengths = HashMap::new();
    let (mut threads, mut pools, mut last) = (HashMap::new(), HashMap::new(), 0);
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let [time, thread, pool, act, lease, bytes] = fields[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        assert!(number(time) >= last, "{line} comes after {last}");
        last = number(time);
        *threads.entry(number(thread)).or_insert(0) += 1;
        *pools.entry(number(pool)).or_insert(0) += 1;
        match act {
            "g" => {
                assert_eq!(live.insert(number(lease), number(bytes)), None, "{line} is out already");
                *lengths.entry(number(bytes) as usize).or_insert(0) += 1;
            }
            "p" => assert_eq!(live.remove(&number(lease)), Some(number(bytes)), "{line} ends what is not out"),
            _ => panic!("{line}"),
        }
    }
    assert!(LENGTHS.iter().all(|len| lengths[len] == 1000), "{lengths:?}");
    assert_eq!((lengths.len(), lengths[&77], lengths[&99]), (LENGTHS.len() + 2, 1, 1));
    assert_eq!(live.values().collect::<Vec<_>>(), [&99]);
    assert_eq!((threads.len(), pools.len()), (3, 2));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_says_so() {
    let output = run("refused", Path::new("/proc/no/such/folder/trace.csv"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("MILLPOND_TRACE is \"/proc/no/such/folder/trace.csv\"") && said.contains("errno 2"),
        "{said}"
    );
}

#[test]
fn a_full_disk_ends_the_trace_aloud_and_nothing_else() {
    let output = run("work", Path::new("/dev/full"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the trace ends here") && said.contains("errno 28"), "{said}");
    assert_eq!(said.matches("the trace ends here").count(), 1, "{said}");
    // Nor does it go on elsewhere.
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("millpond trace") && !printed.contains(",g,"), "{printed}");
}

#[test]
fn a_trace_is_whole_in_a_file_with_the_number_zero_and_though_writes_are_cut_short_and_interrupted() {
    for case in ["without standard input", "disturbed"] {
        let path = std::env::temp_dir().join(format!("millpond-{}-{case}.csv", std::process::id()));
        let output = run(case, &path);
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&path).expect("a trace");
        std::fs::remove_file(&path).expect("ours");
        let (gets, puts) = (text.matches(",g,").count(), text.matches(",p,").count());
        assert_eq!((gets, puts), (2 * 500 * LENGTHS.len() + 2, 2 * 500 * LENGTHS.len() + 1), "{case}");
        assert!(text.lines().skip(1).all(|line| line.split(',').count() == 6), "{case}");
        assert_eq!(text.lines().last().and_then(|line| line.rsplit(',').next()), Some("99"), "{case}");
    }
}
