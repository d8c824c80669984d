//! Tells whose memory was touched when an access to a guarded lease faults.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::guard;
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
/// not know.
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
    // SAFETY: of a fault, which has an address; a signal that was sent has another word there, which is no lease's.
    let address = unsafe { fault.si_addr() } as usize;
    let mut text = Text { bytes: [0; 1024], len: 0 };
    if guard::describe(address, &mut text).is_some() {
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
            // SAFETY: an all-zero sigaction is the default action; the instruction runs again and ends the process.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: points to a sigaction.
            unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
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
