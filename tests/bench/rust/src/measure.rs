//! Measures one operation in short repetitions, and what it cost beside time.

use std::time::{Duration, Instant};

/// What one size came to; printed as a line of JSON.
#[derive(Default)]
pub struct Figures {
    pub ns: f64,
    pub cpu_ns: f64,
    pub faults: f64,
    pub ops: u64,
    pub peak_rss_kib: u64,
    pub settled_rss_kib: u64,
    /// Further members, as JSON, each after a comma.
    pub more: String,
}

impl Figures {
    pub fn print(&self, peer: &str, work: &str, size: usize) {
        println!(
            "{{\"peer\": \"{peer}\", \"work\": \"{work}\", \"size\": {size}, \"ns\": {:.4}, \"cpu_ns\": {:.4}, \"faults\": {:.6}, \
             \"ops\": {}, \"peak_rss_kib\": {}, \"settled_rss_kib\": {}{}}}",
            self.ns, self.cpu_ns, self.faults, self.ops, self.peak_rss_kib, self.settled_rss_kib, self.more
        );
    }
}

/// What a process has used since it began.
pub struct Usage {
    cpu: Duration,
    faults: i64,
}

impl Usage {
    pub fn now() -> Usage {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: writes one rusage.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
        // SAFETY: zeroed and written; any bytes are valid.
        let usage = unsafe { usage.assume_init() };
        let time = |value: libc::timeval| {
            Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs())
        };
        Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), faults: usage.ru_minflt }
    }

    /// Fills in what was used since then, for `ops` operations.
    pub fn into(self, figures: &mut Figures, ops: u64) {
        let now = Usage::now();
        figures.ops = ops;
        figures.cpu_ns = (now.cpu - self.cpu).as_secs_f64() * 1e9 / ops as f64;
        figures.faults = (now.faults - self.faults) as f64 / ops as f64;
        figures.peak_rss_kib = status("VmHWM");
        figures.settled_rss_kib = status("VmRSS");
    }
}

/// Reads a field of the process's status in KiB.
pub fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Forgets the peak of resident memory, so that each size has its own.
pub fn forget_peak() {
    // Refused in some containers: then the peak is that of the sizes before, too.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Measures `run`, which does so many turns of `per_turn` operations each, for about that time after a warm-up.
pub fn measure(time: Duration, per_turn: u64, mut run: impl FnMut(u64)) -> Figures {
    forget_peak();
    let warm = Instant::now();
    let mut turns = 1;
    // One turn may be the first touch of memory; the second tells how long one takes.
    run(1);
    let mut each = loop {
        let start = Instant::now();
        run(turns);
        let spent = start.elapsed();
        if spent >= Duration::from_micros(100) || warm.elapsed() > time / 2 {
            break spent.as_secs_f64() / turns as f64;
        }
        turns *= 2;
    };
    let repetition = (time.as_secs_f64() / 16.0).min(1e-3);
    turns = ((repetition / each) as u64).max(1);
    while warm.elapsed() < time / 3 {
        let start = Instant::now();
        run(turns);
        each = start.elapsed().as_secs_f64() / turns as f64;
    }
    turns = ((repetition / each) as u64).max(1);

    let (usage, begun) = (Usage::now(), Instant::now());
    let mut spent = Vec::with_capacity(64);
    let mut ops = 0;
    loop {
        let start = Instant::now();
        run(turns);
        spent.push(start.elapsed().as_secs_f64() * 1e9 / (turns * per_turn) as f64);
        ops += turns * per_turn;
        let all = begun.elapsed();
        // Three at least, but what takes longer than everything else together is not worth a third.
        if all >= time && (spent.len() >= 3 || all > time * 4) {
            break;
        }
    }
    let mut figures = Figures::default();
    usage.into(&mut figures, ops);
    figures.ns = median(spent);
    figures
}
