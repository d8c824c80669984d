//! Knows every pool of the process and every thread's cache, behind one lock that only cold paths take.
//!
//! Lock order: registry, then a pool's slabs and depots, then the slot table. No buffer is destroyed under the
//! registry's lock: the last one takes its pool along, which takes the lock.

use std::ptr::NonNull;

use super::cache::{self, GATE_ORPHAN, GATE_REVOKED, GATE_WAITERS, ThreadCache};
use super::depot::Doomed;
use super::inner::Inner;
use super::slot;
use super::stock::Block;
use super::strong::Strong;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{self, Lock, LockGuard, MutexGuard};

/// Pool numbers fit the upper 16 bits of a pool's id; the last one is no pool's.
const POOLS_MAX: usize = 0xffff;

/// How many threads of a pool lose their marks until new ones are given none: each costs a barrier on all threads.
const CROSSINGS_MAX: u32 = 256;
/// The marks are 1 to this; 0 is none.
const MARKS: u16 = if cfg!(millpond_models) { 1 } else { u16::MAX };

pub(crate) struct Member {
    pub id: u64,
    /// The pool; `None` while it is made. It has itself unregistered before its memory is freed.
    inner: Option<NonNull<Inner>>,
    /// The caches of live threads. Each is owned by its thread's table and leaves the list before it is freed.
    caches: Vec<*const ThreadCache>,
    /// The mark that was given last, and how many were taken away, see [`without_mark`].
    last_mark: u16,
    crossings: u32,
    /// The counters of bindings that keep stocks of their own.
    pub blocks: Vec<Block>,
    /// What a fork in progress holds of the pool, see `fork.rs`: its lock, and a count.
    pub turn: Option<MutexGuard<'static, u64>>,
    pub kept: Option<Strong>,
}

// SAFETY: the addresses of pools and caches are used under the registry's lock only, the latter by the protocol of
// `ThreadCache`. The guard goes back on the thread that stored it: nobody else has the lock meanwhile.
unsafe impl Send for Member {}

pub(crate) struct Registry {
    members: Vec<Option<Member>>,
}

static REGISTRY: Lock<Registry> = Lock::new(Registry { members: Vec::new() });

pub(crate) fn lock() -> LockGuard<'static, Registry> {
    REGISTRY.lock()
}

pub(crate) fn lock_for_fork() {
    REGISTRY.lock_for_fork();
}

/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { REGISTRY.unlock_after_fork() };
}

/// Runs `visit` on the registry while this thread holds its lock from [`lock_for_fork`].
pub(crate) fn with_held<R>(visit: impl FnOnce(&mut Registry) -> R) -> R {
    // SAFETY: only the fork handlers call this, between `lock_for_fork` and `unlock_after_fork` of their thread.
    visit(unsafe { REGISTRY.get_held() })
}

impl Registry {
    /// Returns the member of a pool that is being or was registered.
    pub(crate) fn member(&mut self, id: u64) -> Option<&mut Member> {
        self.members.get_mut(cache::number_of(id))?.as_mut().filter(|member| member.id == id)
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().flatten()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }
}

impl Member {
    fn new(id: u64) -> Member {
        Member {
            id,
            inner: None,
            caches: Vec::new(),
            last_mark: 0,
            crossings: 0,
            blocks: Vec::new(),
            turn: None,
            kept: None,
        }
    }

    pub(crate) fn inner(&self) -> Option<Strong> {
        // SAFETY: the pool unregisters before its memory goes, under the lock that lends `self`.
        unsafe { Strong::upgrade(self.inner?) }
    }

    pub(crate) fn caches(&self) -> impl Iterator<Item = &ThreadCache> {
        // SAFETY: a cache leaves the list before its thread frees it, under the lock that lends `self`.
        self.caches.iter().map(|cache| unsafe { &**cache })
    }

    /// Returns a mark that no listed cache has; 0 where threads hand leases to each other all the time.
    fn new_mark(&mut self) -> u16 {
        if self.crossings >= CROSSINGS_MAX || self.caches.len() >= usize::from(MARKS) {
            return 0;
        }
        // There are more marks than caches.
        loop {
            self.last_mark = self.last_mark % MARKS + 1;
            if self.caches().all(|cache| cache.mark() != self.last_mark) {
                return self.last_mark;
            }
        }
    }

