//! Lets every single allocation fail once, at every point of every fallible operation: the answer is NO_MEMORY, nothing aborts,
//! the statistics are as before, and the same call works when there is memory again.
//!
//! A process of its own, because the allocator is the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use millpond::raw::{self, RawLease};
use millpond::{BufferPool, Classes, Error, ErrorKind, Lease, Site, Writer};

thread_local! {
    /// Allocations of this thread until one fails; negative: none fails.
    static COUNTDOWN: Cell<i64> = const { Cell::new(-1) };
}

struct Failing;

fn fails() -> bool {
    let left = COUNTDOWN.get();
    if left >= 0 {
        COUNTDOWN.set(left - 1);
    }
    left == 0
}

// SAFETY: every call goes to the system's allocator or returns null, which each of the functions may do.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` with this layout, as the caller promises of this allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails() {
            return ptr::null_mut();
        }
        // SAFETY: as in `dealloc`, and the caller's promise about `size` is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Runs `act` with its first, second, third … allocation failing, until one run needs no more allocations; returns how many
/// failed. `fresh` makes what each run starts from, `check` looks at what is left after it.
fn sweep<S, T>(
    name: &str,
    fresh: impl Fn() -> S,
    act: impl Fn(&mut S) -> Result<T, Error>,
    check: impl Fn(&S, bool),
) -> i64 {
    for point in 0..1000 {
        let mut state = fresh();
        COUNTDOWN.set(point);
        let result = act(&mut state);
        let left = COUNTDOWN.replace(-1);
        match result.map(drop) {
            Ok(()) => check(&state, true),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoMemory, "{name}, allocation {point}: {error}");
                check(&state, false);
            }
        }
        if left >= 0 {
            println!("{name}: {point} allocations failed in turn");
            return point;
        }
    }
    panic!("{name} allocates more than 1000 times");
}

fn pool() -> BufferPool {
    BufferPool::builder()
        .name("failing")
        .classes(Classes::List(vec![512, 4096, 65536]))
        .build()
        .expect("the options agree")
}

fn reconciles(pool: &BufferPool, in_use: u64) {
    let stats = pool.stats();
    assert_eq!((stats.check(), stats.in_use), (Ok(()), in_use), "{stats:?}");
}

#[test]
fn every_allocation_may_fail() {
    let mut points = 0;
    for len in [0, 1, 513, 5000, 70000, 20_000_000] {
        let fresh = || (pool(), None::<Lease>);
        points += sweep(
            &format!("get({len})"),
            fresh,
            |(pool, lease)| {
                *lease = Some(pool.get(len)?);
                Ok(())
            },
            |(pool, lease), worked| {
                assert_eq!(lease.is_some(), worked);
                let stats = pool.stats();
                assert_eq!(stats.gets, u64::from(worked), "{stats:?}");
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
        |(pool, _), worked| reconciles(pool, worked.into()),
    );
    points += sweep(
        "writer",
        || (pool(), None::<Writer>),
        |(pool, writer)| pool.writer(5000).map(|got| *writer = Some(got)),
        |(pool, _), worked| reconciles(pool, worked.into()),
    );
    for len in [100, 5000, 70000] {
        let fresh = || {
            let pool = pool();
            let leases: Vec<Lease> = (0..100).map(|_| pool.get(len).expect("there is memory")).collect();
            (pool, leases)
        };
        // A put has nothing to fail with: what it cannot keep for want of memory it gives back to the system.
        points += sweep(
            &format!("100 puts of {len}"),
            fresh,
            |(_, leases)| {
                for lease in leases.drain(..) {
                    lease.put().expect("a put needs no memory");
                }
                Ok(())
            },
            |(pool, _), worked| {
                assert!(worked);
                reconciles(pool, 0);
            },
        );
        let one = || {
            let pool = pool();
            let lease = pool.get(len).expect("there is memory");
            (pool, Some(lease))
        };
        points += sweep(
            &format!("detach of {len}"),
            one,
            |(_, lease)| {
                let detached = lease.take().expect("it is there").detach();
                detached.map(drop).map_err(|refused| {
                    *lease = refused.lease;
                    refused.error
                })
            },
            |(pool, lease), worked| {
                // A lease that could not be detached is still live.
                assert_eq!(lease.is_none(), worked);
                reconciles(pool, u64::from(!worked));
                assert_eq!(pool.stats().detached, u64::from(worked));
            },
        );
        let handle = || {
            let pool = pool();
            raw::retain(&pool);
            let lease = raw::get(pool.id(), len, Site::NONE).expect("there is memory");
            (pool, lease)
        };
        points += sweep(
            &format!("put by handle of {len}"),
            handle,
            |(pool, lease): &mut (BufferPool, RawLease)| raw::put(pool.id(), lease.id, None, Site::NONE),
            |(pool, _), worked| {
                assert!(worked);
                reconciles(pool, 0);
                raw::release(pool.id()).expect("it was retained");
            },
        );
    }
    for (name, act) in [
        ("trim", (|pool: &BufferPool| assert!(pool.trim() > 0)) as fn(&BufferPool)),
        ("maintain", |pool| assert!(pool.maintain() <= 50 * 16384)),
        ("close", |pool| pool.close().expect("closing needs no memory")),
    ] {
        let fresh = || {
            let pool = pool();
            let leases: Vec<Lease> = (0..50).map(|_| pool.get(5000).expect("there is memory")).collect();
            drop(leases);
            pool
        };
        let run = |pool: &mut BufferPool| {
            act(pool);
            Ok(())
        };
        points += sweep(name, fresh, run, |pool, worked| {
            assert!(worked);
            reconciles(pool, 0);
        });
    }
    println!("{points} points of failure");
    assert!(points > 20, "only {points} allocations failed: is the allocator in place?");
}
