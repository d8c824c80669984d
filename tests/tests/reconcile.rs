//! Shows that the statistics reconcile: whatever several threads did to two pools, at rest every lease and every buffer is
//! accounted for, and each counter is what the threads themselves counted.

use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use millpond::{BufferPool, Classes, ClearPolicy, Error, ErrorKind, Lease, LimitPolicy, Stats};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const CLASSES: [usize; 4] = [512, 1024, 16384, 65536];

/// One act of one thread. The numbers choose a pool, a size or one of the leases in the thread's hands.
#[derive(Clone, Debug)]
enum Op {
    Get(bool, usize),
    TryGet(bool, usize),
    GetTimeout(bool, usize),
    Write(bool, usize, usize),
    Put(usize),
    PutUsed(usize, usize),
    PutForeign(usize),
    Drop(usize),
    Overrun(usize),
    HandOver(usize),
    TakeOver(usize),
    Freeze(usize),
    Detach(usize),
    Lose(usize),
    Trim(bool),
    Maintain(bool),
    Read(bool),
}

/// What a thread did to one pool.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    gets: u64,
    oversized: u64,
    puts: u64,
    detached: u64,
    leaked: u64,
    overruns: u64,
    foreign: u64,
    exhausted: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.gets += other.gets;
        self.oversized += other.oversized;
        self.puts += other.puts;
        self.detached += other.detached;
        self.leaked += other.leaked;
        self.overruns += other.overruns;
        self.foreign += other.foreign;
        self.exhausted += other.exhausted;
    }
}

/// Something that keeps a buffer in use, and the pool it came from.
enum Held {
    Lease(usize, Lease),
    Frozen(usize, Bytes),
}

struct Actor<'a> {
    pools: &'a [BufferPool; 2],
    exchange: &'a Mutex<Vec<Held>>,
    zeroed: [bool; 2],
    held: Vec<Held>,
    tally: [Tally; 2],
}

