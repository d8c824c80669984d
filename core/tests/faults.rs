//! What is said of an access to a guarded lease's pages, and who handles the fault afterwards. Each case runs in a process of
//! its own, which ends by it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicPtr, Ordering};

use millpond::{BufferPool, Check};

const VARIABLE: &str = "MILLPOND_TEST_FAULT";

fn run(case: &str) -> (ExitStatus, String) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, case)
        .output()
        .expect("the program starts");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

extern "C" fn leave(_signal: libc::c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(42) };
}

extern "C" fn leave_informed(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel's description of the signal.
    let told = unsafe { (*info).si_signo };
    // SAFETY: ends the process.
    unsafe { libc::_exit(if told == signal { 43 } else { 44 }) };
}

/// Passes a fault on as Python's `faulthandler` does: by putting back what stood before and raising the signal.
extern "C" fn pass_on(signal: libc::c_int) {
    let before = BEFORE.load(Ordering::SeqCst);
    // SAFETY: the address of a sigaction that lives for ever, written before this handler stood.
    unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}

/// What stood before [`pass_on`].
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    let Ok(case) = std::env::var(VARIABLE) else {
        return;
    };
    if case.contains("handler") {
        // SAFETY: the handler only ends the process.
        unsafe { libc::signal(libc::SIGSEGV, leave as *const () as libc::sighandler_t) };
    }
    if case.contains("informed") {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = leave_informed as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler only ends the process.
        unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    }
    if case.contains("ignored") {
        // SAFETY: says what is done with the signal.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_IGN) };
    }
    if case.contains("default") {
        // In place of the handler by which Rust notices that a stack overflows.
        // SAFETY: says what is done with the signal.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    }
    if !case.contains("silent") {
        millpond::report_faults().expect("a handler");
        millpond::report_faults().expect("again does nothing");
    }
    if case.contains("passed on") {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = pass_on as *const () as usize;
        action.sa_flags = libc::SA_NODEFER;
        // SAFETY: an all-zero sigaction is a valid value.
        let before = Box::into_raw(Box::new(unsafe { std::mem::zeroed() }));
        BEFORE.store(before, Ordering::SeqCst);
        // SAFETY: the handler only passes on.
        unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, before) };
    }
    if case.contains("sent by itself") {
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSEGV) };
        std::process::exit(9);
    }
    if case.contains("sent by another") {
        // SAFETY: takes nothing.
        let this = unsafe { libc::getpid() };
        let status = Command::new("kill").args(["-SEGV", &this.to_string()]).status().expect("kill runs");
        assert!(status.success());
        std::thread::sleep(std::time::Duration::from_secs(20));
        std::process::exit(9);
    }
    let check: Check = "sample:1".parse().expect("a mode");
    let pool = BufferPool::builder().name("guarded").check(check).build().expect("a pool");
    if case.contains("by number") {
        let lease = millpond::raw::get(pool.id(), 4096, millpond::Site::NONE).expect("a lease");
        // SAFETY: none: this is the bug. The page behind is inaccessible.
        unsafe { lease.data.wrapping_add(4096 + 9).write_volatile(1) };
    }
    let mut lease = pool.get(if case.contains("short") { 100 } else { 4096 }).expect("a lease");
    let data = lease.as_mut_ptr();
    if case.contains("named") {
        lease.set_site(millpond::Site::interned("script.py", 3, "f"));
    }
    if case.contains("before") {
        lease.put().expect("unharmed");
        // SAFETY: none: this is the bug. The pages are inaccessible.
        unsafe { data.wrapping_sub(50).write_volatile(1) };
    } else if case.contains("past") {
        lease.put().expect("unharmed");
        // SAFETY: none: this is the bug. The pages are inaccessible.
        unsafe { data.wrapping_add(100).write_volatile(1) };
    } else if case.contains("overrun") {
        // SAFETY: none: this is the bug. The page behind is inaccessible.
        unsafe { data.wrapping_add(4096).write_volatile(1) };
    } else {
        // SAFETY: none: this is another bug, which is nobody's lease.
        unsafe { std::ptr::dangling_mut::<u8>().write_volatile(1) };
    }
    unreachable!("the access faults");
}

#[test]
fn a_write_past_the_end_is_reported_at_the_instruction() {
    let (status, text) = run("overrun");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    for part in [
        "millpond: OVERRUN",
        "1 bytes behind the end of a lease of 4096 bytes",
        "\"guarded\"",
        "got at core/tests/faults.rs:",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(", put"), "{text}");
}

#[test]
fn a_use_after_the_put_is_reported_at_the_instruction() {
    let (status, text) = run("past");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    for part in ["millpond: USE_AFTER_PUT", "at byte 100 of a lease of 4096 bytes", "put at core/tests/faults.rs:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_fault_that_another_handler_passes_on_is_reported_too() {
    let (status, text) = run("passed on past");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(text.contains("millpond: USE_AFTER_PUT") && text.contains("at byte 100 of a lease"), "{text}");
    let (status, text) = run("default passed on past");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(text.contains("at byte 100 of a lease"), "{text}");
    let (status, text) = run("passed on nobody's");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(!text.contains("millpond:"), "{text}");
}

#[test]
fn a_signal_that_is_no_fault_ends_the_process_without_a_report() {
    for case in ["default sent by itself", "default sent by another"] {
        let (status, text) = run(case);
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{case}: {text}");
        assert!(!text.contains("millpond:"), "{case}: {text}");
    }
}

#[test]
fn the_place_in_a_script_is_named_in_a_report_too() {
    let (_, text) = run("named overrun");
    assert!(text.contains("got at script.py:3 in f by thread"), "{text}");
}

#[test]
fn a_lease_whose_place_is_unknown_is_reported_with_its_thread() {
    let (_, text) = run("by number");
    assert!(text.contains("is 10 bytes behind the end of a lease of 4096 bytes"), "{text}");
    assert!(text.contains(", got by thread ") && !text.contains("got at"), "{text}");
}

#[test]
fn an_access_before_the_lease_is_told_from_one_behind_it() {
    let (_, text) = run("short before");
    assert!(text.contains("is 50 bytes before a lease of 100 bytes of pool \"guarded\""), "{text}");
}

#[test]
fn the_handler_that_stood_before_runs_afterwards() {
    let (status, text) = run("handler past");
    assert_eq!(status.code(), Some(42), "{text}");
    assert!(text.contains("millpond: USE_AFTER_PUT"), "{text}");
    let (status, text) = run("informed past");
    assert_eq!(status.code(), Some(43), "{text}");
    assert!(text.contains("millpond: USE_AFTER_PUT"), "{text}");
    // A fault cannot be ignored: the instruction would run for ever.
    let (status, text) = run("ignored past");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(text.contains("millpond: USE_AFTER_PUT"), "{text}");
}

#[test]
fn other_faults_are_none_of_ours() {
    for (case, code) in [("nobody's", None), ("nobody's handler", Some(42)), ("silent overrun", None)] {
        let (status, text) = run(case);
        assert_eq!(status.code(), code, "{case}: {text}");
        assert_eq!(status.signal().is_some(), code.is_none(), "{case}: {text}");
        assert!(!text.contains("millpond:"), "{case}: {text}");
    }
}
