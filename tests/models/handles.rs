//! A handle names one lease, and ends once. These models work on the slot of a buffer that no pool has.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::common::*;
use crate::ErrorKind;
use crate::buffer::raw;
use crate::buffer::slot::{self, MAPPED, Refused, Slot};

/// Returns the slot of a buffer, and the handle of its present lease.
fn leased() -> (&'static Slot, u64) {
    let slot = slot_of(0x1000, SIZE);
    (slot, present(slot))
}

fn slot_of(address: usize, capacity: usize) -> &'static Slot {
    let data = NonNull::new(address as *mut u8).expect("an address");
    slot::allocate(std::ptr::null_mut(), 0, MAPPED, data, capacity).expect("a slot")
}

fn present(slot: &Slot) -> u64 {
    slot.handle.load(Ordering::Relaxed)
}

fn kind<T>(result: crate::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

#[test]
fn of_two_ends_of_a_handle_one_wins() {
    explore("of two ends of one handle, one wins", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || slot.end_handle(handle));
        let mine = slot.end_handle(handle);
        assert!(mine != other.join(), "one wins");
        assert!(slot.is_next_after(handle));
    });
}

#[test]
fn who_ends_a_handle_sees_what_its_tenant_did() {
    explore("who ends a handle sees what the tenant did before handing it over", None, || {
        let (slot, handle) = leased();
        let tenants = Tenants::new();
        let theirs = tenants.clone();
        // The tenant puts; whoever gets the buffer next was told of the handle by nobody but the slot.
        let other = spawn(move || {
            theirs.write(handle);
            assert!(slot.end_handle(handle));
        });
        let next = slot.handle.load(Ordering::Acquire);
        if next != handle {
            assert!(slot.end_handle(next));
            tenants.write(next);
        }
        other.join();
    });
}

#[test]
fn a_late_end_leaves_the_next_lease_alone() {
    explore("a late end leaves the next lease of the buffer alone", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || slot.end_handle(handle));
        let mine = slot.end_handle(handle);
        // The winner's buffer is got and put again.
        let next = mine.then(|| present(slot));
        let again = next.map(|next| slot.end_handle(next));
        let theirs = other.join();
        assert!(mine != theirs);
        assert!(again.unwrap_or(true), "nobody else has the next lease's handle");
    });
}

#[test]
fn a_lease_is_not_pinned_and_put() {
    explore("a lease is never pinned and put at once", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || kind(raw::pin(handle)));
        let mine = slot.end_unpinned(handle);
        match (mine, other.join()) {
            (Ok(()), Err(ErrorKind::UseAfterPut)) => {}
            (Err(Refused::Pinned), Ok(())) => {
                raw::unpin(handle).expect("pinned");
                assert_eq!(slot.end_unpinned(handle), Ok(()));
            }
            // Each saw the other half-way and stepped back.
            (Err(Refused::Pinned), Err(ErrorKind::UseAfterPut)) => assert_eq!(slot.end_unpinned(handle), Ok(())),
            other => panic!("{other:?}"),
        }
        assert_eq!(slot.pins.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_pin_that_succeeded_can_be_ended() {
    explore("a pin that succeeded ends, whatever a put does meanwhile", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || slot.end_unpinned(handle));
        let pinned = kind(raw::pin(handle));
        if pinned.is_ok() {
            raw::unpin(handle).expect("pinned");
        }
        let put = other.join();
        assert_eq!(slot.pins.load(Ordering::Relaxed), 0);
        assert!(pinned.is_ok() || matches!(pinned, Err(ErrorKind::UseAfterPut)));
        assert!(put.is_ok() || slot.end_unpinned(handle).is_ok());
    });
}

#[test]
fn a_put_that_meets_the_last_unpin_is_done_or_refused() {
    explore("a put that meets the last unpin is done or refused", None, || {
        let (slot, handle) = leased();
        raw::pin(handle).expect("live");
        let other = spawn(move || raw::unpin(handle).expect("live and pinned"));
        let mine = slot.end_unpinned(handle);
        other.join();
        if mine.is_err() {
            assert_eq!(mine, Err(Refused::Pinned));
            assert_eq!(slot.end_unpinned(handle), Ok(()));
        }
        assert!(slot.is_next_after(handle));
    });
}

#[test]
fn what_was_done_under_a_pin_comes_before_the_put() {
    explore("what was done under a pin comes before the put", None, || {
        let (slot, handle) = leased();
        let tenants = Tenants::new();
        let theirs = tenants.clone();
        raw::pin(handle).expect("live");
        let other = spawn(move || {
            theirs.write(handle);
            raw::unpin(handle).expect("live and pinned");
        });
        if slot.end_unpinned(handle).is_ok() {
            tenants.write(handle);
        }
        other.join();
    });
}

#[test]
fn pins_are_counted() {
    explore("two threads' pins are both counted", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || raw::pin(handle).expect("live"));
        raw::pin(handle).expect("live");
        raw::unpin(handle).expect("pinned");
        other.join();
        assert_eq!(slot.end_unpinned(handle), Err(Refused::Pinned));
        raw::unpin(handle).expect("pinned");
        assert_eq!(slot.end_unpinned(handle), Ok(()));
    });
}

#[test]
fn two_puts_that_meet_a_pin_leave_the_lease_live() {
    explore("two puts of a pinned lease leave it live", None, || {
        let (slot, handle) = leased();
        raw::pin(handle).expect("live");
        let other = spawn(move || slot.end_unpinned(handle));
        assert_eq!(slot.end_unpinned(handle), Err(Refused::Pinned));
        assert_eq!(other.join(), Err(Refused::Pinned));
        assert_eq!(present(slot), handle);
    });
}

