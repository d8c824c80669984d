//! Reads the environment without memory: `std::env` copies what it finds, and ends the process where it cannot.

use std::ffi::CStr;

use crate::error::{Error, Result};
use crate::site::Lossy;

/// Parses a variable's value; `None` if it is not set. `choice` says what it may be.
///
/// # Errors
/// `INVALID_ARGUMENT`: `parse` takes the value for none, or it is not UTF-8.
pub(crate) fn read<T>(name: &CStr, choice: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>> {
    // SAFETY: the name ends with a NUL. Whoever changes the environment promises that nobody reads it meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return Ok(None);
    }
    // SAFETY: the environment's strings end with a NUL; this one is not kept.
    let value = unsafe { CStr::from_ptr(value) }.to_bytes();
    match std::str::from_utf8(value).ok().and_then(parse) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(Error::invalid(format_args!("{} is \"{}\"; {choice}", Lossy(name.to_bytes()), Lossy(value)))),
    }
}
