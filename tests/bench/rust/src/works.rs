//! The works of one thread.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::measure::{Figures, measure};
use crate::peer::{Peer, Shape, fill};
use crate::sizes::Act;

const PAGE: usize = 4096;

/// What is written into a buffer between get and put.
#[derive(Copy, Clone)]
pub enum Touch {
    Nothing,
    Ends,
    Pages,
    All,
}

#[inline(always)]
fn touch<P: Peer>(buffer: &mut P::Buffer, len: usize, touch: Touch) {
    match touch {
        Touch::Nothing => {
            black_box(P::look(buffer));
        }
        Touch::Ends => {
            let data = P::start(buffer);
            write(data, 0);
            write(data, len - 1);
        }
        Touch::Pages => pages(P::start(buffer), len),
        Touch::All => fill(P::start(buffer), len),
    }
}

#[inline(always)]
pub fn write(data: *mut u8, at: usize) {
    // SAFETY: inside memory that the caller owns.
    unsafe { data.wrapping_add(at).write_volatile(1) };
}

#[inline(always)]
pub fn pages(data: *mut u8, len: usize) {
    (0..len).step_by(PAGE).for_each(|at| write(data, at));
}

#[inline(never)]
fn pairs<P: Peer, const TOUCH: u8>(peer: P, len: usize, turns: u64) {
    let what = match TOUCH {
        0 => Touch::Nothing,
        1 => Touch::Ends,
        2 => Touch::Pages,
        _ => Touch::All,
    };
    for _ in 0..turns {
        let mut buffer = peer.get(len);
        touch::<P>(&mut buffer, len, what);
        peer.put(buffer);
    }
}

/// One buffer got, touched and put.
pub fn pair<P: Peer, const TOUCH: u8>(len: usize, time: Duration) -> Figures {
    let (peer, len) = (P::new(Shape { size: len, live: 1 }), black_box(len));
    measure(time, 1, |turns| pairs::<P, TOUCH>(peer, len, turns))
}

#[inline(never)]
fn take_all<P: Peer>(peer: P, len: usize, held: &mut Vec<P::Buffer>, live: usize, touched: bool) {
    for _ in 0..live {
        let mut buffer = peer.get(len);
        if touched {
            pages(P::start(&mut buffer), len);
        } else {
            black_box(P::look(&buffer));
        }
        held.push(buffer);
    }
    for buffer in held.drain(..) {
        peer.put(buffer);
    }
}

/// So many buffers taken, touched as told, and all given back.
pub fn burst<P: Peer>(len: usize, live: usize, touched: bool, time: Duration) -> Figures {
    let (peer, len) = (P::new(Shape { size: len, live }), black_box(len));
    let mut held = Vec::with_capacity(live);
    measure(time, live as u64, |turns| {
        for _ in 0..turns {
            take_all(peer, len, &mut held, live, touched);
        }
    })
}

/// A pair while others are held by the same thread.
pub fn held<P: Peer>(len: usize, count: usize, time: Duration) -> Figures {
    let peer = P::new(Shape { size: len, live: count + 1 });
    let kept: Vec<_> = (0..count).map(|_| peer.get(len)).collect();
    let len = black_box(len);
    let figures = measure(time, 1, |turns| pairs::<P, 0>(peer, len, turns));
    kept.into_iter().for_each(|buffer| peer.put(buffer));
    figures
}

/// A pair while so many others of the same size lie idle: all were taken and given back before, as after a burst.
pub fn beside<P: Peer>(len: usize, others: usize, time: Duration) -> Figures {
    let peer = P::new(Shape { size: len, live: others + 1 });
    let len = black_box(len);
    let taken: Vec<_> = (0..=others).map(|_| peer.get(len)).collect();
    taken.into_iter().for_each(|buffer| peer.put(buffer));
    measure(time, 1, |turns| pairs::<P, 0>(peer, len, turns))
}

/// A random one of 64 live buffers is replaced by one of the next size of a list.
pub fn mixed<P: Peer>(largest: usize, time: Duration) -> Result<Figures, &'static str> {
    const LIVE: usize = 64;
    let peer = P::new(Shape { size: largest, live: LIVE });
    let sizes = crate::sizes::up_to(largest)?;
    let mut slots: Vec<Option<P::Buffer>> = (0..LIVE).map(|_| None).collect();
    let (mut next, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    let mut replace = |turns| {
        for _ in 0..turns {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let slot = &mut slots[(random >> 32) as usize % LIVE];
            if let Some(old) = slot.take() {
                peer.put(old);
            }
            let mut buffer = peer.get(sizes[next & (sizes.len() - 1)]);
            next += 1;
            write(P::start(&mut buffer), 0);
            *slot = Some(buffer);
        }
    };
    // Before all that depends on the clock: the same buffers are replaced each time.
    let more = crate::steps::of(&mut replace);
    let figures = Figures { more, ..measure(time, 1, replace) };
    slots.into_iter().flatten().for_each(|buffer| peer.put(buffer));
    Ok(figures)
}

/// The acts of a recorded trace, by one thread, first byte written; per get.
pub fn replay<P: Peer>(time: Duration) -> Result<Figures, &'static str> {
    let (acts, places) = crate::sizes::acts()?;
    let gets = acts.iter().filter(|act| matches!(act, Act::Get { .. })).count();
    let peer = P::new(Shape { size: 16 << 20, live: 16 });
    let mut out: Vec<Option<P::Buffer>> = (0..places).map(|_| None).collect();
    Ok(measure(time, gets as u64, |turns| {
        for _ in 0..turns {
            for act in &acts {
                match *act {
                    Act::Get { place, size } => {
                        let mut buffer = peer.get(size);
                        write(P::start(&mut buffer), 0);
                        out[place] = Some(buffer);
                    }
                    Act::Put { place } => {
                        if let Some(buffer) = out[place].take() {
                            peer.put(buffer);
                        }
                    }
                }
            }
        }
    }))
}

/// A pair while threads that have used the pool sleep.
pub fn idle<P: Peer + Send>(len: usize, threads: usize, time: Duration) -> Figures {
    let peer = P::new(Shape { size: len, live: threads });
    thread::scope(|scope| {
        let (used, all_used) = mpsc::channel();
        let sleepers: Vec<_> = (0..threads)
            .map(|_| {
                let used = used.clone();
                let sleeper = scope.spawn(move || {
                    pairs::<P, 1>(peer, len, 100);
                    used.send(()).expect("the first thread waits");
                    thread::park();
                });
                sleeper.thread().clone()
            })
            .collect();
        (0..threads).for_each(|_| all_used.recv().expect("a thread that used the pool"));
        let len = black_box(len);
        let figures = measure(time, 1, |turns| pairs::<P, 0>(peer, len, turns));
        sleepers.iter().for_each(thread::Thread::unpark);
        figures
    })
}

/// Some bytes dirtied in the way that tells the pool most.
pub fn clear<P: Peer>(len: usize, dirty: usize, time: Duration) -> Figures {
    let (peer, len, dirty) = (P::new(Shape { size: len, live: 1 }), black_box(len), black_box(dirty));
    measure(time, 1, |turns| dirtied(peer, len, dirty, turns))
}

#[inline(never)]
fn dirtied<P: Peer>(peer: P, len: usize, dirty: usize, turns: u64) {
    for _ in 0..turns {
        peer.dirty(len, dirty);
    }
}
