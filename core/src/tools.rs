//! Tells AddressSanitizer and valgrind which memory is whose, where one of them watches the process.
//!
//! Both are found when the first pool is made, so a stock library works with them. Under either, pools keep nothing in
//! threads' caches, and all that is here happens on the slow ways; without them it is a load of a constant there.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::buffer::depot::Entry;
use crate::buffer::memory;

const NONE: u8 = 0;
const ASAN: u8 = 1;
const VALGRIND: u8 = 2;

static TOOL: AtomicU8 = AtomicU8::new(NONE);
/// The functions of AddressSanitizer's run-time library (sanitizer/asan_interface.h).
static POISON: AtomicUsize = AtomicUsize::new(0);
static UNPOISON: AtomicUsize = AtomicUsize::new(0);

/// Looks for a tool, once, before the first pool exists.
pub(crate) fn look() {
    if running_on_valgrind() {
        TOOL.store(VALGRIND, Ordering::Relaxed);
        return;
    }
    if let Some((poison, unpoison)) = linked().or_else(exported) {
        POISON.store(poison, Ordering::Relaxed);
        UNPOISON.store(unpoison, Ordering::Relaxed);
        TOOL.store(ASAN, Ordering::Relaxed);
    }
}

/// Returns the two functions if both are there.
fn both(poison: usize, unpoison: usize) -> Option<(usize, usize)> {
    (poison != 0 && unpoison != 0).then_some((poison, unpoison))
}

/// Returns the two functions where a library that is loaded exports them.
fn exported() -> Option<(usize, usize)> {
    let find = |name: &std::ffi::CStr| {
        // SAFETY: looks a name up among the symbols of the process.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
    };
    both(find(c"__asan_poison_memory_region"), find(c"__asan_unpoison_memory_region"))
}

/// Returns the two functions where the linker knows them. A program that has AddressSanitizer's library inside (Rust's
/// `-Zsanitizer=address`, clang) does not export them, so that `dlsym` finds nothing.
#[cfg(target_arch = "x86_64")]
fn linked() -> Option<(usize, usize)> {
    let (poison, unpoison): (usize, usize);
    // SAFETY: reads two entries of the table of global offsets. The references are weak: zeros without AddressSanitizer.
    unsafe {
        std::arch::asm!(
            ".weak __asan_poison_memory_region",
            ".weak __asan_unpoison_memory_region",
            "mov {0}, qword ptr [rip + __asan_poison_memory_region@GOTPCREL]",
            "mov {1}, qword ptr [rip + __asan_unpoison_memory_region@GOTPCREL]",
            out(reg) poison, out(reg) unpoison, options(nomem, nostack, preserves_flags));
    }
    both(poison, unpoison)
}

#[cfg(not(target_arch = "x86_64"))]
fn linked() -> Option<(usize, usize)> {
    None
}

/// Says whether a tool watches.
#[inline]
pub(crate) fn watch() -> bool {
    TOOL.load(Ordering::Relaxed) != NONE
}

/// Makes the length of a lease the only part of its buffer that may be used.
pub(crate) fn lend(entry: Entry, len: usize) {
    if watch() {
        mark(entry.data as usize, len, true);
        mark(entry.data as usize + len, end_of(entry) - len, false);
    }
}

/// Makes all of a buffer usable, for the pool.
pub(crate) fn open(entry: Entry) {
    if watch() {
        mark(entry.data as usize, end_of(entry), true);
    }
}

/// Makes all of a buffer unusable.
pub(crate) fn close(entry: Entry) {
    if watch() {
        mark(entry.data as usize, end_of(entry), false);
    }
}

/// Makes memory unusable that no buffer was cut from yet.
pub(crate) fn close_range(start: NonNull<u8>, len: usize) {
    if watch() {
        mark(start.as_ptr() as usize, len, false);
    }
}

/// Makes memory usable that goes back to the system.
pub(crate) fn open_range(start: NonNull<u8>, len: usize) {
    if watch() {
        mark(start.as_ptr() as usize, len, true);
    }
}

/// Returns how far a buffer and the room for its canary go.
fn end_of(entry: Entry) -> usize {
    entry.slot.capacity() + if entry.slot.has_tail() { memory::TAIL } else { 0 }
}

#[cold]
fn mark(start: usize, len: usize, usable: bool) {
    if len == 0 {
        return;
    }
    match TOOL.load(Ordering::Relaxed) {
        ASAN => {
            let function = if usable { &UNPOISON } else { &POISON }.load(Ordering::Relaxed);
            // SAFETY: the address of one of the two functions, which have this type.
            let function = unsafe { std::mem::transmute::<usize, extern "C" fn(usize, usize)>(function) };
            function(start, len);
        }
        VALGRIND => {
            let request = if usable { MAKE_MEM_DEFINED } else { MAKE_MEM_NOACCESS };
            client_request(request, start, len);
        }
        _ => {}
    }
}

/// Numbers of valgrind's client requests (valgrind.h, memcheck.h).
const RUNNING_ON_VALGRIND: usize = 0x1001;
const MAKE_MEM_NOACCESS: usize = 0x4d43_0000;
const MAKE_MEM_DEFINED: usize = 0x4d43_0002;

fn running_on_valgrind() -> bool {
    client_request(RUNNING_ON_VALGRIND, 0, 0) != 0
}

/// Asks valgrind; 0 without it. The instructions do nothing on a processor, and valgrind knows them as a request.
#[cfg(target_arch = "x86_64")]
fn client_request(request: usize, first: usize, second: usize) -> usize {
    let arguments = [request, first, second, 0, 0, 0];
    let mut result = 0_usize;
    // SAFETY: four rotations that make a whole turn, and an exchange of a register with itself. Valgrind reads the six
    // arguments and writes the result.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") result, options(nostack));
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn client_request(_request: usize, _first: usize, _second: usize) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufferPool;

    #[test]
    fn half_of_a_tool_is_none() {
        assert_eq!([both(0, 0), both(1, 0), both(0, 2), both(1, 2)], [None, None, None, Some((1, 2))]);
    }

    #[test]
    fn a_buffer_ends_behind_the_room_for_its_canary_if_it_has_any() {
        let pool = BufferPool::new("ends").expect("a pool");
        let lease = pool.get(100).expect("a lease");
        assert_eq!(end_of(lease.entry()), 512 + memory::TAIL);
        let check = "sample:1".parse().expect("a mode");
        let pool = BufferPool::builder().check(check).build().expect("a pool");
        let lease = pool.get(100).expect("a lease");
        assert_eq!(end_of(lease.entry()), 128);
    }
}
