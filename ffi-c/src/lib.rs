//! The C ABI of millpond: `libmillpond.so` and `libmillpond.a`.
//!
//! Every exported function converts its arguments, calls the core and writes its outputs, all inside the one panic guard of
//! [`boundary`]. Nothing here decides anything about buffers: that is the core's work. `include/millpond.h` is generated from
//! these files, so the comments of exported items are the C documentation; `README.md` beside this crate has the conventions.
#![allow(
    non_camel_case_types,
    reason = "the types carry the names they have in C, so that one search finds both sides"
)]

mod boundary;
mod detached;
mod leaks;
mod lease;
mod options;
mod pool;
mod stats;
mod status;
mod version;
