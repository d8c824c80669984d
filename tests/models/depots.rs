//! An idle buffer in a depot is taken once, and none is lost.

use std::ptr::NonNull;
use std::sync::Arc;

use super::common::*;
use crate::buffer::depot::{Depot, Doomed, Entry};
use crate::buffer::slot::{self, MAPPED};

fn entry(number: usize) -> Entry {
    let data = NonNull::new((number * 0x1000) as *mut u8).expect("an address");
    Entry::of(slot::allocate(std::ptr::null_mut(), 0, MAPPED, data, SIZE).expect("a slot"))
}

fn depot() -> Arc<Depot> {
    Arc::new(Depot::new(2).expect("memory"))
}

fn give(depot: &Depot, home: usize, entries: &[Entry]) -> usize {
    let mut rejected = Doomed::default();
    depot.give(home, entries.iter().copied(), &mut rejected);
    rejected.count
}

fn take(depot: &Depot, home: usize, most: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    let count = depot.take(home, most, |entry| taken.push(entry.data as usize));
    assert_eq!(count, taken.len());
    taken
}

fn numbers(doomed: &mut Doomed) -> Vec<usize> {
    std::iter::from_fn(|| doomed.pop()).map(|entry| entry.data as usize).collect()
}

/// Checks that two lists have each of the first `count` buffers once, with what is left in the depot.
fn all_once(depot: &Depot, lists: &[&[usize]], count: usize) {
    let left = depot.len();
    let mut all = lists.concat();
    while let [number, ..] = take(depot, 0, 1)[..] {
        all.push(number);
    }
    assert_eq!(depot.len(), 0);
    assert_eq!(all.len() - lists.concat().len(), left, "the count is exact at rest");
    all.sort();
    assert_eq!(all, (1..=count).map(|number| number * 0x1000).collect::<Vec<_>>());
}

#[test]
fn two_takers_take_different_buffers() {
    explore("two takers take different buffers", None, || {
        let depot = depot();
        assert_eq!(give(&depot, 0, &[entry(1), entry(2)]), 0);
        let theirs = depot.clone();
        let other = spawn(move || take(&theirs, 0, 1));
        let mine = take(&depot, 1, 1);
        all_once(&depot, &[&mine, &other.join()], 2);
    });
}

#[test]
fn a_taker_meets_a_giver() {
    explore("what is given while another takes is taken once or stays", None, || {
        let depot = depot();
        let entries = [entry(1), entry(2), entry(3)];
        assert_eq!(give(&depot, 0, &entries[..1]), 0);
        let theirs = depot.clone();
        let other = spawn(move || take(&theirs, 1, 2));
        assert_eq!(give(&depot, 0, &entries[1..]), 0);
        all_once(&depot, &[&other.join()], 3);
    });
}

#[test]
fn two_givers_lose_nothing() {
    explore("two givers to one stripe lose nothing", None, || {
        let depot = depot();
        let entries = [entry(1), entry(2), entry(3)];
        let theirs = depot.clone();
        let other = spawn(move || give(&theirs, 0, &entries[..2]));
        assert_eq!(give(&depot, 2, &entries[2..]), 0);
        assert_eq!(other.join(), 0);
        all_once(&depot, &[], 3);
    });
}

#[test]
fn what_a_giver_did_comes_before_what_the_taker_does() {
    explore("what the giver of a buffer did comes before what its taker does", None, || {
        let depot = depot();
        let tenants = Tenants::new();
        let entry = entry(1);
        let (theirs, watched) = (depot.clone(), tenants.clone());
        let other = spawn(move || {
            watched.write_at(1);
            give(&theirs, 0, &[entry])
        });
        if !take(&depot, 0, 1).is_empty() {
            tenants.write_at(1);
        }
        other.join();
    });
}

#[test]
fn a_sealed_depot_takes_nothing_in() {
    explore("what is given while the depot is sealed is doomed or drained", None, || {
        let depot = depot();
        let entries = [entry(1), entry(2)];
        assert_eq!(give(&depot, 0, &entries[..1]), 0);
        let theirs = depot.clone();
        let other = spawn(move || {
            let mut rejected = Doomed::default();
            theirs.give(0, entries[1..].iter().copied(), &mut rejected);
            numbers(&mut rejected)
        });
        let mut doomed = Doomed::default();
        depot.drain(usize::MAX, true, &mut doomed);
        let rejected = other.join();
        assert_eq!(depot.len(), 0, "nothing is left in a sealed depot");
        all_once(&depot, &[&rejected, &numbers(&mut doomed)], 2);
    });
}

#[test]
fn a_drain_meets_a_taker() {
    explore("what is drained is not taken", None, || {
        let depot = depot();
        assert_eq!(give(&depot, 0, &[entry(1), entry(2)]), 0);
        let theirs = depot.clone();
        let other = spawn(move || take(&theirs, 0, 1));
        let mut doomed = Doomed::default();
        depot.drain(1, false, &mut doomed);
        all_once(&depot, &[&numbers(&mut doomed), &other.join()], 2);
    });
}

#[test]
fn decay_meets_a_taker() {
    explore("what decays is not taken", None, || {
        let depot = depot();
        assert_eq!(give(&depot, 0, &[entry(1), entry(2)]), 0);
        let mut doomed = Doomed::default();
        depot.decay(&mut doomed);
        assert_eq!(doomed.count, 0, "the first look only remembers");
        let theirs = depot.clone();
        let other = spawn(move || take(&theirs, 0, 1));
        depot.decay(&mut doomed);
        let taken = other.join();
        assert!(doomed.count <= 1);
        all_once(&depot, &[&numbers(&mut doomed), &taken], 2);
    });
}
