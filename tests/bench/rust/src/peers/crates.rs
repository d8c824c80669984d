//! Pools from crates.io. Those that hold objects are given vectors of the size that is measured: no classes, no
//! statistics, no clearing, which is their fastest form.

use std::cell::UnsafeCell;
use std::sync::Arc;

use bytes::BytesMut;
use crossbeam_queue::ArrayQueue;
use lockfree_object_pool::{LinearObjectPool, LinearReusable};
use object_pool::Reusable;
use opool::{LocalPool, PoolAllocator, RefGuard, RefLocalGuard};
use sharded_slab::pool::{OwnedRefMut, RefMut};
use zeropool::{Buf, BufUninit, ZeroPool};

use crate::peer::{Peer, Shape};

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Implements what is the same for all: buffers that are vectors behind a guard.
macro_rules! vectors {
    () => {
        #[inline(always)]
        fn look(buffer: &Self::Buffer) -> *const u8 {
            buffer.as_ptr()
        }

        #[inline(always)]
        fn start(buffer: &mut Self::Buffer) -> *mut u8 {
            buffer.as_mut_ptr()
        }
    };
}

/// A bounded lock-free queue of vectors.
#[derive(Copy, Clone)]
pub struct Queue(&'static ArrayQueue<Vec<u8>>);

impl Peer for Queue {
    type Buffer = Vec<u8>;

    fn new(shape: Shape) -> Self {
        Queue(leak(ArrayQueue::new(shape.live.max(16) * 2)))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(len))
    }

    #[inline(always)]
    fn put(self, buffer: Vec<u8>) {
        drop(self.0.push(buffer));
    }

    vectors!();
}

