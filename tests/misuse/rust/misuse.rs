//! Commits the seeded bug that its argument names and prints what the library says (../c/say.h lists the words). What the
//! compiler refuses stands in `refused/`; where there is a raw pointer here, `unsafe` made it possible.

use std::ffi::c_int;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millpond::{BufferPool, Error, Lease, Site, raw};

const LEN: usize = 1000;
const FAR: usize = 4096;
/// Seconds after which a forked child counts as hanging.
const CHILD_SECONDS: u32 = 20;

fn bug() {
    println!("bug");
}

fn told(error: &Error) {
    println!("error {} {error}", error.kind().name());
}

fn fill(lease: &mut Lease, value: u8) {
    lease.fill(value);
}

/// What every program does next: a few more leases.
fn go_on(pool: &BufferPool) {
    for round in 1..=3 {
        let mut lease = pool.get(LEN).expect("a lease");
        fill(&mut lease, round);
        lease.put().expect("unharmed");
    }
}

fn none(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    bug();
    for len in (0..3 * LEN).step_by(7) {
        let mut lease = pool.get(len)?;
        assert!(lease.iter().all(|byte| *byte == 0));
        fill(&mut lease, 1);
        assert!(lease.iter().all(|byte| *byte == 1));
        if len % 2 == 0 {
            lease.put()?;
        }
    }
    let shared = pool.get(LEN)?.freeze();
    let part = shared.slice(100..200);
    drop(shared);
    assert!(part.iter().all(|byte| *byte == 0));
    Ok(())
}

fn read_after_put(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    let lease = pool.get(LEN)?; // GET
    let kept = lease.as_ptr();
    lease.put()?; // PUT
    bug();
    // SAFETY: none: this is the bug.
    std::hint::black_box(unsafe { kept.add(100).read_volatile() }); // HERE
    Ok(())
}

fn write_after_put(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    let mut lease = pool.get(LEN)?; // GET
    let kept = lease.as_mut_ptr();
    lease.put()?; // PUT
    bug();
    // SAFETY: none: this is the bug.
    unsafe { kept.add(100).write_volatile(b'x') }; // HERE
    Ok(())
}

fn past_the_end(pool: &BufferPool, by: usize) -> Result<(), Error> {
    let mut lease = pool.get(LEN)?; // GET
    let data = lease.as_mut_ptr();
    bug();
    // SAFETY: none: this is the bug.
    unsafe { data.wrapping_add(LEN + by).write_volatile(b'x') }; // HERE
    lease.put() // PUT
}

fn past_by_one(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    past_the_end(pool, 0)
}

fn past_by_far(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    past_the_end(pool, FAR)
}

fn foreign_put(pool: &BufferPool, other: &BufferPool) -> Result<(), Error> {
    let lease = pool.get(LEN)?; // GET
    bug();
    let refused = other.put(lease).expect_err("another pool's"); // HERE
    told(&refused.error);
    refused.lease.expect("it stays live").put()
}

fn leak(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    bug();
    let mut lease = pool.get(LEN)?; // GET HERE
    fill(&mut lease, 1);
    std::mem::forget(lease);
    Ok(())
}

fn use_after_close(_pool: &BufferPool, other: &BufferPool) -> Result<(), Error> {
    other.close()?;
    bug();
    other.get(LEN).map(drop) // HERE
}

fn forged_handle(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    let lease = pool.get(LEN)?; // GET
    let handle = lease.into_raw();
    bug();
    let refused = raw::put(pool.id(), handle.id + 1, None, Site::NONE); // HERE
    raw::put(pool.id(), handle.id, None, Site::NONE)?;
    refused
}

unsafe extern "C" {
    safe fn fork() -> c_int;
    safe fn alarm(seconds: u32) -> u32;
    safe fn _exit(status: c_int) -> !;
    unsafe fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    unsafe fn read(file: c_int, to: *mut u8, len: usize) -> isize;
}

fn in_child(pool: &BufferPool, inherited: &mut Option<Lease>) -> Result<bool, Error> {
    alarm(CHILD_SECONDS);
    let mut lease = inherited.take().expect("the parent's");
    let same = lease.iter().all(|byte| *byte == 7);
    fill(&mut lease, 8);
    for _ in 0..20 {
        pool.get(5000)?.put()?;
    }
    lease.put()?;
    Ok(same)
}

fn child_works(child: c_int) -> bool {
    const SIGALRM: c_int = 14;
    let mut status = 0;
    // SAFETY: the status is an integer of ours.
    assert!(child > 0 && unsafe { waitpid(child, &raw mut status, 0) } == child);
    match status & 0x7f {
        0 if status == 0 => return true,
        0 => println!("saw a child that fails"),
        SIGALRM => println!("saw a child that hangs"),
        _ => println!("saw a child that crashes"),
    }
    false
}

fn forked_use(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    let mut lease = Some(pool.get(LEN)?); // GET
    fill(lease.as_mut().expect("a lease"), 7);
    let children = std::env::var("MISUSE_CHILDREN").map_or(20, |text| text.parse().expect("a number"));
    let stop = AtomicBool::new(false);
    let good = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let leases: Vec<_> = (1..=8).map(|each| pool.get(each * 700).expect("a lease")).collect();
                    drop(leases);
                }
            });
        }
        bug();
        let good = (0..children).all(|_| match fork() {
            0 => _exit(i32::from(!in_child(pool, &mut lease).is_ok_and(|same| same))),
            child => child_works(child),
        });
        stop.store(true, Ordering::Relaxed);
        good
    });
    let lease = lease.expect("the parent's own");
    if good && lease.iter().all(|byte| *byte == 7) {
        println!("saw works");
    }
    lease.put()
}

fn late_write(pool: &BufferPool, _other: &BufferPool) -> Result<(), Error> {
    let mut lease = pool.get(LEN)?; // GET
    let (from, mut to) = std::io::pipe().expect("a pipe");
    let address = lease.as_mut_ptr() as usize;
    let receiver = thread::spawn(move || {
        // SAFETY: none: this is the bug, the lease may be over by the time the bytes come.
        unsafe { read(from.as_raw_fd(), address as *mut u8, LEN) } // HERE
    });
    // Most likely it waits in read() now; if not, it comes there later still.
    thread::sleep(Duration::from_millis(20));
    bug();
    let put = lease.put(); // PUT
    to.write_all(&[1; LEN]).expect("the pipe");
    if receiver.join().expect("the thread") != LEN as isize {
        println!("saw EFAULT from read");
    }
    put
}

type Commit = fn(&BufferPool, &BufferPool) -> Result<(), Error>;

const BUGS: [(&str, Commit); 11] = [
    ("none", none),
    ("read-after-put", read_after_put),
    ("write-after-put", write_after_put),
    ("past-by-one", past_by_one),
    ("past-by-far", past_by_far),
    ("foreign-put", foreign_put),
    ("leak", leak),
    ("use-after-close", use_after_close),
    ("forged-handle", forged_handle),
    ("forked-use", forked_use),
    ("late-write", late_write),
];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, commit)) = BUGS.iter().find(|(bug, _)| *bug == name) else {
        eprintln!("usage: misuse BUG");
        std::process::exit(2);
    };
    millpond::report_faults().expect("a handler");
    let pool = BufferPool::new("misuse").expect("a pool");
    let other = BufferPool::new("other").expect("a pool");
    if let Err(error) = commit(&pool, &other) {
        told(&error);
    }
    go_on(&pool);
    pool.close().expect("not the default pool");
    println!("done");
}
