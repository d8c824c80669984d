//! Names the place in the user's code where a get or a put happened.

use std::collections::HashMap;
use std::ffi::{CStr, c_char};
use std::fmt::{self, Write};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::Location;

use crate::error::Text;
use crate::sync::Lock;

/// A call site in one word, so that recording it is one store.
///
/// ```text
/// 63        49  48  47                                    0
/// +-----------+---+----------------------------------------+
/// | line      | 0 | address of a Location                  |
/// | (C only)  | 1 | of a C file's name, or number of a name|
/// +-----------+---+----------------------------------------+
/// ```
/// A place in Rust is an address and nothing else: a constant, which a compiler needs no register for. Addresses of a program's
/// data fit 48 bits on x86-64 and aarch64, and are above the numbers of names. Lines above 32,767 of a C file are shown as 32,767.
///
/// *Thread-safe.* *Fork:* plain data; what it points to is never freed.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct Site(u64);

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
const NOT_RUST: u64 = 1;
const LINE_SHIFT: u32 = ADDRESS_BITS + 1;
const LINE_MAX: u32 = (1 << (64 - LINE_SHIFT)) - 1;

/// How many names scripting languages may hand over: a program could make up files without end. No address of a program's data is
/// below this number, which tells the two apart.
const NAMES_MAX: usize = 1 << 16;
static NAMES: Lock<Names> =
    Lock::new(Names { list: Vec::new(), numbers: HashMap::with_hasher(BuildHasherDefault::new()) });

/// The names in the order they came, and the way back from a name. None ever goes.
struct Names {
    list: Vec<&'static str>,
    numbers: HashMap<&'static str, usize, BuildHasherDefault<DefaultHasher>>,
}

impl Names {
    /// Returns a name's number; `None` without room or memory for a new one.
    fn number_of(&mut self, name: String) -> Option<usize> {
        if let Some(number) = self.numbers.get(name.as_str()) {
            return Some(*number);
        }
        let number = self.list.len();
        if number >= NAMES_MAX || self.list.try_reserve(1).is_err() || self.numbers.try_reserve(1).is_err() {
            return None;
        }
        let name: &'static str = name.leak();
        self.list.push(name);
        self.numbers.insert(name, number);
        Some(number)
    }
}

pub(crate) fn lock_for_fork() {
    NAMES.lock_for_fork();
}

/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { NAMES.unlock_after_fork() };
}

/// What a site names.
enum Place {
    Unknown,
    Rust(&'static Location<'static>),
    C(&'static CStr, u64),
    Name(usize),
}

impl Site {
    /// The site of a caller that told none.
    pub const NONE: Site = Site(0);

    /// Names a place in Rust code.
    #[inline(always)]
    pub fn rust(location: &'static Location<'static>) -> Site {
        Site(std::ptr::from_ref(location).expose_provenance() as u64)
    }

    /// Names a line of a C or C++ file.
    ///
    /// # Safety
    /// `file` is null or a NUL-terminated string that lives as long as the process, as `__FILE__` does.
    #[inline(always)]
    pub unsafe fn c(file: *const c_char, line: u32) -> Site {
        if file.is_null() {
            return Site::NONE;
        }
        // Line and kind go around from below the address, which loses what is above its bits on the way up.
        let line = if line > LINE_MAX {
            std::hint::cold_path();
            LINE_MAX
        } else {
            line
        };
        let line_and_kind = u64::from(line) << (LINE_SHIFT - ADDRESS_BITS) | NOT_RUST;
        Site((line_and_kind | (file as u64) << (64 - ADDRESS_BITS)).rotate_right(64 - ADDRESS_BITS))
    }

    /// Names a place in a script; the name is kept for the life of the process. Beyond 65,536 names, and without memory
    /// for the name: [`Site::NONE`].
    pub fn interned(file: &str, line: u32, function: &str) -> Site {
        let mut name = Text::default();
        let written = match function {
            "" => write!(name, "{file}:{line}"),
            _ => write!(name, "{file}:{line} in {function}"),
        };
        if written.is_err() {
            return Site::NONE;
        }
        let number = NAMES.lock().number_of(name.0);
        number.map_or(Site::NONE, |number| Site((number as u64) | (NOT_RUST << ADDRESS_BITS)))
    }

