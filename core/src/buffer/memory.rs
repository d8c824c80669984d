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

/// Overwrites `len` bytes with zeroes; the compiler may not leave it out.
///
/// # Safety
/// The range is valid for writes and nobody else reads or writes it meanwhile.
#[inline]
pub(crate) unsafe fn clear(start: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { start.write_bytes(0, len) };
    // SAFETY: empty; it makes the compiler believe that the zeroes are read.
    unsafe { std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

/// Pages looked at in one call of mincore.
const LOOK: usize = 4096;

/// Clears a range of a mapping without touching the pages that nobody ever touched.
///
/// Resident pages are overwritten. The others are untouched or swapped out, which the kernel does not tell apart,
/// so they are dropped: they read as zero afterwards, either way.
///
/// # Safety
/// As [`clear`]; the range lies inside one mapping made by [`map`] and starts at a page.
pub(crate) unsafe fn clear_resident(start: *mut u8, len: usize) {
    let page = page_size();
    let mut resident = [0_u8; LOOK];
    let mut done = 0;
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
mod tests {
    use super::*;

    #[test]
    fn mappings_are_aligned_and_zero() {
        for (len, align) in [(4096, 64), (8192, 4096), (1 << 20, 2 << 20), (8 << 20, 64), (64 << 10, 64 << 10)] {
            let base = map(len, align).expect("memory");
            let expected = if len >= HUGE_FROM { HUGE_PAGE } else { align };
            assert_eq!(base.as_ptr().align_offset(expected), 0);
            // SAFETY: `len` bytes were mapped and nobody else has them.
            let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr(), len) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            // SAFETY: mapped above, no reference is left.
            unsafe { unmap(base, len) };
        }
        assert!(map(1 << 62, 4096).is_none());
        assert_eq!(mapping_len(usize::MAX), None);
        assert_eq!(mapping_len(isize::MAX as usize), None);
    }

    #[test]
    fn clearing_ends_where_it_was_told_in_the_middle_of_a_run_of_pages() {
        let page = page_size();
        let base = map(4 * page, page).expect("memory");
        // SAFETY: inside the mapping, which is this test's. Its first two pages stay untouched.
        let third = unsafe { base.as_ptr().add(2 * page) };
        // SAFETY: the third and the fourth page.
        unsafe { third.write_bytes(0xff, 2 * page) };
        // SAFETY: inside the mapping, from its start.
        unsafe { clear_resident(base.as_ptr(), 2 * page + 100) };
        // SAFETY: mapped, and nobody writes.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr(), 4 * page) };
        assert!(bytes[..2 * page + 100].iter().all(|byte| *byte == 0));
        assert!(bytes[2 * page + 100..].iter().all(|byte| *byte == 0xff));
        // SAFETY: mapped above, no reference is used any more.
        unsafe { unmap(base, 4 * page) };
    }

    /// What the kernel says of the mapping that an address is in: its flags, two letters each.
    fn flags_at(address: *const u8) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let ends = range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)));
            if let Some((Ok(start), Ok(end))) = ends {
                inside = (start..end).contains(&(address as usize));
            } else if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }

    fn has(address: *const u8, flag: &str) -> bool {
        flags_at(address).iter().any(|one| one == flag)
    }

    #[test]
    fn huge_pages_are_asked_for_in_large_mappings_as_far_as_they_are_whole() {
        let (large, small) = (HUGE_FROM + page_size(), HUGE_FROM - page_size());
        let base = map(large, page_size()).expect("memory");
        // A kernel without huge pages shows that nobody asked.
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            assert!(has(base.as_ptr(), "hg") && has(base.as_ptr().wrapping_add(HUGE_FROM - 1), "hg"));
            assert!(!has(base.as_ptr().wrapping_add(HUGE_FROM), "hg"));
        }
        let other = map(small, page_size()).expect("memory");
        assert!(!has(other.as_ptr(), "hg"));
        assert_eq!(base.as_ptr().align_offset(HUGE_PAGE), 0);
        for (base, len) in [(base, large), (other, small)] {
            // SAFETY: mapped above.
            unsafe { unmap(base, len) };
        }
    }

    #[test]
    fn an_aligned_mapping_keeps_nothing_of_what_is_around_it() {
        let addresses = || {
            let status = std::fs::read_to_string("/proc/self/statm").expect("readable");
            let pages: usize = status.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
            pages * page_size()
        };
        let before = addresses();
        let align = 1 << 30;
        let mapped: Vec<_> = (0..6).map(|_| map_aligned(page_size(), align).expect("addresses")).collect();
        // Other tests map little meanwhile.
        assert!(addresses().saturating_sub(before) < 2 << 30);
        for base in mapped {
            assert_eq!(base.as_ptr().align_offset(align), 0);
            // SAFETY: mapped above.
            unsafe { unmap(base, page_size()) };
        }
        // What happens to stand right has nothing before it.
        let base = map_aligned(3 * page_size(), page_size()).expect("memory");
        // SAFETY: as above.
        unsafe { unmap(base, 3 * page_size()) };
    }

    #[test]
    fn a_large_mapping_stands_where_the_last_one_was_given_back() {
        // The kernel itself would take the highest place, which is that of the first one. Other tests map meanwhile.
        let returned = (0..1000).any(|_| {
            let [first, second] = [(); 2].map(|()| map(HUGE_FROM, page_size()).expect("memory"));
            for base in [first, second] {
                // SAFETY: mapped above.
                unsafe { unmap(base, HUGE_FROM) };
            }
            let third = map(HUGE_FROM, page_size()).expect("memory");
            // SAFETY: mapped above.
            unsafe { unmap(third, HUGE_FROM) };
            third == second && first > second
        });
        assert!(returned);
        // A place that somebody has is not taken from him, and one that is not aligned is not asked for.
        let taken = map(HUGE_FROM, page_size()).expect("memory");
        // SAFETY: mapped above.
        unsafe { taken.write(7) };
        for place in [taken.as_ptr().addr(), taken.as_ptr().addr() + page_size()] {
            VACANT.store(place, Ordering::Relaxed);
            let other = map(HUGE_FROM, page_size()).expect("memory");
            assert_eq!(other.as_ptr().align_offset(HUGE_PAGE), 0);
            // SAFETY: mapped above.
            assert_eq!((unsafe { taken.read() }, unsafe { other.read() }), (7, 0));
            // SAFETY: mapped above.
            unsafe { unmap(other, HUGE_FROM) };
        }
        // SAFETY: mapped above, no reference is left.
        unsafe { unmap(taken, HUGE_FROM) };
    }

    #[test]
    fn forbidden_pages_lose_what_was_in_them_and_come_back_as_zeroes() {
        let page = page_size();
        let base = map(3 * page, page).expect("memory");
        let resident = || {
            let mut pages = [0_u8; 3];
            // SAFETY: three pages, three bytes.
            assert_eq!(unsafe { libc::mincore(base.as_ptr().cast(), 3 * page, pages.as_mut_ptr()) }, 0);
            pages.map(|page| page & 1)
        };
        // SAFETY: three pages of our own.
        unsafe { base.write_bytes(1, 3 * page) };
        // SAFETY: inside the mapping.
        let second = unsafe { base.add(page) };
        // SAFETY: a page of our own that nobody uses.
        assert!(unsafe { forbid(second, page) });
        assert_eq!(resident(), [1, 0, 1]);
        assert!(!has(second.as_ptr(), "rd") && !has(second.as_ptr(), "wr") && has(base.as_ptr(), "wr"));
        // SAFETY: as above.
        unsafe { set_apart(second, page) };
        assert!(has(second.as_ptr(), "dd"));
        // SAFETY: as above.
        assert!(unsafe { allow(second, page) });
        // SAFETY: accessible again.
        let bytes = unsafe { std::slice::from_raw_parts(second.as_ptr(), page) };
        assert!(has(second.as_ptr(), "wr") && bytes.iter().all(|byte| *byte == 0));
        // SAFETY: mapped above, no reference is left.
        unsafe { unmap(base, 3 * page) };
        // SAFETY: addresses where nothing is, which the system refuses.
        assert!(!unsafe { forbid(NonNull::without_provenance(page.try_into().expect("not 0")), page) });
        // SAFETY: as above.
        assert!(!unsafe { allow(NonNull::without_provenance(page.try_into().expect("not 0")), page) });
    }

    #[test]
    fn the_processors_of_the_thread_are_counted() {
        let allowed = |count: usize| {
            // SAFETY: all zeroes are an empty set.
            let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
            // SAFETY: changes the set, `count` is at most its room.
            (0..count).for_each(|number| unsafe { libc::CPU_SET(number, &mut set) });
            set
        };
        let set = |set: &libc::cpu_set_t| {
            // SAFETY: reads the set; changes where this thread runs.
            assert_eq!(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) }, 0);
        };
        let ran = std::thread::spawn(move || {
            // As many as there are: the system leaves out those that the process may not have.
            set(&allowed(libc::CPU_SETSIZE as usize));
            let all = cores();
            let mut one = allowed(0);
            let first = (0..libc::CPU_SETSIZE as usize).find(|number| {
                // SAFETY: changes the set, within its room.
                unsafe { libc::CPU_SET(*number, &mut one) };
                // SAFETY: as above.
                let set = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one) } == 0;
                // SAFETY: as above.
                unsafe { libc::CPU_CLR(*number, &mut one) };
                set
            });
            assert!(first.is_some());
            (all, cores())
        });
        let (all, one) = ran.join().expect("no panic");
        let online = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(all >= online && one == 1, "{all} of {online}, {one}");
        assert!(all > 1 || !std::path::Path::new("/sys/devices/system/cpu/cpu1").exists());
    }

    #[test]
    fn the_limit_of_addresses_is_the_systems() {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: writes one limit.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
        // One that nothing in the tests comes near.
        let lower = libc::rlimit { rlim_cur: limit.rlim_max.min(1 << 60) - 4096, ..limit };
        // SAFETY: reads one limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const lower) }, 0);
        let seen = address_space_limit();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        assert_eq!(seen as u64, lower.rlim_cur);
    }

    #[test]
    fn a_mapping_has_room_for_the_capacity_and_the_tail() {
        let page = page_size();
        for (capacity, pages) in [(1, 1), (page - TAIL, 1), (page - TAIL + 1, 2), (page, 2), (10 * page, 11)] {
            assert_eq!(mapping_len(capacity), Some(pages * page), "{capacity}");
        }
        // SAFETY: sysconf only reads its argument.
        assert_eq!(page as i64, unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
    }

    #[test]
    fn clearing_leaves_untouched_pages_alone() {
        let page = page_size();
        let len = 64 * page;
        let base = map(len, page).expect("memory");
        for offset in [3 * page, 40 * page + 5] {
            // SAFETY: inside the mapping.
            let byte = unsafe { base.add(offset) };
            // SAFETY: mapped and ours.
            unsafe { byte.write(7) };
        }
        // SAFETY: as above; ends inside a page that nobody touched.
        unsafe { clear_resident(base.as_ptr(), 2 * page + 5) };
        let cleared = 40 * page + 6;
        // SAFETY: the mapping is ours alone.
        unsafe { clear_resident(base.as_ptr(), cleared) };
        let mut resident = [0_u8; 64];
        // SAFETY: 64 pages, 64 bytes.
        let seen = unsafe { libc::mincore(base.as_ptr().cast(), len, resident.as_mut_ptr()) };
        assert_eq!(seen, 0);
        // The two that were written, and the one of which a part was to be cleared.
        assert_eq!(resident.iter().filter(|byte| **byte & 1 == 1).count(), 3);
        // SAFETY: mapped and ours.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr(), len) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        // SAFETY: no reference is left.
        unsafe { unmap(base, len) };
    }
}