    /// Lets nobody into the caches that `which` selects, runs `visit` on each, and lets their owners in again.
    pub(crate) fn revoke(&self, which: impl Fn(&ThreadCache) -> bool, mut visit: impl FnMut(&ThreadCache)) {
        let chosen = |cache: &&ThreadCache| which(cache);
        self.caches().filter(chosen).for_each(|cache| cache.raise(GATE_REVOKED));
        sync::heavy_barrier();
        for cache in self.caches().filter(chosen) {
            cache.wait_until_idle();
            visit(cache);
            cache.lower(GATE_REVOKED);
        }
    }

    /// Keeps every owner but the caller out of its cache, until [`Member::let_go`].
    pub(crate) fn hold(&self) {
        self.caches().for_each(|cache| cache.raise(GATE_REVOKED));
        sync::heavy_barrier();
        self.caches().for_each(ThreadCache::wait_until_idle);
    }

    pub(crate) fn let_go(&self) {
        self.caches().for_each(|cache| cache.lower(GATE_REVOKED));
    }

    /// Keeps every owner off its cache while gets wait, so that each put reaches the depot.
    pub(crate) fn gate_for_waiters(&self, raised: bool) {
        for cache in self.caches() {
            if raised {
                cache.raise(GATE_WAITERS);
            } else {
                cache.lower(GATE_WAITERS);
            }
        }
    }

    /// Ends all caches: their owners never get in again and only free the memory.
    pub(crate) fn orphan(&mut self, mut visit: impl FnMut(&ThreadCache)) {
        self.caches().for_each(|cache| cache.raise(GATE_ORPHAN));
        sync::heavy_barrier();
        for cache in self.caches() {
            cache.wait_until_idle();
            visit(cache);
        }
        self.caches.clear();
    }

    /// Drops the caches of threads that a child of fork does not have. Their memory stays allocated: their owners
    /// can no longer free it, and nobody else knows whether a library they used refers to it. The parent held them all.
    pub(crate) fn keep_only(
        &mut self,
        mut own: impl FnMut(*const ThreadCache) -> bool,
        mut visit: impl FnMut(&ThreadCache),
    ) {
        self.caches.retain(|cache| {
            if own(*cache) {
                return true;
            }
            // SAFETY: still in the list, so not freed.
            visit(unsafe { &**cache });
            false
        });
    }
}

/// Registers a new pool. Its id is the number of its place and a nonce, unique in the process and hard to guess.
pub(crate) fn register(make: impl FnOnce(u64) -> Result<Inner>) -> Result<Strong> {
    let mut nonce = [0_u64];
    slot::fill_random(&mut nonce);
    let id = {
        let mut registry = lock();
        let number = match registry.members.iter().position(Option::is_none) {
            Some(number) => number,
            None if registry.members.len() == POOLS_MAX => {
                return Err(Error::new(ErrorKind::Exhausted, format_args!("{POOLS_MAX} pools are open; close some")));
            }
            None => {
                registry.members.try_reserve(1).map_err(|_| no_memory())?;
                registry.members.push(None);
                registry.members.len() - 1
            }
        };
        let id = cache::id_of(number, nonce[0]);
        registry.members[number] = Some(Member::new(id));
        id
    };
    match make(id) {
        Ok(inner) => {
            // Without memory the pool unregisters itself.
            let inner = Strong::new(inner).ok_or_else(no_memory)?;
            if let Some(member) = lock().member(id) {
                member.inner = NonNull::new(inner.as_ptr().cast_mut());
            }
            Ok(inner)
        }
        Err(error) => {
            unregister(id);
            Err(error)
        }
    }
}

#[cold]
pub(crate) fn no_memory() -> Error {
    Error::new(ErrorKind::NoMemory, "the system gives no memory for a pool; nothing was made")
}

/// Forgets a pool whose last buffer and last user are gone.
pub(crate) fn unregister(id: u64) {
    let mut registry = lock();
    if let Some(place) = registry.members.get_mut(cache::number_of(id))
        && place.as_ref().is_some_and(|member| member.id == id)
    {
        *place = None;
    }
}

/// Finds a pool by its id; any number is allowed.
pub(crate) fn find(id: u64) -> Option<Strong> {
    lock().member(id)?.inner()
}

