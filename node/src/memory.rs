//! Asks for memory where a refusal is an error: what `std` does then is to end the process, and Node with it.
//!
//! No `Rc`, `Arc`, `Box::new`, `format!`, `collect`, `clone` of a text or stable sort stands in this crate: owners are
//! counted by [`Rc`] and [`Arc`] here, lists grow by [`push`], texts are made by core's [`Text`](millpond::text::Text). Of
//! napi-rs only the registration is used, which asks for nothing as long as there are neither functions nor classes of its
//! own to register.

use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::hash::{BuildHasher, Hash};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{Error, ErrorKind};

use crate::js::{Fail, Outcome};

/// Makes the error of a request that was refused.
#[cold]
pub(crate) fn none_for(what: &str) -> Fail {
    Fail::Error(Error::new(ErrorKind::NoMemory, format_args!("no memory for {what}; put leases or close pools")))
}

/// Adds to the end of a list.
pub(crate) fn push<T>(list: &mut Vec<T>, value: T, what: &str) -> Outcome<()> {
    list.try_reserve(1).map_err(|_| none_for(what))?;
    list.push(value);
    Ok(())
}

/// Makes room for one more in a table: the next insertion needs no memory.
pub(crate) fn reserve<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>, what: &str) -> Outcome<()> {
    table.try_reserve(1).map_err(|_| none_for(what))
}

/// Moves a value to the heap; `None`, and the value dropped, without memory.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout has a size above zero.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: just allocated with the layout of the type.
    unsafe { place.write(value) };
    // SAFETY: allocated by the global allocator with the layout of the type, and initialised.
    Some(unsafe { Box::from_raw(place) })
}

/// A count of owners, which begins with one.
pub(crate) trait Count {
    const ONE: Self;
    fn more(&self);
    /// Tells whether that was the last one.
    fn less(&self) -> bool;
}

impl Count for Cell<usize> {
    const ONE: Cell<usize> = Cell::new(1);

    fn more(&self) {
        self.set(self.get() + 1);
    }

    fn less(&self) -> bool {
        self.set(self.get() - 1);
        self.get() == 0
    }
}

impl Count for AtomicUsize {
    const ONE: AtomicUsize = AtomicUsize::new(1);

    fn more(&self) {
        self.fetch_add(1, Ordering::Relaxed);
    }

    fn less(&self) -> bool {
        // Pairs with the other owners' subtractions: what any of them did happens before the value goes.
        self.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

struct Counted<T, C> {
    count: C,
    value: T,
}

/// One of the owners of a value on the heap.
pub(crate) struct Shared<T, C: Count>(NonNull<Counted<T, C>>);

/// As `std::rc::Rc`. *Thread-bound.*
pub(crate) type Rc<T> = Shared<T, Cell<usize>>;

/// As `std::sync::Arc`. *Thread-safe.*
pub(crate) type Arc<T> = Shared<T, AtomicUsize>;

// SAFETY: owners lend shared references only, and the last one drops the value, on whatever thread; the count is atomic.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T, C: Count> Shared<T, C> {
    /// Moves a value to the heap, with one owner. Without memory the value is dropped.
    pub(crate) fn new(value: T, what: &str) -> Outcome<Shared<T, C>> {
        let counted = try_box(Counted { count: C::ONE, value }).ok_or_else(|| none_for(what))?;
        Ok(Shared(NonNull::from(Box::leak(counted))))
    }

    /// Leaves this owner to somebody who gives it back by [`from_raw`](Shared::from_raw).
    pub(crate) fn into_raw(self) -> *mut c_void {
        ManuallyDrop::new(self).0.as_ptr().cast::<c_void>()
    }

    /// Takes an owner back.
    ///
    /// # Safety
    /// `raw` comes from [`into_raw`](Shared::into_raw) of this very type, and each is taken back once.
    pub(crate) unsafe fn from_raw(raw: *mut c_void) -> Shared<T, C> {
        // SAFETY: `into_raw` returned what was not null; the caller passes it on.
        Shared(unsafe { NonNull::new_unchecked(raw.cast::<Counted<T, C>>()) })
    }

    /// Looks at an owner that stays with whoever has it.
    ///
    /// # Safety
    /// As [`from_raw`](Shared::from_raw), and nobody takes it back while the result is there.
    pub(crate) unsafe fn borrow_raw(raw: *mut c_void) -> ManuallyDrop<Shared<T, C>> {
        // SAFETY: the caller's promise; this one is never dropped.
        ManuallyDrop::new(unsafe { Shared::from_raw(raw) })
    }

    /// Tells whether both own the same value.
    pub(crate) fn is(&self, other: &Shared<T, C>) -> bool {
        ptr::eq(self.0.as_ptr(), other.0.as_ptr())
    }
}

impl<T, C: Count> Clone for Shared<T, C> {
    fn clone(&self) -> Shared<T, C> {
        // SAFETY: this owner keeps the value.
        unsafe { self.0.as_ref() }.count.more();
        Shared(self.0)
    }
}

impl<T, C: Count> Deref for Shared<T, C> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this owner keeps the value.
        &unsafe { self.0.as_ref() }.value
    }
}

impl<T, C: Count> Drop for Shared<T, C> {
    fn drop(&mut self) {
        // SAFETY: this owner keeps the value until here.
        if unsafe { self.0.as_ref() }.count.less() {
            // SAFETY: made by `try_box` in `new`; this was the last owner.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flag<'a>(&'a Cell<u32>);

    impl Drop for Flag<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn the_last_owner_drops_the_value() {
        let dropped = Cell::new(0);
        let first = Rc::new(Flag(&dropped), "a flag").ok().expect("memory");
        let second = first.clone();
        assert!(first.is(&second));
        let raw = first.into_raw();
        // SAFETY: from `into_raw` of the same type; taken back below.
        let looked = unsafe { Rc::<Flag<'_>>::borrow_raw(raw) };
        assert!(looked.is(&second));
        drop(second);
        assert_eq!(dropped.get(), 0);
        // SAFETY: from `into_raw` of the same type, once.
        drop(unsafe { Rc::<Flag<'_>>::from_raw(raw) });
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn owners_on_many_threads_drop_the_value_once() {
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0), "a count").ok().expect("memory");
        let value = Arc::new(Counts(dropped.clone()), "a value").ok().expect("memory");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let value = value.clone();
                scope.spawn(move || (0..1000).for_each(|_| drop(value.clone())));
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop(value);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_reserved_needs_no_memory() {
        let mut table = HashMap::new();
        for number in 0..1000 {
            reserve(&mut table, "a number").ok().expect("memory");
            let before = table.capacity();
            table.insert(number, ());
            assert_eq!(table.capacity(), before);
        }
        let mut list = Vec::new();
        push(&mut list, 7, "a number").ok().expect("memory");
        assert_eq!(list, [7]);
    }
}
