//! What the models share: how they are run, and what they put into pools.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::raw::{self, RawLease};
use crate::buffer::{cache, guard, registry, slot};
use crate::sync;
use crate::sync::primitives;
pub(super) use crate::sync::primitives::engine;

use crate::{BufferPool, Builder, Classes, ClearPolicy, ErrorKind, Site, Stats};

/// The one size class of the models' pools, in bytes.
pub(crate) const SIZE: usize = 64;

/// Models run one after another: they share the process's pools and slots.
static ALONE: Mutex<()> = Mutex::new(());

/// Ends the process at the first failure: a model that failed cannot clean up after itself.
pub(super) fn end_at_a_failure(name: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        // How the engines' coroutines end that nobody goes on with.
        if panic.location().is_some_and(|place| place.file().contains("/generator-")) {
            return;
        }
        primitives::print_trace();
        eprintln!("model {name} FAILED: {panic}");
        std::process::exit(101);
    }));
}

/// Runs every interleaving of a model, and says how many there are. `quick`, for models of which all of them take longer
/// than some seconds: the short run has those where threads are interrupted so often, the long one those with one
/// interruption more, and then all, as far as it gets in its time.
#[cfg(loom)]
pub(crate) fn explore(name: &'static str, quick: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    end_at_a_failure(name);
    let long = std::env::var_os("MODELS_LONG").is_some();
    let limit = std::env::var("MODELS_LIMIT").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let bounds = match quick {
        Some(bound) if long => vec![Some(bound + 1), None],
        bound => vec![bound],
    };
    let body = Arc::new(body);
    for bound in bounds {
        primitives::forget();
        let start = Instant::now();
        let body = Arc::clone(&body);
        let explored = engine::explore(bound, limit, move || execution(&*body));
        let how = match (explored.whole, bound) {
            (true, None) => "all".to_owned(),
            (true, Some(bound)) => format!("all with at most {bound} interruptions"),
            (false, None) => "not all".to_owned(),
            (false, Some(bound)) => format!("not all with at most {bound} interruptions"),
        };
        println!("model {name}: {} interleavings, {how}, {:.1} s", explored.count, start.elapsed().as_secs_f64());
    }
}

/// Runs schedules of a model that are drawn, half of them at random and half by priorities, and says how many.
#[cfg(shuttle)]
pub(crate) fn draw(name: &'static str, body: impl Fn() + Send + Sync + 'static) {
    use engine::Draw;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    end_at_a_failure(name);
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let count = number("MODELS_SCHEDULES").unwrap_or(1000) as usize;
    let seed = number("MODELS_DRAWN_FROM").unwrap_or(1);
    primitives::forget();
    let start = Instant::now();
    let body = Arc::new(body);
    let mut drawn = [0; 2];
    for (drawn, draw) in drawn.iter_mut().zip([Draw::Random, Draw::Pct]) {
        let body = Arc::clone(&body);
        *drawn = engine::explore(draw, seed, count.div_ceil(2), move || execution(&*body));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("model {name}: {} schedules at random, {} by priorities, seed {seed}, {seconds:.1} s", drawn[0], drawn[1]);
}

/// Runs a model once, in a process that is as new.
pub(super) fn execution(body: &impl Fn()) {
    primitives::begin();
    slot::forget_all();
    registry::forget_all();
    body();
    cache::end();
    guard::forget_all();
    assert_eq!(registry::lock().members().count(), 0, "the last reference to each pool is gone");
    primitives::end();
}

/// Starts another thread, which gives its caches up when it ends.
pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    JoinHandle(engine::spawn(move || {
        let result = body();
        cache::end();
        result
    }))
}

pub(crate) struct JoinHandle<T>(engine::JoinHandle<T>);

impl<T> JoinHandle<T> {
    /// Waits for the thread's end and returns its result.
    pub(crate) fn join(self) -> T {
        self.0.join().expect("a thread that panicked has ended the process")
    }
}

/// Starts another thread that first prepares something, in one order only. What it prepared goes to `body`, which begins
/// when this function returns.
pub(crate) fn spawn_prepared<P: 'static, T: Send + 'static>(
    prepare: impl FnOnce() -> P + Send + 'static,
    body: impl FnOnce(P) -> T + Send + 'static,
) -> JoinHandle<T> {
    const BEGUN: u8 = 0;
    const READY: u8 = 1;
    const GO: u8 = 2;
    let turn = Arc::new((sync::Mutex::new(BEGUN), sync::Condvar::new()));
    let reach = |turn: &(sync::Mutex<u8>, sync::Condvar), state| {
        *turn.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        turn.1.notify_all();
    };
    let wait = |turn: &(sync::Mutex<u8>, sync::Condvar), state| {
        let guard = turn.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(turn.1.wait_timeout_while(guard, Duration::MAX, |now| *now < state));
    };
    let thread = engine::without_exploring(|| {
        let turn = Arc::clone(&turn);
        let thread = spawn({
            let turn = Arc::clone(&turn);
            move || {
                let prepared = prepare();
                reach(&turn, READY);
                wait(&turn, GO);
                body(prepared)
            }
        });
        wait(&turn, READY);
        thread
    });
    reach(&turn, GO);
    thread
}

/// Watches what buffers hold, in place of their memory: who accesses a buffer must be its only tenant, and must see what
/// the tenant before did.
pub(crate) struct Tenants {
    cells: Vec<engine::Watched<u64>>,
}

impl Tenants {
    pub(crate) fn new() -> Arc<Tenants> {
        Arc::new(Tenants { cells: (0..16).map(|_| engine::Watched::new(0)).collect() })
    }

    /// Writes a buffer that is the caller's.
    pub(crate) fn write(&self, lease: u64) {
        self.write_at(slot::index_of(lease) as usize);
    }

    pub(crate) fn write_at(&self, place: usize) {
        self.cells[place].with_mut(|count| {
            // SAFETY: the cell reports accesses that are not alone.
            unsafe { *count += 1 };
        });
    }
}

// SAFETY: the cells report accesses that do not happen one after another.
unsafe impl Sync for Tenants {}
// SAFETY: as above.
unsafe impl Send for Tenants {}

/// Returns the options of a pool of one class that nothing clears.
pub(crate) fn options() -> Builder {
    BufferPool::builder()
        .name("model")
        .classes(Classes::List(vec![SIZE]))
        .max_bytes(1 << 20)
        .max_retained_bytes(1 << 20)
        .clear(ClearPolicy::Never)
}

pub(crate) fn pool() -> BufferPool {
    options().build().expect("a pool")
}

/// Returns a pool whose threads keep nothing for themselves.
pub(crate) fn pool_without_caches() -> BufferPool {
    options().thread_cache_bytes(0).build().expect("a pool")
}

pub(crate) fn get(pool: u64) -> RawLease {
    raw::get(pool, SIZE, Site::NONE).expect("a lease")
}

pub(crate) fn put(pool: u64, lease: u64) -> Result<(), ErrorKind> {
    raw::put(pool, lease, None, Site::NONE).map_err(|error| error.kind())
}

/// Checks that the statistics of a pool at rest reconcile, and that so many leases are out.
pub(crate) fn at_rest(pool: &BufferPool, in_use: u64) -> Stats {
    let stats = pool.stats();
    assert_eq!(stats.check(), Ok(()));
    assert_eq!(stats.in_use, in_use, "leases that are out");
    stats
}
