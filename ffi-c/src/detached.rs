//! Memory that left its pool and is the caller's.
//!
//! The caller frees it by its handle. So that a wrong or a second free is an error and not a corrupted heap, the handles of
//! all detached memory stand in one table. The table has a lock of its own which a fork waits for: the child never finds it
//! held by a thread that it does not have.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, Ordering};

use pond::{Detached, Error, ErrorKind, Result, raw};

use crate::boundary::{self, Out};
use crate::pool::millpond_pool;
use crate::status::millpond_status;

/// Memory that left its pool for good.
///
/// Threads: Thread-compatible; it may move to another thread and be freed there.
/// Fork: each process has its own copy.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct millpond_detached {
    /// The handle: what millpond_detached_free takes. Never 0, never used again.
    pub id: u64,
    /// The memory, the caller's until millpond_detached_free. Not for free().
    pub data: *mut u8,
    /// Its length.
    pub len: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Detached, BuildHasherDefault<DefaultHasher>>,
    /// Places kept for detaches that are under way, so that none fails after its lease is over.
    reserved: usize,
}

struct Registry {
    held: AtomicBool,
    table: UnsafeCell<Option<Table>>,
}

// SAFETY: `table` is only reached through `with`, which holds the lock; `Detached` is `Send`.
unsafe impl Sync for Registry {}

static REGISTRY: Registry = Registry { held: AtomicBool::new(false), table: UnsafeCell::new(None) };

impl Registry {
    /// Waits by yielding: it is held for one look into a table, and calling the system's lock would tie it to a thread,
    /// which a fork takes away.
    fn lock(&self) {
        // Acquire pairs with the Release in `unlock`.
        while self.held.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn unlock(&self) {
        // Release pairs with the Acquire in `lock`.
        self.held.store(false, Ordering::Release);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        struct Unlock<'a>(&'a Registry);
        impl Drop for Unlock<'_> {
            fn drop(&mut self) {
                self.0.unlock();
            }
        }
        self.lock();
        let _unlock = Unlock(self);
        // SAFETY: the lock is held until `_unlock` is dropped, and `work` does not come back here.
        let table = unsafe { &mut *self.table.get() };
        work(table.get_or_insert_default())
    }
}

/// Registers the fork handlers before the program's own code can fork.
#[cfg(unix)]
mod fork {
    use super::REGISTRY;

    extern "C" fn before() {
        REGISTRY.lock();
    }

    extern "C" fn after() {
        REGISTRY.unlock();
    }

    extern "C" fn register() {
        // SAFETY: three functions that stay loaded (-z nodelete) and only touch one atomic.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
    }

    #[cfg(target_os = "linux")]
    #[used]
    #[unsafe(link_section = ".init_array")]
    static REGISTER: extern "C" fn() = register;

    #[cfg(test)]
    mod tests {
        use std::sync::atomic::Ordering;

        use super::*;

        #[test]
        fn a_fork_waits_for_the_table_and_both_sides_have_it_free() {
            let held = || REGISTRY.held.load(Ordering::SeqCst);
            before();
            let locked = held();
            after();
            assert!(locked);
            let (ready, is_ready) = std::sync::mpsc::channel();
            let other = std::thread::spawn(move || {
                REGISTRY.lock();
                ready.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(30));
                REGISTRY.unlock();
            });
            is_ready.recv().unwrap();
            // SAFETY: the child only reads one atomic, and ends by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(i32::from(held())) };
            }
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child finds it held by a thread that it does not have");
            other.join().unwrap();
        }
    }
}

fn detach(pool: millpond_pool, lease_id: u64) -> Result<millpond_detached> {
    REGISTRY.with(|table| {
        table.entries.try_reserve(table.reserved + 1).map_err(|_| {
            Error::new(ErrorKind::NoMemory, "no memory to remember a detached buffer; the lease stays live")
        })?;
        table.reserved += 1;
        Ok::<(), Error>(())
    })?;
    // Outside the lock: the core takes locks of its own, and a fork takes ours and theirs in an order of its own.
    let result = raw::detach(pool, lease_id);
    REGISTRY.with(|table| {
        table.reserved -= 1;
        let mut memory = result?;
        let described = millpond_detached { id: lease_id, data: memory.as_mut_ptr(), len: memory.len() };
        table.entries.insert(lease_id, memory);
        Ok(described)
    })
}

/// Takes a lease's buffer out of its pool for good: plain memory of the caller, which outlives the pool.
///
/// @param pool the pool it came from
/// @param lease_id `id` of the lease
/// @param out_detached receives the memory, with the lease's contents
/// @return MILLPOND_OK: the lease is over
/// @return MILLPOND_ERR_NULL: `out_detached` is NULL
/// @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over already
/// @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
/// @return MILLPOND_ERR_BUSY: it is pinned; it stays live
/// @return MILLPOND_ERR_OVERRUN: something was written behind its length; it is over, and the buffer is not used again
/// @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
/// @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give; the lease stays live
///
/// Ownership: the caller's until millpond_detached_free.
/// Threads: Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn millpond_detach(
    pool: millpond_pool,
    lease_id: u64,
    out_detached: *mut millpond_detached,
) -> millpond_status {
    boundary::status(|| {
        // SAFETY: the caller owns what `out_detached` points to.
        let out = unsafe { Out::new(out_detached, "out_detached") }?;
        out.set(detach(pool, lease_id)?);
        Ok(())
    })
}

/// Frees detached memory.
///
/// @param detached_id `id` of the detached memory
/// @return MILLPOND_OK
/// @return MILLPOND_ERR_INVALID_HANDLE: it is no detached memory, or was freed before
///
/// Ownership: the memory is over.
/// Threads: Thread-safe; of several frees exactly one succeeds.
#[unsafe(no_mangle)]
pub extern "C" fn millpond_detached_free(detached_id: u64) -> millpond_status {
    boundary::status(|| {
        let memory = REGISTRY.with(|table| table.entries.remove(&detached_id));
        // Freed here, outside the lock.
        memory.map(drop).ok_or_else(|| {
            Error::new(ErrorKind::InvalidHandle, "detached_id is no detached memory, or it was freed before")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_locked_while_it_is_looked_at() {
        let registry = Registry { held: AtomicBool::new(false), table: UnsafeCell::new(None) };
        let held = || registry.held.load(Ordering::Relaxed);
        assert_eq!((held(), registry.with(|_| held()), held()), (false, true, false));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| registry.with(|_| panic!("seeded"))));
        assert!(panicked.is_err() && !held());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| registry.with(|table| table.reserved += 1)));
            }
        });
        assert_eq!(registry.with(|table| table.reserved), 4000);
    }
    #[test]
    fn a_place_is_kept_only_while_a_lease_is_detached() {
        let pool = pond::BufferPool::new("detaching").unwrap();
        let id = raw::retain(&pool);
        let lease = raw::get(id, 100, pond::Site::NONE).unwrap().id;
        let detached = detach(id, lease).unwrap();
        assert_eq!(detach(id, lease).err().unwrap().kind(), ErrorKind::UseAfterPut);
        assert_eq!(REGISTRY.with(|table| (table.reserved, table.entries.len())), (0, 1));
        assert_eq!(millpond_detached_free(detached.id), millpond_status::MILLPOND_OK);
        assert_eq!(millpond_detached_free(detached.id), millpond_status::MILLPOND_ERR_INVALID_HANDLE);
        assert_eq!(REGISTRY.with(|table| (table.reserved, table.entries.len())), (0, 0));
        raw::release(id).unwrap();
    }
}
