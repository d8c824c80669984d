//! A handle names one lease, and ends once.

use super::common::*;
use crate::buffer::raw;
use crate::{ErrorKind, Site};

#[test]
fn two_puts_of_one_handle_one_wins() {
    explore("two puts of one handle: one wins", None, || {
        let pool = pool();
        let id = pool.id();
        let lease = raw::get(id, SIZE, Site::NONE).expect("a lease");
        let other = spawn(move || raw::put(id, lease.id, None, Site::NONE));
        let mine = raw::put(id, lease.id, None, Site::NONE);
        let theirs = other.join().expect("the other thread");
        assert!(mine.is_ok() != theirs.is_ok(), "one put wins");
        let refused = mine.err().or(theirs.err()).expect("the other is refused");
        assert_eq!(refused.kind(), ErrorKind::DoublePut);
        let stats = pool.stats();
        assert_eq!((stats.gets, stats.puts, stats.in_use), (1, 1, 0));
    });
}
