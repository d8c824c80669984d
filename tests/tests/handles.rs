//! Handles that are over and numbers that are none: every function that takes a handle answers them with an error. Guesses in
//! number are in `forge`.

use millpond::{BufferPool, ErrorKind, Site, raw};
use proptest::prelude::*;

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
        prop_assume!(pool_number != pool.id() && lease_number != live.id && pool_number != millpond::default_pool().expect("memory").id());
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
