//! Wears slots out: in a build whose handles have three bits for the generation, a slot serves seven leases and is retired.
//! 2,000,000 handles in all, or as many as `MILLPOND_HANDLES` says.
#![cfg(millpond_short_generations)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::thread;

use millpond::raw::{self, RawLease, Stock};
use millpond::{BufferPool, ErrorKind, Result, Site, Stats};

/// The leases of a slot.
const LEASES: u64 = 7;
const SEED: u64 = 20_261_121;

fn handles() -> u64 {
    std::env::var("MILLPOND_HANDLES").map_or(2_000_000, |count| count.parse().expect("MILLPOND_HANDLES is a number"))
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

fn index(id: u64) -> u64 {
    id & 0xFF_FFFF
}

fn get(pool: &BufferPool, len: usize) -> RawLease {
    raw::get(pool.id(), len, Site::NONE).expect("below the limit")
}

fn put(pool: &BufferPool, id: u64) -> Result<()> {
    raw::put(pool.id(), id, None, Site::NONE)
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[track_caller]
fn at_rest(pool: &BufferPool) -> Stats {
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.check()), (0, Ok(())));
    stats
}

/// Says that no handle came twice and no slot served more than its seven leases; returns the number of slots that served
/// all of them.
#[track_caller]
fn all_differ(ids: &mut Vec<u64>) -> usize {
    let given = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), given, "a handle was given twice");
    let mut leases: HashMap<u64, u64> = HashMap::new();
    ids.iter().for_each(|id| *leases.entry(index(*id)).or_default() += 1);
    assert!(leases.values().all(|count| *count <= LEASES), "a slot served more leases than it has handles");
    leases.values().filter(|count| **count == LEASES).count()
}

/// The tests look at indexes that only one of them may take, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn one_slot_after_the_other_is_worn_out_and_no_handle_comes_back() {
    let _turn = alone();
    let pool = BufferPool::new("worn out").expect("the defaults agree");
    let count = handles() / 2;
    let mut ids = Vec::new();
    for number in 0..count {
        let lease = get(&pool, 100);
        ids.push(lease.id);
        put(&pool, lease.id).expect("a live one is accepted");
        assert_eq!(kind(put(&pool, lease.id)), Some(ErrorKind::DoublePut));
        // One of the last 14, which are this slot's and the one's before.
        let old = ids[number.saturating_sub(number % 14) as usize];
        assert_eq!(kind(raw::lookup(old)), Some(ErrorKind::UseAfterPut));
    }
    // Whatever happened to its slot since, no old handle is a live one again.
    let refused = ids.iter().filter(|id| kind(put(&pool, **id)) == Some(ErrorKind::DoublePut)).count() as u64;
    assert_eq!(refused, count);
    let stats = at_rest(&pool);
    assert_eq!((stats.gets, stats.puts, stats.double_puts), (count, count, 2 * count));
    let worn = all_differ(&mut ids) as u64;
    println!("{count} handles of {} slots, {worn} of them worn out; {} old handles refused", stats.created, 2 * count);
    // The other tests may have used some slots before, which serve fewer leases here than others.
    assert!(worn + 64 >= count / LEASES, "slots go on to be used until their handles are");
    // Each slot that wore out took its buffer along.
    assert!(stats.destroyed >= worn);
}

#[test]
fn a_worn_out_slot_is_retired_whatever_its_last_lease_ends_by() {
    let _turn = alone();
    let pool = BufferPool::builder().name("ends").thread_cache_bytes(0).build().expect("the options agree");
    let other = BufferPool::new("other").expect("the defaults agree");
    type End = fn(&BufferPool, RawLease) -> Result<()>;
    let ends: [(&str, End); 8] = [
        ("put", |pool, lease| put(pool, lease.id)),
        ("put_used", |pool, lease| raw::put(pool.id(), lease.id, Some(0), Site::NONE)),
        ("detach", |pool, lease| raw::detach(pool.id(), lease.id).map(drop)),
        ("into_lease", |pool, lease| raw::into_lease(pool.id(), lease.id).map(drop)),
        ("into_lease and back", |pool, lease| {
            let again = raw::into_lease(pool.id(), lease.id)?.into_raw();
            assert_ne!(again.id, lease.id);
            put(pool, again.id)
        }),
        ("leak_reclaimed", |pool, lease| raw::leak_reclaimed(pool.id(), lease.id)),
        ("lose", |pool, lease| raw::lose(pool.id(), lease.id)),
        ("overrun", |pool, lease| {
            // SAFETY: the byte behind the length is in the buffer's tail; writing it is the violation that put is to notice.
            unsafe { lease.data.wrapping_add(lease.len).write(1) };
            match put(pool, lease.id) {
                Err(error) if error.kind() == ErrorKind::Overrun => Ok(()),
                other => panic!("{other:?}"),
            }
        }),
    ];
    for (name, end) in ends {
        for len in [100, 100_000, 20 << 20] {
            for before in 0..2 * LEASES {
                let mut ids = Vec::new();
                for _ in 0..before {
                    let lease = get(&pool, len);
                    ids.push(lease.id);
                    put(&pool, lease.id).expect("live");
                }
                let lease = get(&pool, len);
                ids.push(lease.id);
                // What is refused changes nothing, at the last handle too.
                raw::pin(lease.id).expect("live");
                assert_eq!(kind(put(&pool, lease.id)), Some(ErrorKind::Busy));
                raw::unpin(lease.id).expect("pinned");
                assert_eq!(kind(put(&other, lease.id)), Some(ErrorKind::ForeignLease));
                assert_eq!(raw::lookup(lease.id).expect("live").data, lease.data);
                end(&pool, lease).unwrap_or_else(|error| panic!("{name}: {error}"));
                for id in &ids {
                    assert_eq!(kind(put(&pool, *id)), Some(ErrorKind::DoublePut), "{name}");
                    assert!(raw::lookup(*id).is_err(), "{name}");
                }
                at_rest(&pool);
                all_differ(&mut ids);
            }
        }
    }
    drop(pool);
    at_rest(&other);
}

