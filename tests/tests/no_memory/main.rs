//! Lets memory fail: each single request in turn, once or for good from there on, of the heap, of mappings and of both. The
//! answer is NO_MEMORY, nothing ends the process, the statistics are as before the call, the same call works when there is
//! memory again, and nothing is lost.
//!
//! A process of its own, because memory is the process's. Only with glibc, whose own functions are called behind ours.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod faults;
mod life;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use faults::{Plan, Source, in_existence, under};
use life::{Hands, Options, tolerate};
use millpond::raw::{self, RawLease, Stock};
use millpond::{BufferPool, Classes, Error, ErrorKind, Lease, Site, Stats, Writer};

/// Set in a process of this program's that is to show that a failure without an answer is noticed.
const SEEDED: &str = "MILLPOND_NO_MEMORY_SEEDED";

/// The plans that let a source fail from its first, second, third … request on, once or for good.
fn plans(source: Source, for_good: bool) -> impl Iterator<Item = Plan> {
    (0..10_000).map(move |after| Plan { source, after, for_good })
}

const KINDS: [(Source, bool); 5] = [
    (Source::Heap, false),
    (Source::Heap, true),
    (Source::Mappings, false),
    (Source::Mappings, true),
    (Source::All, true),
];

/// Runs `act` with its first, second, third … request failing, until one run has no request left to fail; returns how many
/// runs failed. `fresh` makes what each run starts from, `stats` tells its statistics, `check` looks at what is left after it.
fn sweep<S, T>(
    name: &str,
    fresh: impl Fn() -> S,
    act: impl Fn(&mut S) -> Result<T, Error>,
    stats: impl Fn(&S) -> Option<Stats>,
    check: impl Fn(&mut S, bool),
) -> usize {
    let mut points = 0;
    for (source, for_good) in KINDS {
        for plan in plans(source, for_good) {
            let mut state = fresh();
            let before = stats(&state);
            let (result, refused) = under(plan, || act(&mut state));
            if let Err(error) = &result {
                assert_eq!(error.kind(), ErrorKind::NoMemory, "{name}, {plan:?}: {error}");
                assert_eq!(stats(&state), before, "{name}, {plan:?}");
            }
            let worked = result.map(drop).is_ok();
            check(&mut state, worked);
            if refused == 0 {
                assert!(worked, "{name}, {plan:?}: nothing failed");
                break;
            }
            points += 1;
        }
    }
    println!("{name}: {points} failures");
    points
}

fn pool() -> BufferPool {
    let classes = Classes::List(vec![512, 4096, 65536]);
    BufferPool::builder().name("failing").classes(classes).build().expect("there is memory")
}

fn of_pool<T>(state: &(BufferPool, T)) -> Option<Stats> {
    Some(state.0.stats())
}

fn reconciles(pool: &BufferPool, in_use: u64) {
    let stats = pool.stats();
    assert_eq!((stats.check(), stats.in_use), (Ok(()), in_use), "{stats:?}");
}

/// What happens once in a process: the first pool and the default one.
fn firsts() -> usize {
    let mut points = 0;
    for plan in plans(Source::All, false) {
        let (made, refused) = under(plan, || tolerate(BufferPool::new("first")));
        assert!(made.is_some() || refused > 0);
        if refused == 0 {
            break;
        }
        points += 1;
    }
    for plan in plans(Source::All, true) {
        let (made, refused) = under(plan, || tolerate(millpond::default_pool()).is_some());
        let got = under(Plan { after: 0, ..plan }, || tolerate(millpond::get(10)).is_some()).0;
        assert!(!got || made, "a lease of a pool that could not be made");
        if made {
            break;
        }
        assert!(refused > 0);
        points += 1;
    }
    assert_eq!(millpond::default_pool().expect("made above").name(), "default");
    points
}

fn builds() -> usize {
    let mut points = 0;
    for (name, classes, every) in [
        ("build", Classes::Default, None),
        ("build of 33 classes", Classes::FourPerDoubling { min: 256, max: 65536 }, None),
        ("build with a thread", Classes::Default, Some(Duration::from_secs(3600))),
    ] {
        let fresh = || {
            let builder = BufferPool::builder().name(name).classes(classes.clone());
            (Some(every.iter().fold(builder, |builder, every| builder.maintain_every(*every))), None)
        };
        points += sweep(
            name,
            fresh,
            |(builder, pool)| {
                *pool = Some(builder.take().expect("it is there").build()?);
                Ok(())
            },
            |_| None,
            |(_, pool), worked| {
                assert_eq!(pool.is_some(), worked);
                if let Some(pool) = pool {
                    drop(pool.get(100).expect("there is memory"));
                    reconciles(pool, 0);
                }
            },
        );
    }
    points
}

