//! Words in the place of the standard library's atomics.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::Ordering;

use super::faults::{self, Fault};
use super::world::{self, Atom};

/// An atomic of 64 bits. All zeroes are one that holds 0.
///
/// The engine's atomic holds the difference to `init`: all of them are made with 0, before it is known which word takes
/// which.
struct Word {
    init: Init,
    /// The execution and the number of the atomic in it; 0 before the first use.
    place: Cell<u64>,
}

/// What a word begins with: in constants an address is no number yet.
union Init {
    number: u64,
    address: *mut u8,
}

/// Stands in [`Word::place`] of a word whose memory was given back.
const GONE: u64 = u64::MAX;

// SAFETY: one thread of an execution runs at a time, on one thread of the system.
unsafe impl Sync for Word {}
// SAFETY: as above.
unsafe impl Send for Word {}

impl Word {
    const fn new(init: u64) -> Word {
        Word { init: Init { number: init }, place: Cell::new(0) }
    }

    fn init(&self) -> u64 {
        // SAFETY: any eight bytes are a number, an address' too.
        unsafe { self.init.number }
    }

    fn atom(&self) -> *mut Atom {
        world::atom(self.number())
    }

    /// Returns the number of the atomic, which is to be stored into.
    fn atom_to_write(&self) -> *mut Atom {
        let number = self.number();
        world::written(number);
        world::atom(number)
    }

    fn number(&self) -> u32 {
        let place = self.place.get();
        assert!(place != GONE, "an atomic is used whose memory was given back");
        let generation = world::generation();
        if (place >> 32) as u32 == generation {
            return place as u32;
        }
        let number = world::adopt();
        self.place.set((u64::from(generation) << 32) | u64::from(number));
        number
    }

    /// Loads as C++ has it: a sequentially consistent load finds no value older than the last sequentially consistent
    /// store before it. loom would let it find older values whose own stores were weaker, and the first value.
    fn load(&self, order: Ordering, at: &Location<'_>) -> u64 {
        let fault = faults::at(at);
        if let Some(Fault::Blind(value)) = fault {
            return value;
        }
        let order = weakened(order, fault);
        let atom = self.atom();
        // SAFETY: atoms stay until the next execution, and no reference to one lives across a call into the engine but
        // this shared one, to parts that nothing changes.
        let Atom { raw, races, .. } = unsafe { &*atom };
        if let Some(races) = races {
            super::engine::touch(races);
        }
        let value = raw.load(order);
        // SAFETY: no other thread runs until the next call into the engine.
        let noted = unsafe { &*atom };
        if order == Ordering::SeqCst && noted.consistent && !noted.is_present(value) {
            // An exchange that fails finds the newest value.
            let absent = noted.absent();
            let newest = raw.compare_exchange(absent, absent, order, order);
            let newest = newest.unwrap_or_else(|newest| newest).wrapping_add(self.init());
            world::trace(|| format!("{at} load {newest:#x} of {:p}", self));
            return newest;
        }
        world::trace(|| format!("{at} load {:#x} of {:p}", value.wrapping_add(self.init()), self));
        value.wrapping_add(self.init())
    }

    fn store(&self, value: u64, order: Ordering, at: &Location<'_>) {
        let fault = faults::at(at);
        if fault == Some(Fault::Skip) {
            return;
        }
        let order = weakened(order, fault);
        let atom = self.atom_to_write();
        let value = value.wrapping_sub(self.init());
        // SAFETY: as in `load`.
        let raw = unsafe { &(*atom).raw };
        raw.store(value, order);
        world::trace(|| format!("{at} store {:#x} to {:p}", value.wrapping_add(self.init()), self));
        // SAFETY: as in `load`.
        unsafe { (*atom).stored(value, order) };
    }

    /// Changes the value in one step; `operation` does so by the engine, `change` says what comes out.
    fn change(
        &self,
        order: Ordering,
        at: &Location<'_>,
        operation: impl FnOnce(&super::engine::RawAtomic, Ordering) -> u64,
        change: impl FnOnce(u64) -> u64,
    ) -> u64 {
        let fault = faults::at(at);
        if fault == Some(Fault::Split) {
            let before = self.load(Ordering::Relaxed, faults::nowhere());
            self.store(change(before), Ordering::Relaxed, faults::nowhere());
            return before;
        }
        if fault == Some(Fault::Skip) {
            return self.load(Ordering::Relaxed, faults::nowhere());
        }
        let order = weakened(order, fault);
        let atom = self.atom_to_write();
        // SAFETY: as in `load`.
        let raw = unsafe { &(*atom).raw };
        let before = operation(raw, order).wrapping_add(self.init());
        let after = change(before);
        world::trace(|| format!("{at} change {before:#x} to {after:#x} in {:p}", self));
        // SAFETY: as in `load`.
        unsafe { (*atom).stored(after.wrapping_sub(self.init()), order) };
        before
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
        at: &Location<'_>,
    ) -> Result<u64, u64> {
        let fault = faults::at(at);
        if fault == Some(Fault::Split) {
            let before = self.load(Ordering::Relaxed, faults::nowhere());
            if before != current {
                return Err(before);
            }
            self.store(new, Ordering::Relaxed, faults::nowhere());
            return Ok(before);
        }
        let (success, failure) = (weakened(success, fault), weakened(failure, fault));
        let atom = self.atom_to_write();
        let (current, new) = (current.wrapping_sub(self.init()), new.wrapping_sub(self.init()));
        // SAFETY: as in `load`.
        let raw = unsafe { &(*atom).raw };
        let result = raw.compare_exchange(current, new, success, failure);
        world::trace(|| format!("{at} exchange {current:#x} for {new:#x} gives {result:x?} in {:p}", self));
        if result.is_ok() {
            // SAFETY: as in `load`.
            unsafe { (*atom).stored(new, success) };
        }
        let shown = |value: u64| value.wrapping_add(self.init());
        result.map(shown).map_err(shown)
    }
}

