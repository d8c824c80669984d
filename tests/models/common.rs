//! What the models share: how they are run, and what they put into pools.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::raw::{self, RawLease};
use crate::buffer::{cache, registry, slot};
use crate::sync::primitives::{self, engine};
use crate::{BufferPool, Builder, Classes, ClearPolicy, ErrorKind, Site, Stats};

/// The one size class of the models' pools, in bytes.
pub(crate) const SIZE: usize = 64;

/// Runs a model, and says how many interleavings it has. `quick` bounds how often threads are interrupted, in the short
/// run: where all interleavings take longer than a few seconds.
#[cfg(loom)]
pub(crate) fn explore(name: &str, quick: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let short = std::env::var_os("MODELS_LONG").is_none();
    let bound = quick.filter(|_| short);
    let limit = std::env::var("MODELS_LIMIT").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    primitives::forget();
    let start = Instant::now();
    let explored = engine::explore(bound, limit, move || {
        primitives::begin();
        slot::forget_all();
        registry::forget_all();
        body();
        cache::end();
        assert_eq!(registry::lock().members().count(), 0, "the last reference to each pool is gone");
        primitives::end();
    });
    let how = match (explored.whole, bound) {
        (true, None) => "all".to_owned(),
        (true, Some(bound)) => format!("all with at most {bound} interruptions"),
        (false, _) => "the first".to_owned(),
    };
    println!("model {name}: {} interleavings, {how}, {:.1} s", explored.count, start.elapsed().as_secs_f64());
}

/// Starts another thread, which gives its caches up when it ends.
pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> engine::JoinHandle<T> {
    engine::spawn(move || {
        let result = body();
        cache::end();
        result
    })
}

/// Returns the options of a pool of one class that nothing clears.
pub(crate) fn options() -> Builder {
    BufferPool::builder()
        .name("model")
        .classes(Classes::List(vec![SIZE]))
        .max_bytes(64 << 10)
        .max_retained_bytes(64 << 10)
        .clear(ClearPolicy::Never)
}

pub(crate) fn pool() -> BufferPool {
    options().build().expect("a pool")
}
