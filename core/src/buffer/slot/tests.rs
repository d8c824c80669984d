//! Looks at slots and handles from inside.

use super::*;

#[test]
fn handles_of_a_slot_differ_and_know_their_generation() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let index = slot.handle.load(Ordering::Relaxed) & INDEX_MASK;
    let mut handle = index;
    let mut seen = std::collections::HashSet::new();
    for generation in 0..20_000.min(1 << GENERATION_BITS) {
        assert_eq!(slot.generation_of(handle), Some(generation));
        assert_eq!(handle & INDEX_MASK, index);
        assert!(seen.insert(handle));
        handle = slot.successor(handle);
    }
    assert_eq!(handle == index, GENERATION_BITS == 3, "the end comes when all were used");
    assert_eq!(slot.generation_of(handle ^ 1), None, "another slot's");
    assert_eq!((index_of(handle), slot.index() as u64), (index, index));
    free(slot, 0);
}

#[test]
fn the_sequence_of_handles_ends_at_nonce_0_after_all_the_others() {
    // The same rule modulo 2^8, where all of it can be seen.
    let (multiplier, step) = (KEY.multiplier.load(Ordering::Relaxed), step_of(77));
    let mut handle = 77_u64;
    let mut length = 0;
    loop {
        handle = handle.wrapping_mul(multiplier).wrapping_add(step) & 0xffff_ffff;
        length += 1;
        if handle >> INDEX_BITS == 0 {
            break;
        }
    }
    assert_eq!((length, handle), (256, 77));
}

#[test]
fn steps_differ_from_slot_to_slot_and_in_no_regular_way() {
    let mut byte = 0_u8;
    // Draws the key.
    free(allocate(std::ptr::null_mut(), 0, 0, NonNull::from(&mut byte), 64).expect("memory"), 0);
    let multiplier = KEY.multiplier.load(Ordering::Relaxed);
    assert_eq!(multiplier & 7, 5);
    // What stands there before it is drawn comes with a chance of one in 2^61.
    assert!(multiplier != 5 && KEY.step.load(Ordering::Relaxed) != 1);
    let nonce_of = |index: u64| {
        let brought_back = step_of(index).wrapping_add(index.wrapping_mul(multiplier)).wrapping_sub(index);
        assert_eq!(brought_back & INDEX_MASK, 0, "the index below the nonce comes back to itself");
        brought_back >> INDEX_BITS
    };
    let steps: Vec<u64> = (1..20_000).map(nonce_of).collect();
    assert!(steps.iter().all(|step| step & 1 == 1));
    let distinct: std::collections::HashSet<_> = steps.iter().collect();
    assert!(distinct.len() > steps.len() - 2, "{}", distinct.len());
    let gaps: std::collections::HashSet<_> = steps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(gaps.len() > steps.len() - 10, "{}", gaps.len());
    // Each bit but the lowest is set about as often as not.
    for bit in 1..NONCE_BITS {
        let set = steps.iter().filter(|step| *step >> bit & 1 == 1).count();
        assert!((9_000..11_000).contains(&set), "bit {bit}: {set}");
    }
}

#[test]
fn numbers_that_are_no_handles_find_nothing_or_do_not_match() {
    for number in [0, 1, INDEX_MASK, RETIRED, u64::MAX] {
        assert!(find(number).is_none_or(|slot| slot.handle.load(Ordering::Relaxed) != number), "{number:#x}");
    }
}

#[test]
fn an_ended_handle_is_known_as_such_and_a_forged_one_is_not() {
    // With three bits a slot that another test used may be at its last handle, and one of eight forged ones is an old one.
    if cfg!(millpond_short_generations) {
        return;
    }
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 3, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let first = slot.handle.load(Ordering::Relaxed);
    assert_eq!((slot.class(), slot.flags()), (3, MAPPED));
    assert!(slot.end_handle(first));
    assert!(!slot.end_handle(first));
    let second = slot.handle.load(Ordering::Relaxed);
    assert_ne!(first, second);
    assert!(slot.was_valid(first));
    let third = slot.successor(second);
    assert!(slot.was_valid(second) && !slot.was_valid(third));
    let forged = (1..2000_u64).filter(|n| slot.was_valid(second ^ n)).count();
    assert!(forged <= 1, "{forged} forged handles look like old ones");
    slot.set_flags(MAPPED | UNTOUCHED);
    assert_eq!((slot.class(), slot.flags()), (3, MAPPED | UNTOUCHED));
    free(slot, 0);
}

#[test]
fn facts_stand_beside_each_other() {
    let mut byte = 0_u8;
    for (class, flags, capacity) in [(0, 0, 0), (5, MAPPED, 64), (OVERSIZED, 0xff, 1 << 47), (7, SINGLE | HEAP, 1)] {
        let slot = allocate(std::ptr::null_mut(), class, flags, NonNull::from(&mut byte), capacity).expect("memory");
        assert_eq!((slot.class(), slot.flags(), slot.capacity()), (class, flags, capacity));
        for flags in [UNTOUCHED, MAPPED | UNTOUCHED, MAPPED, 0, 0xff, 1 << 6] {
            slot.set_flags(flags);
            assert_eq!((slot.class(), slot.flags(), slot.capacity()), (class, flags, capacity));
        }
        for (flags, tail) in [(0, true), (MAPPED, true), (SINGLE | MAPPED, true), (GUARDED, false), (HEAP, false)] {
            slot.set_flags(flags);
            assert_eq!(slot.has_tail(), tail, "{flags}");
            slot.set_flags(flags | SINGLE);
            assert_eq!(slot.has_tail(), tail, "{flags} alone");
        }
        slot.set_flags(GUARDED | HEAP);
        assert!(!slot.has_tail());
        free(slot, 0);
    }
}

