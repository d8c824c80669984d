//! What the system says of what was mapped and given back.

use std::ops::Range;

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

#[cfg(target_arch = "x86_64")]
#[test]
fn clearing_past_the_caches_touches_the_range_and_nothing_else() {
    const ROOM: usize = 512;
    let mut bytes = [0_u8; ROOM];
    for start in (0..80).chain([127, 128]) {
        for len in (0..200).chain([255, 256, 320]) {
            bytes.fill(0xff);
            // SAFETY: inside the array, which nobody else refers to.
            let from = unsafe { bytes.as_mut_ptr().add(start) };
            // SAFETY: as above; the longest range ends before the array does.
            unsafe { clear_past_caches(from, len) };
            let is_cleared = |(at, byte): (usize, &u8)| (*byte == 0) == (start..start + len).contains(&at);
            assert!(bytes.iter().enumerate().all(is_cleared), "{len} from {start}");
        }
    }
}

#[test]
fn what_is_longer_than_the_caches_is_cleared_to_its_ends() {
    let len = PAST_CACHES_FROM + 4096;
    let base = map(len, page_size()).expect("memory");
    // SAFETY: mapped just now, for this test alone.
    let bytes = unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), len) };
    for (from, to) in [(0_usize, len), (1, len), (0, PAST_CACHES_FROM), (100, 100 + PAST_CACHES_FROM)] {
        let ends = [from.checked_sub(1), Some(from), Some(from + 64), Some(to - 65), Some(to - 1), Some(to)];
        let ends = || ends.into_iter().flatten().filter(|at| *at < len);
        ends().for_each(|at| bytes[at] = 0xff);
        let start = bytes[from..].as_mut_ptr();
        // SAFETY: inside the mapping, and the slice is not used meanwhile.
        unsafe { clear(start, to - from) };
        ends().for_each(|at| assert_eq!(bytes[at] == 0, (from..to).contains(&at), "{at} of {from}..{to}"));
    }
    // SAFETY: mapped above, no reference is used any more.
    unsafe { unmap(base, len) };
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

#[test]
fn clearing_begins_where_it_was_told_in_the_middle_of_a_page() {
    let page = page_size();
    let base = map(4 * page, page).expect("memory");
    // What was never touched is not touched now, but for the page that the range begins in.
    for (from, to) in [(64, 4 * page), (64, 4 * page - 64), (page - 1, 2 * page), (100, 200), (page, page)] {
        // SAFETY: the first page and a part of the second.
        unsafe { base.as_ptr().write_bytes(0xff, page + 100) };
        // SAFETY: inside the mapping, which is this test's.
        let start = unsafe { base.as_ptr().add(from) };
        // SAFETY: as above.
        unsafe { clear_resident(start, to - from) };
        // SAFETY: mapped, and nobody writes.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr(), 4 * page) };
        let left = |at: usize| at < page + 100 && !(from..to).contains(&at);
        assert!(bytes.iter().enumerate().all(|(at, byte)| (*byte == 0xff) == left(at)), "{from}..{to}");
    }
    // SAFETY: inside the mapping.
    let within = unsafe { base.add(page - 1) };
    // SAFETY: mapped above, no reference is used any more.
    unsafe { unmap_around(within, 4 * page) };
}

#[test]
fn a_buffer_and_its_tail_fit_wherever_it_begins() {
    let page = page_size();
    for capacity in [64 << 10, (64 << 10) + 64, (64 << 10) + page - 64, 100_032, 1 << 30] {
        let len = mapping_len(capacity).expect("possible");
        for align in [64, 256, page, 2 << 20] {
            let places: Vec<_> = (0..200).map(|number| place_of(number, capacity, align)).collect();
            assert!(places.iter().all(|place| place % align == 0 && place + capacity + TAIL <= len && *place < page));
            // All that there are, before one comes again.
            let room = (len - capacity - TAIL) / align + 1;
            let mut first = places[..room.min(200)].to_vec();
            first.sort_unstable();
            first.dedup();
            assert_eq!((first.len(), places[0]), (room, 0), "{capacity} bytes aligned to {align}");
        }
    }
    assert_eq!((place_of(1, 1 << 20, 64), place_of(usize::MAX, usize::MAX, 64)), (17 * 64, 0));
}

/// What the kernel says of the mapping that an address is in: where it begins and ends, and its flags, two letters each.
fn mapping_at(address: *const u8) -> (Range<usize>, Vec<String>) {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
    let mut all = 0..0;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        let ends = range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)));
        if let Some((Ok(start), Ok(end))) = ends {
            all = start..end;
        } else if let (true, Some(flags)) = (all.contains(&address.addr()), line.strip_prefix("VmFlags:")) {
            return (all, flags.split_whitespace().map(str::to_owned).collect());
        }
    }
    (0..0, Vec::new())
}

fn has(address: *const u8, flag: &str) -> bool {
    mapping_at(address).1.iter().any(|one| one == flag)
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
    let align = 1 << 30;
    // Another test may just have mapped beside it.
    let alone = (0..6).any(|_| {
        let base = map_aligned(page_size(), align).expect("addresses");
        assert_eq!(base.as_ptr().align_offset(align), 0);
        let start = base.as_ptr().addr();
        let alone = mapping_at(base.as_ptr()).0 == (start..start + page_size());
        // SAFETY: mapped above.
        unsafe { unmap(base, page_size()) };
        alone
    });
    assert!(alone);
    // What happens to stand right has nothing before it.
    let base = map_aligned(3 * page_size(), page_size()).expect("memory");
    // SAFETY: mapped above.
    unsafe { unmap(base, 3 * page_size()) };
}

#[test]
fn a_large_mapping_stands_where_the_last_one_was_given_back() {
    // Between pages that stay, so that what is asked for to be aligned does not fit: the kernel itself never takes this
    // place. Other tests map large memory meanwhile, which forgets it.
    let returned = (0..1000).any(|_| {
        let around = map_anywhere(3 * HUGE_FROM).expect("addresses");
        let before = around.as_ptr().align_offset(HUGE_PAGE) + HUGE_PAGE;
        // SAFETY: less than twice a huge page and `HUGE_FROM` are less than what was mapped.
        let place = unsafe { around.add(before) };
        VACANT.store(NOWHERE, Ordering::Relaxed);
        // SAFETY: whole pages of the mapping, which is this test's.
        unsafe { unmap(place, HUGE_FROM) };
        let base = map(HUGE_FROM, page_size()).expect("memory");
        // SAFETY: mapped above.
        unsafe { unmap(base, HUGE_FROM) };
        // SAFETY: what stands before the place.
        unsafe { unmap(around, before) };
        // SAFETY: the place's end is inside the mapping.
        let behind = unsafe { place.add(HUGE_FROM) };
        // SAFETY: what stands behind the place.
        unsafe { unmap(behind, 2 * HUGE_FROM - before) };
        base == place
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
