//! A memory pool whose leases name their misuse.
//!
//! A program asks a [pool](BufferPool) for a buffer, owns it as a [`Lease`], and gives it back by dropping or
//! putting it. The pool keeps exact [statistics](Stats), bounds what it holds, gives idle memory back, and reports
//! every breach of ownership as an [error](Error): here, where the compiler cannot see it, and in C, C++, Python
//! and Node, which share this crate.
//!
//! ```
//! let mut lease = millpond::get(4096)?;
//! lease[0] = 1;
//! drop(lease);
//! # Ok::<(), millpond::Error>(())
//! ```
//!
//! [`design`] explains how it works.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("millpond is written for 64-bit Linux: mmap, mincore, membarrier and getrandom as they are there");

mod buffer;
mod check;
mod clock;
pub mod design;
mod environment;
mod error;
mod fault;
mod fork;
mod inject;
mod leaks;
mod misuse;
#[cfg(all(test, millpond_models))]
#[path = "../../tests/models/mod.rs"]
mod models;
mod options;
mod report;
mod site;
mod stats;
mod sync;
#[doc(hidden)]
pub mod text;
mod tls;
mod tools;
mod trace;

pub use buffer::raw;
pub use buffer::{Act, BufferPool, Builder, Detached, Held, Lease, PutError, Writer, default_pool};
pub use check::Check;
pub use error::{Error, ErrorKind, Result};
pub use fault::report_faults;
pub use inject::Injection;
pub use leaks::LeakRecord;
pub use options::{Classes, ClearPolicy, LimitPolicy};
pub use site::Site;
pub use stats::{ClassStats, ClassStatsList, Field, Kind, Stats};

/// Takes a lease of `len` bytes from the [default pool](default_pool).
///
/// # Errors
/// As [`BufferPool::get`].
#[track_caller]
pub fn get(len: usize) -> Result<Lease> {
    default_pool()?.get(len)
}

/// The version of this crate, and of every package made from it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
