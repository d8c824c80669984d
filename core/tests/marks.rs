//! Leases that a thread got from its own cache as numbers, and that it may therefore end alone: nothing of that is seen from outside.

use std::sync::{Barrier, mpsc};
use std::thread;

use millpond::{BufferPool, ClearPolicy, ErrorKind, Site, raw};

const LEN: usize = 100;

fn pool(name: &str) -> BufferPool {
    BufferPool::builder().name(name).clear(ClearPolicy::Never).build().expect("a pool")
}

/// Gets a lease from the calling thread's cache, where it has put one before.
fn got_from_cache(id: u64) -> u64 {
    raw::put(id, get(id), None, Site::NONE).expect("live");
    get(id)
}

fn get(id: u64) -> u64 {
    raw::get(id, LEN, Site::NONE).expect("a lease").id
}

fn put(id: u64, lease: u64) -> Result<(), ErrorKind> {
    raw::put(id, lease, None, Site::NONE).map_err(|error| error.kind())
}

/// Runs something on another thread.
fn elsewhere<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(body).join().expect("no panic"))
}

#[track_caller]
fn at_rest(pool: &BufferPool) {
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.in_use, stats.gets), (0, stats.puts));
}

#[test]
fn of_two_puts_at_once_one_wins_also_where_one_is_the_owners() {
    const ROUNDS: usize = 150;
    for round in 0..4 {
        let pool = pool("raced");
        let id = pool.id();
        let both = Barrier::new(2);
        let won: usize = (0..ROUNDS)
            .map(|_| {
                // Each a new thread, so that each has not been crossed yet.
                thread::scope(|scope| {
                    let (send, receive) = mpsc::channel();
                    let both = &both;
                    let owner = scope.spawn(move || {
                        let lease = got_from_cache(id);
                        send.send(lease).expect("received");
                        both.wait();
                        let done = put(id, lease);
                        (done, put(id, got_from_cache(id)))
                    });
                    let lease = receive.recv().expect("sent");
                    both.wait();
                    if round % 2 == 1 {
                        thread::yield_now();
                    }
                    let mine = put(id, lease);
                    let (theirs, next) = owner.join().expect("no panic");
                    assert_eq!(next, Ok(()));
                    assert!(mine == Err(ErrorKind::DoublePut) || theirs == Err(ErrorKind::DoublePut));
                    usize::from(mine.is_ok()) + usize::from(theirs.is_ok())
                })
            })
            .sum();
        assert_eq!(won, ROUNDS);
        assert_eq!(pool.stats().double_puts, ROUNDS as u64);
        at_rest(&pool);
    }
}

#[test]
fn a_thread_whose_leases_others_put_goes_on_as_before() {
    let pool = pool("handed over");
    let id = pool.id();
    let mine: Vec<u64> = (0..20).map(|_| got_from_cache(id)).collect();
    // The first takes the mark away, the others find it gone.
    elsewhere(|| mine[..10].iter().for_each(|lease| assert_eq!(put(id, *lease), Ok(()))));
    for lease in &mine[..10] {
        assert_eq!(put(id, *lease), Err(ErrorKind::DoublePut));
    }
    for lease in &mine[10..] {
        assert_eq!(put(id, *lease), Ok(()));
        assert_eq!(elsewhere(|| put(id, *lease)), Err(ErrorKind::DoublePut));
    }
    at_rest(&pool);
}

#[test]
fn a_lease_outlives_the_thread_that_got_it() {
    let pool = pool("inherited");
    let id = pool.id();
    let left: Vec<u64> = (0..4).map(|_| elsewhere(|| got_from_cache(id))).collect();
    assert_eq!(elsewhere(|| put(id, left[0])), Ok(()));
    // By a thread with a cache of its own, that may have the mark of one that ended.
    put(id, got_from_cache(id)).expect("live");
    for lease in &left[1..] {
        assert_eq!(put(id, *lease), Ok(()));
        assert_eq!(put(id, *lease), Err(ErrorKind::DoublePut));
    }
    at_rest(&pool);
}

#[test]
fn pins_hold_a_lease_whoever_pinned_it() {
    let pool = pool("pinned");
    let id = pool.id();
    for other in [false, true] {
        let lease = got_from_cache(id);
        match other {
            true => elsewhere(|| raw::pin(lease)).expect("live"),
            false => raw::pin(lease).expect("live"),
        }
        assert_eq!(put(id, lease), Err(ErrorKind::Busy));
        assert_eq!(elsewhere(|| put(id, lease)), Err(ErrorKind::Busy));
        raw::unpin(lease).expect("pinned");
        assert_eq!(put(id, lease), Ok(()));
        assert_eq!(raw::pin(lease).map_err(|error| error.kind()), Err(ErrorKind::UseAfterPut));
        assert_eq!(elsewhere(|| raw::pin(lease)).map_err(|error| error.kind()), Err(ErrorKind::UseAfterPut));
    }
    at_rest(&pool);
}

#[test]
fn its_length_is_told_as_it_was_asked_for() {
    let pool = pool("told");
    let id = pool.id();
    let lease = got_from_cache(id);
    let found = raw::lookup(lease).expect("live");
    assert_eq!((found.len, found.capacity), (LEN, 512));
    assert_eq!(pool.leaks().expect("memory").iter().map(|leak| leak.len).collect::<Vec<_>>(), [LEN]);
    assert_eq!(pool.stats().requested_bytes, LEN as u64);
    let error = raw::put(id, lease, Some(LEN + 1), Site::NONE).expect_err("too much");
    assert!(error.to_string().contains("100"), "{error}");
    // What a handle becomes has the same length, also on other threads.
    let taken = elsewhere(|| raw::into_lease(id, lease)).expect("live");
    assert_eq!(taken.len(), LEN);
    drop(taken);
    let lease = got_from_cache(id);
    let detached = elsewhere(|| raw::detach(id, lease)).expect("memory");
    assert_eq!(detached.len(), LEN);
    let lease = got_from_cache(id);
    elsewhere(|| raw::leak_reclaimed(id, lease)).expect("live");
    assert_eq!(pool.stats().leaked, 1);
    pool.stats().check().expect("the books");
}

#[test]
fn a_lease_of_another_pool_with_the_same_mark_is_foreign() {
    let (a, b) = (pool("marked-a"), pool("marked-b"));
    // The first thread of each has the same mark in both.
    let [of_a, of_b] = [got_from_cache(a.id()), got_from_cache(b.id())];
    assert_eq!(put(a.id(), of_b), Err(ErrorKind::ForeignLease));
    assert_eq!(put(b.id(), of_a), Err(ErrorKind::ForeignLease));
    assert_eq!((put(a.id(), of_a), put(b.id(), of_b)), (Ok(()), Ok(())));
    at_rest(&a);
    at_rest(&b);
}

#[test]
fn an_overrun_of_such_a_lease_is_found() {
    let pool = pool("overrun");
    let id = pool.id();
    raw::put(id, get(id), None, Site::NONE).expect("live");
    let lease = raw::get(id, LEN, Site::NONE).expect("a lease");
    let behind = lease.data.wrapping_add(LEN);
    // SAFETY: within the buffer, behind the length: the mistake that is to be found.
    unsafe { behind.write(1) };
    assert_eq!(put(id, lease.id), Err(ErrorKind::Overrun));
    assert_eq!(put(id, lease.id), Err(ErrorKind::DoublePut));
    at_rest(&pool);
}
