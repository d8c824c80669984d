//! Defines what a work asks of a peer.

use std::hint::black_box;

/// What a peer is prepared for: those that hold objects of one kind are given buffers of this size.
#[derive(Copy, Clone)]
pub struct Shape {
    /// Bytes of the largest buffer that will be asked for.
    pub size: usize,
    /// Buffers that will be out at a time, at most.
    pub live: usize,
}

/// Hands out buffers and takes them back. Values are cheap to copy: what they stand for is leaked or static.
pub trait Peer: Copy + 'static {
    type Buffer: 'static;

    fn new(shape: Shape) -> Self;

    fn get(self, len: usize) -> Self::Buffer;

    /// Returns the address for reading: nothing was written.
    fn look(buffer: &Self::Buffer) -> *const u8;

    /// Returns the address for writing.
    fn start(buffer: &mut Self::Buffer) -> *mut u8;

    fn put(self, buffer: Self::Buffer);

    /// The most idle bytes that it says it keeps.
    fn retained_limit() -> Option<usize> {
        None
    }

    /// Gets, writes the first `dirty` bytes and puts, in the way that tells the peer most of what was written.
    #[inline(always)]
    fn dirty(self, len: usize, dirty: usize) {
        let mut buffer = self.get(len);
        fill(Self::start(&mut buffer), dirty);
        self.put(buffer);
    }
}

/// Writes bytes that the compiler has to write.
#[inline(always)]
pub fn fill(data: *mut u8, len: usize) {
    // SAFETY: the caller owns `len` bytes from there.
    unsafe { data.write_bytes(black_box(1), len) };
    black_box(data);
}

/// The classes that a program which pools several sizes would make: nine, as millpond's.
pub const CLASSES: [usize; 9] = [512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

#[inline(always)]
pub fn class_of(len: usize) -> usize {
    CLASSES.iter().position(|class| len <= *class).expect("mixed sizes end at the largest class")
}

/// Nine pools of a peer that knows one size.
pub struct ByClass<P: Peer>(&'static [P; 9]);

impl<P: Peer> Clone for ByClass<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Peer> Copy for ByClass<P> {}

impl<P: Peer> Peer for ByClass<P> {
    type Buffer = (P::Buffer, usize);

    fn new(shape: Shape) -> Self {
        ByClass(Box::leak(Box::new(CLASSES.map(|size| P::new(Shape { size, ..shape })))))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let class = class_of(len);
        (self.0[class].get(CLASSES[class]), class)
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        P::look(&buffer.0)
    }

    #[inline(always)]
    fn start(buffer: &mut Self::Buffer) -> *mut u8 {
        P::start(&mut buffer.0)
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        self.0[buffer.1].put(buffer.0);
    }
}