    /// Returns the place for a signal handler to write: without waiting for a lock that the interrupted code may hold.
    pub(crate) fn in_signal(self) -> InSignal {
        InSignal(self)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Site {
        Site(bits)
    }

    fn place(self) -> Place {
        let address = self.0 & ADDRESS_MASK;
        if self.0 == 0 {
            Place::Unknown
        } else if self.0 >> ADDRESS_BITS & NOT_RUST == 0 {
            // SAFETY: `Site::rust` took the address of a `&'static Location`; nothing else leaves this bit out.
            Place::Rust(unsafe { &*std::ptr::with_exposed_provenance::<Location<'static>>(address as usize) })
        } else if (address as usize) < NAMES_MAX {
            Place::Name(address as usize)
        } else {
            // SAFETY: the caller of `Site::c` promised a NUL-terminated string that lives as long as the process.
            Place::C(
                unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(address as usize)) },
                self.0 >> LINE_SHIFT,
            )
        }
    }

    /// Tells whether a place is known.
    pub fn is_known(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Place::Unknown => f.write_str("unknown"),
            Place::Rust(location) => write!(f, "{}:{}", location.file(), location.line()),
            Place::C(file, line) => write!(f, "{}:{line}", Lossy(file.to_bytes())),
            Place::Name(number) => f.write_str(NAMES.lock().list.get(number).unwrap_or(&"unknown")),
        }
    }
}

/// Bytes, shown as `String::from_utf8_lossy` does, without memory.
pub(crate) struct Lossy<'a>(pub &'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            f.write_str(part.valid())?;
            if !part.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// See [`Site::in_signal`].
pub(crate) struct InSignal(Site);

impl fmt::Display for InSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place::Name(number) = self.0.place() else {
            return self.0.fmt(f);
        };
        match NAMES.try_lock().as_ref().and_then(|names| names.list.get(number)) {
            Some(name) => f.write_str(name),
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_names_its_place() {
        let here = Site::rust(Location::caller());
        assert!(here.to_string().contains("site.rs:"));
        // SAFETY: a C string literal is static.
        let c = unsafe { Site::c(c"main.c".as_ptr(), 41) };
        assert_eq!(c.to_string(), "main.c:41");
        // SAFETY: null is allowed.
        assert_eq!(unsafe { Site::c(std::ptr::null(), 41) }, Site::NONE);
        let name = Site::interned("app.py", 7, "read");
        assert_eq!(name.to_string(), "app.py:7 in read");
        assert_eq!(name, Site::interned("app.py", 7, "read"));
        assert_eq!(Site::NONE.to_string(), "unknown");
        // SAFETY: a C string literal is static.
        let far = unsafe { Site::c(c"far.c".as_ptr(), 1 << 20) };
        assert_eq!(far.to_string(), "far.c:32767");
        // SAFETY: a C string literal is static.
        let odd = unsafe { Site::c(c"a\xff\xc3\xb6.c".as_ptr(), 3) };
        assert_eq!(odd.to_string(), "a\u{fffd}\u{f6}.c:3");
        // Of a number that is no name's.
        let nobody = Site::from_bits((NAMES_MAX as u64 - 1) | (NOT_RUST << ADDRESS_BITS));
        assert_eq!((nobody.to_string().as_str(), nobody.in_signal().to_string().as_str()), ("unknown", "unknown"));
    }

    #[test]
    fn a_fork_keeps_the_names_to_itself_and_a_signal_does_not_wait_for_them() {
        let name = Site::interned("locked.py", 1, "");
        lock_for_fork();
        let free = NAMES.try_lock().is_some();
        let shown = name.in_signal().to_string();
        // SAFETY: locked by this thread, just now.
        unsafe { unlock_after_fork() };
        assert_eq!((free, shown.as_str(), name.to_string().as_str()), (false, "unknown", "locked.py:1"));
    }
}
