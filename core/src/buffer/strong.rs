//! Counts who keeps a pool alive.
//!
//! As `Arc`, which stable Rust cannot make without ending the process when there is no memory. There is no weak
//! reference: the registry has the pool's address, and takes a count under its lock if there still is one.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::inner::Inner;
use super::memory;
use crate::sync::AtomicUsize;

/// One count of a pool, which lives at least as long.
///
/// *Thread-safe.*
pub(crate) struct Strong(NonNull<Inner>);

/// The counts of a pool, a part of it. Begins with the count of [`Strong::new`].
pub(crate) struct Counts(AtomicUsize);

impl Counts {
    pub(crate) fn one() -> Counts {
        Counts(AtomicUsize::new(1))
    }
}

const fn is_thread_safe<T: Send + Sync>() {}
const _: () = is_thread_safe::<Inner>();

// SAFETY: it only lends shared references to an `Inner`, and the last count's drop, on whatever thread, owns it: it is
// both `Send` and `Sync`, as the line above has the compiler check.
unsafe impl Send for Strong {}
// SAFETY: as above.
unsafe impl Sync for Strong {}

impl Strong {
    /// Moves a pool to the heap, with one count. `None`, and the pool dropped, without memory.
    pub(crate) fn new(inner: Inner) -> Option<Strong> {
        let inner = Box::into_raw(memory::try_box(inner).ok()?);
        // The last count may come back as a shared reference's address, which alone may not free anything.
        inner.expose_provenance();
        NonNull::new(inner).map(Strong)
    }

    /// Takes one count more of a pool that is alive.
    pub(crate) fn of(inner: &Inner) -> Strong {
        inner.references.0.fetch_add(1, Ordering::Relaxed);
        Strong(NonNull::from(inner))
    }

    /// Takes a count of a pool unless the last one is gone already.
    ///
    /// # Safety
    /// The pool's memory is not freed before this returns.
    pub(crate) unsafe fn upgrade(inner: NonNull<Inner>) -> Option<Strong> {
        // SAFETY: the caller's promise.
        let counts = unsafe { &inner.as_ref().references.0 };
        counts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then_some(count + 1))
            .is_ok()
            .then_some(Strong(inner))
    }

    /// Leaves the count to the caller, who gives it back by [`Strong::from_raw`].
    pub(crate) fn into_raw(self) -> *mut Inner {
        std::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes a count back.
    ///
    /// # Safety
    /// `inner` came from [`Strong::into_raw`], and each such count is taken back once.
    pub(crate) unsafe fn from_raw(inner: NonNull<Inner>) -> Strong {
        Strong(inner)
    }

    pub(crate) fn as_ptr(&self) -> *const Inner {
        self.0.as_ptr()
    }
}

impl Clone for Strong {
    fn clone(&self) -> Strong {
        Strong::of(self)
    }
}

impl Deref for Strong {
    type Target = Inner;
    #[inline(always)]
    fn deref(&self) -> &Inner {
        // SAFETY: this count keeps the pool alive.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Strong {
    fn drop(&mut self) {
        // Pairs with the other drops: what was done under any count happens before the pool is freed.
        if self.references.0.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let inner = std::ptr::with_exposed_provenance_mut::<Inner>(self.0.as_ptr() as usize);
        // SAFETY: made by `Box::into_raw` in `new`, which exposed it. This was the last count; nobody gets another:
        // `upgrade` refuses, and the registry forgets the address, under its lock, before the memory goes.
        drop(unsafe { Box::from_raw(inner) });
    }
}
