//! What the core is built from while models run: its atomics, locks and threads' words, kept by loom or by shuttle.
//!
//! The types stand in for those of `std` in `core/src/sync.rs`, so that the models run the very functions that ship. A
//! [`Word`] is plain data that leads to its atomic in the [`World`] of the present execution: so a word may stand in a
//! static, in a constant and in memory that begins as zeroes, and each execution finds all of them as a new process
//! would.

#[cfg(loom)]
#[path = "loom.rs"]
pub(crate) mod engine;
#[cfg(shuttle)]
#[path = "shuttle.rs"]
pub(crate) mod engine;
pub(crate) mod faults;
mod lock;
mod words;
mod world;

#[cfg(loom)]
pub(crate) use lock::lock_as_products_do;
pub(crate) use lock::{Condvar, Mutex, MutexGuard, RawLock, spins};
pub(crate) use words::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use world::{begin, end, fill, forget, print_trace};

use std::ptr::NonNull;
use std::sync::OnceLock;

/// Gives way to the other threads, which must do something before this one can go on.
pub(crate) fn relax(_tries: u32) {
    engine::yield_now();
}

pub(crate) fn enable_heavy_barrier() {}

pub(crate) fn has_heavy_barrier() -> bool {
    true
}

/// The owner's half of the asymmetric barrier; the kernel makes it a full one whenever the other half runs.
pub(crate) fn light_barrier() {
    if !faults::leaves_out("light barrier") {
        engine::fence();
    }
}

/// The kernel's half: a full barrier on every thread.
pub(crate) fn heavy_barrier() {
    if !faults::leaves_out("heavy barrier") {
        engine::fence();
    }
}

/// Returns the one place for the table of the slots, which outlives the executions: what earlier ones left in its words
/// is forgotten with their worlds.
pub(crate) fn reserve(len: usize) -> Option<NonNull<u8>> {
    static TABLE: OnceLock<usize> = OnceLock::new();
    let start = TABLE.get_or_init(|| {
        // SAFETY: a new mapping; pages that nobody touches cost nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "address space for the table");
        start as usize
    });
    NonNull::new(*start as *mut u8)
}

/// Does nothing: the table is usable from the start.
///
/// # Safety
/// None is needed; the function has the signature of `memory::commit`.
pub(crate) unsafe fn commit(_start: NonNull<u8>, _len: usize) -> bool {
    true
}

/// Makes a thread's words, of which each execution's threads have their own.
macro_rules! thread_words {
    (static $name:ident: $type:ty = const { $init:expr };) => {
        $crate::sync::primitives::engine::thread_local! { static $name: $type = $init }
    };
}
pub(crate) use thread_words;