/// Finds the pool at an address that may be stale.
pub(crate) fn find_at(address: *const Inner) -> Option<Strong> {
    let address = NonNull::new(address.cast_mut())?;
    lock().members().find(|member| member.inner == Some(address))?.inner()
}

/// Runs `end`, which ends or pins leases with a mark that is not the caller's, while no thread ends such a one by itself. The thread
/// that has the mark loses it and from now on ends its leases as every thread may, by an atomic operation: who hands leases to
/// others would be waited for again and again.
///
/// The lock is held until `end` has returned: the next thread that gets the mark must see what it did.
#[cold]
pub(crate) fn without_mark<R>(pool: *const Inner, mark: u16, end: impl FnOnce() -> R) -> R {
    let mut registry = lock();
    let named = |member: &&mut Member| member.inner.is_some_and(|inner| std::ptr::eq(inner.as_ptr(), pool));
    if let Some(member) = registry.members_mut().find(named) {
        let has_mark = |cache: &ThreadCache| cache.mark() == mark;
        if member.caches().any(has_mark) {
            member.crossings += 1;
            member.revoke(has_mark, ThreadCache::lose_mark);
        }
    }
    end()
}

/// Returns the first pool from a place in the list on, and the next place.
pub(crate) fn next(from: usize) -> Option<(Strong, usize)> {
    let registry = lock();
    let mut members = registry.members.iter().enumerate().skip(from);
    members.find_map(|(place, member)| Some((member.as_ref()?.inner()?, place + 1)))
}

/// Takes the first pool that an ended fork left kept, from a place in the list on. Returns the next place too.
pub(crate) fn take_kept(from: usize) -> Option<(Strong, usize)> {
    let mut registry = lock();
    let mut members = registry.members.iter_mut().enumerate().skip(from);
    members.find_map(|(place, member)| Some((member.as_mut()?.kept.take()?, place + 1)))
}

/// Lists the new cache of a thread; `false` when the pool is closed or there is no memory.
pub(crate) fn enlist(inner: &Inner, cache: &ThreadCache) -> bool {
    let mut registry = lock();
    if inner.is_closed() {
        return false;
    }
    let waiting = inner.has_waiters();
    let Some(member) = registry.member(inner.id) else {
        return false;
    };
    if member.caches.try_reserve(1).is_err() {
        return false;
    }
    cache.set_mark(member.new_mark());
    if waiting {
        cache.raise(GATE_WAITERS);
    }
    member.caches.push(cache);
    true
}

/// Ends a cache of the calling thread: its buffers go to the depot, its counts to the pool.
///
/// # Safety
/// `cache` was made by `Box::into_raw`, and its owner gives it up: only the registry's list may still name it.
pub(crate) unsafe fn retire(cache: *const ThreadCache) {
    let mut doomed = Doomed::default();
    // SAFETY: not freed before the end of this function.
    let pool = delist(unsafe { &*cache }, &mut doomed);
    // SAFETY: the caller's promise, and the list names it no more. Only now is it a box again: until it left the list,
    // others could look at it.
    drop(unsafe { Box::from_raw(cache.cast_mut()) });
    if let Some(pool) = pool {
        pool.destroy_all(&mut doomed);
        pool.wake_waiters();
    }
}

/// Takes a cache off the list and over into its pool. `None` when that was done before: the pool was closed.
fn delist(cache: &ThreadCache, doomed: &mut Doomed) -> Option<Strong> {
    let mut registry = lock();
    let member = registry.member(cache.pool_id)?;
    let place = member.caches.iter().position(|listed| std::ptr::eq(*listed, cache))?;
    member.caches.swap_remove(place);
    let inner = member.inner()?;
    cache.wait_until_idle();
    inner.absorb(cache, doomed);
    Some(inner)
}