#[derive(Copy, Clone)]
pub struct ObjectPool(&'static object_pool::Pool<Vec<u8>>);

impl Peer for ObjectPool {
    type Buffer = Reusable<'static, Vec<u8>>;

    fn new(shape: Shape) -> Self {
        ObjectPool(leak(object_pool::Pool::new(shape.live.max(16), || Vec::with_capacity(shape.size))))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        self.0.pull(|| Vec::with_capacity(len))
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }

    vectors!();
}

/// The linear one: faster than its spin-lock sibling on one thread.
#[derive(Copy, Clone)]
pub struct Lockfree(&'static LinearObjectPool<Vec<u8>>);

impl Peer for Lockfree {
    type Buffer = LinearReusable<'static, Vec<u8>>;

    fn new(shape: Shape) -> Self {
        let size = shape.size;
        Lockfree(leak(LinearObjectPool::new(move || Vec::with_capacity(size), |_| ())))
    }

    #[inline(always)]
    fn get(self, _len: usize) -> Self::Buffer {
        self.0.pull()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }

    vectors!();
}

/// Makes vectors of one size.
pub struct Maker(usize);

impl PoolAllocator<Vec<u8>> for Maker {
    #[inline(always)]
    fn allocate(&self) -> Vec<u8> {
        Vec::with_capacity(self.0)
    }
}

#[derive(Copy, Clone)]
pub struct Opool(&'static opool::Pool<Maker, Vec<u8>>);

impl Peer for Opool {
    type Buffer = RefGuard<'static, Maker, Vec<u8>>;

    fn new(shape: Shape) -> Self {
        Opool(leak(opool::Pool::new(shape.live.max(16) * 2, Maker(shape.size))))
    }

    #[inline(always)]
    fn get(self, _len: usize) -> Self::Buffer {
        self.0.get()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }

    vectors!();
}

/// Its form for one thread.
#[derive(Copy, Clone)]
pub struct OpoolLocal(&'static LocalPool<Maker, Vec<u8>>);

impl Peer for OpoolLocal {
    type Buffer = RefLocalGuard<'static, Maker, Vec<u8>>;

    fn new(shape: Shape) -> Self {
        OpoolLocal(leak(LocalPool::new(shape.live.max(16) * 2, Maker(shape.size))))
    }

    #[inline(always)]
    fn get(self, _len: usize) -> Self::Buffer {
        self.0.get()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }

    vectors!();
}

fn zeropool(counts: bool) -> &'static ZeroPool {
    leak(ZeroPool::new().tls_cache_size(64).batch_size(32).max_buffers_per_class(512).track_stats(counts))
}

/// Without zeroing, with room for 64 buffers of a class in each thread; with statistics where it `COUNTS`.
#[derive(Copy, Clone)]
pub struct Zeropool<const COUNTS: bool>(&'static ZeroPool);

impl<const COUNTS: bool> Peer for Zeropool<COUNTS> {
    type Buffer = BufUninit<'static>;

    fn new(_shape: Shape) -> Self {
        Zeropool(zeropool(COUNTS))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        self.0.alloc_uninit(len)
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        // Its length is what it lets a program see of a buffer that is not initialised.
        std::hint::black_box(buffer.len());
        std::ptr::from_ref(buffer).cast()
    }

    #[inline(always)]
    fn start(buffer: &mut Self::Buffer) -> *mut u8 {
        buffer.as_uninit_mut().as_mut_ptr().cast()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }
}

/// As it comes with clearing: all of the length at each get.
#[derive(Copy, Clone)]
pub struct ZeropoolZeroed(&'static ZeroPool);

impl Peer for ZeropoolZeroed {
    type Buffer = Buf<'static>;

    fn new(_shape: Shape) -> Self {
        ZeropoolZeroed(zeropool(false))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        self.0.alloc(len)
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        buffer.as_ptr()
    }

    #[inline(always)]
    fn start(buffer: &mut Self::Buffer) -> *mut u8 {
        buffer.as_mut_ptr()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        drop(buffer);
    }
}

#[derive(Copy, Clone)]
pub struct ShardedSlab(&'static sharded_slab::Pool<Vec<u8>>);

impl Peer for ShardedSlab {
    type Buffer = RefMut<'static, Vec<u8>>;

    fn new(_shape: Shape) -> Self {
        ShardedSlab(leak(sharded_slab::Pool::new()))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let mut buffer = self.0.create().expect("room in the slab");
        buffer.reserve(len);
        buffer
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        let key = buffer.key();
        drop(buffer);
        self.0.clear(key);
    }

    vectors!();
}

/// The form of it whose buffers may move to another thread: each counts a reference of the pool.
#[derive(Copy, Clone)]
pub struct ShardedSlabOwned(&'static Arc<sharded_slab::Pool<Vec<u8>>>);

impl Peer for ShardedSlabOwned {
    type Buffer = OwnedRefMut<Vec<u8>>;

    fn new(_shape: Shape) -> Self {
        ShardedSlabOwned(leak(Arc::new(sharded_slab::Pool::new())))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let mut buffer = self.0.clone().create_owned().expect("room in the slab");
        buffer.reserve(len);
        buffer
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        let key = buffer.key();
        drop(buffer);
        self.0.clear(key);
    }

    vectors!();
}

thread_local! {
    static ARENA: UnsafeCell<BytesMut> = UnsafeCell::new(BytesMut::new());
}

/// One `BytesMut` for each thread, from which buffers are split and which reclaims its memory when they are gone.
#[derive(Copy, Clone)]
pub struct Reclaim;

impl Peer for Reclaim {
    type Buffer = BytesMut;

    fn new(_shape: Shape) -> Self {
        Reclaim
    }

    #[inline(always)]
    fn get(self, len: usize) -> BytesMut {
        // SAFETY: the thread's own, and nothing else refers to it meanwhile.
        let arena = unsafe { &mut *ARENA.with(UnsafeCell::get) };
        if !arena.try_reclaim(len) {
            arena.reserve(len);
        }
        // SAFETY: reserved above; what is in it is not read before it is written.
        unsafe { arena.set_len(len) };
        arena.split()
    }

    #[inline(always)]
    fn put(self, buffer: BytesMut) {
        drop(buffer);
    }

    vectors!();
}
