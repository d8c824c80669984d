//! The works of two threads, each on a core of its own.

use std::cell::UnsafeCell;
use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::{Figures, Usage, forget_peak, median};
use crate::peer::{Peer, Shape};
use crate::works::write;

const RING: usize = 256;
/// Operations between two looks at the clock, at most; fewer where they take longer than this together.
const CHUNK: u64 = 4096;
const CHUNK_TIME: Duration = Duration::from_micros(100);

/// Ties this thread to a core, as far as there are so many.
fn pin(core: usize) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: zeroed, which is the empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the core is far below the end of the set.
    unsafe { libc::CPU_SET(core % cores, &mut set) };
    // SAFETY: reads one set. Refused: the threads stay where they are.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

/// As many operations warm up what goes from thread to thread: until then a pool still makes buffers, of new pages.
const WARM: u64 = 16 * RING as u64;
/// The longest that a warm-up takes for them.
const WARM_TIME: Duration = Duration::from_millis(500);

/// The times of the chunks of one thread that began after `skip` and after `warm` operations, per operation, and how many
/// operations there were.
fn chunks(begun: Instant, skip: Duration, warm: u64, time: Duration, mut run: impl FnMut(u64)) -> (Vec<f64>, u64) {
    let (mut spent, mut ops, mut chunk, mut from) = (Vec::new(), 0, 1, None);
    loop {
        let start = Instant::now();
        let waited = start - begun;
        if from.is_none() && waited >= skip && (ops >= warm || waited >= WARM_TIME) {
            from = Some(start);
        }
        run(chunk);
        let took = start.elapsed();
        ops += chunk;
        if let Some(from) = from {
            spent.push(took.as_secs_f64() * 1e9 / chunk as f64);
            if from.elapsed() >= time {
                return (spent, ops);
            }
        }
        if took < CHUNK_TIME && chunk < CHUNK {
            chunk *= 2;
        }
    }
}

#[inline(never)]
fn pairs<P: Peer>(peer: P, len: usize, turns: u64) {
    for _ in 0..turns {
        let buffer = peer.get(len);
        black_box(P::look(&buffer));
        peer.put(buffer);
    }
}

/// How often each thread works alone and beside the other, in turns: what changes the machine's speed changes all three.
const SLICES: u32 = 8;
/// Which of the threads work at a time.
const ACTS: [[bool; 2]; 3] = [[true, false], [false, true], [true, true]];
/// The place of the act of both.
const BOTH: usize = 2;

/// What one of the two threads takes for a pair in each slice: alone in one of the first two acts, and beside the other.
fn slices<P: Peer>(peer: P, len: usize, each: Duration, core: usize, barrier: &Barrier) -> (Vec<[f64; 3]>, u64) {
    pin(core);
    let mut ops = 0;
    // One more, which warms up.
    let slices = (0..=SLICES).map(|_| {
        ACTS.map(|working| {
            barrier.wait();
            if !working[core] {
                return 0.0;
            }
            let (spent, count) = chunks(Instant::now(), each / 8, 0, each, |turns| pairs(peer, len, turns));
            ops += count;
            median(spent)
        })
    });
    (slices.collect::<Vec<_>>().split_off(1), ops)
}