fn gets() -> usize {
    let mut points = 0;
    for len in [0, 1, 513, 5000, 70000, 20_000_000] {
        points += sweep(
            &format!("get({len})"),
            || (pool(), None::<Lease>),
            |(pool, lease)| {
                *lease = Some(pool.get(len)?);
                Ok(())
            },
            of_pool,
            |(pool, lease), worked| {
                assert_eq!(lease.is_some(), worked);
                reconciles(pool, u64::from(worked));
                drop(pool.get(len).expect("there is memory again"));
                reconciles(pool, u64::from(worked));
            },
        );
    }
    points += sweep(
        "get_timeout",
        || (pool(), None::<Lease>),
        |(pool, lease)| pool.get_timeout(100, Duration::from_millis(1)).map(|got| *lease = Some(got)),
        of_pool,
        |(pool, _), worked| reconciles(pool, worked.into()),
    );
    points += sweep(
        "writer",
        || (pool(), None::<Writer>),
        |(pool, writer)| pool.writer(5000).map(|got| *writer = Some(got)),
        of_pool,
        |(pool, _), worked| reconciles(pool, worked.into()),
    );
    points += sweep(
        "stock",
        || (pool(), None::<Stock>),
        |(pool, stock)| Stock::new(pool).map(|made| *stock = Some(made)),
        of_pool,
        |(pool, _), _| reconciles(pool, 0),
    );
    points
}

fn ends_of_leases(len: usize) -> usize {
    let mut points = 0;
    let fresh = || {
        let pool = pool();
        let leases: Vec<Lease> = (0..100).map(|_| pool.get(len).expect("there is memory")).collect();
        (pool, leases)
    };
    // A put has nothing to fail with: what it cannot keep for want of memory it gives back to the system.
    points += sweep(
        &format!("100 puts of {len}"),
        fresh,
        |(_, leases)| leases.drain(..).try_for_each(Lease::put),
        |_| None,
        |(pool, _), worked| {
            assert!(worked);
            reconciles(pool, 0);
        },
    );
    points += sweep(
        &format!("detach of {len}"),
        || {
            let pool = pool();
            let lease = pool.get(len).expect("there is memory");
            (pool, Some(lease))
        },
        |(_, lease)| {
            let detached = lease.take().expect("it is there").detach();
            detached.map(drop).map_err(|refused| {
                *lease = refused.lease;
                refused.error
            })
        },
        of_pool,
        |(pool, lease), worked| {
            // A lease that could not be detached is still live.
            assert_eq!(lease.is_none(), worked);
            reconciles(pool, u64::from(!worked));
            assert_eq!(pool.stats().detached, u64::from(worked));
        },
    );
    points += sweep(
        &format!("put by handle of {len}"),
        || {
            let pool = pool();
            raw::retain(&pool);
            let lease = raw::get(pool.id(), len, Site::NONE).expect("there is memory");
            (pool, lease)
        },
        |(pool, lease): &mut (BufferPool, RawLease)| raw::put(pool.id(), lease.id, None, Site::NONE),
        of_pool,
        |(pool, _), worked| {
            assert!(worked);
            reconciles(pool, 0);
            raw::release(pool.id()).expect("it was retained");
        },
    );
    points
}

fn looks() -> usize {
    let fresh = || {
        let pool = pool();
        let leases: Vec<Lease> = (0..50).map(|_| pool.get(5000).expect("there is memory")).collect();
        (pool, leases)
    };
    let mut points = 0;
    points += sweep(
        "leaks",
        fresh,
        |(pool, _)| pool.leaks(),
        of_pool,
        |(pool, leases), _| {
            assert_eq!(pool.leaks().expect("there is memory").len(), leases.len());
        },
    );
    let page = |(pool, _): &mut (BufferPool, _)| pool.stats().to_prometheus("failing");
    points += sweep("to_prometheus", fresh, page, of_pool, |_, _| {});
    // The rest needs no memory at all.
    points += sweep("stats", fresh, |(pool, _)| Ok(pool.stats()), of_pool, |_, worked| assert!(worked));
    for (name, act) in [
        ("trim", (|pool| assert!(pool.trim() > 0)) as fn(&BufferPool)),
        ("maintain", |pool| assert!(pool.maintain() <= 50 * 65536)),
        ("close", |pool| pool.close().expect("closing needs no memory")),
    ] {
        let run = |(pool, leases): &mut (BufferPool, Vec<Lease>)| {
            leases.clear();
            act(pool);
            Ok(())
        };
        points += sweep(
            name,
            fresh,
            run,
            |_| None,
            |(pool, _), worked| {
                assert!(worked);
                reconciles(pool, 0);
            },
        );
    }
    points
}

/// The table of slots grows, for which leases are out in large numbers; it never shrinks, so each failure is met once. What
/// was made for the lease goes again.
fn slots() -> usize {
    let mut points = 0;
    for (len, most) in [(65536, 9000), (64, 25_000)] {
        let mut leases = Vec::with_capacity(most);
        let mut fill = |plan: Plan| {
            let classes = Classes::List(vec![64, 65536]);
            let pool = BufferPool::builder().name("slots").classes(classes).build().expect("there is memory");
            under(plan, || leases.extend((0..most).map_while(|_| tolerate(pool.get(len)))));
            reconciles(&pool, leases.len() as u64);
            let full = leases.len() == most;
            leases.clear();
            full
        };
        let mut on_a_thread = |plan| {
            let mut full = false;
            assert!(faults::in_thread(|| full = fill(plan)));
            full
        };
        let mut before = None;
        for plan in plans(Source::Table, true) {
            let full = on_a_thread(plan);
            // The first time lists grow that stay.
            let before = *before.get_or_insert_with(in_existence);
            assert_eq!(in_existence(), before, "blocks and mapped bytes, {plan:?}");
            if full {
                break;
            }
            points += 1;
        }
    }
    println!("the table of slots: {points} failures");
    points
}

