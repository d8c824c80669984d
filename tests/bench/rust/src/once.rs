//! What happens once in a process, or takes seconds: the first get, resident memory, and the statistics' page.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use millpond::BufferPool;

use crate::measure::{Figures, Usage, measure, status};
use crate::peer::{CLASSES, Peer, Shape};
use crate::works::pages;

/// The making of the pool, the first get and the first byte.
pub fn first<P: Peer>(len: usize) -> Figures {
    let (usage, start) = (Usage::now(), Instant::now());
    let peer = P::new(Shape { size: len, live: 1 });
    let made = start.elapsed();
    let mut buffer = peer.get(len);
    crate::works::write(P::start(&mut buffer), 0);
    let all = start.elapsed();
    peer.put(buffer);
    let mut figures = Figures::default();
    usage.into(&mut figures, 1);
    figures.ns = all.as_secs_f64() * 1e9;
    figures.more = format!(", \"made_ns\": {:.1}", made.as_secs_f64() * 1e9);
    figures
}

/// Resident memory before, right after a burst of 1 GiB, and 1, 5, 10 and 30 s later, as long as the time lasts.
///
/// `retained_limit` is what millpond says it keeps at most.
pub fn resident<P: Peer>(len: usize, time: Duration, retained_limit: Option<usize>) -> Figures {
    const BURST: usize = 1 << 30;
    let live = BURST / len;
    let mut held = Vec::with_capacity(live);
    let before = status("VmRSS");
    let (usage, start) = (Usage::now(), Instant::now());
    let peer = P::new(Shape { size: len, live });
    for _ in 0..live {
        let mut buffer = peer.get(len);
        pages(P::start(&mut buffer), len);
        held.push(buffer);
    }
    let full = status("VmRSS");
    held.drain(..).for_each(|buffer| peer.put(buffer));
    let spent = start.elapsed();
    let mut seen = vec![(-1.0, before), (0.0, status("VmRSS"))];
    let resting = Instant::now();
    for second in [1, 5, 10, 30].map(Duration::from_secs).into_iter().filter(|second| *second <= time) {
        thread::sleep(second.saturating_sub(resting.elapsed()));
        seen.push((second.as_secs_f64(), status("VmRSS")));
    }
    let mut figures = Figures::default();
    usage.into(&mut figures, live as u64);
    figures.ns = spent.as_secs_f64() * 1e9 / live as f64;
    let list: Vec<_> = seen.iter().map(|(at, kib)| format!("[{at}, {kib}]")).collect();
    let limit = retained_limit.map_or(String::new(), |bytes| format!(", \"retained_limit_kib\": {}", bytes >> 10));
    figures.more = format!("{limit}, \"burst_rss_kib\": {full}, \"rss_kib\": [{}]", list.join(", "));
    figures
}

/// The statistics of a pool that 64 threads use, read and printed as Prometheus does.
pub fn metrics(time: Duration) -> Figures {
    const THREADS: usize = 64;
    let pool: &BufferPool = Box::leak(Box::new(BufferPool::new("metrics").expect("a pool")));
    thread::scope(|scope| {
        let (used, all_used) = mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let used = used.clone();
                let user = scope.spawn(move || {
                    for len in CLASSES {
                        drop(black_box(pool.get(len).expect("a lease")));
                    }
                    used.send(()).expect("the first thread waits");
                    thread::park();
                });
                user.thread().clone()
            })
            .collect();
        (0..THREADS).for_each(|_| all_used.recv().expect("a thread that used the pool"));
        let text = || pool.stats().to_prometheus(pool.name()).expect("text");
        assert!(text().len() > 1000, "nine classes make a page");
        let mut figures = measure(time, 1, |turns| (0..turns).for_each(|_| drop(black_box(text()))));
        figures.more = format!(", \"bytes\": {}", text().len());
        threads.iter().for_each(thread::Thread::unpark);
        figures
    })
}
