//! Maps memory from the operating system and gives it back.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Mappings from here up are aligned to huge pages and ask for them.
pub(crate) const HUGE_FROM: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

/// Every buffer has at least this much room behind its capacity, for the canary of a lease that uses all of it.
pub(crate) const TAIL: usize = 64;

/// Returns the size of a page in bytes.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf only reads its argument.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    })
}

/// Returns how many processors this thread may run on. `available_parallelism` also looks at the control group's quota,
/// and ends the process where there is no memory to read about it.
pub(crate) fn cores() -> usize {
    let mut allowed = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: writes at most one set of this size.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), allowed.as_mut_ptr()) };
    // SAFETY: all zeroes are an empty set; whatever was written is one.
    let allowed = unsafe { allowed.assume_init() };
    if result != 0 {
        // The machine has more processors than there is room for in the set.
        return usize::MAX;
    }
    // SAFETY: reads the set.
    usize::try_from(unsafe { libc::CPU_COUNT(&allowed) }).unwrap_or(1)
}

/// Returns how many bytes of addresses the process may have (RLIMIT_AS).
pub(crate) fn address_space_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Returns how many bytes a mapping for `capacity` bytes and its tail takes, or `None` above `isize::MAX`.
pub(crate) fn mapping_len(capacity: usize) -> Option<usize> {
    capacity.checked_add(TAIL)?.checked_next_multiple_of(page_size()).filter(|len| isize::try_from(*len).is_ok())
}

/// How many places further each buffer of a class begins than the one before: see [`place_of`]. Prime to the 64 of a page.
const PLACES_FURTHER: usize = 17;

/// Returns how far from the beginning of its mapping a buffer of `capacity` bytes begins, the `number`th of its class: at a
/// multiple of `align` for which the last page has room beside the tail.
///
/// Of buffers that all begin at a page the first lines, and those a page further each, share a few sets of the caches: 32 of
/// 256 KiB, a byte of each page written, took 808 ns a buffer instead of 190 (cache colouring; Bonwick, "The Slab Allocator",
/// 1994, section 4.1). Not the next line each time: of a copy to the next buffer the loads would look like the stores before.
pub(crate) fn place_of(number: usize, capacity: usize, align: usize) -> usize {
    let room = mapping_len(capacity).map_or(0, |len| len - capacity - TAIL);
    number.wrapping_mul(PLACES_FURTHER) % (room / align + 1) * align
}

/// Maps `len` bytes of zeroes, a multiple of the page size, at a multiple of `align`.
///
/// Memory that nobody touches costs address space only. From 4 MiB up huge pages are asked for.
pub(crate) fn map(len: usize, align: usize) -> Option<NonNull<u8>> {
    debug_assert!(len.is_multiple_of(page_size()) && align.is_power_of_two());
    #[cfg(test)]
    if fault::fails() {
        return None;
    }
    let align = if len >= HUGE_FROM { align.max(HUGE_PAGE) } else { align };
    let base = if align <= page_size() { map_anywhere(len)? } else { map_aligned(len, align)? };
    if len >= HUGE_FROM {
        // SAFETY: the range was just mapped and is ours. A refusal only means small pages.
        unsafe { libc::madvise(base.as_ptr().cast(), len & !(HUGE_PAGE - 1), libc::MADV_HUGEPAGE) };
    }
    Some(base)
}

/// Reserves address space, a multiple of the page size, that nobody may touch before [`commit`].
#[cfg_attr(millpond_models, expect(dead_code, reason = "models have a place of their own for the table"))]
pub(crate) fn reserve(len: usize) -> Option<NonNull<u8>> {
    #[cfg(test)]
    if fault::fails() {
        return None;
    }
    map_with(0, len, libc::PROT_NONE)
}