#[test]
fn threads_that_wear_slots_out_together_never_meet_a_handle_twice() {
    let _turn = alone();
    let pool = BufferPool::new("together").expect("the defaults agree");
    let count = handles() / 8;
    let exchange = Mutex::new(Vec::<u64>::new());
    let run = |seed: u64| {
        let mut random = Random(SEED + seed);
        let (mut ids, mut old_refused) = (Vec::new(), 0_u64);
        for _ in 0..count {
            let lease = get(&pool, random.below(5000));
            ids.push(lease.id);
            // Put by whoever comes by; two may try the same one.
            let mut shared = exchange.lock().expect("nobody panics");
            shared.push(lease.id);
            let at = random.below(shared.len());
            let mine = if shared.len() > 16 { shared.swap_remove(at) } else { 0 };
            drop(shared);
            if mine != 0 {
                put(&pool, mine).expect("live, and nobody else's");
            }
            let old = ids[random.below(ids.len())];
            if random.below(4) == 0 && mine == old {
                assert_eq!(kind(put(&pool, old)), Some(ErrorKind::DoublePut));
                old_refused += 1;
            }
        }
        (ids, old_refused)
    };
    let outcome: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let rest = exchange.into_inner().expect("nobody panicked");
    rest.iter().for_each(|id| put(&pool, *id).expect("live"));
    let mut ids: Vec<u64> = outcome.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
    let refused: u64 = outcome.iter().map(|(_, refused)| refused).sum();
    let stats = at_rest(&pool);
    assert_eq!((stats.gets, stats.puts, stats.double_puts), (4 * count, 4 * count, refused));
    let still_refused = ids.iter().filter(|id| kind(put(&pool, **id)) == Some(ErrorKind::DoublePut)).count();
    assert_eq!(still_refused, ids.len());
    let worn = all_differ(&mut ids);
    println!(
        "4 threads: {} handles, {worn} slots worn out, {still_refused} old handles refused (seed {SEED})",
        ids.len()
    );
    assert!(worn > 0);
}

#[test]
fn a_raced_put_of_a_last_handle_has_one_winner() {
    let _turn = alone();
    let pool = BufferPool::new("raced").expect("the defaults agree");
    let rounds = handles() / 100;
    let (lease, barrier) = (Mutex::new(0), std::sync::Barrier::new(2));
    let run = || {
        let mut won = 0_u64;
        for _ in 0..rounds {
            if barrier.wait().is_leader() {
                *lease.lock().expect("nobody panics") = get(&pool, 64).id;
            }
            barrier.wait();
            let id = *lease.lock().expect("nobody panics");
            barrier.wait();
            won += u64::from(put(&pool, id).is_ok());
            assert_eq!(kind(put(&pool, id)), Some(ErrorKind::DoublePut));
        }
        won
    };
    let won: u64 = thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let stats = at_rest(&pool);
    assert_eq!((won, stats.gets, stats.puts, stats.double_puts), (rounds, rounds, rounds, 3 * rounds));
    println!("{rounds} raced puts, {won} winners");
}

#[test]
fn tokens_of_a_stock_wear_out_too() {
    let _turn = alone();
    let pool = BufferPool::new("stock").expect("the defaults agree");
    let stock = Stock::new(&pool).expect("a stock");
    let mut ids = Vec::new();
    for number in 0..handles() / 20 {
        let buffer = stock.take(1).expect("a buffer");
        ids.push(buffer.token);
        if number % 2 == 0 {
            stock.give(buffer.token).expect("idle");
        } else {
            stock.put(buffer.token, 10).expect("idle");
        }
        assert_eq!(kind(stock.give(buffer.token)), Some(ErrorKind::DoublePut));
    }
    for id in &ids {
        assert_eq!(kind(stock.give(*id)), Some(ErrorKind::DoublePut));
    }
    drop(stock);
    let stats = at_rest(&pool);
    // Of a token whose slot was retired nobody knows any more which pool's it was.
    assert!(stats.double_puts > 0 && stats.double_puts <= 2 * ids.len() as u64);
    let worn = all_differ(&mut ids);
    println!("{} tokens, {worn} slots worn out", ids.len());
    assert!(worn > 0);
}

#[test]
fn dropped_leases_cost_no_handles() {
    let _turn = alone();
    let pool = BufferPool::new("dropped").expect("the defaults agree");
    for _ in 0..100_000 {
        drop(pool.get(100).expect("below the limit"));
    }
    let stats = at_rest(&pool);
    assert_eq!((stats.created, stats.gets), (1, 100_000));
}
