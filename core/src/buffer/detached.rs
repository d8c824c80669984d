//! Holds memory that left its pool for good.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::depot::Entry;
use super::inner::{Inner, add};
use super::memory;
use super::slot::MAPPED;
use crate::error::{Error, ErrorKind, Result};

/// Plain memory that was a lease: no pool knows it any more, dropping it frees it.
///
/// *Thread-safe*: may move to another thread. *Fork:* the child has its own copy.
pub struct Detached {
    data: NonNull<u8>,
    len: usize,
    /// The length of the mapping, or 0 for memory of the C library's allocator.
    mapping: usize,
}

// SAFETY: the value is the only owner of plain memory.
unsafe impl Send for Detached {}
// SAFETY: a shared value only lends shared slices.
unsafe impl Sync for Detached {}

impl Detached {
    /// Copies the buffer of a lease if it is cut from a slab: the part of detaching that may fail. Changes nothing.
    pub(crate) fn prepare(inner: &Inner, entry: Entry, len: usize) -> Result<Option<Detached>> {
        if entry.slot.flags() & MAPPED != 0 {
            return Ok(None);
        }
        Detached::copy_of(entry.data, len).map(Some).ok_or_else(|| no_memory(inner, len))
    }

    /// Takes the buffer of a lease out of its pool, or its prepared copy. A buffer that was copied is left to the
    /// caller.
    pub(crate) fn take(
        inner: &Inner,
        entry: Entry,
        len: usize,
        prepared: Option<Detached>,
    ) -> (Detached, Option<Entry>) {
        let capacity = entry.slot.capacity();
        let class = inner.class_of_capacity(capacity);
        // The buffer's reference to its pool may end below.
        let pool = inner.keep_alive();
        let (detached, copied) = match prepared {
            Some(copy) => (copy, Some(entry)),
            None => {
                inner.give_up(entry);
                // SAFETY: buffers come from mappings, which are never at address 0.
                let data = unsafe { NonNull::new_unchecked(entry.data) };
                (Detached { data, len, mapping: memory::mapping_len(capacity).unwrap_or(capacity) }, None)
            }
        };
        add(&pool.classes[class].counts.detached, 1);
        pool.count_returned(len);
        pool.wake_waiters();
        (detached, copied)
    }

    /// Gives back the buffer that [`Detached::take`] copied from.
    pub(crate) fn take_back(inner: &Inner, copied: Option<Entry>, dirty: usize) {
        if let Some(entry) = copied {
            let class = inner.class_of_capacity(entry.slot.capacity());
            entry.slot.taken.store(0, Ordering::Relaxed);
            inner.scrub(entry, dirty);
            inner.take_back(class, entry);
        }
    }

    fn copy_of(from: *const u8, len: usize) -> Option<Detached> {
        // SAFETY: malloc takes any size; at least 1, so that null means failure.
        let memory = unsafe { libc::malloc(len.max(1)) };
        let data = NonNull::new(memory.cast::<u8>())?;
        // SAFETY: `from` is a lease's memory of at least `len` bytes, `data` was just allocated with `len`.
        unsafe { data.as_ptr().copy_from_nonoverlapping(from, len) };
        Some(Detached { data, len, mapping: 0 })
    }

    /// Copies the bytes into a `Vec` and frees the memory.
    ///
    /// # Errors
    /// `NO_MEMORY`: there is none for the copy; the memory is freed all the same.
    pub fn into_vec(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(self.len)
            .map_err(|_| Error::new(ErrorKind::NoMemory, format_args!("no memory for a copy of {} bytes", self.len)))?;
        bytes.extend_from_slice(&self);
        Ok(bytes)
    }

    /// Returns the address, the length and the length of the mapping (0: memory of `malloc`), and leaves freeing
    /// to the caller: [`from_raw_parts`](Detached::from_raw_parts).
    pub fn into_raw_parts(self) -> (*mut u8, usize, usize) {
        let this = ManuallyDrop::new(self);
        (this.data.as_ptr(), this.len, this.mapping)
    }

    /// Takes back what [`into_raw_parts`](Detached::into_raw_parts) returned.
    ///
    /// # Safety
    /// The three values are the unchanged results of one `into_raw_parts`, each used once.
    pub unsafe fn from_raw_parts(data: *mut u8, len: usize, mapping: usize) -> Detached {
        // SAFETY: `into_raw_parts` returns the address of a `NonNull`; the caller passes it on.
        let data = unsafe { NonNull::new_unchecked(data) };
        Detached { data, len, mapping }
    }
}

#[cold]
fn no_memory(inner: &Inner, len: usize) -> Error {
    Error::new(ErrorKind::NoMemory, format_args!("no memory to detach {len} bytes from pool \"{}\"", inner.name))
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.mapping == 0 {
            // SAFETY: allocated by malloc in `copy_of`, owned by this value.
            unsafe { libc::free(self.data.as_ptr().cast()) };
        } else {
            // SAFETY: a mapping of this length, owned by this value since the pool forgot it.
            unsafe { memory::unmap_around(self.data, self.mapping) };
        }
    }
}

impl Deref for Detached {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that this value owns.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for Detached {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("len", &self.len).finish()
    }
}
