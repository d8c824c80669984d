//! What AddressSanitizer is told. This program has the two functions that tell it, in which it writes down what may not be
//! used; a process that has them is taken for one that AddressSanitizer watches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond::{BufferPool, Check, ClearPolicy, raw};

/// What may not be used: starts and ends.
static POISONED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
/// Held by each test: where one gave memory back to the system, another one's may be mapped.
static ALONE: Mutex<()> = Mutex::new(());
/// The room behind a buffer.
const TAIL: usize = 64;

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a range out of those that may not be used.
fn cut(poisoned: &mut BTreeMap<usize, usize>, range: Range<usize>) {
    let touched: Vec<_> =
        poisoned.range(..range.end).filter(|(_, end)| **end > range.start).map(|(start, end)| (*start, *end)).collect();
    for (start, end) in touched {
        poisoned.remove(&start);
        if start < range.start {
            poisoned.insert(start, range.start);
        }
        if end > range.end {
            poisoned.insert(range.end, end);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn __asan_poison_memory_region(start: usize, len: usize) {
    assert_ne!(len, 0);
    let mut poisoned = POISONED.lock().expect("no panic");
    cut(&mut poisoned, start..start + len);
    poisoned.insert(start, start + len);
}

#[unsafe(no_mangle)]
extern "C" fn __asan_unpoison_memory_region(start: usize, len: usize) {
    assert_ne!(len, 0);
    cut(&mut POISONED.lock().expect("no panic"), start..start + len);
}

/// How many bytes of a range may not be used.
fn poisoned(range: Range<usize>) -> usize {
    let poisoned = POISONED.lock().expect("no panic");
    poisoned
        .range(..range.end)
        .map(|(start, end)| (*end).min(range.end).saturating_sub((*start).max(range.start)))
        .sum()
}

/// Checks that the beginning of a buffer may be used, and nothing else up to the end of its room.
fn assert_usable(data: usize, usable: usize, room: usize, what: &str) {
    assert_eq!(poisoned(data..data + usable), 0, "{what}: of {usable} bytes");
    assert_eq!(poisoned(data + usable..data + room), room - usable, "{what}: behind {usable} bytes");
}

#[test]
fn only_the_length_of_a_lease_may_be_used_and_nothing_of_an_idle_buffer() {
    let _alone = alone();
    let sample: Check = "sample:1".parse().expect("a mode");
    for check in [Check::Off, Check::On, Check::Sites, Check::Full, sample] {
        let pool = BufferPool::builder().name("poisoned").check(check).build().expect("a pool");
        // Of a slab, and of a mapping of its own.
        for (class, lengths) in [(1024, [513, 600, 1023, 1024]), (65_536, [20_000, 50_001, 65_535, 65_536])] {
            for len in lengths {
                let what = format!("{check}, {len} bytes");
                let lease = pool.get(len).expect("a lease");
                let data = lease.as_ptr() as usize;
                // On pages of its own a lease has no room behind it, and nothing there can be used after its put.
                let room = if check == sample { lease.capacity() } else { class + TAIL };
                assert_usable(data, len, room, &what);
                lease.put().expect("unharmed");
                assert_usable(data, 0, if check == sample { 0 } else { room }, &what);
            }
        }
        pool.stats().check().expect("the books");
    }
}

#[test]
fn what_is_cut_from_a_slab_is_opened_one_by_one_and_closed_together() {
    let _alone = alone();
    let pool = BufferPool::builder().name("slabs").clear(ClearPolicy::Never).build().expect("a pool");
    let mut leases: Vec<_> = (0..20).map(|_| pool.get(500).expect("a lease")).collect();
    // Once more between neighbours that are out.
    leases.drain(..10).for_each(drop);
    leases.extend((0..10).map(|_| pool.get(500).expect("a lease")));
    let places: Vec<_> = leases.iter().map(|lease| lease.as_ptr() as usize).collect();
    for (number, lease) in leases.into_iter().enumerate() {
        places[..number].iter().for_each(|data| assert_usable(*data, 0, 512 + TAIL, "put"));
        places[number..].iter().for_each(|data| assert_usable(*data, 500, 512 + TAIL, "out"));
        lease.put().expect("unharmed");
    }
    // The last buffer's neighbour, which nobody got yet.
    let last = places.iter().max().expect("some") + 512 + TAIL;
    assert_usable(last, 0, 512, "never out");
    // Back to the system, all of it.
    pool.close().expect("not the default pool");
    drop(pool);
    for data in places.into_iter().chain([last]) {
        assert_eq!(poisoned(data..data + 512 + TAIL), 0);
    }
}

#[test]
fn memory_that_leaves_the_pool_is_open_whole() {
    let _alone = alone();
    let pool = BufferPool::new("left").expect("a pool");
    let lease = pool.get(1 << 20).expect("a lease");
    let data = lease.as_ptr() as usize;
    lease.put().expect("unharmed");
    assert_usable(data, 0, (1 << 20) + TAIL, "idle");
    pool.trim();
    assert_eq!(poisoned(data..data + (1 << 20) + TAIL), 0);
    let detached = pool.get(100_000).expect("a lease").detach().expect("memory");
    let data = detached.as_ptr() as usize;
    assert_eq!(poisoned(data..data + detached.len()), 0);
    // A class that its lease fills, put by its number.
    let id = raw::retain(&pool);
    let lease = raw::get(id, 512, millpond::Site::NONE).expect("a lease");
    assert_usable(lease.data as usize, 512, 512 + TAIL, "by number");
    raw::put(id, lease.id, None, millpond::Site::NONE).expect("live");
    assert_usable(lease.data as usize, 0, 512 + TAIL, "by number");
    raw::release(id).expect("retained");
}
