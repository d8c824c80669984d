//! That a thread's cache is taken from it only behind a barrier on all threads. Without the barrier that would go wrong so
//! rarely that no test could tell; so this program has the C library's `syscall` of its own and counts.

#[path = "support/kernel.rs"]
mod kernel;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use kernel::ask;
use millpond::BufferPool;

static BARRIERS: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
extern "C" fn syscall(
    number: libc::c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> libc::c_long {
    let expedited = a == libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED as usize;
    BARRIERS.fetch_add(usize::from(number == libc::SYS_membarrier && expedited), Ordering::SeqCst);
    ask(number, [a, b, c, d, e, f])
}

#[test]
fn a_cache_is_taken_from_its_thread_behind_a_barrier() {
    let pool = BufferPool::new("asleep").expect("a pool");
    let (ready, is_ready) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            drop(pool.get(100).expect("a lease"));
            ready.send(()).expect("somebody waits");
            is_done.recv().expect_err("its end is the sign");
        });
        is_ready.recv().expect("no panic");
        let before = BARRIERS.load(Ordering::SeqCst);
        assert!(pool.trim() >= 512);
        assert!(BARRIERS.load(Ordering::SeqCst) > before);
        drop(done);
    });
    pool.stats().check().expect("the books");
}
