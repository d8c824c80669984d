//! Floors of one buffer that comes and goes: a place for it in a thread-local, and step by step what a pool's contract asks
//! beside; and a buffer that is overwritten each time.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use super::floors::{Kept, class_by_table, increase};
use crate::peer::{CLASSES, Peer, Shape};

/// A buffer, and of the one that is out what was asked for, where and when; on a cache line of its own.
#[repr(C, align(64))]
pub struct Record {
    data: AtomicPtr<u8>,
    len: AtomicUsize,
    place: AtomicU64,
    since: AtomicU64,
}

/// A clock that somebody else moves.
static NOW: AtomicU64 = AtomicU64::new(1);

/// A place for a buffer, what is counted of it for others to read, and whether others have closed it. All on a line.
#[repr(C, align(64))]
struct Line {
    place: Cell<*const Record>,
    gets: Uses,
    puts: Uses,
    closed: AtomicU64,
}

/// How often something was done, and for how many bytes.
struct Uses {
    sum: AtomicU64,
    count: AtomicU64,
}

impl Uses {
    const NONE: Uses = Uses { sum: AtomicU64::new(0), count: AtomicU64::new(0) };

    /// Counts the bytes. With the count in the same sum, its lowest bit and the count's differ until [`Uses::end`]: so others know
    /// whether the thread is about it, the half of a lock whose other half is a barrier in all threads.
    #[inline(always)]
    fn begin<const GATE: bool>(&self, len: usize, closed: &AtomicU64) {
        increase(&self.sum, 2 * len + 1);
        if GATE {
            compiler_fence(Ordering::SeqCst);
            assert!(closed.load(Ordering::Relaxed) == 0, "nobody closes it");
        }
    }

    #[inline(always)]
    fn end(&self) {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl Line {
    const NEW: Line =
        Line { place: Cell::new(ptr::null()), gets: Uses::NONE, puts: Uses::NONE, closed: AtomicU64::new(0) };
}

thread_local! {
    /// A line for each class, and one of the thread.
    static LINES: [Line; CLASSES.len() + 1] = const { [const { Line::NEW }; CLASSES.len() + 1] };
}

/// The thread's lines, by their address: what is stored and loaded by one register and a distance goes from store to load in no
/// time.
#[inline(always)]
fn lines() -> &'static [Line; CLASSES.len() + 1] {
    let mut lines = LINES.with(ptr::from_ref);
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) lines, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the calling thread's, which uses them before it ends.
    unsafe { &*lines }
}

/// One place for one buffer. With `WHO` the length, the place and the time of each get are noted, and that it is over; with
/// `COUNTS` gets, puts and their bytes are counted; with `GATE` too, the thread looks in between whether it may; with `BY_CLASS`
/// there is a place for each of nine classes, found by a table at get and by what the lease says at put, and what is no
/// class's has a line of its own.
#[derive(Copy, Clone)]
pub struct OnePlace<const WHO: bool, const COUNTS: bool, const GATE: bool, const BY_CLASS: bool>;

#[cold]
#[inline(never)]
fn make(len: usize) -> &'static Record {
    let data = AtomicPtr::new(Vec::leak(Vec::with_capacity(len)).as_mut_ptr());
    Box::leak(Box::new(Record { data, len: AtomicUsize::new(0), place: AtomicU64::new(0), since: AtomicU64::new(0) }))
}

impl<const WHO: bool, const COUNTS: bool, const GATE: bool, const BY_CLASS: bool> Peer
    for OnePlace<WHO, COUNTS, GATE, BY_CLASS>
{
    type Buffer = (&'static Record, usize);

    fn new(_shape: Shape) -> Self {
        OnePlace
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let class = if BY_CLASS { class_by_table(len) } else { 0 };
        let lines = lines();
        let (line, thread) = (&lines[class], if BY_CLASS { &lines[CLASSES.len()] } else { &lines[class] });
        if COUNTS {
            line.gets.begin::<GATE>(len, &thread.closed);
        }
        // SAFETY: null or a record that `make` leaked.
        let record = unsafe { line.place.get().as_ref() }.unwrap_or_else(|| make(len));
        line.place.set(ptr::null());
        if COUNTS {
            line.gets.end();
        }
        if WHO {
            record.len.store(len, Ordering::Release);
            record.place.store(u64::from(line!()), Ordering::Relaxed);
            record.since.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        (record, class)
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        buffer.0.data.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn start(buffer: &mut Self::Buffer) -> *mut u8 {
        buffer.0.data.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn put(self, (record, class): Self::Buffer) {
        let lines = lines();
        let (line, thread) = (&lines[class], if BY_CLASS { &lines[CLASSES.len()] } else { &lines[class] });
        if WHO {
            record.since.store(0, Ordering::Relaxed);
        }
        if COUNTS {
            line.puts.begin::<GATE>(record.len.load(Ordering::Relaxed), &thread.closed);
        }
        assert!(line.place.get().is_null(), "one buffer");
        line.place.set(record);
        if COUNTS {
            line.puts.end();
        }
    }
}

/// A buffer that is there from the beginning, overwritten whole when it is given back: past the caches from 64 MiB on, as
/// millpond does, and as the C library does it below.
#[derive(Copy, Clone)]
pub struct Overwritten(Kept<false>, usize);

impl Peer for Overwritten {
    type Buffer = *mut u8;

    fn new(shape: Shape) -> Self {
        Overwritten(Kept::new(shape), shape.size)
    }

    #[inline(always)]
    fn get(self, len: usize) -> *mut u8 {
        self.0.get(len)
    }

    #[inline(always)]
    fn look(buffer: &*mut u8) -> *const u8 {
        *buffer
    }

    #[inline(always)]
    fn start(buffer: &mut *mut u8) -> *mut u8 {
        *buffer
    }

    #[inline(always)]
    fn put(self, buffer: *mut u8) {
        overwrite(buffer, self.1);
        self.0.put(buffer);
    }
}

#[inline(never)]
fn overwrite(data: *mut u8, len: usize) {
    const PAST_CACHES_FROM: usize = 64 << 20;
    #[cfg(target_arch = "x86_64")]
    if len >= PAST_CACHES_FROM {
        use std::arch::x86_64::{_mm_setzero_si128, _mm_sfence, _mm_stream_si128};
        // SAFETY: every processor of this architecture has the instruction.
        let zero = unsafe { _mm_setzero_si128() };
        for at in (0..len).step_by(size_of_val(&zero)) {
            // SAFETY: inside the buffer, whose length is a multiple of a page, as its beginning is.
            unsafe { _mm_stream_si128(data.add(at).cast(), zero) };
        }
        // SAFETY: as for the zeroes.
        unsafe { _mm_sfence() };
        return;
    }
    // SAFETY: the caller's buffer is that long.
    unsafe { data.write_bytes(0, len) };
}