/// Makes a part of what [`reserve`] returned usable: zeroes. `false`, and nothing done, without memory.
///
/// # Safety
/// The range is whole pages inside one reservation.
#[cfg_attr(millpond_models, expect(dead_code, reason = "models have a place of their own for the table"))]
pub(crate) unsafe fn commit(start: NonNull<u8>, len: usize) -> bool {
    #[cfg(test)]
    if fault::fails() {
        return false;
    }
    // SAFETY: the caller's promise; nothing but the reservation is there.
    unsafe { libc::mprotect(start.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Makes whole pages inaccessible and gives their memory back; `false` where the system refuses one of the two.
///
/// # Safety
/// The range is inside a mapping of the caller's, and nobody rightly uses it.
pub(crate) unsafe fn forbid(start: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the caller's promise.
    let forbidden = unsafe { libc::mprotect(start.as_ptr().cast(), len, libc::PROT_NONE) == 0 };
    // SAFETY: as above.
    forbidden && unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTNEED) == 0 }
}

/// Makes whole pages accessible again that [`forbid`] made inaccessible: zeroes. `false`, and nothing done, where the system
/// refuses.
///
/// # Safety
/// The range is inside a mapping of the caller's.
pub(crate) unsafe fn allow(start: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::mprotect(start.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Keeps whole inaccessible pages out of core dumps, where they would be nothing. It also keeps the kernel from joining them
/// with the pages beside them whenever those become inaccessible, and from parting them again: that would be half of what a
/// guarded lease costs.
///
/// # Safety
/// The range is inside a mapping of the caller's.
pub(crate) unsafe fn set_apart(start: NonNull<u8>, len: usize) {
    // Without it everything works, only slower.
    // SAFETY: the caller's promise; changes nothing but what a core dump contains.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTDUMP) };
}

fn map_anywhere(len: usize) -> Option<NonNull<u8>> {
    map_with(0, len, libc::PROT_READ | libc::PROT_WRITE)
}

/// Maps at `place` if that is free and not 0, or else where the kernel likes.
fn map_with(place: usize, len: usize, protection: libc::c_int) -> Option<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let place = std::ptr::without_provenance_mut(place);
    // SAFETY: without MAP_FIXED the place is a wish: an anonymous private mapping touches no existing memory.
    let address = unsafe { libc::mmap(place, len, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(address.cast())
}

/// Where the last large mapping stood that was given back. Odd when nobody knows such a place.
static VACANT: AtomicUsize = AtomicUsize::new(NOWHERE);
const NOWHERE: usize = 1;

/// As [`unmap`], for the mapping of `len` bytes in whose first page `data` is.
///
/// # Safety
/// As [`unmap`].
pub(crate) unsafe fn unmap_around(data: NonNull<u8>, len: usize) {
    let base = data.as_ptr().map_addr(|address| address & !(page_size() - 1));
    // SAFETY: no mapping begins at address 0.
    let base = unsafe { NonNull::new_unchecked(base) };
    // SAFETY: the caller's promise.
    unsafe { unmap(base, len) };
}

/// Maps where the last large mapping stood, if that is free and aligned: one call of the system instead of three, and one
/// piece of address space instead of three to be parted and joined.
fn map_where_vacant(len: usize, align: usize) -> Option<NonNull<u8>> {
    let place = VACANT.swap(NOWHERE, Ordering::Relaxed);
    if !place.is_multiple_of(align) {
        return None;
    }
    let base = map_with(place, len, libc::PROT_READ | libc::PROT_WRITE)?;
    if base.as_ptr().align_offset(align) == 0 {
        return Some(base);
    }
    // Somebody else has the place.
    // SAFETY: just mapped, known to nobody else.
    unsafe { unmap(base, len) };
    None
}

/// Maps more than asked for and returns what is before and behind the aligned part.
fn map_aligned(len: usize, align: usize) -> Option<NonNull<u8>> {
    if let Some(base) = map_where_vacant(len, align) {
        return Some(base);
    }
    let all = len.checked_add(align)?;
    let base = map_anywhere(all)?;
    let before = base.as_ptr().align_offset(align);
    // SAFETY: `align_offset` of at most `align` stays inside the `len + align` bytes just mapped.
    let aligned = unsafe { base.add(before) };
    if before > 0 {
        // SAFETY: the bytes before the aligned part are ours, whole pages, and nobody has their address.
        unsafe { unmap(base, before) };
    }
    // At least a page: what stands before is less than `align`.
    let behind = align - before;
    // SAFETY: `before + len + behind` is the mapping's end, so this is its last part.
    let rest = unsafe { aligned.add(len) };
    // SAFETY: as before the aligned part.
    unsafe { unmap(rest, behind) };
    Some(aligned)
}

/// Gives a mapping, or whole pages of one, back to the system.
///
/// # Safety
/// The range was mapped by [`map`] and nobody uses it any more.
pub(crate) unsafe fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::munmap(base.as_ptr().cast(), len) };
    // The kernel may refuse to split a mapping when the process has as many as it may have. The range then stays
    // mapped and unused: address space, not a fault.
    debug_assert!(result == 0, "munmap");
    if len >= HUGE_FROM {
        // A wish only, whatever is there.
        VACANT.store(base.as_ptr().addr(), Ordering::Relaxed);
    }
}

/// Gives the pages of a mapping back to the system and leaves the addresses: zeroes. Where the system refuses, because the
/// process locks its memory, the pages are overwritten.
///
/// # Safety
/// The range was mapped by [`map`] and nobody uses it meanwhile.
pub(crate) unsafe fn empty(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    if unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTNEED) } != 0 {
        // SAFETY: as above.
        unsafe { clear(base.as_ptr(), len) };
    }
}

