//! Functions of an executable go before those of the libraries, so those below serve core's calls. They refuse when told to,
//! and so does the program's own allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kernel::{ask, failed};

pub const AFFINITY: u32 = 1;
pub const ATTRIBUTES: u32 = 1 << 1;
pub const EXIT: u32 = 1 << 2;
pub const FORBID: u32 = 1 << 3;
pub const BARRIER: u32 = 1 << 4;
pub const HANDLER: u32 = 1 << 5;
pub const GIVE_BACK: u32 = 1 << 6;
pub const KEY: u32 = 1 << 7;
pub const LOOK: u32 = 1 << 8;
pub const RANDOM: u32 = 1 << 9;
pub const STACK: u32 = 1 << 10;
pub const HEAP: u32 = 1 << 11;
pub const RESERVE: u32 = 1 << 12;
pub const TABLE: u32 = 1 << 13;
pub const MAP: u32 = 1 << 14;

static REFUSED: AtomicU32 = AtomicU32::new(0);
/// How often the heap gives before it is refused.
static LEFT: AtomicU32 = AtomicU32::new(0);
/// How often something was refused.
static TIMES: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether the heap is refused to this thread; not to the harness's.
    static SUBJECT: Cell<bool> = const { Cell::new(false) };
}

pub fn refuse(what: u32) {
    SUBJECT.set(what != 0);
    REFUSED.store(what, Ordering::SeqCst);
}

/// Refuses the heap after it gave so often.
pub fn refuse_heap_after(times: u32) {
    LEFT.store(times, Ordering::SeqCst);
    refuse(HEAP);
}

pub fn times() -> u32 {
    TIMES.load(Ordering::SeqCst)
}

fn is_refused(what: u32) -> bool {
    let refused = REFUSED.load(Ordering::SeqCst) & what != 0;
    TIMES.fetch_add(u32::from(refused), Ordering::SeqCst);
    refused
}

#[unsafe(no_mangle)]
extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if number == libc::SYS_membarrier && is_refused(BARRIER) {
        return failed(libc::ENOSYS);
    }
    ask(number, [a, b, c, d, e, f])
}

#[unsafe(no_mangle)]
extern "C" fn getrandom(to: usize, len: usize, flags: usize) -> isize {
    if is_refused(RANDOM) {
        return failed(libc::ENOSYS) as isize;
    }
    ask(libc::SYS_getrandom, [to, len, flags, 0, 0, 0]) as isize
}

#[unsafe(no_mangle)]
extern "C" fn mprotect(start: usize, len: usize, protection: c_int) -> c_int {
    let what = if protection == libc::PROT_NONE { FORBID } else { TABLE };
    if is_refused(what) {
        return failed(libc::ENOMEM) as c_int;
    }
    ask(libc::SYS_mprotect, [start, len, protection as usize, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn mmap(
    start: usize,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: usize,
) -> *mut c_void {
    if is_refused(if protection == libc::PROT_NONE { RESERVE } else { MAP }) {
        failed(libc::ENOMEM);
        return libc::MAP_FAILED;
    }
    ask(libc::SYS_mmap, [start, len, protection as usize, flags as usize, file as usize, offset]) as *mut c_void
}

#[unsafe(no_mangle)]
extern "C" fn madvise(start: usize, len: usize, advice: c_int) -> c_int {
    if advice == libc::MADV_DONTNEED && is_refused(GIVE_BACK) {
        return failed(libc::EINVAL) as c_int;
    }
    ask(libc::SYS_madvise, [start, len, advice as usize, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn mincore(start: usize, len: usize, to: usize) -> c_int {
    if is_refused(LOOK) {
        return failed(libc::EAGAIN) as c_int;
    }
    ask(libc::SYS_mincore, [start, len, to, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn sched_getaffinity(process: c_int, len: usize, to: usize) -> c_int {
    if is_refused(AFFINITY) {
        return failed(libc::EINVAL) as c_int;
    }
    // The C library's function returns 0 where the kernel returns how much it wrote.
    ask(libc::SYS_sched_getaffinity, [process as usize, len, to, 0, 0, 0]).min(0) as c_int
}

/// Finds the function of this name behind ours.
fn behind(name: &std::ffi::CStr) -> *mut c_void {
    // SAFETY: looks a name up in the libraries after this program.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null());
    found
}

type Ended = Option<unsafe extern "C" fn(*mut c_void)>;

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_create(key: *mut libc::pthread_key_t, ended: Ended) -> c_int {
    if is_refused(KEY) {
        return libc::EAGAIN;
    }
    type Function = unsafe extern "C" fn(*mut libc::pthread_key_t, Ended) -> c_int;
    // SAFETY: the C library's function of this name, which has this type.
    let function = unsafe { std::mem::transmute::<*mut c_void, Function>(behind(c"pthread_key_create")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { function(key, ended) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_init(attributes: *mut libc::pthread_attr_t) -> c_int {
    if is_refused(ATTRIBUTES) {
        return libc::ENOMEM;
    }
    type Function = unsafe extern "C" fn(*mut libc::pthread_attr_t) -> c_int;
    // SAFETY: as in `pthread_key_create`.
    let function = unsafe { std::mem::transmute::<*mut c_void, Function>(behind(c"pthread_attr_init")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { function(attributes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_setstacksize(attributes: *mut libc::pthread_attr_t, size: usize) -> c_int {
    if is_refused(STACK) {
        return libc::EINVAL;
    }
    type Function = unsafe extern "C" fn(*mut libc::pthread_attr_t, usize) -> c_int;
    // SAFETY: as in `pthread_key_create`.
    let function = unsafe { std::mem::transmute::<*mut c_void, Function>(behind(c"pthread_attr_setstacksize")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { function(attributes, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    if is_refused(HANDLER) {
        return failed(libc::EINVAL) as c_int;
    }
    type Function = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    // SAFETY: as in `pthread_key_create`.
    let function = unsafe { std::mem::transmute::<*mut c_void, Function>(behind(c"sigaction")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { function(signal, new, old) }
}

unsafe extern "C" {
    fn __cxa_atexit(function: extern "C" fn(), argument: *mut c_void, library: *mut c_void) -> c_int;
}

#[unsafe(no_mangle)]
extern "C" fn atexit(function: extern "C" fn()) -> c_int {
    if is_refused(EXIT) {
        return -1;
    }
    // SAFETY: what the C library's function of this name does for a program.
    unsafe { __cxa_atexit(function, std::ptr::null_mut(), std::ptr::null_mut()) }
}

struct Heap;

#[global_allocator]
static ALLOCATOR: Heap = Heap;

// SAFETY: the system's allocator, which sometimes refuses.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let spent = || LEFT.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if SUBJECT.get() && REFUSED.load(Ordering::SeqCst) == HEAP && spent() && is_refused(HEAP) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Counts a refusal that the functions above do not count.
pub fn count_refusal() {
    TIMES.fetch_add(1, Ordering::SeqCst);
}
