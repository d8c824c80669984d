//! Floors: the least that a pool with some promise has to do, and nothing else. Where a target is missed they show what
//! decides it: what stands between a floor and millpond is millpond's own.

use std::arch::asm;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use parking_lot::Mutex;

use crate::peer::{CLASSES, Peer, Shape, class_of};

const IDLE: u64 = 0;
const OUT: u64 = 1;
const PAGE: usize = 4096;
/// From here on millpond maps each buffer.
const MAPPED: usize = 64 << 10;
/// From here on millpond asks for huge pages.
const HUGE: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// What a pool must have of each buffer to refuse a second put: a state, on a cache line that no other record shares.
#[repr(C, align(64))]
pub struct Record {
    state: AtomicU64,
    data: AtomicPtr<u8>,
    class: usize,
    /// Of the one that is out: what was asked for, where and when.
    len: AtomicUsize,
    place: AtomicU64,
    since: AtomicU64,
}

/// A clock that somebody else moves.
static NOW: AtomicU64 = AtomicU64::new(1);

impl Record {
    /// Makes one of a buffer of that size. With `PAGES` a buffer of 64 KiB and more begins at a page, as millpond promises.
    fn new<const PAGES: bool>(size: usize, class: usize) -> Record {
        let aligned = PAGES && size >= MAPPED;
        let data = if aligned { map(size, PAGE) } else { Vec::leak(Vec::with_capacity(size)).as_mut_ptr() };
        let (state, data) = (AtomicU64::new(IDLE), AtomicPtr::new(data));
        Record {
            state,
            data,
            class,
            len: AtomicUsize::default(),
            place: AtomicU64::default(),
            since: AtomicU64::default(),
        }
    }

    fn data(&self) -> *mut u8 {
        self.data.load(Ordering::Relaxed)
    }

    /// Marks an idle one as out. A store will do: nobody else can get it.
    #[inline(always)]
    fn begin(&self) {
        self.state.store(OUT, Ordering::Relaxed);
    }

    /// Marks it as idle: of several that try at once, one succeeds.
    #[inline(always)]
    fn end(&self) {
        let ended = self.state.compare_exchange(OUT, IDLE, Ordering::AcqRel, Ordering::Relaxed);
        assert!(ended.is_ok(), "put twice");
    }
}

/// Implements what is the same for all whose buffers are records.
macro_rules! records {
    () => {
        #[inline(always)]
        fn look(buffer: &Self::Buffer) -> *const u8 {
            buffer.data()
        }

        #[inline(always)]
        fn start(buffer: &mut Self::Buffer) -> *mut u8 {
            buffer.data()
        }
    };
}

