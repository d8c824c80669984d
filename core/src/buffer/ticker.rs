//! Runs the background thread of `maintain_every`, the only one that millpond ever starts.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::PoisonError;
use std::time::Duration;

use super::memory;
use super::registry;

const STACK: usize = 128 << 10;

/// What the thread is told: a pool's id, so that it keeps no pool alive, and the interval.
struct Task {
    pool_id: u64,
    interval: Duration,
}

/// Starts the thread, which ends soon after the pool is closed. `None`, and nothing done, without memory.
///
/// By the C library: the threads of `std` allocate in ways that end the process where there is no memory.
pub(crate) fn start(pool_id: u64, interval: Duration) -> Option<()> {
    let task = Box::into_raw(memory::try_box(Task { pool_id, interval }).ok()?);
    if spawn(task) {
        return Some(());
    }
    // SAFETY: made above, and no thread has it.
    drop(unsafe { Box::from_raw(task) });
    None
}

/// Gives the task to a new thread; `false` when there is none.
fn spawn(task: *mut Task) -> bool {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: writes the attributes.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return false;
    }
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: initialised above.
    let mut done = unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK) } == 0;
    // SAFETY: as above.
    done &= unsafe { libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED) } == 0;
    done = done && {
        let (attributes, thread) = (attributes.as_ptr(), thread.as_mut_ptr());
        // SAFETY: writes the thread's id; `run` takes the task, which is the caller's to give.
        unsafe { libc::pthread_create(thread, attributes, run, task.cast()) == 0 }
    };
    // SAFETY: initialised above, destroyed once.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    done
}

extern "C" fn run(task: *mut c_void) -> *mut c_void {
    // SAFETY: made by `Box::into_raw` in `start`, which gave it to this thread alone.
    let task = unsafe { Box::from_raw(task.cast::<Task>()) };
    // SAFETY: names the calling thread; the kernel copies 16 bytes at most.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"millpond-mainta".as_ptr()) };
    // A panic would be a bug of ours. It was reported, and may not leave a function that C calls.
    let _ = catch_unwind(AssertUnwindSafe(|| tick(&task)));
    ptr::null_mut()
}

fn tick(task: &Task) {
    // Short waits, so that the thread never keeps a pool that everybody else has left alive for long.
    const LONGEST: Duration = Duration::from_millis(100);
    let mut left = task.interval;
    while let Some(inner) = registry::find(task.pool_id) {
        if inner.is_closed() {
            return;
        }
        let step = left.min(LONGEST);
        let turn = inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // A close wakes the thread at once; a put that wakes it only makes the look come a little late.
        drop(inner.turned.wait_timeout(turn, step));
        left -= step;
        if left.is_zero() && !inner.is_closed() {
            inner.maintain();
            left = task.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufferPool;

    #[test]
    fn a_thread_that_is_woken_early_waits_for_the_rest_of_its_interval() {
        let hour = Duration::from_secs(3600);
        let pool = BufferPool::builder().name("hourly").maintain_every(hour).build().expect("a pool");
        drop(pool.get(1 << 20).expect("a lease"));
        for _ in 0..20 {
            pool.inner().wake_all();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pool.stats().retained_buffers, 1);
    }
}
