//! The engine of the models with three threads and more: shuttle, which runs schedules that it draws. To it all orders are
//! sequentially consistent: what the memory model adds is for loom.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
pub(crate) use shuttle::thread_local;

use super::world::Races;

pub(super) type RawAtomic = shuttle::sync::atomic::AtomicU64;
pub(super) type RawMutex = shuttle::sync::Mutex<()>;
pub(super) type RawGuard = shuttle::sync::MutexGuard<'static, ()>;
pub(super) type RawCondvar = shuttle::sync::Condvar;
pub(super) type StateMutex<T> = shuttle::sync::Mutex<T>;
pub(super) type StateGuard<'a, T> = shuttle::sync::MutexGuard<'a, T>;
pub(crate) type JoinHandle<T> = shuttle::thread::JoinHandle<T>;

/// What a thread's functions need, in bytes.
const STACK: usize = 256 << 10;

/// Does nothing: all operations are in one order.
pub(super) fn fence() {}

pub(super) fn yield_now() {
    shuttle::thread::yield_now();
}

pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    shuttle::thread::spawn(body)
}

/// Every order is drawn, that of what leads up to a race too.
pub(crate) fn without_exploring<T>(prepare: impl FnOnce() -> T) -> T {
    prepare()
}

pub(super) fn racing_thread() -> Option<u32> {
    None
}

pub(super) fn touch(races: &Races) {
    unreachable!("nothing was learnt of {:?}", (&races.touched, races.writers));
}

pub(super) fn end(_atomic: &mut RawAtomic) {}

pub(super) fn thread() -> String {
    format!("{:?}", shuttle::thread::current().id())
}

/// How schedules are drawn.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Draw {
    /// Any thread may go on at each step.
    Random,
    /// The threads have priorities, which change at a few points (Burckhardt, Kothari, Musuvathi and Nagarakatte, "A
    /// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
    Pct,
}

/// Runs `count` schedules of `body`, drawn from a seed.
pub(crate) fn explore(draw: Draw, seed: u64, count: usize, body: impl Fn() + Send + Sync + 'static) -> u64 {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    config.failure_persistence = shuttle::FailurePersistence::Print;
    config.max_steps = shuttle::MaxSteps::FailAfter(1_000_000);
    let run = std::sync::Arc::new(AtomicU64::new(0));
    let counted = {
        let run = std::sync::Arc::clone(&run);
        move || {
            run.fetch_add(1, Ordering::Relaxed);
            body();
        }
    };
    match draw {
        Draw::Random => shuttle::Runner::new(RandomScheduler::new_from_seed(seed, count), config).run(counted),
        Draw::Pct => shuttle::Runner::new(PctScheduler::new_from_seed(seed, 4, count), config).run(counted),
    };
    run.load(Ordering::Relaxed)
}

/// A value that one thread may access at a time; looking at it takes a step, so that others come between.
pub(crate) struct Watched<T> {
    value: Cell<T>,
    inside: AtomicU32,
}

// SAFETY: one thread of an execution runs at a time, on one thread of the system.
unsafe impl<T> Sync for Watched<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Watched<T> {}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Watched<T> {
        Watched { value: Cell::new(value), inside: AtomicU32::new(0) }
    }

    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        assert_eq!(self.inside.swap(1, Ordering::Relaxed), 0, "two threads are inside");
        yield_now();
        let result = change(self.value.as_ptr());
        self.inside.store(0, Ordering::Relaxed);
        result
    }
}