/// Forgets all pools, for the next execution of a model.
#[cfg(millpond_models)]
pub(crate) fn forget_all() {
    lock().members.clear();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::BufferPool;
    use crate::buffer::raw;

    #[test]
    fn a_fork_waits_for_whoever_is_in_its_cache() {
        let pool = BufferPool::new("held").expect("a pool");
        let done = AtomicBool::new(false);
        let (begin, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let cache = pool.inner().own_cache().expect("memory");
                assert!(cache.enter(pool.inner().as_ptr()));
                begin.send(()).expect("the test waits");
                std::thread::sleep(Duration::from_millis(10));
                done.store(true, Ordering::Relaxed);
                cache.leave();
            });
            begun.recv().expect("begun");
            let mut registry = lock();
            let member = registry.member(pool.id()).expect("registered");
            member.hold();
            assert!(done.load(Ordering::Relaxed));
            member.let_go();
        });
    }

    #[test]
    fn threads_have_marks_of_their_own_until_too_many_have_lost_theirs() {
        // Where slots wear out in between, a lease does not always come from the cache.
        if cfg!(millpond_short_generations) {
            return;
        }
        let pool = BufferPool::builder().name("crossed").clear(crate::ClearPolicy::Never).build().expect("a pool");
        let id = pool.id();
        // A thread's mark, and a lease that it got from its cache.
        let thread = || {
            let get = || raw::get(id, 100, crate::Site::NONE).expect("a lease").id;
            raw::put(id, get(), None, crate::Site::NONE).expect("live");
            (cache::find(id).expect("a cache").mark(), get())
        };
        let marks = || lock().member(id).expect("registered").caches().map(ThreadCache::mark).collect::<Vec<_>>();
        let (mine, lease) = thread();
        assert_eq!(marks(), [mine]);
        raw::put(id, lease, None, crate::Site::NONE).expect("live");
        let (ask, asked) = mpsc::channel::<()>();
        let asked = std::sync::Mutex::new(asked);
        for lost in 0..CROSSINGS_MAX + 2 {
            std::thread::scope(|scope| {
                let (tell, told) = mpsc::channel();
                let asked = &asked;
                let spawned = scope.spawn(move || {
                    tell.send(thread()).expect("received");
                    // Ends by itself when the other thread has panicked, which then waits for this one.
                    let _ = asked.lock().expect("no panic").recv_timeout(Duration::from_secs(10));
                });
                let (mark, lease) = told.recv().expect("told");
                assert_eq!(mark == 0, lost >= CROSSINGS_MAX, "{lost}");
                assert!(mark != mine && marks().contains(&mark));
                raw::put(id, lease, None, crate::Site::NONE).expect("live");
                assert_eq!(marks(), [mine, 0]);
                ask.send(()).expect("waits");
                spawned.join().expect("no panic");
            });
            assert_eq!(marks(), [mine]);
        }
    }

    #[test]
    fn a_thread_behind_a_gate_puts_its_leases_and_keeps_its_mark() {
        // Of a slot that wore out nobody knows any more that its last lease was put.
        if cfg!(millpond_short_generations) {
            return;
        }
        let pool = BufferPool::builder().name("gated").clear(crate::ClearPolicy::Never).build().expect("a pool");
        let id = pool.id();
        let get = || raw::get(id, 100, crate::Site::NONE).expect("a lease").id;
        let put = |lease| raw::put(id, lease, None, crate::Site::NONE).map_err(|error| error.kind());
        put(get()).expect("live");
        let [first, second] = [get(), get()];
        let cache = cache::find(id).expect("a cache");
        let mark = cache.mark();
        cache.raise(GATE_WAITERS);
        assert_eq!([put(first), put(first)], [Ok(()), Err(ErrorKind::DoublePut)]);
        cache.lower(GATE_WAITERS);
        assert_eq!([put(second), put(second)], [Ok(()), Err(ErrorKind::DoublePut)]);
        assert!(mark != 0 && cache.mark() == mark);
        pool.stats().check().expect("the books");
    }

    #[test]
    fn a_pool_is_known_as_long_as_one_of_its_leases_lives() {
        for check in ["on", "sample:1"] {
            for len in [10, 100_000, 1 << 20, 40 << 20] {
                let builder = BufferPool::builder().name("known").check(check.parse().expect("a mode"));
                let pool = builder.build().expect("a pool");
                let id = pool.id();
                let leases = [pool.get(len).expect("a lease"), pool.get(len).expect("a lease")];
                drop(pool);
                let [first, last] = leases;
                drop(first);
                assert!(find(id).is_some(), "{check} {len}");
                drop(last);
                assert!(find(id).is_none(), "{check} {len}");
            }
        }
    }
}
