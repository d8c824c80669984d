//! Reads a directory tree through pooled buffers, hashes every file and hands each lease to a second thread, which puts it.
//!
//! `tree MODE [DIR LIST]`: MODE is `pool`, `plain` (the same with `vec![0; n]`) or `misuse` (provokes each violation of the
//! ownership rules; DIR and LIST are not read). LIST names a file with one path relative to DIR per line. The last line printed is one JSON object;
//! `make demo` runs this program and its siblings in C, C++, Python and Node and compares them.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::ops::DerefMut;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use millpond::{BufferPool, Lease, Site, Stats, raw};
use sha2::{Digest, Sha256};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many buffers may wait for the thread that gives them back.
const QUEUE: usize = 64;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let result = match args.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>()[..] {
        [b"pool", dir, list] => tree_with_pool(Path::new(OsStr::from_bytes(dir)), Path::new(OsStr::from_bytes(list))),
        [b"plain", dir, list] => {
            let (dir, list) = (Path::new(OsStr::from_bytes(dir)), Path::new(OsStr::from_bytes(list)));
            tree(dir, list, |len| Ok(vec![0_u8; len]), drop).map(|run| run.json("plain", ""))
        }
        [b"misuse", ..] => misuse(),
        _ => Err("usage: tree pool|plain DIR LIST, tree misuse".into()),
    };
    match result {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tree: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What one pass over the tree measured.
struct Run {
    files: u64,
    bytes: u64,
    digest: String,
    seconds: f64,
    faults: i64,
}

impl Run {
    fn json(&self, mode: &str, more: &str) -> String {
        let Run { files, bytes, digest, seconds, faults } = self;
        let peak = peak_rss_kib();
        format!(
            "{{\"language\":\"rust\",\"mode\":\"{mode}\",\"files\":{files},\"bytes\":{bytes},\"digest\":\"{digest}\",\
             \"seconds\":{seconds:.3},\"minor_faults\":{faults},\"peak_rss_kib\":{peak}{more}}}"
        )
    }
}

fn tree_with_pool(dir: &Path, list: &Path) -> Outcome<String> {
    let pool = BufferPool::new("tree-rust")?;
    let run =
        tree(dir, list, |len| Ok(pool.get(len)?), |lease: Lease| lease.put().expect("nobody wrote past the length"))?;
    let stats = pool.stats();
    let reconciled = stats.check().is_ok() && stats.in_use == 0;
    Ok(run.json("pool", &format!(",\"stats\":{},\"reconciled\":{reconciled}", stats_json(&stats))))
}

/// Reads every file of `list` into a buffer of its size and hashes it; another thread gives the buffers back.
fn tree<B, G, P>(dir: &Path, list: &Path, get: G, put: P) -> Outcome<Run>
where
    B: DerefMut<Target = [u8]> + Send,
    G: Fn(usize) -> Outcome<B>,
    P: Fn(B) + Send,
{
    let list = fs::read(list)?;
    let paths: Vec<&[u8]> = list.split(|byte| *byte == b'\n').filter(|path| !path.is_empty()).collect();
    let mut progress = Progress::new(dir, &paths)?;
    let (faults, start) = (minor_faults(), Instant::now());
    let (mut total, mut bytes) = (Sha256::new(), 0);
    thread::scope(|scope| -> Outcome {
        let (sender, receiver) = sync_channel(QUEUE);
        scope.spawn(move || receiver.into_iter().for_each(put));
        for path in &paths {
            let mut file = File::open(dir.join(OsStr::from_bytes(path)))?;
            let size = file.metadata()?.len();
            let mut buffer = get(usize::try_from(size)?)?;
            file.read_exact(&mut buffer)?;
            total.update(path);
            total.update([0]);
            total.update(size.to_le_bytes());
            total.update(Sha256::digest(&*buffer));
            sender.send(buffer).map_err(|_| "the second thread ended")?;
            bytes += size;
            progress.show(bytes);
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let digest = total.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(Run { files: paths.len() as u64, bytes, digest, seconds, faults: minor_faults() - faults })
}

/// Tells the driver on stderr how far it is, at most 20 times a second, when it asked for that.
struct Progress {
    total: u64,
    next: Option<Instant>,
}

impl Progress {
    fn new(dir: &Path, paths: &[&[u8]]) -> Outcome<Progress> {
        let mut progress = Progress { total: 0, next: None };
        if std::env::var_os("MILLPOND_PROGRESS").is_some_and(|value| value == "1") {
            for path in paths {
                progress.total += fs::metadata(dir.join(OsStr::from_bytes(path)))?.len();
            }
            progress.next = Some(Instant::now());
        }
        Ok(progress)
    }

    fn show(&mut self, bytes: u64) {
        let Some(next) = self.next else { return };
        if Instant::now() >= next || bytes == self.total {
            eprintln!("P {bytes} {}", self.total);
            self.next = Some(Instant::now() + Duration::from_millis(50));
        }
    }
}

fn minor_faults() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of this frame.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: it was zeroed, which is a valid `rusage`, and then filled in.
    unsafe { usage.assume_init() }.ru_minflt
}

fn peak_rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn stats_json(stats: &Stats) -> String {
    let fields: Vec<_> = Stats::FIELDS.iter().map(|f| format!("\"{}\":{}", f.name, (f.get)(stats))).collect();
    format!("{{{}}}", fields.join(","))
}

fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// The violations that were tried, and what came of each.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, name: &str, expected: &str, caught: bool, code: &str, message: &str) {
        self.0.push(format!(
            "{{\"name\":\"{name}\",\"expected\":\"{expected}\",\"caught\":{caught},\"code\":{},\"message\":{}}}",
            quoted(code),
            quoted(message)
        ));
    }

    fn impossible(&mut self, name: &str, expected: &str, why: &str) {
        self.add(name, expected, true, "impossible", why);
    }

    fn tried<T>(&mut self, name: &str, expected: &str, result: Result<T, millpond::Error>) {
        match result {
            Ok(_) => self.add(name, expected, false, "none", "no error came"),
            Err(error) => {
                let code = error.kind().name();
                self.add(name, expected, code == expected, code, &error.to_string());
            }
        }
    }
}

/// Provokes each violation of the ownership rules in pools of its own.
fn misuse() -> Outcome<String> {
    let pool = BufferPool::new("misuse-rust")?;
    let other = BufferPool::new("other-rust")?;
    let mut seen = Violations::default();

    let moved = "the compiler refuses it: put takes the lease by value (error E0382)";
    seen.impossible("second put", "DOUBLE_PUT", moved);
    seen.impossible("use after put", "USE_AFTER_PUT", moved);

    let refused = other.put(pool.get(1000)?).expect_err("the lease is not from there");
    seen.tried::<()>("put into another pool", "FOREIGN_LEASE", Err(refused.error));
    refused.lease.ok_or("a foreign lease comes back")?.put()?;

    let borrowed = "the compiler refuses it: the view borrows the lease (error E0505)";
    seen.impossible("put while a view lives", "BUSY", borrowed);

    let mut lease = pool.get(1000)?;
    let end = lease.as_mut_ptr().wrapping_add(lease.len());
    // SAFETY: the size class holds 1024 bytes, so the byte behind the 1000 is this lease's own; writing it is the violation.
    unsafe { end.write(1) };
    seen.tried("write past the end", "OVERRUN", lease.put());

    std::mem::forget(pool.get(1000)?);
    let leaks = pool.leaks()?;
    let record = leaks.first().map(|leak| format!("{} of {} bytes, got at {}", leak.pool, leak.len, leak.site));
    seen.add("lost lease", "listed by leaks()", leaks.len() == 1, "leaks()", &record.unwrap_or_default());

    let live = raw::get(pool.id(), 1000, Site::NONE)?;
    seen.tried("forged handle", "INVALID_HANDLE", raw::put(pool.id(), live.id ^ 1, None, Site::NONE));
    raw::put(pool.id(), live.id, None, Site::NONE)?;

    other.close()?;
    seen.tried("get after close", "CLOSED", other.get(1000));

    let small = BufferPool::builder().name("small-rust").max_bytes(4096).build()?;
    let all = small.get(4096)?;
    seen.tried("limit reached", "EXHAUSTED", small.get(4096));
    all.put()?;

    seen.tried("impossible size", "INVALID_ARGUMENT", pool.get(usize::MAX));

    let reconciled = [&pool, &other, &small].iter().all(|pool| pool.stats().check().is_ok());
    let list = seen.0.join(",");
    Ok(format!("{{\"language\":\"rust\",\"violations\":[{list}],\"reconciled\":{reconciled}}}"))
}
