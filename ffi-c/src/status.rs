//! Status numbers, their names, and the message of this thread's last error.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char};
use std::fmt::Write;

use pond::{Error, ErrorKind};

use crate::boundary;

/// What a function reports. Numbers are never reused; 0 is success, everything else is negative.
#[repr(i32)]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum millpond_status {
    /// It worked.
    MILLPOND_OK = 0,
    /// An argument or option has a value that cannot be.
    MILLPOND_ERR_INVALID_ARGUMENT = -1,
    /// A pointer that must not be NULL is NULL.
    MILLPOND_ERR_NULL = -2,
    /// The lease was put before; nothing changed.
    MILLPOND_ERR_DOUBLE_PUT = -10,
    /// The lease is over.
    MILLPOND_ERR_USE_AFTER_PUT = -11,
    /// The lease belongs to another pool; it stays live.
    MILLPOND_ERR_FOREIGN_LEASE = -12,
    /// The lease is pinned or looked at; it stays live.
    MILLPOND_ERR_BUSY = -13,
    /// Something was written behind the lease's length; the lease is over and its buffer is not used again.
    MILLPOND_ERR_OVERRUN = -14,
    /// The number is no handle of this process, or its pool was freed.
    MILLPOND_ERR_INVALID_HANDLE = -15,
    /// The pool's limit is reached.
    MILLPOND_ERR_EXHAUSTED = -20,
    /// The pool is closed.
    MILLPOND_ERR_CLOSED = -21,
    /// The system has no memory to give.
    MILLPOND_ERR_NO_MEMORY = -22,
    /// A record cannot be read.
    MILLPOND_ERR_RECORD = -30,
    /// JSON text cannot be read.
    MILLPOND_ERR_JSON = -31,
    /// A file is damaged.
    MILLPOND_ERR_CORRUPT = -32,
    /// An input or output failed.
    MILLPOND_ERR_IO = -33,
    /// A bug in millpond was caught; please report it.
    MILLPOND_ERR_PANIC = -100,
}

use millpond_status::*;

fn of(kind: ErrorKind) -> millpond_status {
    match kind {
        ErrorKind::InvalidArgument => MILLPOND_ERR_INVALID_ARGUMENT,
        ErrorKind::NullPointer => MILLPOND_ERR_NULL,
        ErrorKind::DoublePut => MILLPOND_ERR_DOUBLE_PUT,
        ErrorKind::UseAfterPut => MILLPOND_ERR_USE_AFTER_PUT,
        ErrorKind::ForeignLease => MILLPOND_ERR_FOREIGN_LEASE,
        ErrorKind::Busy => MILLPOND_ERR_BUSY,
        ErrorKind::Overrun => MILLPOND_ERR_OVERRUN,
        ErrorKind::InvalidHandle => MILLPOND_ERR_INVALID_HANDLE,
        ErrorKind::Exhausted => MILLPOND_ERR_EXHAUSTED,
        ErrorKind::Closed => MILLPOND_ERR_CLOSED,
        ErrorKind::NoMemory => MILLPOND_ERR_NO_MEMORY,
        ErrorKind::Record => MILLPOND_ERR_RECORD,
        ErrorKind::Json => MILLPOND_ERR_JSON,
        ErrorKind::Corrupt => MILLPOND_ERR_CORRUPT,
        ErrorKind::Io => MILLPOND_ERR_IO,
        // The enum may grow in the core; `every_kind_has_its_status` fails until the new kind stands above.
        _ => MILLPOND_ERR_PANIC,
    }
}

/// Copies a text of the core and ends it with a NUL, at compile time.
const fn terminated<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut copy = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        copy[at] = bytes[at];
        at += 1;
    }
    copy
}

macro_rules! c_text {
    ($text:expr) => {{
        const TEXT: &str = $text;
        static BYTES: [u8; TEXT.len() + 1] = terminated(TEXT);
        match CStr::from_bytes_with_nul(&BYTES) {
            Ok(text) => text,
            Err(_) => c"",
        }
    }};
}

macro_rules! table {
    ($($kind:ident => $status:ident),+ $(,)?) => {
        /// Every status with its name in C and the core's description.
        fn texts(status: i32) -> Option<(&'static CStr, &'static CStr)> {
            match status {
                0 => Some((c"MILLPOND_OK", c"it worked")),
                $(status if status == $status as i32 => Some((
                    c_text!(stringify!($status)),
                    c_text!(ErrorKind::$kind.description()),
                )),)+
                _ => None,
            }
        }
    };
}

table! {
    InvalidArgument => MILLPOND_ERR_INVALID_ARGUMENT,
    NullPointer => MILLPOND_ERR_NULL,
    DoublePut => MILLPOND_ERR_DOUBLE_PUT,
    UseAfterPut => MILLPOND_ERR_USE_AFTER_PUT,
    ForeignLease => MILLPOND_ERR_FOREIGN_LEASE,
    Busy => MILLPOND_ERR_BUSY,
    Overrun => MILLPOND_ERR_OVERRUN,
    InvalidHandle => MILLPOND_ERR_INVALID_HANDLE,
    Exhausted => MILLPOND_ERR_EXHAUSTED,
    Closed => MILLPOND_ERR_CLOSED,
    NoMemory => MILLPOND_ERR_NO_MEMORY,
    Record => MILLPOND_ERR_RECORD,
    Json => MILLPOND_ERR_JSON,
    Corrupt => MILLPOND_ERR_CORRUPT,
    Io => MILLPOND_ERR_IO,
    Panic => MILLPOND_ERR_PANIC,
}

