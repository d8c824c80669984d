//! Stacks of vectors in a thread-local: the least that a pool can do, and nothing else.

use std::cell::UnsafeCell;
use std::hint::black_box;

use crate::peer::{CLASSES, Peer, Shape, class_of, fill};

thread_local! {
    static STACK: UnsafeCell<Vec<Vec<u8>>> = const { UnsafeCell::new(Vec::new()) };
    static STACKS: UnsafeCell<[Vec<Vec<u8>>; 9]> = const { UnsafeCell::new([const { Vec::new() }; 9]) };
}

/// The thread's stack. By address, and pushed to outside of `with`: with the push inside, the compiler keeps `with` as a
/// function of its own, and the stack is twice as slow.
#[inline(always)]
fn stack() -> *mut Vec<Vec<u8>> {
    STACK.with(UnsafeCell::get)
}

#[inline(always)]
fn pop() -> Option<Vec<u8>> {
    // SAFETY: the thread's own, and nothing else refers to it meanwhile.
    unsafe { &mut *stack() }.pop()
}

#[inline(always)]
fn push(buffer: Vec<u8>) {
    // SAFETY: as above.
    unsafe { &mut *stack() }.push(buffer);
}

/// Returns an empty stack whose first place lies in one cache line: where it straddles two, a pair costs twice as much,
/// and that should not be left to chance.
fn fitting() -> Vec<Vec<u8>> {
    let mut tried: Vec<Vec<Vec<u8>>> = Vec::new();
    loop {
        let room: Vec<Vec<u8>> = Vec::with_capacity(512);
        if room.as_ptr() as usize % 64 <= 64 - size_of::<Vec<u8>>() || tried.len() == 16 {
            return room;
        }
        tried.push(room);
        // The next one begins elsewhere.
        tried.push(Vec::with_capacity(tried.len()));
    }
}

/// One stack of buffers of one size, without limit, statistics, checks or clearing.
#[derive(Copy, Clone)]
pub struct Stack;

impl Peer for Stack {
    /// Not `Send` in spirit: the thread that puts it keeps it. The work between threads is not offered.
    type Buffer = Vec<u8>;

    fn new(_shape: Shape) -> Self {
        let room = fitting();
        // SAFETY: as above.
        *unsafe { &mut *stack() } = room;
        Stack
    }

    #[inline(always)]
    fn get(self, len: usize) -> Vec<u8> {
        pop().unwrap_or_else(|| Vec::with_capacity(len))
    }

    #[inline(always)]
    fn look(buffer: &Vec<u8>) -> *const u8 {
        buffer.as_ptr()
    }

    #[inline(always)]
    fn start(buffer: &mut Vec<u8>) -> *mut u8 {
        buffer.as_mut_ptr()
    }

    #[inline(always)]
    fn put(self, buffer: Vec<u8>) {
        push(buffer);
    }
}

/// The same, cleared by hand: by somebody who knows how much was written, or, with `ALL`, who does not.
#[derive(Copy, Clone)]
pub struct Wiped<const ALL: bool>;

impl<const ALL: bool> Peer for Wiped<ALL> {
    type Buffer = Vec<u8>;

    fn new(shape: Shape) -> Self {
        Stack::new(shape);
        Wiped
    }

    #[inline(always)]
    fn get(self, len: usize) -> Vec<u8> {
        pop().unwrap_or_else(|| vec![0; len])
    }

    #[inline(always)]
    fn look(buffer: &Vec<u8>) -> *const u8 {
        buffer.as_ptr()
    }

    #[inline(always)]
    fn start(buffer: &mut Vec<u8>) -> *mut u8 {
        buffer.as_mut_ptr()
    }

    #[inline(always)]
    fn put(self, buffer: Vec<u8>) {
        push(buffer);
    }

    #[inline(always)]
    fn dirty(self, len: usize, dirty: usize) {
        let mut buffer = self.get(len);
        fill(buffer.as_mut_ptr(), dirty);
        let wiped = if ALL { len } else { dirty };
        buffer[..wiped].fill(0);
        black_box(buffer.as_ptr());
        self.put(buffer);
    }
}

/// A stack for each of nine classes.
#[derive(Copy, Clone)]
pub struct Stacks;

impl Peer for Stacks {
    type Buffer = (Vec<u8>, usize);

    fn new(_shape: Shape) -> Self {
        Stacks
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let class = class_of(len);
        // SAFETY: the thread's own, and nothing else refers to it meanwhile.
        let popped = unsafe { &mut *STACKS.with(UnsafeCell::get) }[class].pop();
        (popped.unwrap_or_else(|| Vec::with_capacity(CLASSES[class])), class)
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        buffer.0.as_ptr()
    }

    #[inline(always)]
    fn start(buffer: &mut Self::Buffer) -> *mut u8 {
        buffer.0.as_mut_ptr()
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        // SAFETY: as above.
        let stacks = unsafe { &mut *STACKS.with(UnsafeCell::get) };
        stacks[buffer.1].push(buffer.0);
    }
}