impl Drop for Word {
    /// Counts as an access that changes the word, and that all others must come before.
    fn drop(&mut self) {
        let place = self.place.replace(GONE);
        if (place >> 32) as u32 == world::generation() && place != GONE && !std::thread::panicking() {
            // SAFETY: as in `load`; nobody has the word any more but this thread.
            let raw = unsafe { &mut (*world::atom(place as u32)).raw };
            super::engine::end(raw);
        }
    }
}

fn weakened(order: Ordering, fault: Option<Fault>) -> Ordering {
    if fault == Some(Fault::Relax) { Ordering::Relaxed } else { order }
}

macro_rules! word {
    ($name:ident $([$param:ident])?, $value:ty, $to:expr, $from:expr) => {
        pub(crate) struct $name $(<$param>)? (Word, PhantomData<$value>);

        #[allow(dead_code, reason = "the types have the same functions, and the core uses some of each")]
        impl $(<$param>)? $name $(<$param>)? {
            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                $from(self.0.load(order, Location::caller()))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store($to(value), order, Location::caller());
            }

            /// Returns the address of what a plain load of the word finds.
            #[track_caller]
            pub(crate) fn as_ptr(&self) -> *const $value {
                // Small enough to be forgotten: only models of leases that lend their bytes come here.
                Box::leak(Box::new(self.load(Ordering::Relaxed)))
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                let (value, init) = ($to(value), self.0.init());
                let operation = |raw: &super::engine::RawAtomic, order| raw.swap(value.wrapping_sub(init), order);
                $from(self.0.change(order, Location::caller(), operation, |_| value))
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let result = self.0.compare_exchange($to(current), $to(new), success, failure, Location::caller());
                result.map($from).map_err($from)
            }

            /// As the standard library's: loads, and exchanges until that succeeds.
            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                set_order: Ordering,
                fetch_order: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let at = Location::caller();
                let mut before = self.0.load(fetch_order, at);
                while let Some(after) = change($from(before)) {
                    match self.0.compare_exchange(before, $to(after), set_order, fetch_order, at) {
                        Ok(found) => return Ok($from(found)),
                        Err(found) => before = found,
                    }
                }
                Err($from(before))
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        word!($name, $value, |value: $value| value as u64, |value: u64| value as $value);

        #[allow(dead_code, reason = "the types have the same functions, and the core uses some of each")]
        impl $name {
            pub(crate) const fn new(value: $value) -> $name {
                $name(Word::new(value as u64), PhantomData)
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, by: $value, order: Ordering) -> $value {
                let operation = |raw: &super::engine::RawAtomic, order| raw.fetch_add(by as u64, order);
                self.0.change(order, Location::caller(), operation, |value| value.wrapping_add(by as u64)) as $value
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, by: $value, order: Ordering) -> $value {
                let operation = |raw: &super::engine::RawAtomic, order| raw.fetch_sub(by as u64, order);
                self.0.change(order, Location::caller(), operation, |value| value.wrapping_sub(by as u64)) as $value
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, with: $value, order: Ordering) -> $value {
                assert_eq!(self.0.init(), 0, "the engine's atomic holds a difference");
                let operation = |raw: &super::engine::RawAtomic, order| raw.fetch_or(with as u64, order);
                self.0.change(order, Location::caller(), operation, |value| value | with as u64) as $value
            }

            #[track_caller]
            pub(crate) fn fetch_and(&self, with: $value, order: Ordering) -> $value {
                assert_eq!(self.0.init(), 0, "the engine's atomic holds a difference");
                let operation = |raw: &super::engine::RawAtomic, order| raw.fetch_and(with as u64, order);
                self.0.change(order, Location::caller(), operation, |value| value & with as u64) as $value
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, with: $value, order: Ordering) -> $value {
                assert_eq!(self.0.init(), 0, "the engine's atomic holds a difference");
                let operation = |raw: &super::engine::RawAtomic, order| raw.fetch_max(with as u64, order);
                self.0.change(order, Location::caller(), operation, |value| value.max(with as u64)) as $value
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(0)
            }
        }
    };
}

number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);

word!(AtomicBool, bool, u64::from, |value: u64| value != 0);

impl AtomicBool {
    pub(crate) const fn new(value: bool) -> AtomicBool {
        AtomicBool(Word::new(value as u64), PhantomData)
    }
}

word!(AtomicPtr[T], *mut T, |address: *mut T| address as u64, |value: u64| value as *mut T);

impl<T> AtomicPtr<T> {
    pub(crate) const fn new(address: *mut T) -> AtomicPtr<T> {
        AtomicPtr(Word { init: Init { address: address.cast() }, place: Cell::new(0) }, PhantomData)
    }
}

impl<T> Default for AtomicPtr<T> {
    fn default() -> AtomicPtr<T> {
        AtomicPtr::new(std::ptr::null_mut())
    }
}

// SAFETY: as `std`'s: an address, whatever it leads to.
unsafe impl<T> Sync for AtomicPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Send for AtomicPtr<T> {}
