//! Tells of a put or a detach that failed.

use std::fmt;

use super::Lease;
use crate::error::{Error, ErrorKind};

/// A put or a detach that failed.
#[derive(Debug)]
pub struct PutError {
    /// What went wrong.
    pub error: Error,
    /// The lease, still live, where the error left it so: `FOREIGN_LEASE`, `NO_MEMORY`.
    pub lease: Option<Lease>,
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for PutError {}

impl From<PutError> for Error {
    fn from(error: PutError) -> Error {
        error.error
    }
}

impl PutError {
    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}
