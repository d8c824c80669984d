//! Notices that a thread ends.
//!
//! By a key of the C library, whose destructor runs then. That of a `thread_local!` would do but for one thing: where
//! there is no memory to register it, the C library ends the process. To set a key may fail as an error.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::Ordering;

use super::cache;
use crate::sync::AtomicU64;

/// The key and one more, or 0.
static KEY: AtomicU64 = AtomicU64::new(0);

/// Makes the key, once per process. When all of the process's are taken no thread has a cache: every get and put goes to
/// the depots.
pub(crate) fn prepare() {
    let mut key = MaybeUninit::<libc::pthread_key_t>::uninit();
    // SAFETY: writes the key; the destructor is called with what `watch` sets.
    if unsafe { libc::pthread_key_create(key.as_mut_ptr(), Some(ended)) } == 0 {
        // SAFETY: written.
        let key = unsafe { key.assume_init() };
        KEY.store(u64::from(key) + 1, Ordering::Relaxed);
    }
}

/// Has [`cache::end`] called when the calling thread ends, whatever else ends then; `false` when that cannot be, for want
/// of memory. The main thread ends with the process, and nothing is called.
pub(crate) fn watch() -> bool {
    // The threads of a model call `cache::end`.
    if cfg!(millpond_models) {
        return true;
    }
    let Some(key) = KEY.load(Ordering::Relaxed).checked_sub(1) else {
        return false;
    };
    let key = key as libc::pthread_key_t;
    // Any address but null has the destructor called.
    let set = ptr::dangling::<u8>().cast();
    // SAFETY: the key is never deleted.
    let known = !unsafe { libc::pthread_getspecific(key) }.is_null();
    // SAFETY: as above; nobody looks at what the address leads to.
    known || unsafe { libc::pthread_setspecific(key, set) } == 0
}

extern "C" fn ended(_set: *mut c_void) {
    cache::end();
}
