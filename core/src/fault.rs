//! Tells whose memory was touched when an access to a guarded lease faults.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::guard;
#[cfg(target_arch = "x86_64")]
use crate::buffer::memory;
use crate::error::{Error, ErrorKind, Result};

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The handlers that stood before ours, in the order of [`SIGNALS`].
struct Before(UnsafeCell<[MaybeUninit<libc::sigaction>; 2]>);

// SAFETY: written once by the thread that won `INSTALLED`, before our handler stands; only read afterwards.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new([MaybeUninit::uninit(); 2]));
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs, once for the process, a handler of SIGSEGV and SIGBUS that writes a report on standard error when the address
/// belongs to a lease that a pool [guards](crate::Check::Sample): which lease, where it was got and put, how far off the
/// access is. It then lets the handler run that stood before, or the system's default, so that the process ends, or goes
/// on, as it would have without. A handler that another library installs later is asked first and must pass on what it does
/// not know: by calling ours, or by putting ours back and raising the signal, as Python's `faulthandler` does.
///
/// The report is written without taking a lock or memory. Calling this again does nothing.
///
/// # Errors
/// `IO`: the system does not let the handler be installed.
///
/// *Thread-safe.* *Fork:* a child has the handler too.
pub fn report_faults() -> Result<()> {
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    for (place, signal) in SIGNALS.into_iter().enumerate() {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: only the winner of `INSTALLED` is here, and nobody reads before our handler stands.
        let before = unsafe { &mut *BEFORE.0.get() };
        // SAFETY: both point to a sigaction.
        if unsafe { libc::sigaction(signal, &raw const action, before[place].as_mut_ptr()) } != 0 {
            return Err(Error::new(ErrorKind::Io, format_args!("no handler for signal {signal} can be installed")));
        }
    }
    Ok(())
}

/// How far up the stack the fault is looked for that another handler was asked about.
#[cfg(target_arch = "x86_64")]
const LOOK_UP: usize = 16 << 10;

/// Returns the address that was touched. Another handler that was asked first and passes the fault on by raising the signal
/// leaves the address behind.
fn address_of(fault: &libc::siginfo_t, context: *const libc::c_void) -> Option<usize> {
    if !was_sent(fault) {
        // SAFETY: of a fault, which has an address.
        return Some(unsafe { fault.si_addr() } as usize);
    }
    // SAFETY: of a signal that was sent, which has a sender.
    let sender = unsafe { fault.si_pid() };
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::getpid() };
    if sender != own || context.is_null() {
        return None;
    }
    // SAFETY: the system passes the context that was interrupted.
    find_on_stack(unsafe { &*context.cast::<libc::ucontext_t>() })
}

/// Says whether a process sent the signal: `SI_TKILL`, `SI_USER`.
fn was_sent(fault: &libc::siginfo_t) -> bool {
    fault.si_code <= 0
}

/// Looks for the registers that the system saved for the handler that was asked first: they stand on the stack, a little
/// above where that handler was interrupted.
#[cfg(target_arch = "x86_64")]
fn find_on_stack(context: &libc::ucontext_t) -> Option<usize> {
    /// The number of the trap in which an address is not accessible.
    const PAGE_FAULT: u64 = 14;
    const ERROR_MAX: u64 = 0xffff;
    let page = memory::page_size();
    let mut readable = 0;
    let start = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    let places = (start.next_multiple_of(size_of::<u64>())..).step_by(size_of::<u64>());
    for place in places.take(LOOK_UP / size_of::<u64>()) {
        let last = place + 3 * size_of::<u64>();
        if last >= readable {
            let next = last / page * page;
            if !is_mapped(next, page) {
                return None;
            }
            readable = next + page;
        }
        // As the registers stand there: what was wrong, the trap, the mask of signals, the address.
        // SAFETY: words of the thread's own stack, in pages that are there.
        let [error, trap, _, address] = unsafe { std::ptr::read_volatile(place as *const [u64; 4]) };
        if error <= ERROR_MAX && trap == PAGE_FAULT && guard::is_known(address as usize) {
            return Some(address as usize);
        }
    }
    None
}

/// Elsewhere the fault that another handler was asked about first is not found.
#[cfg(not(target_arch = "x86_64"))]
fn find_on_stack(_: &libc::ucontext_t) -> Option<usize> {
    None
}

/// Says whether a page is mapped. It is part of a stack then, so that it can be read.
#[cfg(target_arch = "x86_64")]
fn is_mapped(start: usize, len: usize) -> bool {
    let mut state = 0;
    // SAFETY: asks about one page, for which there is one byte.
    unsafe { libc::mincore(start as *mut libc::c_void, len, &raw mut state) == 0 }
}

