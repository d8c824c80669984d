//! Models of the pool's protocols: short programs of a few threads, run in every order that matters.
//!
//! See `README.md` beside this file.

pub(crate) mod seeds;

#[cfg(loom)]
mod handles;

mod common;