/// Room for one message: the pool's name and three call sites fit. Longer ones are cut.
const ROOM: usize = 1024;

/// A message and its NUL. Without a destructor, so that it can still be written while a thread ends, and without an
/// allocation, so that running out of memory can be reported.
struct Message(UnsafeCell<[u8; ROOM]>);

thread_local! {
    static LAST: Message = const { Message(UnsafeCell::new([0; ROOM])) };
}

struct Cursor<'a> {
    room: &'a mut [u8; ROOM],
    length: usize,
}

impl Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let fits = boundary::head(text, ROOM - 1 - self.length);
        for (to, byte) in self.room[self.length..].iter_mut().zip(fits.bytes()) {
            // A NUL inside would hide the rest from C.
            *to = if byte == 0 { b'?' } else { byte };
        }
        self.length += fits.len();
        if fits.len() == text.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

/// Keeps the error's message for `millpond_last_error` and gives its status.
pub(crate) fn record(error: &Error) -> millpond_status {
    let mut room = [0; ROOM];
    let mut cursor = Cursor { room: &mut room, length: 0 };
    // An error of the cursor means that the text was cut, which is fine.
    let _ = write!(cursor, "{error}");
    LAST.with(|last| {
        // SAFETY: this thread's own buffer; nothing else runs between here and the end of the copy.
        unsafe { last.0.get().write(room) }
    });
    of(error.kind())
}

/// Gives the message of this thread's last error: what happened, to which pool and size, and what to do.
///
/// A call that succeeds leaves it as it is, so look at it only after a call that failed.
///
/// @return NUL-terminated UTF-8 of at most 1023 bytes; "" when no call of this thread has failed yet; never NULL
///
/// Ownership: the library's. It stays as it is until this thread's next failing call, and is gone when the thread ends.
/// Threads: Thread-safe; each thread has its own.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_last_error() -> *const c_char {
    boundary::value(c"".as_ptr(), || Ok(LAST.with(|last| last.0.get().cast_const().cast())))
}

/// Names a status, such as "MILLPOND_ERR_DOUBLE_PUT".
///
/// @param status any number
/// @return a string that lives as long as the process; "MILLPOND_ERR_UNKNOWN" for a number that is no status; never NULL
///
/// Ownership: the library's; not to be freed.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_status_name(status: i32) -> *const c_char {
    const UNKNOWN: &CStr = c"MILLPOND_ERR_UNKNOWN";
    boundary::value(UNKNOWN.as_ptr(), || Ok(texts(status).map_or(UNKNOWN, |(name, _)| name).as_ptr()))
}

/// Describes a status in one line. The message of `millpond_last_error` says more.
///
/// @param status any number
/// @return a string that lives as long as the process; "not a status of millpond" for other numbers; never NULL
///
/// Ownership: the library's; not to be freed.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_status_description(status: i32) -> *const c_char {
    const UNKNOWN: &CStr = c"not a status of millpond";
    boundary::value(UNKNOWN.as_ptr(), || Ok(texts(status).map_or(UNKNOWN, |(_, description)| description).as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_name_and_description() {
        for &kind in ErrorKind::ALL {
            assert_eq!(of(kind) as i32, kind.code(), "{kind:?}");
            let (name, description) = texts(kind.code()).expect("in the table");
            assert_eq!(name.to_str().unwrap(), format!("MILLPOND_ERR_{}", kind.name()));
            assert_eq!(description.to_str().unwrap(), kind.description());
        }
        assert!(texts(-99).is_none());
    }

    #[test]
    fn texts_of_the_core_end_with_a_nul_in_c() {
        assert_eq!(terminated::<4>("abc"), *b"abc\0");
        assert_eq!(terminated::<1>(""), *b"\0");
        for number in [0, -10, -99, 1] {
            // SAFETY: both are NUL-terminated strings that live as long as the process.
            let name = unsafe { CStr::from_ptr(millpond_status_name(number)) }.to_str().unwrap();
            // SAFETY: as above.
            let description = unsafe { CStr::from_ptr(millpond_status_description(number)) }.to_str().unwrap();
            let expected = match number {
                0 => ("MILLPOND_OK", "it worked"),
                -10 => ("MILLPOND_ERR_DOUBLE_PUT", ErrorKind::DoublePut.description()),
                _ => ("MILLPOND_ERR_UNKNOWN", "not a status of millpond"),
            };
            assert_eq!((name, description), expected);
        }
    }

    #[test]
    fn a_long_message_is_cut_and_a_nul_replaced() {
        let long = format!("a\0b{}", "é".repeat(ROOM));
        record(&Error::new(ErrorKind::Io, long));
        // SAFETY: a NUL-terminated string of this thread.
        let text = unsafe { CStr::from_ptr(millpond_last_error()) };
        let text = text.to_str().expect("cut between characters");
        assert!(text.starts_with("a?bé"));
        assert!(text.len() < ROOM && text.len() >= ROOM - 3);
    }
    #[test]
    fn a_message_that_just_does_not_fit_is_cut_in_its_last_words() {
        for len in [0, 1, 100].into_iter().chain(ROOM - 10..ROOM + 3) {
            let error = Error::new(ErrorKind::Io, "x".repeat(len));
            let whole = error.to_string();
            record(&error);
            // SAFETY: a NUL-terminated string of this thread.
            let text = unsafe { CStr::from_ptr(millpond_last_error()) };
            assert_eq!(text.to_str().unwrap(), &whole[..whole.len().min(ROOM - 1)], "{len}");
        }
    }
}
