//! Models of the pool's protocols: short programs of a few threads, run in every order that matters.
//!
//! See `README.md` beside this file.

mod common;
pub(crate) mod seeds;

#[cfg(loom)]
mod caches;
#[cfg(loom)]
mod counts;
#[cfg(loom)]
mod depots;
#[cfg(loom)]
mod gate;
#[cfg(loom)]
mod guards;
#[cfg(loom)]
mod handles;
#[cfg(loom)]
mod lifetimes;
#[cfg(loom)]
mod limits;
#[cfg(loom)]
mod locks;
#[cfg(loom)]
mod marks;
#[cfg(loom)]
mod modes;
#[cfg(loom)]
mod pools;
#[cfg(shuttle)]
mod schedules;
#[cfg(loom)]
mod stocks;