/// Moves a value to the heap, or returns it when there is no memory: `Box::try_new` is not stable.
pub(crate) fn try_box<T>(value: T) -> Result<Box<T>, T> {
    const { assert!(size_of::<T>() > 0) };
    let layout = std::alloc::Layout::new::<T>();
    // SAFETY: the layout has a size above zero.
    let memory = unsafe { std::alloc::alloc(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(value);
    }
    // SAFETY: just allocated with the layout of the type.
    unsafe { memory.write(value) };
    // SAFETY: allocated by the global allocator with the layout of the type, and initialised.
    Ok(unsafe { Box::from_raw(memory) })
}

/// From here up a range is longer than what a last level of cache keeps for one core, so that none of it is there any more
/// when it is cleared. Below that, what is still there is overwritten faster than memory.
const PAST_CACHES_FROM: usize = 64 << 20;

/// Overwrites `len` bytes with zeroes; the compiler may not leave it out.
///
/// # Safety
/// The range is valid for writes and nobody else reads or writes it meanwhile.
#[inline]
pub(crate) unsafe fn clear(start: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= PAST_CACHES_FROM {
        // SAFETY: the caller's promise; every processor of this architecture has the instructions.
        return unsafe { clear_past_caches(start, len) };
    }
    // SAFETY: the caller's promise.
    unsafe { start.write_bytes(0, len) };
    // SAFETY: empty; it makes the compiler believe that the zeroes are read.
    unsafe { std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

/// As [`clear`], by stores that do not bring into the caches what they overwrite: 64 MiB take 2.7 ms instead of 10.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[cold]
#[inline(never)]
unsafe fn clear_past_caches(start: *mut u8, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_setzero_si128, _mm_sfence, _mm_stream_si128};

    const LINE: usize = 64;
    let head = start.align_offset(LINE).min(len);
    let lines = (len - head) / LINE;
    // SAFETY: the caller's promise; `head` is at most `len`.
    unsafe { start.write_bytes(0, head) };
    // SAFETY: as above.
    let first = unsafe { start.add(head) }.cast::<[__m128i; LINE / size_of::<__m128i>()]>();
    let zero = _mm_setzero_si128();
    for number in 0..lines {
        // SAFETY: `lines` whole lines are left of the range.
        let line = unsafe { first.add(number) }.cast::<__m128i>();
        for part in 0..LINE / size_of::<__m128i>() {
            // SAFETY: inside the line.
            let place = unsafe { line.add(part) };
            // SAFETY: as above, and aligned: lines begin at multiples of their size.
            unsafe { _mm_stream_si128(place, zero) };
        }
    }
    // Such stores keep no order with others: whoever is handed the memory must see them.
    _mm_sfence();
    let done = head + lines * LINE;
    // SAFETY: `done` is at most `len`.
    let rest = unsafe { start.add(done) };
    // SAFETY: the caller's promise.
    unsafe { rest.write_bytes(0, len - done) };
}

/// Pages looked at in one call of mincore.
const LOOK: usize = 4096;

/// Clears a range of a mapping without touching the pages that nobody ever touched.
///
/// Resident pages are overwritten. The others are untouched or swapped out, which the kernel does not tell apart,
/// so they are dropped: they read as zero afterwards, either way.
///
/// # Safety
/// As [`clear`]; the range lies inside one mapping made by [`map`].
pub(crate) unsafe fn clear_resident(start: *mut u8, len: usize) {
    let page = page_size();
    let mut resident = [0_u8; LOOK];
    // Of the first page a part may be somebody else's.
    let mut done = start.align_offset(page).min(len);
    // SAFETY: the caller's promise.
    unsafe { clear(start, done) };
    while done < len {
        let bytes = (len - done).min(LOOK * page);
        let pages = bytes.div_ceil(page);
        // SAFETY: `done < len`, inside the caller's range.
        let here = unsafe { start.add(done) };
        // SAFETY: the range is mapped, the vector holds a byte for each of its pages.
        let seen = unsafe { libc::mincore(here.cast(), bytes, resident.as_mut_ptr()) };
        if seen != 0 {
            // SAFETY: the caller's promise covers the whole range.
            unsafe { clear(here, bytes) };
            done += bytes;
            continue;
        }
        let mut first = 0;
        while first < pages {
            let kind = resident[first] & 1;
            let run = resident[first..pages].iter().take_while(|byte| **byte & 1 == kind).count();
            // SAFETY: page `first` lies inside the range.
            let from = unsafe { here.add(first * page) };
            let run_bytes = (run * page).min(bytes - first * page);
            // Of the last page only a part may be the caller's.
            let whole = if kind == 0 { run_bytes / page * page } else { 0 };
            // SAFETY: whole pages of our own private mapping, all inside the caller's range.
            let dropped = whole > 0 && unsafe { libc::madvise(from.cast(), whole, libc::MADV_DONTNEED) == 0 };
            let gone = if dropped { whole } else { 0 };
            // SAFETY: `gone` is at most `run_bytes`.
            let rest = unsafe { from.add(gone) };
            // SAFETY: the caller's promise.
            unsafe { clear(rest, run_bytes - gone) };
            first += run;
        }
        done += bytes;
    }
}

#[cfg(test)]
pub(crate) mod fault {
    //! Makes the k-th mapping fail, on this thread.

    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets `successes` mappings of this thread succeed and all later ones fail, until `None`.
    pub(crate) fn fail_after(successes: Option<u64>) {
        LEFT.set(successes);
    }

    pub(super) fn fails() -> bool {
        match LEFT.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                LEFT.set(Some(left - 1));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
