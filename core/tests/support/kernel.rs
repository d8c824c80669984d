//! Asks the kernel without the C library, for test programs whose functions stand in the place of the library's.

use std::ffi::{c_int, c_long};

/// Makes a system call, and keeps its error number where C programs look for it.
pub fn ask(number: c_long, arguments: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result: c_long;
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
    if (-4095..0).contains(&result) { failed(-result as c_int) } else { result }
}

/// Fails as a function of the C library does.
pub fn failed(error: c_int) -> c_long {
    // SAFETY: the address of this thread's error number.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { place.write(error) };
    -1
}
