//! The peers: millpond, allocators called directly, and pools.

pub mod allocators;
pub mod crates;
pub mod floors;
pub mod least;
pub mod own;
pub mod stack;
