//! Guesses handles: numbers that look like a live lease's must not be taken for one, whatever they were built from.

use millpond::raw::{self, RawLease};
use millpond::{BufferPool, ErrorKind, Site};
use proptest::prelude::*;

/// How many handles each kind of guess tries.
const GUESSES: u64 = 2_000_000;

/// Makes a guess from its number and a live handle.
type Guess = Box<dyn FnMut(u64, u64) -> u64>;

/// A small generator (SplitMix64); the seed is printed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn refuses(id: u64) -> bool {
    match raw::lookup(id) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), ErrorKind::InvalidHandle | ErrorKind::UseAfterPut),
    }
}

#[test]
fn no_guess_is_taken_for_a_live_lease() {
    let seed = 20_261_121;
    let mut random = Random(seed);
    let pool = BufferPool::new("guessed").expect("the defaults agree");
    let live: Vec<RawLease> =
        (0..64).map(|_| raw::get(pool.id(), 1000, Site::NONE).expect("below the limit")).collect();
    let ids: Vec<u64> = live.iter().map(|lease| lease.id).collect();
    let accepted = |name: &str, mut guess: Guess| {
        let hits = (0..GUESSES).filter(|i| {
            let id = guess(*i, ids[(*i % 64) as usize]);
            !ids.contains(&id) && !refuses(id)
        });
        let hits = hits.count();
        println!("{name}: {GUESSES} guesses, {hits} taken (seed {seed})");
        hits
    };
    let mut bits = Random(random.next());
    let mut low = Random(random.next());
    let kinds: [(&str, Guess); 6] = [
        ("random", Box::new(move |_, _| random.next())),
        ("small numbers", Box::new(|i, _| i)),
        ("a live one plus a little", Box::new(|i, id| id.wrapping_add(i + 1))),
        ("a live one, its low half kept", Box::new(move |_, id| (id & 0xFFFF_FFFF) | (bits.next() << 32))),
        ("a live one, its high half kept", Box::new(move |_, id| (id & !0xFFFF_FFFF) | (low.next() >> 32))),
        ("a live one, 24 low bits kept, generations counted", Box::new(|i, id| (id & 0xFF_FFFF) | (i << 24))),
    ];
    let taken: usize = kinds.into_iter().map(|(name, guess)| accepted(name, guess)).sum();
    assert_eq!(taken, 0);
    let flips = ids.iter().flat_map(|id| (0..64).flat_map(move |a| (a..64).map(move |b| id ^ (1 << a) ^ (1 << b))));
    assert!(flips.filter(|id| !ids.contains(id)).all(refuses), "one or two flipped bits were taken");
    for lease in live {
        raw::put(pool.id(), lease.id, None, Site::NONE).expect("the live ones are still live");
    }
    let stats = pool.stats();
    assert_eq!((stats.puts, stats.in_use, stats.check()), (64, 0, Ok(())));
}

#[test]
fn every_old_handle_stays_dead_however_often_its_slot_is_used() {
    let pool = BufferPool::new("stale").expect("the defaults agree");
    let mut old = Vec::new();
    for _ in 0..20_000 {
        let lease = raw::get(pool.id(), 100, Site::NONE).expect("below the limit");
        raw::put(pool.id(), lease.id, None, Site::NONE).expect("live");
        old.push(lease.id);
    }
    let kind = |result: millpond::Result<()>| result.map_err(|error| error.kind());
    for id in &old {
        assert_eq!(kind(raw::lookup(*id).map(drop)), Err(ErrorKind::UseAfterPut));
        assert_eq!(kind(raw::put(pool.id(), *id, None, Site::NONE)), Err(ErrorKind::DoublePut));
    }
    let count = old.len();
    old.sort_unstable();
    old.dedup();
    assert_eq!(old.len(), count, "a handle was given twice");
    let stats = pool.stats();
    assert_eq!((stats.double_puts, stats.puts, stats.check()), (20_000, 20_000, Ok(())));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every function that takes a handle answers any number with an error, and the live lease beside it is untouched.
    #[test]
    fn any_number_is_acceptable_input(pool_number: u64, lease_number: u64, used: Option<usize>) {
        let pool = BufferPool::new("any").expect("the defaults agree");
        let live = raw::get(pool.id(), 100, Site::NONE).expect("below the limit");
        prop_assume!(pool_number != pool.id() && lease_number != live.id && pool_number != millpond::default_pool().id());
        prop_assert!(raw::pool(pool_number).is_err());
        prop_assert!(raw::release(pool_number).is_err());
        prop_assert!(raw::get(pool_number, 1, Site::NONE).is_err());
        prop_assert!(raw::put(pool_number, live.id, used, Site::NONE).is_err());
        prop_assert!(raw::put(pool.id(), lease_number, used, Site::NONE).is_err());
        prop_assert!(raw::pin(lease_number).is_err());
        prop_assert!(raw::unpin(lease_number).is_err());
        prop_assert!(raw::detach(pool.id(), lease_number).is_err());
        prop_assert!(raw::leak_reclaimed(pool.id(), lease_number).is_err());
        prop_assert!(raw::pool_of(lease_number).is_err());
        prop_assert_eq!(raw::pool_of(live.id).map_err(|error| error.kind()), Ok(pool.id()));
        prop_assert!(raw::put(pool.id(), live.id, None, Site::NONE).is_ok());
        prop_assert_eq!(pool.stats().check(), Ok(()));
    }
}
