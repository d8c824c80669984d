//! The engine of the models with two threads: loom, which runs all interleavings that the C++ memory model lets one tell
//! apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
/// The most operations of one execution.
const OPERATIONS: usize = 100_000;

pub(super) fn fence() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

pub(super) fn yield_now() {
    loom::thread::yield_now();
}

pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    loom::thread::Builder::new().stack_size(STACK).spawn(body).expect("a thread")
}

/// What was explored of a model.
pub(crate) struct Explored {
    pub count: u64,
    /// Whether that was all there is.
    pub whole: bool,
}

/// Runs every interleaving of `body`; with a bound, those where at most so many threads are interrupted.
pub(crate) fn explore(bound: Option<usize>, limit: Option<Duration>, body: impl Fn() + Send + Sync + 'static) -> Explored {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.store(0, Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = OPERATIONS;
    builder.preemption_bound = bound;
    builder.checkpoint_interval = 256;
    builder.max_duration = limit;
    let body = std::sync::Arc::new(body);
    let start = Instant::now();
    builder.check(move || {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let body = body.clone();
        // loom's own thread has a small stack.
        spawn(move || body()).join().expect("the model's first thread");
    });
    let whole = limit.is_none_or(|limit| start.elapsed() < limit);
    Explored { count: COUNT.load(Ordering::Relaxed), whole }
}
