//! Guarded leases from the inside.

use super::*;
use crate::BufferPool;

fn pool(alignment: usize) -> BufferPool {
    let builder = BufferPool::builder().name("guarded").check("sample:1".parse().expect("a mode"));
    builder.alignment(alignment).build().expect("a pool")
}

#[test]
fn pages_that_another_pool_left_are_used_again_only_if_they_are_aligned() {
    const ALIGNMENT: usize = 64 << 10;
    let (usual, aligned) = (pool(64), pool(ALIGNMENT));
    // As long as what the other pool's leases take, and more than are remembered.
    (0..2 * REMEMBERED).for_each(|_| drop(usual.get(ALIGNMENT).expect("a lease")));
    for _ in 0..REMEMBERED {
        let lease = aligned.get(1).expect("a lease");
        assert!(lease.is_guarded() && lease.as_ptr().align_offset(ALIGNMENT) == 0);
    }
}

#[test]
fn a_fork_waits_for_whoever_changes_the_table() {
    let done = std::sync::atomic::AtomicBool::new(false);
    let (begin, begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let places = PLACES.lock();
            begin.send(()).expect("the test waits");
            std::thread::sleep(std::time::Duration::from_millis(10));
            done.store(true, Ordering::Relaxed);
            drop(places);
        });
        begun.recv().expect("begun");
        lock_for_fork();
        assert!(done.load(Ordering::Relaxed));
        // SAFETY: taken by this thread above.
        unsafe { unlock_after_fork() };
    });
}

#[test]
fn a_slots_word_tells_pins_from_a_guarded_leases_place() {
    let place = PIN | (1023 << PLACE_SHIFT);
    for (word, pins, full) in [
        (0, 0, false),
        (7, 7, false),
        (PIN - 2, PIN - 2, false),
        (PIN - 1, PIN - 1, true),
        (place, 0, false),
        (place + 5, 5, false),
        (place + (1 << PLACE_SHIFT) - 2, (1 << PLACE_SHIFT) - 2, false),
        (place + (1 << PLACE_SHIFT) - 1, (1 << PLACE_SHIFT) - 1, true),
    ] {
        assert_eq!((pins_of(word), pins_are_full(word)), (pins, full), "{word:#x}");
    }
}

#[test]
fn the_pages_of_a_guarded_lease_are_known_and_what_is_around_them_is_not() {
    let pool = pool(64);
    let lease = pool.get(100).expect("a lease");
    let (data, page) = (lease.as_ptr() as usize, memory::page_size());
    let start = data - data % page;
    for (address, known) in [(start, true), (data, true), (start + 2 * page - 1, true)] {
        assert_eq!(is_known(address), known, "{address:#x}");
    }
    let here = 0_u8;
    for nowhere in [0, 1, page, usize::MAX / 2, usize::MAX, std::ptr::from_ref(&here) as usize] {
        assert!(!is_known(nowhere), "{nowhere:#x}");
    }
}

#[test]
fn a_get_between_two_guarded_ones_is_served_from_the_thread_s_cache() {
    let check = "sample:4".parse().expect("a mode");
    let pool = BufferPool::builder().name("between").check(check).build().expect("a pool");
    drop(pool.get(100).expect("a lease"));
    let slot = pool.inner().get_between(100).expect("an idle buffer, and it is not the turn of a guarded one");
    assert_eq!(slot.capacity(), 512);
    assert!(pool.inner().get_between(100).is_none(), "nothing more is idle");
    crate::buffer::get::record(slot, 100, crate::Site::NONE);
    drop(crate::Lease::of_slot(slot));
    assert_eq!(pool.stats().hits, 1);
}
