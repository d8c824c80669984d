//! Holds what a lease object owns of its pool.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;

use millpond::{Held, Lease};

/// Which of its two values a [`Memory`] holds.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Holds {
    Nothing,
    Lease,
    Held,
}

/// The lease, or what is held back after its put, or nothing.
///
/// An enum in a `Cell` would do the same, but is moved as a whole at each look; this one is looked at in place.
/// *Thread-bound* to whoever holds the GIL.
pub(crate) struct Memory {
    value: UnsafeCell<Value>,
    holds: Cell<Holds>,
}

union Value {
    nothing: (),
    lease: ManuallyDrop<Lease>,
    held: ManuallyDrop<Held>,
}

impl Memory {
    pub(crate) const fn empty() -> Memory {
        Memory { value: UnsafeCell::new(Value { nothing: () }), holds: Cell::new(Holds::Nothing) }
    }

    /// Puts a lease where nothing is, and leaves it to [`Memory::own`] to say so.
    #[inline(always)]
    pub(crate) fn store(&self, lease: Lease) {
        debug_assert!(self.holds.get() == Holds::Nothing, "what is there would be lost");
        // SAFETY: nobody looks at it now: `with_lease` runs nothing that comes here.
        unsafe { *self.value.get() = Value { lease: ManuallyDrop::new(lease) } };
    }

    /// Says that the lease is there that was stored.
    ///
    /// # Safety
    /// [`Memory::store`] put one there, and it was not taken since.
    pub(crate) unsafe fn own(&self) {
        self.holds.set(Holds::Lease);
    }

    /// Moves the lease out that was stored.
    ///
    /// # Safety
    /// As [`Memory::own`], which was not called since either.
    #[inline(always)]
    pub(crate) unsafe fn take_stored(&self) -> Lease {
        debug_assert!(self.holds.get() == Holds::Nothing, "the caller's promise");
        // SAFETY: the caller's promise; it is not looked at again.
        unsafe { std::ptr::read(self.value.get().cast::<Lease>()) }
    }

    /// Moves the lease out.
    pub(crate) fn take_lease(&self) -> Option<Lease> {
        if self.holds.get() != Holds::Lease {
            return None;
        }
        self.holds.set(Holds::Nothing);
        // SAFETY: a lease is there, and is not looked at again: nothing is held from now on.
        let lease = unsafe { std::ptr::read(self.value.get().cast::<Lease>()) };
        Some(lease)
    }

    /// Moves what is held back out.
    pub(crate) fn take_held(&self) -> Option<Held> {
        if self.holds.get() != Holds::Held {
            return None;
        }
        self.holds.set(Holds::Nothing);
        // SAFETY: a `Held` is there, and is not looked at again: nothing is held from now on.
        let held = unsafe { std::ptr::read(self.value.get().cast::<Held>()) };
        Some(held)
    }

    /// Puts a lease back that [`Memory::take_lease`] took.
    pub(crate) fn set_lease(&self, lease: Lease) {
        self.drop_value();
        self.store(lease);
        self.holds.set(Holds::Lease);
    }

    pub(crate) fn set_held(&self, held: Held) {
        self.drop_value();
        // SAFETY: nothing is there, and nobody looks at it now: `with_lease` runs nothing that comes here.
        unsafe { *self.value.get() = Value { held: ManuallyDrop::new(held) } };
        self.holds.set(Holds::Held);
    }

    fn drop_value(&self) {
        drop(self.take_lease());
        drop(self.take_held());
    }

    /// Looks at the lease. `look` must not come back to this object.
    #[inline]
    pub(crate) fn with_lease<R>(&self, look: impl FnOnce(&mut Lease) -> R) -> Option<R> {
        if self.holds.get() != Holds::Lease {
            return None;
        }
        // SAFETY: a lease is there; the GIL is held and `look` does not come back, so this is the only reference.
        Some(look(unsafe { &mut *self.value.get().cast::<Lease>() }))
    }
}