#[test]
fn a_lookup_never_tells_of_the_next_lease() {
    explore("a lookup tells of its lease or fails, while the buffer is got again", None, || {
        let (slot, handle) = leased();
        slot.len.store(SIZE, Ordering::Release);
        let other = spawn(move || slot.look(handle).map(|(_, len, _)| len));
        assert!(slot.end_handle(handle));
        crate::buffer::get::record(slot, SIZE / 2, crate::Site::NONE);
        let found = other.join();
        assert!(matches!(found, Some(SIZE) | None), "{found:?}");
    });
}

#[test]
fn a_lookup_never_tells_of_another_buffer() {
    explore("a lookup tells of its buffer or fails, while the slot is given to another", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || slot.look(handle).map(|(data, _, capacity)| (data as usize, capacity)));
        assert!(slot.end_handle(handle));
        slot::free(slot, 0);
        assert_eq!(slot::index_of(present(slot_of(0x2000, 2 * SIZE))), slot::index_of(handle));
        let found = other.join();
        assert!(matches!(found, Some((0x1000, SIZE)) | None), "{found:?}");
    });
}

#[test]
fn a_handle_that_was_valid_is_known_as_such() {
    explore("a handle that ends is never taken for a forged one", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || present(slot) == handle || slot.was_valid(handle));
        assert!(slot.end_handle(handle));
        slot::free(slot, 0);
        assert!(other.join());
    });
}

#[test]
fn a_handle_of_a_freed_slot_stays_over() {
    explore("the handle of a buffer that is gone does not end that of the next one", None, || {
        let (slot, handle) = leased();
        let other = spawn(move || slot.end_handle(handle));
        let mine = slot.end_handle(handle);
        if mine {
            slot::free(slot, 0);
            let next = slot_of(0x2000, SIZE);
            assert!(std::ptr::eq(next, slot));
            assert!(!other.join(), "the handle is over");
            assert!(next.end_handle(present(next)), "and the next one's is not");
        } else {
            assert!(other.join());
        }
    });
}

/// Returns a slot with the last of its handles.
fn worn() -> (&'static Slot, u64) {
    let (slot, mut handle) = leased();
    loop {
        assert!(slot.end_handle(handle));
        if slot.is_worn_out() {
            slot.restore_handle(handle);
            return (slot, handle);
        }
        handle = present(slot);
    }
}

#[test]
fn the_last_handle_of_a_slot_ends_once() {
    explore("the last handle of a slot ends once, and the slot serves nobody again", None, || {
        let (slot, last) = worn();
        let end = move || {
            let won = slot.end_handle(last);
            if won {
                assert!(slot.is_worn_out());
                slot::free(slot, 0);
            }
            won
        };
        let other = spawn(end);
        let mine = end();
        assert!(mine != other.join());
        assert!(slot.was_valid(last) && !slot.end_handle(last));
        let next = slot_of(0x2000, SIZE);
        assert!(!std::ptr::eq(next, slot), "a worn out slot serves nobody");
    });
}

#[test]
fn a_renewed_lease_leaves_its_old_handle_behind() {
    explore("a lease that moves to another slot leaves its old handle behind", None, || {
        let (slot, last) = worn();
        slot.len.store(SIZE, Ordering::Release);
        let other = spawn(move || (slot.look(last).map(|(_, len, _)| len), slot.end_handle(last)));
        let mine = slot.end_handle(last);
        let renewed = mine.then(|| slot::renew(slot, 0).expect("a slot"));
        let (found, theirs) = other.join();
        assert!(mine != theirs);
        assert!(matches!(found, Some(SIZE) | None), "{found:?}");
        if let Some(renewed) = renewed {
            assert_eq!((renewed.len.load(Ordering::Relaxed), renewed.capacity()), (SIZE, SIZE));
            assert!(renewed.end_handle(present(renewed)));
        }
    });
}

#[test]
fn two_new_buffers_have_two_slots() {
    explore("two new buffers have two slots", None, || {
        let (old, handle) = leased();
        assert!(old.end_handle(handle));
        slot::free(old, 0);
        let other = spawn(|| slot_of(0x2000, SIZE));
        let mine = slot_of(0x3000, SIZE);
        let theirs = other.join();
        assert!(!std::ptr::eq(mine, theirs));
        assert!(mine.end_handle(present(mine)) && theirs.end_handle(present(theirs)));
    });
}

#[test]
fn a_slot_that_is_freed_serves_one_buffer() {
    explore("a slot that is freed while another is taken serves one buffer", None, || {
        let (old, handle) = leased();
        assert!(old.end_handle(handle));
        let other = spawn(move || slot::free(old, 0));
        let mine = slot_of(0x2000, SIZE);
        other.join();
        let next = slot_of(0x3000, SIZE);
        assert!(!std::ptr::eq(mine, next));
        assert!(mine.end_handle(present(mine)) && next.end_handle(present(next)));
    });
}

#[test]
fn guesses_find_nothing_while_the_table_grows() {
    explore("a guessed handle finds nothing while the table grows", None, || {
        // The fourth place is the first of the table's next part.
        let first = [0x1000, 0x2000, 0x3000].map(|address| slot_of(address, SIZE));
        let guess = 1 << 24 | 4;
        let other = spawn(move || slot::find(guess).is_some_and(|slot| slot.look(guess).is_some()));
        let fourth = slot_of(0x4000, SIZE);
        assert_eq!(slot::index_of(present(fourth)), 4);
        assert!(!other.join());
        assert_eq!(first.map(|slot| slot::index_of(present(slot))), [1, 2, 3]);
    });
}
