//! The engine of the models with two threads: loom, which runs all interleavings that the C++ memory model lets one tell
//! apart.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::world::{self, Races};

pub(crate) use loom::cell::UnsafeCell as Watched;
pub(crate) use loom::thread_local;

pub(super) type RawAtomic = loom::sync::atomic::AtomicU64;
pub(super) type RawMutex = loom::sync::Mutex<()>;
pub(super) type RawGuard = loom::sync::MutexGuard<'static, ()>;
pub(super) type RawCondvar = loom::sync::Condvar;
pub(crate) type JoinHandle<T> = loom::thread::JoinHandle<T>;
pub(super) type StateMutex<T> = loom::sync::Mutex<T>;
pub(super) type StateGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// What a thread's functions need, in the words that loom counts stacks in.
const STACK: usize = (256 << 10) / size_of::<usize>();
/// How long the runs take at most that tell which words threads race for.
const LEARNING: Duration = Duration::from_millis(300);
/// The most operations of one execution.
const OPERATIONS: usize = 100_000;

pub(super) fn fence() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

pub(super) fn yield_now() {
    loom::thread::yield_now();
}

pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let number = THREADS.fetch_add(1, Ordering::Relaxed);
    let numbered = move || {
        NUMBER.with(|cell| cell.set(number));
        body()
    };
    loom::thread::Builder::new().stack_size(STACK).spawn(numbered).expect("a thread")
}

/// Runs what leads up to the race in one order only.
pub(crate) fn without_exploring<T>(prepare: impl FnOnce() -> T) -> T {
    loom::stop_exploring();
    EXPLORING.store(false, Ordering::Relaxed);
    let result = prepare();
    EXPLORING.store(true, Ordering::Relaxed);
    loom::explore();
    result
}

loom::thread_local! {
    /// The number of the thread in the model.
    static NUMBER: Cell<u32> = Cell::new(0);
}
/// How many threads the execution has had, and whether what they do is explored.
static THREADS: AtomicU32 = AtomicU32::new(0);
static EXPLORING: AtomicBool = AtomicBool::new(true);

/// Returns the number of the running thread, once there are several and what they do is explored.
pub(super) fn racing_thread() -> Option<u32> {
    (THREADS.load(Ordering::Relaxed) > 1 && EXPLORING.load(Ordering::Relaxed)).then(thread_number)
}

fn thread_number() -> u32 {
    NUMBER.with(Cell::get)
}

/// Makes a load depend on the other threads' loads that stores follow.
pub(super) fn touch(races: &Races) {
    if races.writers >> thread_number() & 1 != 0 {
        // It fails: nothing is ever stored there.
        let _ = races.touched.compare_exchange(1, 1, Ordering::Relaxed, Ordering::Relaxed);
    } else {
        races.touched.load(Ordering::Relaxed);
    }
}

/// Ends an atomic. loom reports accesses of other threads that do not come before it.
pub(super) fn end(atomic: &mut RawAtomic) {
    // An access that others depend on; it fails, as the value is never this one.
    let _ = atomic.compare_exchange(u64::MAX - 1, 0, Ordering::Relaxed, Ordering::Relaxed);
    atomic.with_mut(|_| ());
}

/// Names the running thread in a trace.
pub(super) fn thread() -> String {
    format!("{:?}", loom::thread::current().id())
}

/// What was explored of a model.
pub(crate) struct Explored {
    pub count: u64,
    /// Whether that was all there is.
    pub whole: bool,
}

/// Runs every interleaving of `body`; with a bound, those where at most so many threads are interrupted.
pub(crate) fn explore(
    bound: Option<usize>,
    limit: Option<Duration>,
    body: impl Fn() + Send + Sync + 'static,
) -> Explored {
    let body = Arc::new(body);
    let start = Instant::now();
    // A few runs tell which words threads race for; most often that is all of them.
    check(Some(bound.unwrap_or(2).min(2)), Some(LEARNING), &body);
    world::learn();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let count = check(bound, left, &body);
        let whole = limit.is_none_or(|limit| start.elapsed() < limit);
        if !world::learn() || !whole {
            return Explored { count, whole };
        }
    }
}

fn check(bound: Option<usize>, limit: Option<Duration>, body: &Arc<impl Fn() + Send + Sync + 'static>) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.store(0, Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = OPERATIONS;
    builder.preemption_bound = bound;
    builder.checkpoint_interval = 64;
    builder.max_duration = limit;
    let body = Arc::clone(body);
    builder.check(move || {
        COUNT.fetch_add(1, Ordering::Relaxed);
        THREADS.store(0, Ordering::Relaxed);
        let body = Arc::clone(&body);
        // loom's own thread has a small stack.
        spawn(move || body()).join().expect("the model's first thread");
    });
    COUNT.load(Ordering::Relaxed)
}
