//! Put into an instrumented crate by `schemata`: says which mutant this process is, by MILLPOND_MUTANT, or notes in the file
//! that MILLPOND_MUTANT_TRACE names which mutants' places are reached.
//!
//! It reads the environment before anything else runs and takes no memory, so that it can be asked anywhere: in signal
//! handlers, in a forked child, where the test lets allocations fail.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

const TRACE: u32 = u32::MAX;
/// How many mutants a trace has room for.
const ROOM: usize = 1 << 16;

static ACTIVE: AtomicU32 = AtomicU32::new(0);
static REACHED: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
    fn atoi(text: *const c_char) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(file: c_int) -> c_int;
    fn mmap(
        address: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
}

extern "C" fn read_environment() {
    // SAFETY: a name that ends with a NUL; nobody changes the environment yet.
    let number = unsafe { getenv(c"MILLPOND_MUTANT".as_ptr()) };
    if !number.is_null() {
        // SAFETY: a string of the environment.
        ACTIVE.store(unsafe { atoi(number) } as u32, Ordering::Relaxed);
        return;
    }
    // SAFETY: as above.
    let path = unsafe { getenv(c"MILLPOND_MUTANT_TRACE".as_ptr()) };
    if path.is_null() {
        return;
    }
    // SAFETY: a string of the environment; 2 is O_RDWR.
    let file = unsafe { open(path, 2) };
    if file < 0 {
        return;
    }
    // SAFETY: a place of the kernel's choice; PROT_READ | PROT_WRITE, MAP_SHARED. The file has room for all mutants already.
    let map = unsafe { mmap(std::ptr::null_mut(), ROOM, 3, 1, file, 0) };
    // SAFETY: opened above, used no more.
    unsafe { close(file) };
    if map as usize == usize::MAX {
        return;
    }
    REACHED.store(map.cast(), Ordering::Relaxed);
    ACTIVE.store(TRACE, Ordering::Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = read_environment;

/// Says whether this process is the mutant with this number. What the compiler computes is never mutated.
#[inline(always)]
pub const fn is(number: u32) -> bool {
    std::intrinsics::const_eval_select((number,), never, asked)
}

const fn never(_number: u32) -> bool {
    false
}

#[inline(always)]
fn asked(number: u32) -> bool {
    let active = ACTIVE.load(Ordering::Relaxed);
    if active == TRACE {
        note(number);
    }
    active == number
}

#[cold]
#[inline(never)]
fn note(number: u32) {
    let reached = REACHED.load(Ordering::Relaxed);
    if (number as usize) < ROOM {
        // SAFETY: inside the mapping, which is never given back.
        let place = unsafe { reached.add(number as usize) };
        // SAFETY: as above; any byte is a valid value.
        unsafe { (*place).store(1, Ordering::Relaxed) };
    }
}