impl Actor<'_> {
    fn got(&mut self, pool: usize, len: usize, result: Result<Lease, Error>) -> TestCaseResult {
        match result {
            Ok(mut lease) => {
                prop_assert_eq!(lease.len(), len);
                if self.zeroed[pool] {
                    prop_assert!(lease.iter().all(|byte| *byte == 0), "another tenant's bytes in {} bytes", len);
                }
                let half = len / 2;
                lease[half..].fill(0xC3);
                self.tally[pool].gets += 1;
                self.tally[pool].oversized += u64::from(len > CLASSES[3]);
                self.held.push(Held::Lease(pool, lease));
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Exhausted);
                self.tally[pool].exhausted += 1;
            }
        }
        Ok(())
    }

    fn pick(&mut self, which: usize) -> Option<Held> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which % self.held.len()))
    }

    /// Picks a lease; frozen bytes that come up instead are let go, which is their put.
    fn pick_lease(&mut self, which: usize) -> Option<(usize, Lease)> {
        match self.pick(which)? {
            Held::Lease(pool, lease) => Some((pool, lease)),
            Held::Frozen(pool, bytes) => {
                drop(bytes);
                self.tally[pool].puts += 1;
                None
            }
        }
    }

    fn act(&mut self, op: &Op) -> TestCaseResult {
        let pools = self.pools;
        match *op {
            Op::Get(pool, len) => return self.got(pool.into(), len, pools[usize::from(pool)].get(len)),
            Op::TryGet(pool, len) => return self.got(pool.into(), len, pools[usize::from(pool)].try_get(len)),
            Op::GetTimeout(pool, len) => {
                let result = pools[usize::from(pool)].get_timeout(len, Duration::from_micros(50));
                return self.got(pool.into(), len, result);
            }
            Op::Write(pool, capacity, count) => match pools[usize::from(pool)].writer(capacity) {
                Ok(mut writer) => {
                    let count = count.min(capacity);
                    writer.put_bytes(0xC4, count);
                    let lease = writer.finish();
                    prop_assert_eq!(lease.len(), count);
                    let tally = &mut self.tally[usize::from(pool)];
                    tally.gets += 1;
                    tally.oversized += u64::from(capacity > CLASSES[3]);
                    self.held.push(Held::Lease(pool.into(), lease));
                }
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Exhausted);
                    self.tally[usize::from(pool)].exhausted += 1;
                }
            },
            Op::Trim(pool) => drop(pools[usize::from(pool)].trim()),
            Op::Maintain(pool) => drop(pools[usize::from(pool)].maintain()),
            Op::Read(pool) => {
                let stats = pools[usize::from(pool)].stats();
                prop_assert_eq!(stats.classes.len(), CLASSES.len());
            }
            Op::TakeOver(which) => {
                let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
                if !exchange.is_empty() {
                    let at = which % exchange.len();
                    self.held.push(exchange.swap_remove(at));
                }
            }
            Op::HandOver(which) => {
                if let Some(held) = self.pick(which) {
                    self.exchange.lock().unwrap_or_else(PoisonError::into_inner).push(held);
                }
            }
            Op::Drop(which) => match self.pick(which) {
                Some(Held::Lease(pool, _) | Held::Frozen(pool, _)) => self.tally[pool].puts += 1,
                None => {}
            },
            _ => return self.act_on_lease(op),
        }
        Ok(())
    }

    fn act_on_lease(&mut self, op: &Op) -> TestCaseResult {
        let (Op::Put(which)
        | Op::PutUsed(which, _)
        | Op::PutForeign(which)
        | Op::Overrun(which)
        | Op::Freeze(which)
        | Op::Detach(which)
        | Op::Lose(which)) = *op
        else {
            unreachable!("act() does the others");
        };
        let Some((pool, mut lease)) = self.pick_lease(which) else { return Ok(()) };
        match *op {
            Op::Put(_) => {
                prop_assert!(lease.put().is_ok());
                self.tally[pool].puts += 1;
            }
            Op::PutUsed(_, used) => {
                // The upper half was written at get, so only the whole length is a true word when anything was.
                let used = if lease.is_empty() { 0 } else { lease.len().max(used) };
                let fits = used <= lease.len();
                let result = lease.put_used(used);
                prop_assert_eq!(
                    result.map_err(|error| error.kind()),
                    if fits { Ok(()) } else { Err(ErrorKind::InvalidArgument) }
                );
                self.tally[pool].puts += 1;
            }
            Op::PutForeign(_) => {
                let refused = self.pools[1 - pool].put(lease).expect_err("the lease is not from there");
                prop_assert_eq!(refused.error.kind(), ErrorKind::ForeignLease);
                self.tally[1 - pool].foreign += 1;
                self.held.push(Held::Lease(pool, refused.lease.expect("a foreign lease comes back")));
            }
            Op::Overrun(_) => {
                let len = lease.len();
                if lease.capacity() == len || len > CLASSES[3] {
                    self.held.push(Held::Lease(pool, lease));
                    return Ok(());
                }
                let end = lease.as_mut_ptr().wrapping_add(len);
                // SAFETY: the capacity is larger than the length, so the byte is the lease's own; writing it is the violation
                // that put is to notice.
                unsafe { end.write(0xA5) };
                prop_assert_eq!(lease.put().map_err(|error| error.kind()), Err(ErrorKind::Overrun));
                self.tally[pool].puts += 1;
                self.tally[pool].overruns += 1;
            }
            Op::Freeze(_) => self.held.push(Held::Frozen(pool, lease.freeze())),
            Op::Detach(_) => {
                prop_assert!(lease.detach().is_ok());
                self.tally[pool].detached += 1;
            }
            Op::Lose(_) => {
                lease.leak_reclaimed();
                self.tally[pool].leaked += 1;
            }
            _ => unreachable!("chosen above"),
        }
        Ok(())
    }
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0_usize..1100,
        2 => 1000_usize..17000,
        1 => 16000_usize..66000,
        1 => 65530_usize..90000,
        1 => prop::sample::select(vec![0, 1, 511, 512, 513, 1024, 1025, 16384, 16385, 65536, 65537]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = 0_usize..64;
    prop_oneof![
        8 => (any::<bool>(), len()).prop_map(|(p, n)| Op::Get(p, n)),
        2 => (any::<bool>(), len()).prop_map(|(p, n)| Op::TryGet(p, n)),
        1 => (any::<bool>(), len()).prop_map(|(p, n)| Op::GetTimeout(p, n)),
        1 => (any::<bool>(), len(), 0_usize..2000).prop_map(|(p, n, k)| Op::Write(p, n, k)),
        5 => pick.clone().prop_map(Op::Put),
        1 => (pick.clone(), 0_usize..2000).prop_map(|(i, k)| Op::PutUsed(i, k)),
        1 => pick.clone().prop_map(Op::PutForeign),
        3 => pick.clone().prop_map(Op::Drop),
        1 => pick.clone().prop_map(Op::Overrun),
        3 => pick.clone().prop_map(Op::HandOver),
        3 => pick.clone().prop_map(Op::TakeOver),
        1 => pick.clone().prop_map(Op::Freeze),
        1 => pick.clone().prop_map(Op::Detach),
        1 => pick.prop_map(Op::Lose),
        1 => any::<bool>().prop_map(Op::Trim),
        1 => any::<bool>().prop_map(Op::Maintain),
        1 => any::<bool>().prop_map(Op::Read),
    ]
}

/// How one pool of a case is made.
#[derive(Clone, Debug)]
struct Setting {
    clear: ClearPolicy,
    on_limit: LimitPolicy,
    max_bytes: usize,
    retained: usize,
    thread_cache: usize,
}

fn setting() -> impl Strategy<Value = Setting> {
    let clear = prop::sample::select(vec![ClearPolicy::OnPut, ClearPolicy::OnGet, ClearPolicy::Never]);
    let wait = LimitPolicy::Wait(Duration::from_micros(50));
    let on_limit = prop::sample::select(vec![LimitPolicy::Fail, wait, LimitPolicy::Unpooled]);
    let max_bytes = prop::sample::select(vec![128 << 10, 1 << 20, 1 << 30]);
    let retained = prop::sample::select(vec![0, 40_000, 128 << 10]);
    let thread_cache = prop::sample::select(vec![0, 4096, 2 << 20]);
    (clear, on_limit, max_bytes, retained, thread_cache).prop_map(
        |(clear, on_limit, max_bytes, retained, thread_cache)| Setting {
            clear,
            on_limit,
            max_bytes,
            retained,
            thread_cache,
        },
    )
}