/// Pairs on two threads of one pool. Each works alone at times, while the other sleeps: how many times that a pair takes
/// beside the other is told too, of the thread that loses more. It is held to itself on its own core in the same moment,
/// since a processor that other machines use as well does not always give both cores the same.
pub fn two<P: Peer + Send>(len: usize, time: Duration) -> Figures {
    let peer = P::new(Shape { size: len, live: 2 });
    let (len, each) = (black_box(len), time / SLICES);
    forget_peak();
    let (usage, barrier) = (Usage::now(), &Barrier::new(2));
    let threads = thread::scope(|scope| {
        let threads = [0, 1].map(|core| scope.spawn(move || slices(peer, len, each, core, barrier)));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let of = |core: usize, figure: fn(&[f64; 3], usize) -> f64| {
        let slices: &[_] = &threads[core].0;
        median(slices.iter().map(|slice| figure(slice, core)).collect())
    };
    let alone = [0, 1].map(|core| of(core, |slice, core| slice[core]));
    let both = [0, 1].map(|core| of(core, |slice, _| slice[BOTH]));
    let times = [0, 1].map(|core| of(core, |slice, core| slice[BOTH] / slice[core]));
    let mut figures = Figures::default();
    usage.into(&mut figures, threads[0].1 + threads[1].1);
    figures.ns = (both[0] + both[1]) / 2.0;
    figures.more =
        format!(", \"alone_ns\": {:.4}, \"alone_ratio\": {:.4}", (alone[0] + alone[1]) / 2.0, times[0].max(times[1]));
    figures
}

/// A number on cache lines of its own.
#[repr(align(128))]
struct Apart(AtomicUsize);

/// A bounded queue from one thread to another.
struct Ring<T> {
    slots: [UnsafeCell<MaybeUninit<T>>; RING],
    pushed: Apart,
    popped: Apart,
}

// SAFETY: a slot belongs to the producer until `pushed` is raised over it, then to the consumer until `popped` is.
unsafe impl<T: Send> Sync for Ring<T> {}

/// Waits a little, and lets others run where there is one core for both.
fn pause(waited: &mut u32) {
    *waited += 1;
    if waited.is_multiple_of(4096) {
        thread::yield_now();
    } else {
        spin_loop();
    }
}

impl<T> Ring<T> {
    fn new() -> Ring<T> {
        Ring {
            slots: [const { UnsafeCell::new(MaybeUninit::uninit()) }; RING],
            pushed: Apart(AtomicUsize::new(0)),
            popped: Apart(AtomicUsize::new(0)),
        }
    }

    /// Puts a value behind the `at` before it; `seen` is what the producer last saw of the consumer.
    #[inline(always)]
    fn push(&self, at: usize, seen: &mut usize, value: T) {
        let mut waited = 0;
        while at - *seen == RING {
            // Acquire: the consumer has read the slot. Pairs with the store in `pop`.
            *seen = self.popped.0.load(Ordering::Acquire);
            if at - *seen == RING {
                pause(&mut waited);
            }
        }
        // SAFETY: the slot is the producer's.
        let slot = unsafe { &mut *self.slots[at % RING].get() };
        slot.write(value);
        // Release: the slot is written. Pairs with the load in `pop`.
        self.pushed.0.store(at + 1, Ordering::Release);
    }

    /// Takes the value at that place, or None when the producer has ended.
    #[inline(always)]
    fn pop(&self, at: usize, seen: &mut usize, ended: &AtomicBool) -> Option<T> {
        let mut waited = 0;
        while at == *seen {
            *seen = self.pushed.0.load(Ordering::Acquire);
            if at == *seen {
                if ended.load(Ordering::Acquire) && self.pushed.0.load(Ordering::Acquire) == at {
                    return None;
                }
                pause(&mut waited);
            }
        }
        // SAFETY: the slot is the consumer's.
        let slot = unsafe { &*self.slots[at % RING].get() };
        // SAFETY: written, and read once: the producer writes it anew before this thread comes here again.
        let value = unsafe { slot.assume_init_read() };
        self.popped.0.store(at + 1, Ordering::Release);
        Some(value)
    }
}

/// One thread makes values, the other takes them; per value.
fn pass<T: Send>(time: Duration, make: impl Fn() -> T + Sync, take: impl Fn(T) + Sync) -> Figures {
    forget_peak();
    let (ring, ended) = (Ring::<T>::new(), AtomicBool::new(false));
    let usage = Usage::now();
    let (spent, ops) = thread::scope(|scope| {
        let (ring, ended, make, take) = (&ring, &ended, &make, &take);
        scope.spawn(move || {
            pin(1);
            let (mut at, mut seen) = (0, 0);
            while let Some(value) = ring.pop(at, &mut seen, ended) {
                take(value);
                at += 1;
            }
        });
        let producer = scope.spawn(move || {
            pin(0);
            let (mut at, mut seen) = (0, 0);
            let figures = chunks(Instant::now(), time / 2, WARM, time, |turns| {
                for _ in 0..turns {
                    ring.push(at, &mut seen, make());
                    at += 1;
                }
            });
            // Release: everything was pushed before. Pairs with the load in `pop`.
            ended.store(true, Ordering::Release);
            figures
        });
        producer.join().expect("no panic")
    });
    let mut figures = Figures::default();
    usage.into(&mut figures, ops);
    figures.ns = median(spent);
    figures
}

/// One thread gets and writes the first byte, another puts.
pub fn between<P: Peer + Send + Sync>(len: usize, time: Duration) -> Figures
where
    P::Buffer: Send,
{
    let peer = P::new(Shape { size: len, live: RING + 2 });
    let len = black_box(len);
    let get = move || {
        let mut buffer = peer.get(len);
        write(P::start(&mut buffer), 0);
        buffer
    };
    pass(time, get, move |buffer| peer.put(buffer))
}

/// A pointer that may move to another thread: nobody follows it.
struct Pointer(*const u8);

// SAFETY: only its value is looked at.
unsafe impl Send for Pointer {}

/// The queue alone.
pub fn queue(time: Duration) -> Figures {
    pass(
        time,
        || Pointer(black_box(std::ptr::null())),
        |pointer| {
            black_box(pointer.0);
        },
    )
}
