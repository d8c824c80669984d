//! That a thread's cache is taken from it only behind a barrier on all threads. Without the barrier that would go wrong so
//! rarely that no test could tell; so this program has the C library's `syscall` of its own and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use millpond::BufferPool;

static BARRIERS: AtomicUsize = AtomicUsize::new(0);

/// Asks the kernel.
fn ask(number: libc::c_long, arguments: [usize; 6]) -> libc::c_long {
    let [a, b, c, d, e, f] = arguments;
    let result: libc::c_long;
    // SAFETY: a system call with the caller's arguments; the kernel changes the named registers.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    if (-4095..0).contains(&result) {
        // SAFETY: the address of this thread's error number.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { place.write(-result as libc::c_int) };
        return -1;
    }
    result
}

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
