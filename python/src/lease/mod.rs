//! The lease: a Python type of raw slots, because get, put and `with` are all that a pool is measured by.
//!
//! | file | subject |
//! |---|---|
//! | `object` | the layout, making and freeing objects, the free list |
//! | `memory` | what the object owns of the pool |
//! | `ending` | put, the deferred and the held return, a lease that was lost |
//! | `block` | what makes `with` cheap |
//! | `buffer` | the buffer protocol |
//! | `items` | reading and writing through the lease itself |
//! | `methods` | methods, attributes and the type |
//! | `docs` | what `help(Lease)` says |

mod block;
pub(crate) mod buffer;
mod docs;
pub(crate) mod ending;
pub(crate) mod items;
pub(crate) mod memory;
pub(crate) mod methods;
pub(crate) mod object;

pub(crate) use object::LeaseObject;