#[test]
fn an_ended_handle_can_be_given_back_by_its_ender() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let handle = slot.handle.load(Ordering::Relaxed);
    assert!(!slot.is_next_after(handle));
    assert!(slot.end_handle(handle) && slot.is_next_after(handle));
    slot.restore_handle(handle);
    assert_eq!(slot.handle.load(Ordering::Relaxed), handle);
    assert!(slot.was_valid(handle) && !slot.is_worn_out() && slot.end_handle(handle));
    free(slot, 0);
}

#[test]
fn a_freed_slot_is_nobody_s_and_its_handle_over() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::dangling_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let handle = slot.handle.load(Ordering::Relaxed);
    slot.taken.store(7, Ordering::Relaxed);
    free(slot, 0xabc);
    assert!(slot.handle.load(Ordering::Relaxed) != handle && slot.was_valid(handle));
}

#[test]
fn a_slot_is_worn_out_when_no_nonce_is_left() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let handle = slot.handle.load(Ordering::Relaxed);
    for (present, worn) in [(handle, false), (INDEX_MASK + 1, false), (INDEX_MASK, true), (1, true)] {
        slot.handle.store(present, Ordering::Relaxed);
        assert_eq!(slot.is_worn_out(), worn, "{present:#x}");
    }
    // It had all of its handles then, whatever their number.
    slot.handle.store(RETIRED, Ordering::Relaxed);
    assert!(slot.was_valid(handle));
    slot.handle.store(0, Ordering::Relaxed);
    assert!(!slot.was_valid(handle), "a slot that was never used had none");
    slot.handle.store(handle, Ordering::Relaxed);
    free(slot, 0);
}

#[test]
fn canaries_begin_with_a_zero_byte() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 0, 0, NonNull::from(&mut byte), 64).expect("memory");
    let canary = canary(slot.handle.load(Ordering::Relaxed));
    assert_eq!(canary.to_le_bytes()[0], 0);
    assert_ne!(canary, 0);
    assert_eq!(super::canary(0x0123_4567_89ab_cdef), 0x2345_6789_abcd_ef00);
    free(slot, 0);
}

#[test]
fn whoever_asks_for_a_pinned_lease_waits_for_the_put_that_met_the_pin() {
    let mut byte = 0_u8;
    let slot = allocate(std::ptr::null_mut(), 0, MAPPED, NonNull::from(&mut byte), 64).expect("memory");
    let handle = slot.handle.load(Ordering::Relaxed);
    let asks: [fn(&'static Slot, u64) -> bool; 2] =
        [Slot::comes_back, |_, handle| super::super::raw::check(handle).is_ok()];
    for ask in asks {
        slot.pins.store(1, Ordering::Relaxed);
        assert!(slot.end_handle(handle));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                slot.restore_handle(handle);
            });
            assert!(ask(slot, handle));
        });
    }
    // A put that met no pin ends the lease.
    slot.pins.store(0, Ordering::Relaxed);
    assert!(slot.end_handle(handle) && !slot.comes_back(handle));
    free(slot, 0);
}

/// The handle of a slot behind which the one with nonce 0 comes.
fn last_of(slot: &Slot) -> u64 {
    let multiplier = KEY.multiplier.load(Ordering::Relaxed);
    // Each round doubles the bits that are right, of which an odd number is the first three itself.
    let inverse = (0..5)
        .fold(multiplier, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(multiplier.wrapping_mul(inverse))));
    let step = slot.step.load(Ordering::Relaxed);
    (slot.index() as u64).wrapping_sub(step).wrapping_mul(inverse) & USED_MASK
}

#[test]
fn a_slot_whose_handles_are_used_up_is_retired() {
    let mut byte = 0_u8;
    let data = NonNull::from(&mut byte);
    let make = || allocate(std::ptr::null_mut(), 5, MAPPED, data, 64).expect("memory");
    let (usual, last, worn) = (make(), make(), make());
    last.handle.store(last_of(last), Ordering::Relaxed);
    assert!(!last.is_worn_out() && last.successor(last_of(last)) == last.index() as u64);
    worn.handle.store(worn.index() as u64, Ordering::Relaxed);
    worn.len.store(7, Ordering::Relaxed);
    worn.site.store(3, Ordering::Relaxed);
    worn.taken.store(2, Ordering::Relaxed);
    // Its buffer goes on in another slot.
    let new = renew(worn, 9).expect("memory");
    assert_ne!(new.index(), worn.index());
    assert_eq!((new.data.load(Ordering::Relaxed), new.class(), new.flags()), (data.as_ptr(), 5, MAPPED));
    assert_eq!((new.len.load(Ordering::Relaxed), new.site.load(Ordering::Relaxed)), (7, 3));
    assert_eq!((new.taken.load(Ordering::Relaxed), new.capacity()), (2, 64));
    for slot in [usual, last, new] {
        free(slot, 9);
    }
    let is_retired = |slot: &Slot| slot.handle.load(Ordering::Relaxed) == RETIRED;
    assert!(is_retired(last) && is_retired(worn));
    // Other tests may have it again by now; with three bits it may be at its end.
    assert!(!is_retired(usual) || cfg!(millpond_short_generations));
}
