//! Cuts buffers below 64 KiB from slabs.

use std::ptr::NonNull;

use super::memory;
use crate::tools;

/// A slab's size: large enough that mapping one is rare, small enough that an idle one is soon empty. Memory that
/// no buffer was cut from yet is not touched.
const SLAB: usize = 256 << 10;
const SLAB_BUFFERS_MIN: usize = 4;

/// The slabs of one size class, ascending by address.
///
/// Buffers stand `capacity + 64` bytes apart: behind each is room for a canary, and neighbours start in different
/// sets of the first-level cache. New buffers come from the lowest slab with room, so that the upper ones empty.
pub(crate) struct Slabs {
    stride: usize,
    slab_len: usize,
    per_slab: usize,
    align: usize,
    slabs: Vec<Slab>,
    /// No slab before this one has room.
    hint: usize,
}

struct Slab {
    base: NonNull<u8>,
    /// How many buffers were cut from the slab so far.
    cut: usize,
    /// Offsets in buffers of those given back; has room for all of them.
    free: Vec<u32>,
}

// SAFETY: the slabs' memory belongs to this value alone, whichever thread holds the lock around it.
unsafe impl Send for Slabs {}

impl Slabs {
    pub(crate) fn new(capacity: usize, align: usize) -> Slabs {
        let stride = (capacity + memory::TAIL).next_multiple_of(align);
        let slab_len = (SLAB.max(stride * SLAB_BUFFERS_MIN)).next_multiple_of(memory::page_size());
        Slabs { stride, slab_len, per_slab: slab_len / stride, align, slabs: Vec::new(), hint: 0 }
    }

    /// Cuts one buffer; the flag tells whether its bytes are fresh from the system. `None` without memory.
    pub(crate) fn cut(&mut self) -> Option<(NonNull<u8>, bool)> {
        while let Some(slab) = self.slabs.get_mut(self.hint) {
            if let Some(offset) = slab.free.pop() {
                return Some((slab.at(offset as usize, self.stride), false));
            }
            if slab.cut < self.per_slab {
                slab.cut += 1;
                return Some((slab.at(slab.cut - 1, self.stride), true));
            }
            self.hint += 1;
        }
        self.grow()?;
        self.cut()
    }

    fn grow(&mut self) -> Option<()> {
        let mut free = Vec::new();
        free.try_reserve_exact(self.per_slab).ok()?;
        self.slabs.try_reserve(1).ok()?;
        let base = memory::map(self.slab_len, self.align.max(memory::page_size()))?;
        tools::close_range(base, self.slab_len);
        let place = self.slabs.partition_point(|slab| slab.base < base);
        self.slabs.insert(place, Slab { base, cut: 0, free });
        self.hint = self.hint.min(place);
        Some(())
    }

    /// Takes a buffer back and returns how many bytes that gave back to the system: a slab's, when it was the last.
    ///
    /// # Safety
    /// `data` came from [`Slabs::cut`] of this value, was not given back since, and nobody uses it any more.
    pub(crate) unsafe fn give_back(&mut self, data: NonNull<u8>) -> usize {
        let place = self.slabs.partition_point(|slab| slab.base <= data) - 1;
        let slab = &mut self.slabs[place];
        let offset = (data.as_ptr() as usize - slab.base.as_ptr() as usize) / self.stride;
        // A slab has a few thousand buffers at most.
        slab.free.push(offset as u32);
        self.hint = self.hint.min(place);
        if slab.free.len() < slab.cut {
            return 0;
        }
        let slab = self.slabs.remove(place);
        self.hint = self.hint.min(self.slabs.len());
        tools::open_range(slab.base, self.slab_len);
        // SAFETY: mapped by `grow` with this length; every buffer cut from it is back.
        unsafe { memory::unmap(slab.base, self.slab_len) };
        self.slab_len
    }
}

impl Drop for Slabs {
    fn drop(&mut self) {
        debug_assert!(
            self.slabs.is_empty() || std::thread::panicking(),
            "the pool destroys its buffers before its slabs"
        );
    }
}

impl Slab {
    fn at(&self, offset: usize, stride: usize) -> NonNull<u8> {
        // SAFETY: `offset < per_slab`, so the buffer lies inside the slab's mapping.
        unsafe { self.base.add(offset * stride) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_has_256_kib_or_four_buffers() {
        for (capacity, align, len) in [(64, 64, 256 << 10), (32 << 10, 64, 256 << 10), (64, 128 << 10, 512 << 10)] {
            assert_eq!(Slabs::new(capacity, align).slab_len, len, "{capacity} {align}");
        }
    }

    #[test]
    fn buffers_are_apart_reused_and_given_back() {
        for (capacity, align) in [(64, 64), (512, 64), (1024, 4096), (16 << 10, 64), (60 << 10, 64)] {
            let mut slabs = Slabs::new(capacity, align);
            let mut cut = Vec::new();
            for _ in 0..slabs.per_slab * 3 {
                let (data, fresh) = slabs.cut().expect("memory");
                assert!(fresh);
                assert_eq!(data.as_ptr().align_offset(align), 0);
                cut.push(data);
            }
            cut.sort();
            assert!(cut.windows(2).all(|pair| pair[1].as_ptr() as usize - pair[0].as_ptr() as usize >= capacity + 64));
            assert_eq!(slabs.slabs.len(), 3);
            let one = cut.swap_remove(0);
            // SAFETY: cut above, given back once.
            assert_eq!(unsafe { slabs.give_back(one) }, 0);
            let (again, fresh) = slabs.cut().expect("memory");
            assert!(again == one && !fresh);
            cut.push(again);
            // SAFETY: cut above, each given back once.
            let back: usize = cut.into_iter().map(|data| unsafe { slabs.give_back(data) }).sum();
            assert_eq!(back, 3 * slabs.slab_len);
            assert!(slabs.slabs.is_empty());
        }
    }
}
