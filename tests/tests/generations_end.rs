//! Wears out all slots there are: the last get fails with `NO_MEMORY`, and what is on lease is still put.
//! A process of its own, whose address space is small so that the slots are few.
#![cfg(millpond_short_generations)]

use millpond::{BufferPool, ErrorKind, Site, raw};

/// Room for the process and 2^18 slots.
const ADDRESS_SPACE: u64 = 1 << 30;

#[test]
fn when_all_slots_are_worn_out_get_is_an_error_and_nothing_is_lost() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
    limit.rlim_cur = ADDRESS_SPACE;
    // SAFETY: reads one rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);

    let pool = BufferPool::new("until the end").expect("the defaults agree");
    let get = || raw::get(pool.id(), 100, Site::NONE);
    let held: Vec<_> = (0..10).map(|_| get().expect("below the limit")).collect();
    let (mut handles, mut last) = (0_u64, 0);
    let error = loop {
        match get() {
            Ok(lease) => {
                raw::put(pool.id(), lease.id, None, Site::NONE).expect("live");
                handles += 1;
                last = lease.id;
            }
            Err(error) => break error,
        }
    };
    println!("{handles} handles, then: {error}");
    assert_eq!(error.kind(), ErrorKind::NoMemory);
    assert!(handles > 1 << 20, "there were only {handles}");
    assert_eq!(get().map_err(|error| error.kind()).err(), Some(ErrorKind::NoMemory));
    assert_eq!(pool.get(100).map_err(|error| error.kind()).err(), Some(ErrorKind::NoMemory));
    let refused = raw::put(pool.id(), last, None, Site::NONE).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::DoublePut));
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.gets, stats.check()), (10, handles + 10, Ok(())));
    for lease in held {
        raw::put(pool.id(), lease.id, None, Site::NONE).expect("what is on lease is put");
    }
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.check()), (0, Ok(())));
    // The ten that came back have handles left.
    assert!(get().is_ok());
}
