//! The version of the library and of the header.

use std::ffi::{CStr, c_char};

use crate::boundary;

/// Major version of the header. It is also the number in the SONAME.
pub const MILLPOND_VERSION_MAJOR: u32 = 0;
/// Minor version of the header.
pub const MILLPOND_VERSION_MINOR: u32 = 1;
/// Patch version of the header.
pub const MILLPOND_VERSION_PATCH: u32 = 0;

const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    value
}

const fn joined(major: u32, minor: u32, patch: u32) -> u32 {
    major * 1_000_000 + minor * 1_000 + patch
}

const _: () = assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == MILLPOND_VERSION_MAJOR);
const _: () = assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == MILLPOND_VERSION_MINOR);
const _: () = assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == MILLPOND_VERSION_PATCH);

const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a version holds no NUL"),
};

/// Names the version of the library that is running, such as "0.1.0".
///
/// @return a string that lives as long as the process; never NULL
///
/// Ownership: the library's; not to be freed.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_version() -> *const c_char {
    boundary::value(TEXT.as_ptr(), || Ok(TEXT.as_ptr()))
}

/// Gives the version of the library that is running as one number: major * 1000000 + minor * 1000 + patch. Compare it with
/// MILLPOND_VERSION_NUMBER of the header the program was compiled with.
///
/// @return the number
///
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_version_number() -> u32 {
    const NUMBER: u32 = joined(MILLPOND_VERSION_MAJOR, MILLPOND_VERSION_MINOR, MILLPOND_VERSION_PATCH);
    boundary::value(NUMBER, || Ok(NUMBER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_written() {
        assert_eq!(["0", "7", "10", "204", "4294967295"].map(number), [0, 7, 10, 204, u32::MAX]);
        assert_eq!([joined(0, 0, 0), joined(0, 1, 0), joined(12, 3, 45)], [0, 1_000, 12_003_045]);
        // SAFETY: a NUL-terminated string that lives as long as the process.
        let text = unsafe { CStr::from_ptr(millpond_version()) };
        assert_eq!(text.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
        let mut parts = env!("CARGO_PKG_VERSION").split(['.', '-']).map(number);
        let expected = parts.by_ref().take(3).fold(0, |sum, part| sum * 1000 + part);
        assert_eq!(millpond_version_number(), expected);
    }
}
