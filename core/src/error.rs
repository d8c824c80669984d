//! Defines the one error table that every boundary reports.

use std::fmt::{self, Write};

use crate::buffer::memory;

/// The result of a millpond operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal, $name:literal, $anchor:literal, $description:literal;)*) => {
        /// Tells what went wrong. The numbers are the C status codes and are never reused.
        #[non_exhaustive]
        #[derive(Copy, Clone, Eq, PartialEq, Debug, Hash)]
        pub enum ErrorKind {
            $(#[doc = $description] $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind),*];

            /// Returns the C status code, a negative number.
            pub const fn code(self) -> i32 {
                match self { $(ErrorKind::$kind => $code),* }
            }

            /// Returns the name that follows `MILLPOND_ERR_` in C and `ERR_MILLPOND_` in Node.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => $name),* }
            }

            /// Describes the kind in one line.
            pub const fn description(self) -> &'static str {
                match self { $(ErrorKind::$kind => $description),* }
            }

            /// Returns the heading anchor in the README's section about errors.
            pub const fn anchor(self) -> &'static str {
                match self { $(ErrorKind::$kind => $anchor),* }
            }
        }
    };
}

kinds! {
    InvalidArgument = -1, "INVALID_ARGUMENT", "invalid-argument", "an argument has a value that cannot be used";
    NullPointer = -2, "NULL", "null", "a pointer that must not be null is null";
    DoublePut = -10, "DOUBLE_PUT", "double-put", "the lease was put before";
    UseAfterPut = -11, "USE_AFTER_PUT", "use-after-put", "the lease was put and is used after that";
    ForeignLease = -12, "FOREIGN_LEASE", "foreign-lease", "the lease belongs to another pool";
    Busy = -13, "BUSY", "busy", "a view or a pin still looks into the lease";
    Overrun = -14, "OVERRUN", "overrun", "the bytes behind the lease's length were overwritten";
    InvalidHandle = -15, "INVALID_HANDLE", "invalid-handle", "the number is no handle of this process";
    Exhausted = -20, "EXHAUSTED", "exhausted", "the pool's limit is reached";
    Closed = -21, "CLOSED", "closed", "the pool is closed";
    NoMemory = -22, "NO_MEMORY", "no-memory", "the system gives no memory";
    Record = -30, "RECORD", "record", "a record is malformed";
    Json = -31, "JSON", "json", "a JSON text is malformed";
    Corrupt = -32, "CORRUPT", "corrupt", "a file is damaged";
    Io = -33, "IO", "io", "an input or output operation failed";
    Panic = -100, "PANIC", "panic", "millpond itself failed: a bug to report";
}

impl ErrorKind {
    /// Returns the kind with this C status code.
    pub fn from_code(code: i32) -> Option<ErrorKind> {
        ErrorKind::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

/// An error of a pool or a lease: its [kind](ErrorKind) and a message that says what happened, to which pool and
/// size, and what to do. Without memory for the message, the kind's description stands for it.
///
/// Two words, so that a result without a value is returned in registers.
///
/// *Thread-safe.* *Fork:* plain data.
#[expect(clippy::box_collection, reason = "one word instead of three keeps results in registers")]
pub struct Error {
    kind: ErrorKind,
    message: Option<Box<String>>,
}

const _: () = assert!(size_of::<Result<()>>() == 16);

impl Error {
    /// Makes an error, for a binding's own argument checks. Never fails for want of memory.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Error {
        let mut text = Text::default();
        let whole = write!(text, "{message}").is_ok();
        let message = if whole { memory::try_box(text.0).ok() } else { None };
        Error { kind, message }
    }

    #[cold]
    pub(crate) fn invalid(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    fn text(&self) -> &str {
        self.message.as_ref().map_or(self.kind.description(), |message| message)
    }

    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the whole message, the same text as `Display`; as much of it as there is memory for.
    pub fn message(&self) -> String {
        let mut text = Text::default();
        // The text ends where the memory does.
        let _ = write!(text, "{self}");
        text.0
    }
}

impl Clone for Error {
    /// Copies the error. Never fails for want of memory: the kind's description stands for the message then.
    fn clone(&self) -> Error {
        match &self.message {
            Some(message) => Error::new(self.kind, message),
            None => Error { kind: self.kind, message: None },
        }
    }
}

/// An error in one word, which a result with a word beside it is returned with in registers.
pub(crate) struct Packed(usize);

impl Packed {
    /// No error.
    pub(crate) const NONE: Packed = Packed(0);

    /// Packs an error: the address of a box of it, or without memory its kind's code and the lowest bit, which no address
    /// has.
    pub(crate) fn new(error: Error) -> Packed {
        Packed(match memory::try_box(error) {
            Ok(error) => Box::into_raw(error).expose_provenance(),
            Err(error) => ((error.kind.code() as u32 as usize) << 1) | 1,
        })
    }

    /// Returns the error; it must have been packed.
    #[cold]
    pub(crate) fn unpack(self) -> Error {
        match self.0 {
            0 => Error { kind: ErrorKind::Panic, message: None },
            word if word & 1 == 0 => {
                let error = std::ptr::with_exposed_provenance_mut(word);
                // SAFETY: made by `Box::into_raw` in `new`; `self` is used up.
                *unsafe { Box::from_raw(error) }
            }
            word => {
                let code = (word >> 1) as u32 as i32;
                Error { kind: ErrorKind::from_code(code).unwrap_or(ErrorKind::Panic), message: None }
            }
        }
    }
}

/// A text that says so when there is no memory to grow.
#[derive(Default)]
pub(crate) struct Text(pub String);

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(part);
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text(), self.kind.name())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text())
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    /// Keeps the error as the source, except that of `NO_MEMORY`: `std` would need memory for it.
    fn from(error: Error) -> std::io::Error {
        use std::io::ErrorKind as Io;
        let kind = match error.kind {
            ErrorKind::NoMemory => return Io::OutOfMemory.into(),
            ErrorKind::InvalidArgument | ErrorKind::NullPointer => Io::InvalidInput,
            ErrorKind::Exhausted => Io::OutOfMemory,
            _ => Io::Other,
        };
        std::io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_packed_whole_and_kinds_fit_a_word() {
        for kind in ErrorKind::ALL {
            let error = Packed::new(Error::new(*kind, "why")).unpack();
            assert_eq!((error.kind(), error.text()), (*kind, "why"));
            let word = ((kind.code() as u32 as usize) << 1) | 1;
            assert_eq!(Packed(word).unpack().kind(), *kind);
        }
        // Nothing, and a number that is no kind's: bugs of ours.
        assert_eq!(Packed::NONE.unpack().kind(), ErrorKind::Panic);
        assert_eq!(Packed(3).unpack().kind(), ErrorKind::Panic);
    }

    #[test]
    fn codes_names_and_anchors_are_unique_and_round_trip() {
        for (i, a) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(ErrorKind::from_code(a.code()), Some(*a));
            assert!(a.code() < 0 && !a.description().is_empty());
            for b in &ErrorKind::ALL[i + 1..] {
                assert_ne!(a.code(), b.code());
                assert_ne!(a.name(), b.name());
                assert_ne!(a.anchor(), b.anchor());
            }
        }
        assert_eq!(ErrorKind::from_code(0), None);
    }
}
