//! Tests millpond across its languages. The scenarios are in `spec/`, their Rust runner in `tests/spec.rs`.
//!
//! What the Rust compiler refuses is the part of the ownership contract that no scenario can run. Each refusal is shown here
//! beside the form it accepts; `cargo test` holds the compiler to both.
//!
//! A put takes the lease by value, so nothing is left to put a second time:
//! ```
//! let pool = millpond::BufferPool::new("accepted")?;
//! let lease = pool.get(100)?;
//! lease.put()?;
//! # Ok::<(), millpond::Error>(())
//! ```
//! ```compile_fail,E0382
//! let pool = millpond::BufferPool::new("refused")?;
//! let lease = pool.get(100)?;
//! lease.put()?;
//! lease.put()?;
//! # Ok::<(), millpond::Error>(())
//! ```
//! nor to read or write:
//! ```compile_fail,E0382
//! let pool = millpond::BufferPool::new("refused")?;
//! let lease = pool.get(100)?;
//! lease.put()?;
//! let first = lease[0];
//! # Ok::<(), millpond::Error>(())
//! ```
//! A view borrows the lease, so a put while it lives does not compile:
//! ```
//! let pool = millpond::BufferPool::new("accepted")?;
//! let lease = pool.get(100)?;
//! let view = &lease[..10];
//! assert_eq!(view.len(), 10);
//! lease.put()?;
//! # Ok::<(), millpond::Error>(())
//! ```
//! ```compile_fail,E0505
//! let pool = millpond::BufferPool::new("refused")?;
//! let lease = pool.get(100)?;
//! let view = &lease[..10];
//! lease.put()?;
//! assert_eq!(view.len(), 10);
//! # Ok::<(), millpond::Error>(())
//! ```
//! Two threads cannot put the same lease, because both would have to own it:
//! ```compile_fail,E0382
//! let pool = millpond::BufferPool::new("refused")?;
//! let lease = pool.get(100)?;
//! let other = std::thread::spawn(move || lease.put());
//! lease.put()?;
//! # drop(other);
//! # Ok::<(), millpond::Error>(())
//! ```
//! Two threads cannot write the same lease either, because `&mut` is not shared:
//! ```compile_fail,E0499
//! let pool = millpond::BufferPool::new("refused")?;
//! let mut lease = pool.get(100)?;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| lease[0] = 1);
//!     scope.spawn(|| lease[1] = 2);
//! });
//! # Ok::<(), millpond::Error>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