fn make(setting: &Setting) -> BufferPool {
    BufferPool::builder()
        .classes(Classes::List(CLASSES.to_vec()))
        .clear(setting.clear)
        .on_limit(setting.on_limit)
        .max_bytes(setting.max_bytes)
        .max_retained_bytes(setting.retained)
        .thread_cache_bytes(setting.thread_cache)
        .build()
        .expect("the options agree with each other")
}

/// Checks both equations, in all and per class, and every counter against what was counted outside.
fn check(stats: &Stats, tally: &Tally, held: u64, setting: &Setting) -> TestCaseResult {
    prop_assert_eq!(stats.gets, stats.puts + stats.in_use + stats.detached + stats.leaked, "leases: {:?}", stats);
    prop_assert_eq!(stats.created - stats.destroyed, stats.in_use + stats.retained_buffers, "buffers: {:?}", stats);
    prop_assert_eq!(stats.check(), Ok(()));
    for class in &stats.classes {
        prop_assert_eq!(class.gets, class.puts + class.in_use + class.detached + class.leaked, "class: {:?}", class);
    }
    let counted =
        [stats.gets, stats.puts, stats.in_use, stats.detached, stats.leaked, stats.overruns, stats.foreign_puts];
    let wanted = [tally.gets, tally.puts, held, tally.detached, tally.leaked, tally.overruns, tally.foreign];
    prop_assert_eq!(counted, wanted, "gets, puts, in_use, detached, leaked, overruns, foreign_puts");
    prop_assert_eq!(stats.exhausted, tally.exhausted);
    if setting.on_limit != LimitPolicy::Unpooled {
        prop_assert_eq!(stats.oversized, tally.oversized);
        prop_assert!(stats.peak_live_bytes <= setting.max_bytes as u64, "{:?}", stats);
    }
    prop_assert!(stats.retained_bytes <= setting.retained as u64, "{:?} with {:?}", stats, setting);
    prop_assert!(
        stats.live_bytes >= stats.requested_bytes && stats.waste_bytes == stats.live_bytes - stats.requested_bytes
    );
    Ok(())
}

fn case(settings: &[Setting; 2], scripts: &[Vec<Op>]) -> TestCaseResult {
    let pools = [make(&settings[0]), make(&settings[1])];
    let zeroed = [0, 1].map(|pool: usize| settings[pool].clear != ClearPolicy::Never);
    let (exchange, start) = (Mutex::new(Vec::new()), Barrier::new(scripts.len()));
    let mut tally = [Tally::default(); 2];
    let mut held = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = scripts
            .iter()
            .map(|script| {
                let (pools, exchange, start) = (&pools, &exchange, &start);
                scope.spawn(move || {
                    let mut actor = Actor { pools, exchange, zeroed, held: Vec::new(), tally: Default::default() };
                    start.wait();
                    let outcome = script.iter().try_for_each(|op| actor.act(op));
                    (outcome, actor.held, actor.tally)
                })
            })
            .collect();
        for thread in threads {
            let (outcome, own, counted) = thread.join().expect("an actor does not panic");
            outcome?;
            held.extend(own);
            tally[0].add(&counted[0]);
            tally[1].add(&counted[1]);
        }
        Ok::<(), TestCaseError>(())
    })?;
    held.extend(exchange.into_inner().unwrap_or_else(PoisonError::into_inner));
    for number in 0..2 {
        let of_pool = |held: &&Held| matches!(held, Held::Lease(pool, _) | Held::Frozen(pool, _) if *pool == number);
        let live = held.iter().filter(of_pool).count() as u64;
        check(&pools[number].stats(), &tally[number], live, &settings[number])?;
        tally[number].puts += live;
    }
    drop(held);
    for number in 0..2 {
        let stats = pools[number].stats();
        check(&stats, &tally[number], 0, &settings[number])?;
        prop_assert_eq!((stats.live_bytes, stats.requested_bytes), (0, 0));
        prop_assert!(pools[number].leaks().expect("memory").is_empty());
        prop_assert!(pools[number].close().is_ok());
        let closed = pools[number].stats();
        prop_assert_eq!((closed.retained_bytes, closed.created - closed.destroyed), (0, 0), "{:?}", closed);
    }
    Ok(())
}

/// How many cases each property tries: `PROPTEST_CASES`, or 400.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn statistics_reconcile_after_any_sequence_on_any_threads(
        settings in [setting(), setting()],
        scripts in prop::collection::vec(prop::collection::vec(op(), 0..80), 1..5),
    ) {
        case(&settings, &scripts)?;
    }

    #[test]
    fn statistics_reconcile_after_any_long_sequence_on_one_thread(
        settings in [setting(), setting()],
        script in prop::collection::vec(op(), 0..600),
    ) {
        case(&settings, &[script])?;
    }
}