/// As many records as are out at a time, handed out one after the other: nothing travels back. For the work between two
/// threads only, where the oldest was put when all others are out.
#[derive(Copy, Clone)]
pub struct Rounds(&'static (Vec<Record>, AtomicUsize));

impl Peer for Rounds {
    type Buffer = &'static Record;

    fn new(shape: Shape) -> Self {
        let records = (0..shape.live).map(|_| Record::new::<false>(shape.size, 0)).collect();
        Rounds(leak((records, AtomicUsize::new(0))))
    }

    #[inline(always)]
    fn get(self, _len: usize) -> Self::Buffer {
        let (records, next) = self.0;
        let at = next.load(Ordering::Relaxed);
        next.store(if at + 1 == records.len() { 0 } else { at + 1 }, Ordering::Relaxed);
        records[at].begin();
        &records[at]
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        buffer.end();
    }

    records!();
}

/// How many records travel back at a time.
const BATCH: usize = 64;

type ByClass = [Vec<&'static Record>; CLASSES.len()];

thread_local! {
    static STASH: UnsafeCell<(Vec<&'static Record>, Books)> = const { UnsafeCell::new((Vec::new(), Books::NONE)) };
    static STACKS: UnsafeCell<(ByClass, Books)> = const { UnsafeCell::new(([const { Vec::new() }; CLASSES.len()], Books::NONE)) };
}

/// A stack of each thread, and a locked list through which what one puts comes back to the other. With `BOOKS` as
/// [`Stacks`] with them.
#[derive(Copy, Clone)]
pub struct Batches<const BOOKS: bool>(&'static Mutex<Vec<&'static Record>>);

impl<const BOOKS: bool> Batches<BOOKS> {
    #[cold]
    #[inline(never)]
    fn refill(self, stash: &mut Vec<&'static Record>, len: usize) -> &'static Record {
        let mut list = self.0.lock();
        let rest = list.len().saturating_sub(BATCH);
        stash.extend(list.drain(rest..));
        stash.pop().unwrap_or_else(|| leak(Record::new::<false>(len, 0)))
    }

    #[cold]
    #[inline(never)]
    fn spill(self, stash: &mut Vec<&'static Record>) {
        self.0.lock().extend(stash.drain(..BATCH));
    }
}

impl<const BOOKS: bool> Peer for Batches<BOOKS> {
    type Buffer = &'static Record;

    fn new(_shape: Shape) -> Self {
        Batches(leak(Mutex::new(Vec::with_capacity(1024))))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        // SAFETY: the thread's own, and nothing else refers to it meanwhile.
        let (stash, books) = unsafe { &mut *STASH.with(UnsafeCell::get) };
        if BOOKS {
            books.enter();
        }
        let record = stash.pop().unwrap_or_else(|| self.refill(stash, len));
        if BOOKS {
            books.got(record, len);
        }
        record.begin();
        record
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        buffer.end();
        // SAFETY: as above.
        let (stash, books) = unsafe { &mut *STASH.with(UnsafeCell::get) };
        if BOOKS {
            books.put(buffer);
        }
        stash.push(buffer);
        if stash.len() == 2 * BATCH {
            self.spill(stash);
        }
        if BOOKS {
            books.leave();
        }
    }

    records!();
}

/// The classes of lengths up to a mebibyte, by units of 64 bytes: found with one load, as millpond finds them.
const UNIT: usize = 64;
static CLASS_OF_UNITS: [u8; (1 << 20) / UNIT + 1] = {
    let mut table = [0; (1 << 20) / UNIT + 1];
    let (mut units, mut class) = (0, 0);
    while units < table.len() {
        if units * UNIT > CLASSES[class] {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
};

#[inline(always)]
pub fn class_by_table(len: usize) -> usize {
    CLASS_OF_UNITS.get(len.div_ceil(UNIT)).map_or_else(|| class_of(len), |class| usize::from(*class))
}

/// What a thread writes for others to read: how often, and how many bytes; and whether it is in its stacks at the moment,
/// which they may take away from it.
struct Books {
    busy: AtomicU64,
    closed: AtomicU64,
    gets: [AtomicU64; CLASSES.len()],
    puts: [AtomicU64; CLASSES.len()],
    requested: AtomicU64,
    returned: AtomicU64,
}

impl Books {
    const NONE: Books = Books {
        busy: AtomicU64::new(0),
        closed: AtomicU64::new(0),
        gets: [const { AtomicU64::new(0) }; CLASSES.len()],
        puts: [const { AtomicU64::new(0) }; CLASSES.len()],
        requested: AtomicU64::new(0),
        returned: AtomicU64::new(0),
    };

    /// The half of a lock whose other half is a barrier in all threads.
    #[inline(always)]
    fn enter(&self) {
        self.busy.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        assert!(self.closed.load(Ordering::Relaxed) == 0, "nobody closes it");
    }

    #[inline(always)]
    fn leave(&self) {
        self.busy.store(0, Ordering::Release);
    }

    /// Counts and notes a get, and leaves.
    #[inline(always)]
    fn got(&self, record: &Record, len: usize) {
        increase(&self.gets[record.class], 1);
        increase(&self.requested, len);
        self.leave();
        record.len.store(len, Ordering::Release);
        record.place.store(u64::from(line!()), Ordering::Relaxed);
        record.since.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Enters, and counts a put.
    #[inline(always)]
    fn put(&self, record: &Record) {
        record.since.store(0, Ordering::Relaxed);
        self.enter();
        increase(&self.puts[record.class], 1);
        increase(&self.returned, record.len.load(Ordering::Relaxed));
    }
}

/// Adds to a count that one thread writes.
#[inline(always)]
pub fn increase(count: &AtomicU64, by: usize) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by as u64), Ordering::Relaxed);
}

/// A stack of each thread for each of nine classes, of records. With `BOOKS` also what a pool is told by that has exact
/// statistics, lists who has what, and gets at what threads keep.
#[derive(Copy, Clone)]
pub struct Stacks<const PAGES: bool, const BOOKS: bool>;

impl<const PAGES: bool, const BOOKS: bool> Stacks<PAGES, BOOKS> {
    #[cold]
    #[inline(never)]
    fn make(class: usize) -> &'static Record {
        leak(Record::new::<PAGES>(CLASSES[class], class))
    }
}

impl<const PAGES: bool, const BOOKS: bool> Peer for Stacks<PAGES, BOOKS> {
    type Buffer = &'static Record;

    fn new(_shape: Shape) -> Self {
        Stacks
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        let class = class_by_table(len);
        // SAFETY: the thread's own, and nothing else refers to it meanwhile.
        let (stacks, books) = unsafe { &mut *STACKS.with(UnsafeCell::get) };
        if BOOKS {
            books.enter();
        }
        let record = stacks[class].pop().unwrap_or_else(|| Self::make(class));
        if BOOKS {
            books.got(record, len);
        }
        record.begin();
        record
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        buffer.end();
        // SAFETY: as above.
        let (stacks, books) = unsafe { &mut *STACKS.with(UnsafeCell::get) };
        if BOOKS {
            books.put(buffer);
        }
        stacks[buffer.class].push(buffer);
        if BOOKS {
            books.leave();
        }
    }

    records!();
}

/// One list of one size under a lock, and one count of its bytes: what a pool with a limit that threads share does at the
/// least for each buffer that no thread keeps for itself.
#[derive(Copy, Clone)]
pub struct LockedList(&'static Shared);

/// On lines of their own.
#[repr(align(128))]
struct Shared {
    list: Mutex<Vec<Vec<u8>>>,
    bytes: AtomicUsize,
}

impl Peer for LockedList {
    type Buffer = Vec<u8>;

    fn new(shape: Shape) -> Self {
        LockedList(leak(Shared { list: Mutex::new(Vec::with_capacity(shape.live + 1)), bytes: AtomicUsize::new(0) }))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Vec<u8> {
        let found = self.0.list.lock().pop();
        match found {
            Some(buffer) => {
                self.0.bytes.fetch_sub(buffer.capacity(), Ordering::Relaxed);
                buffer
            }
            None => Vec::with_capacity(len),
        }
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
        self.0.bytes.fetch_add(buffer.capacity(), Ordering::Relaxed);
        self.0.list.lock().push(buffer);
    }
}

/// No pool and no memory: additions, two thirds as many as a pair of millpond has instructions, which need not wait for each other.
/// Threads that do this share nothing but what the processor shares between them.
#[derive(Copy, Clone)]
pub struct Registers;

/// Registers that are added to side by side, and how often each is at get and at put.
const LANES: usize = 4;
const ROUNDS: usize = 5;

impl Registers {
    #[inline(always)]
    fn add(mut lanes: [usize; LANES]) -> [usize; LANES] {
        for _ in 0..ROUNDS {
            lanes = lanes.map(|lane| unknown(lane).wrapping_add(1));
        }
        lanes
    }
}

/// Returns the same number, of which the compiler knows nothing any more: what follows is neither joined nor left out.
#[inline(always)]
fn unknown(mut number: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

impl Peer for Registers {
    type Buffer = [usize; LANES];

    fn new(_shape: Shape) -> Self {
        Registers
    }

    #[inline(always)]
    fn get(self, len: usize) -> Self::Buffer {
        Self::add([len; LANES])
    }

    #[inline(always)]
    fn look(buffer: &Self::Buffer) -> *const u8 {
        ptr::without_provenance(buffer[0])
    }

    /// There is no buffer: the works that write are not offered.
    fn start(_buffer: &mut Self::Buffer) -> *mut u8 {
        unreachable!("nothing to write to")
    }

    #[inline(always)]
    fn put(self, buffer: Self::Buffer) {
        Self::add(buffer);
    }
}

/// No pool: buffers that are there from the beginning, taken and given back by counting. With `SPREAD` each begins at
/// another multiple of 64 bytes in its first page, so that their beginnings do not share a few sets of the caches.
#[derive(Copy, Clone)]
pub struct Kept<const SPREAD: bool>(&'static (Vec<*mut u8>, Cell<usize>));

impl<const SPREAD: bool> Peer for Kept<SPREAD> {
    type Buffer = *mut u8;

    fn new(shape: Shape) -> Self {
        let page = if shape.size >= HUGE { HUGE_PAGE } else { PAGE };
        let each = (shape.size + if SPREAD { PAGE } else { 0 }).next_multiple_of(page);
        let first = map(each * shape.live, page);
        let within = |number: usize| if SPREAD { number * 64 % PAGE } else { 0 };
        let starts = (0..shape.live).map(|number| first.wrapping_add(number * each + within(number))).collect();
        Kept(leak((starts, Cell::new(0))))
    }

    #[inline(always)]
    fn get(self, _len: usize) -> *mut u8 {
        let (starts, out) = self.0;
        let at = out.get();
        out.set(at + 1);
        starts[at]
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
    fn put(self, _buffer: *mut u8) {
        let out = &self.0.1;
        out.set(out.get() - 1);
    }
}

/// Maps so many bytes that begin at a multiple of `align`; of huge pages, if they are that large.
fn map(bytes: usize, align: usize) -> *mut u8 {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, wherever there is room.
    let found = unsafe { libc::mmap(ptr::null_mut(), bytes + align, access, kind, -1, 0) };
    assert!(found != libc::MAP_FAILED, "no memory");
    let start = found.wrapping_add(found.align_offset(align));
    if align > PAGE {
        // SAFETY: inside of the mapping. Refused: the pages are small.
        unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
    }
    start.cast()
}