/// A depot's own list becomes shorter, which a `Vec` cannot do without memory.
fn shrinks() -> usize {
    let fresh = || {
        let pool = BufferPool::builder().name("shrinking").thread_cache_bytes(0).build().expect("there is memory");
        let leases: Vec<Lease> = (0..3000).map(|_| pool.get(100).expect("there is memory")).collect();
        drop(leases);
        (pool, ())
    };
    let run = |(pool, ()): &mut (BufferPool, ())| {
        // The first look only begins to count.
        let given_back: usize = (0..16).map(|_| pool.maintain()).sum();
        assert_eq!(given_back, 3000 * 512);
        Ok(())
    };
    sweep(
        "maintain to the end",
        fresh,
        run,
        |_| None,
        |(pool, ()), worked| {
            assert!(worked);
            assert_eq!(pool.stats().retained_buffers, 0);
        },
    )
}

/// Waits until as much exists as before: threads end a little later than those who started them look.
fn as_before(before: (i64, i64), mappings: bool, plan: Plan) {
    let now = || (in_existence().0, if mappings { in_existence().1 } else { before.1 });
    let deadline = Instant::now() + Duration::from_secs(20);
    while now() != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
    assert_eq!(now(), before, "blocks and mapped bytes, {plan:?}");
}

/// Lives under each plan and looks whether as many blocks and bytes exist afterwards as before.
fn lives(name: &str, live: fn(&Options, &mut Hands), mappings: bool) -> usize {
    let mut points = 0;
    let (options, mut hands) = (Options::new(), Hands::new());
    for (source, for_good) in KINDS {
        // On a thread that ends, because what a thread keeps for ended pools is forgotten by and by.
        let mut life = |plan| {
            faults::begin();
            let lived = faults::in_thread(|| {
                faults::join(plan);
                live(&options, &mut hands);
            });
            assert!(lived, "there is memory for a thread");
            faults::refused()
        };
        for _ in 0..3 {
            life(None);
        }
        // What the lives' threads of `maintain_every` hold goes a little later.
        std::thread::sleep(Duration::from_millis(50));
        let before = in_existence();
        let mut count = 0;
        for plan in plans(source, for_good) {
            let refused = life(Some(plan));
            as_before(before, mappings, plan);
            if refused == 0 {
                break;
            }
            count += 1;
        }
        println!("{name}, {source:?} failing {}: {count} failures", if for_good { "for good" } else { "once" });
        points += count;
    }
    points
}

/// Forks while there is no memory at all; the child has memory again, and the pool, which others' caches hold a part of.
fn forks() {
    let pool = pool();
    let lease = pool.get(100).expect("there is memory");
    let plan = Plan { source: Source::All, after: 0, for_good: true };
    let (kept, left) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(pool.get(5000).expect("there is memory"));
            kept.wait();
            left.wait();
        });
        kept.wait();
        // SAFETY: the child uses the pool, which is made for it, and ends by `_exit`.
        let (child, refused) = under(plan, || unsafe { libc::fork() });
        if child == 0 {
            let got = pool.get(100).is_ok() && pool.get(5000).is_ok() && pool.trim() > 0;
            let whole = got && pool.stats().check().is_ok() && BufferPool::new("child").is_ok();
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!whole)) };
        }
        assert_eq!((child > 0, refused), (true, 0), "a fork asks for nothing");
        let mut status = 0;
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child's pool");
        left.wait();
    });
    drop(lease);
    reconciles(&pool, 0);
}

#[test]
fn every_request_for_memory_may_fail() {
    if std::env::var_os(SEEDED).is_some() {
        let pool = pool();
        let lease = pool.get(100).expect("there is memory");
        let plan = Plan { source: Source::Heap, after: 0, for_good: false };
        under(plan, || lease.freeze());
        println!("bytes asked for nothing");
        return;
    }
    let mut points = firsts() + builds() + gets();
    for len in [100, 5000, 70000] {
        points += ends_of_leases(len);
    }
    points += looks() + slots() + shrinks();
    points += lives("a life", life::live, true) + lives("a guarded life", life::live_guarded, false);
    forks();
    println!("{points} failures in all");
    assert!(points > 1000, "only {points} requests failed: do ours stand before the C library's?");
    an_abort_is_noticed();
}

/// `freeze` is what may still end the process, by an allocation of `bytes`: so it shows that this program would notice.
fn an_abort_is_noticed() {
    let itself = std::env::current_exe().expect("a program");
    let output = Command::new(itself).env(SEEDED, "1").output().expect("a process");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    // As many as the documentation of `freeze` says.
    assert!(said.contains("memory allocation of 24 bytes failed"), "{said}");
}
