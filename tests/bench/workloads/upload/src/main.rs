//! An upload sink on hyper: each body is cut into parts, a thread of its own looks at the parts and lets go of them. What
//! differs is where the memory of the parts is from.
//!
//! ```text
//! upload PEER WORK SIZE[,SIZE...] [--ms N]      SIZE: bytes of a part
//! upload --list
//! ```
//!
//! A process of its own sends: four connections, bodies of 32 MiB. Figures are of the receiving process.

mod client;
mod figures;
mod parts;
mod server;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parts::Peer;

/// Connections, and bytes of the body that each sends in a batch.
const CONNECTIONS: usize = 4;
const BODY: usize = 32 << 20;
/// glibc gives nothing back with these: it maps nothing apart and never trims its heap.
const KEEP: [(&str, &str); 3] =
    [("MALLOC_MMAP_MAX_", "0"), ("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "17179869184")];

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    if given.first().is_some_and(|first| first == "--list") {
        println!("{}", listed());
        return Ok(());
    }
    if let [flag, port] = &given[..]
        && flag == "--client"
    {
        return client::send(port.parse()?);
    }
    let mut ms = 1000;
    if let Some(at) = given.iter().position(|word| word == "--ms") {
        ms = given.get(at + 1).ok_or("--ms needs a number")?.parse()?;
        given.drain(at..at + 2);
    }
    let [name, work, sizes] = &given[..] else { return Err("usage: upload PEER WORK SIZE[,SIZE...] [--ms N]".into()) };
    let peer = Peer::named(name).ok_or("no such peer; see --list")?;
    if work != "upload" {
        return Err("no such work; see --list".into());
    }
    if name.ends_with("glibc-tuned") && KEEP.iter().any(|(key, value)| std::env::var(key).as_deref() != Ok(value)) {
        // The C library reads these when it starts.
        return Err(Command::new(std::env::current_exe()?).args(std::env::args().skip(1)).envs(KEEP).exec().into());
    }
    for size in sizes.split(',') {
        let size: usize = size.parse()?;
        let told = match measured(peer, size, Duration::from_millis(ms)) {
            Ok(told) => told,
            Err(why) => format!("\"skip\":\"failed: {}\"", why.to_string().replace(['"', '\\'], "'")),
        };
        println!("{{\"peer\":\"{name}\",\"work\":\"upload\",\"size\":{size},{told}}}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn listed() -> String {
    let names: Vec<String> = parts::NAMES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let settings: Vec<String> = parts::SETTINGS.iter().map(|(name, text)| format!("\"{name}\":\"{text}\"")).collect();
    format!(
        "{{\"peers\":[{}],\"works\":{{\"upload\":[1048576,65536]}},\"versions\":{{\"millpond\":\"{}\"}},\"settings\":{{{}}}}}",
        names.join(","),
        millpond::VERSION,
        settings.join(",")
    )
}

/// The process that sends, and how to start a batch.
struct Sender(Child, BufReader<std::process::ChildStdout>);

impl Sender {
    fn start(port: u16) -> Result<Sender, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--client", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Sender(child, answers))
    }

    fn batch(&mut self) -> Result<(), Failed> {
        self.0.stdin.as_mut().ok_or("no pipe")?.write_all(b"g\n")?;
        let mut answer = String::new();
        self.1.read_line(&mut answer)?;
        if answer.trim() == "done" { Ok(()) } else { Err(format!("the sender said {answer:?}").into()) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends with its input; what it says then matters to nobody.
        let _ = self.0.wait();
    }
}

fn measured(peer: Peer, size: usize, time: Duration) -> Result<String, Failed> {
    let server = server::Server::start(peer, size)?;
    let mut sender = Sender::start(server.port)?;
    let mut batch = || -> Result<u64, Failed> {
        sender.batch()?;
        server.digest(BODY * CONNECTIONS)
    };
    let first = batch()?;
    batch()?;
    figures::reset_peak();
    let before = figures::Usage::now();
    let begun = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 3 || begun.elapsed() < time {
        let from = Instant::now();
        let seen = batch()?;
        samples.push(from.elapsed().as_nanos() as f64);
        if seen != first {
            return Err(format!("a batch had the digest {seen:x}, the first one {first:x}").into());
        }
    }
    let used = figures::Usage::now().since(before);
    let peak = figures::resident_kib("VmHWM:");
    drop(sender);
    drop(server);
    samples.sort_by(f64::total_cmp);
    let parts = (BODY * CONNECTIONS / size) as f64;
    let ops = parts * samples.len() as f64;
    Ok(format!(
        "\"ns\":{:.0},\"cpu_ns\":{:.0},\"faults\":{:.3},\"ops\":{ops},\"cpu_seconds\":{:.3},\"peak_rss_kib\":{peak},\"settled_rss_kib\":{},\"digest\":\"{first:08x}\"",
        samples[samples.len() / 2] / parts,
        used.cpu_ns / ops,
        used.faults / ops,
        used.cpu_ns / 1e9,
        figures::resident_kib("VmRSS:"),
    ))
}