/// Room for one report.
struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the address of a siginfo.
    let fault = unsafe { &*info };
    let mut text = Text { bytes: [0; 1024], len: 0 };
    if address_of(fault, context).is_some_and(|address| guard::describe(address, &mut text).is_some()) {
        // SAFETY: writes initialised bytes; the result does not matter.
        unsafe { libc::write(2, text.bytes.as_ptr().cast(), text.len) };
    }
    let place = usize::from(signal == SIGNALS[1]);
    // SAFETY: written before our handler stood, see `report_faults`.
    let before = unsafe { &*BEFORE.0.get() };
    // SAFETY: as above.
    let before = unsafe { before[place].assume_init_ref() };
    pass_on(signal, info, context, before);
}

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, before: &libc::sigaction) {
    match before.sa_sigaction {
        // To ignore a fault would only repeat it.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: an all-zero sigaction is the default action; an instruction that faults runs again and ends the process.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: points to a sigaction.
            unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
            // SAFETY: as in `handle`.
            if was_sent(unsafe { &*info }) {
                // No instruction will bring it again.
                // SAFETY: takes a number; the default action ends the process.
                unsafe { libc::raise(signal) };
            }
        }
        address if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: somebody installed this address as a handler with three arguments.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(address) };
            handler(signal, info, context);
        }
        address => {
            // SAFETY: somebody installed this address as a handler with one argument.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(address) };
            handler(signal);
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::{BufferPool, Lease};

    /// Pages that stand for a stack, with none behind them.
    struct Stack(*mut u64);

    /// What the registers say that the system saved: an access, by a page fault.
    fn saved(address: usize) -> [u64; 4] {
        [6, 14, 0, address as u64]
    }

    impl Stack {
        const LEN: usize = 2 * LOOK_UP;

        fn new() -> Stack {
            let (page, rights) = (memory::page_size(), libc::PROT_READ | libc::PROT_WRITE);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: new pages, where nothing is.
            let start = unsafe { libc::mmap(std::ptr::null_mut(), Stack::LEN + page, rights, flags, -1, 0) };
            assert_ne!(start, libc::MAP_FAILED);
            // SAFETY: the last of them, which nobody uses.
            assert_eq!(unsafe { libc::munmap(start.wrapping_byte_add(Stack::LEN), page) }, 0);
            Stack(start.cast())
        }

        fn put(&mut self, place: usize, words: [u64; 4]) {
            assert!(place + size_of_val(&words) <= Stack::LEN);
            // SAFETY: inside the pages.
            unsafe { self.0.wrapping_byte_add(place).cast::<[u64; 4]>().write(words) };
        }

        /// What a handler finds that was interrupted when the stack's end was there.
        fn find(&self, from: usize) -> Option<usize> {
            // SAFETY: integers and pointers, which may all be zero.
            let mut context: libc::ucontext_t = unsafe { std::mem::zeroed() };
            context.uc_mcontext.gregs[libc::REG_RSP as usize] = self.0 as i64 + from as i64;
            address_of(&sent_by(std::process::id()), (&raw const context).cast())
        }
    }

    impl Drop for Stack {
        fn drop(&mut self) {
            // SAFETY: the pages of `new`.
            unsafe { libc::munmap(self.0.cast(), Stack::LEN) };
        }
    }

    /// A signal that a process sent.
    fn sent_by(process: u32) -> libc::siginfo_t {
        // SAFETY: integers, which may all be zero.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        info.si_code = libc::SI_TKILL;
        // SAFETY: the sender stands in the fifth word (sigaction(2), on 64 bits).
        unsafe { (&raw mut info).cast::<u32>().wrapping_add(4).write(process) };
        info
    }

    fn guarded() -> Lease {
        let check = "sample:1".parse().expect("a mode");
        BufferPool::builder().check(check).build().expect("a pool").get(4096).expect("a lease")
    }

    #[test]
    fn a_fault_is_looked_for_as_far_up_as_it_may_be_and_no_further() {
        let lease = guarded();
        let address = lease.as_ptr() as usize + lease.len();
        let mut stack = Stack::new();
        assert_eq!(stack.find(0), None);
        stack.put(LOOK_UP, saved(address));
        assert_eq!((stack.find(0), stack.find(8), stack.find(1)), (None, Some(address), Some(address)));
        // The nearest, and of those that are one.
        stack.put(64, saved(address + 1));
        for other in
            [[6, 13, 0, address as u64], [1 << 16, 14, 0, address as u64], saved(lease.as_ptr() as usize - (1 << 40))]
        {
            stack.put(8, other);
            assert_eq!(stack.find(0), Some(address + 1), "{other:?}");
        }
        stack.put(8, [0xffff, 14, 0, address as u64]);
        assert_eq!(stack.find(0), Some(address));
    }

    #[test]
    fn nothing_is_read_beyond_the_stack() {
        let lease = guarded();
        let address = lease.as_ptr() as usize + lease.len();
        let mut stack = Stack::new();
        for from in [0, 8, 16, 24, 32, 40, 4096, 5000] {
            assert_eq!(stack.find(Stack::LEN - from), None, "{from}");
        }
        stack.put(Stack::LEN - 32, saved(address));
        assert_eq!((stack.find(Stack::LEN - 5000), stack.find(Stack::LEN - 24)), (Some(address), None));
    }

    #[test]
    fn a_signal_of_another_process_or_without_a_context_is_no_fault() {
        let lease = guarded();
        let mut stack = Stack::new();
        stack.put(0, saved(lease.as_ptr() as usize + lease.len()));
        assert!(stack.find(0).is_some());
        // SAFETY: integers and pointers, which may all be zero.
        let mut context: libc::ucontext_t = unsafe { std::mem::zeroed() };
        context.uc_mcontext.gregs[libc::REG_RSP as usize] = stack.0 as i64;
        let context = (&raw const context).cast();
        assert_eq!(address_of(&sent_by(std::process::id() + 1), context), None);
        assert_eq!(address_of(&sent_by(std::process::id()), std::ptr::null()), None);
    }
}
