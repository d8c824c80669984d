//! Runs the ownership scenarios of `spec/` against the Rust API. The format is in `spec/README.md`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{
    BufferPool, Builder, ClassStats, Classes, ClearPolicy, Detached, Error, Field, Lease, LimitPolicy, PutError, Stats,
    Writer,
};
use serde_json::Value;

type Outcome<T = ()> = Result<T, String>;

/// How closely the pools look, which the environment says: see "Modes" in the README of the scenarios.
struct Mode {
    check: String,
    keeps: bool,
}

static MODE: LazyLock<Mode> = LazyLock::new(|| {
    let said = |name: &str| std::env::var(name).unwrap_or_else(|_| "on".to_owned());
    Mode { check: said("MILLPOND_CHECK"), keeps: said("MILLPOND_POOL") == "on" }
});

impl Mode {
    /// Whether a write behind the length is found at the put.
    fn finds_overruns(&self) -> bool {
        self.keeps && ["on", "sites", "full"].contains(&self.check.as_str())
    }

    /// Whether a buffer serves the next get of its class, and has the class's capacity.
    fn reuses(&self) -> bool {
        self.keeps && ["off", "on", "sites"].contains(&self.check.as_str())
    }
}

/// Statistics that say how buffers are used again.
const BY_REUSE: [&str; 8] =
    ["allocations", "hits", "created", "destroyed", "discarded", "retained_buffers", "retained_bytes", "trimmed_bytes"];

/// The modes that this program runs itself in, once more for each.
const MODES: [(&str, &str); 7] = [
    ("MILLPOND_CHECK", "off"),
    ("MILLPOND_CHECK", "on"),
    ("MILLPOND_CHECK", "sites"),
    ("MILLPOND_CHECK", "sample:1"),
    ("MILLPOND_CHECK", "sample:1000"),
    ("MILLPOND_CHECK", "full"),
    ("MILLPOND_POOL", "off"),
];

/// A table of named things. A step takes a thing out, acts on it and puts it back, so that no lock is held while a get
/// waits for another thread's put.
struct Table<T>(Mutex<HashMap<String, T>>);

impl<T> Table<T> {
    fn new() -> Table<T> {
        Table(Mutex::new(HashMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: &str, thing: T) {
        self.lock().insert(name.to_owned(), thing);
    }

    fn take(&self, name: &str) -> Outcome<T> {
        self.lock().remove(name).ok_or_else(|| format!("nothing is called {name}"))
    }

    fn with<R>(&self, name: &str, act: impl FnOnce(&mut T) -> Outcome<R>) -> Outcome<R> {
        let mut thing = self.take(name)?;
        let outcome = act(&mut thing);
        self.put(name, thing);
        outcome
    }
}

/// What a scenario has named so far.
struct Tables {
    pools: Arc<Table<BufferPool>>,
    leases: Table<Lease>,
    views: Table<Bytes>,
    owned: Table<Detached>,
    writers: Table<Writer>,
    later: Mutex<Vec<JoinHandle<Outcome>>>,
}

impl Tables {
    fn new(pools: Arc<Table<BufferPool>>) -> Arc<Tables> {
        Arc::new(Tables {
            pools,
            leases: Table::new(),
            views: Table::new(),
            owned: Table::new(),
            writers: Table::new(),
            later: Mutex::new(Vec::new()),
        })
    }

    fn pool(&self, name: &str) -> Outcome<BufferPool> {
        if name == "default" {
            return Ok(millpond::default_pool().map_err(|error| error.to_string())?.clone());
        }
        self.pools.lock().get(name).cloned().ok_or_else(|| format!("no pool is called {name}"))
    }
}

/// One step; remembers which fields were read, so that one nobody knows is found.
struct Step<'a> {
    json: &'a Value,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Step<'a> {
    fn new(json: &'a Value) -> Step<'a> {
        Step { json, read: RefCell::new(BTreeSet::from(["do"])) }
    }

    fn get(&self, field: &'a str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(field);
        self.json.get(field)
    }

    fn text(&self, field: &'a str) -> Outcome<&'a str> {
        let value = self.get(field).and_then(Value::as_str);
        value.ok_or_else(|| format!("{field} is no text"))
    }

    fn size(&self, field: &'a str) -> Outcome<usize> {
        size(self.get(field).ok_or_else(|| format!("{field} is missing"))?)
    }

    fn size_or(&self, field: &'a str, default: usize) -> Outcome<usize> {
        self.get(field).map_or(Ok(default), size)
    }

    fn byte(&self) -> Outcome<u8> {
        u8::try_from(self.size("byte")?).map_err(|error| error.to_string())
    }

    fn ms(&self) -> Outcome<Duration> {
        Ok(Duration::from_millis(self.size("ms")? as u64))
    }

    fn steps(&self) -> Outcome<&'a [Value]> {
        let steps = self.get("steps").and_then(Value::as_array);
        steps.map(Vec::as_slice).ok_or_else(|| "steps is no list".to_owned())
    }

    /// Compares what came with what the step expects; the value of a success is passed on.
    fn judge<T>(&self, result: Result<T, Error>) -> Outcome<Option<T>> {
        let (expect, says) = (self.get("expect"), self.get("says"));
        match (expect.map(|kinds| kinds.as_str().unwrap_or_default()), result) {
            (None, Ok(value)) => Ok(Some(value)),
            (None, Err(error)) => Err(format!("expected success, came {error}")),
            (Some(kinds), Ok(_)) => Err(format!("expected {kinds}, came success")),
            (Some(kinds), Err(error)) => {
                let known = kinds == "ANY" || kinds.split('|').any(|kind| kind == error.kind().name());
                if !known {
                    return Err(format!("expected {kinds}, came {error}"));
                }
                match says.and_then(Value::as_str) {
                    Some(says) if !error.message().contains(says) => {
                        Err(format!("the message does not say {says:?}: {error}"))
                    }
                    _ => Ok(None),
                }
            }
        }
    }
}

fn size(value: &Value) -> Outcome<usize> {
    match value.as_str() {
        Some("SIZE_MAX") => Ok(usize::MAX),
        Some("SIZE_MAX-63") => Ok(usize::MAX - 63),
        Some("ISIZE_MAX") => Ok(isize::MAX as usize),
        Some("ISIZE_MAX+1") => Ok(isize::MAX as usize + 1),
        Some("ISIZE_MAX-4095") => Ok(isize::MAX as usize - 4095),
        _ => value.as_u64().map(|n| n as usize).ok_or_else(|| format!("{value} is no size")),
    }
}

fn sizes(value: &Value) -> Outcome<Vec<usize>> {
    value.as_array().ok_or("no list")?.iter().map(size).collect()
}

fn check(holds: bool, say: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(say()) }
}

fn builder(options: &Value) -> Outcome<Builder> {
    let mut builder = BufferPool::builder();
    for (option, value) in options.as_object().into_iter().flatten() {
        builder = match (option.as_str(), value.as_str().unwrap_or_default()) {
            ("name", name) => builder.name(name),
            ("classes", "default") => builder.classes(Classes::Default),
            ("classes", _) if value.is_array() => builder.classes(Classes::List(sizes(value)?)),
            ("classes", _) => {
                builder.classes(Classes::FourPerDoubling { min: size(&value["min"])?, max: size(&value["max"])? })
            }
            ("max_bytes", _) => builder.max_bytes(size(value)?),
            ("max_retained_bytes", _) => builder.max_retained_bytes(size(value)?),
            ("on_limit", "fail") => builder.on_limit(LimitPolicy::Fail),
            ("on_limit", "unpooled") => builder.on_limit(LimitPolicy::Unpooled),
            ("on_limit", _) => {
                let ms = size(&value["wait_ms"])? as u64;
                builder.on_limit(LimitPolicy::Wait(Duration::from_millis(ms)))
            }
            ("clear", "on_put") => builder.clear(ClearPolicy::OnPut),
            ("clear", "on_get") => builder.clear(ClearPolicy::OnGet),
            ("clear", "never") => builder.clear(ClearPolicy::Never),
            ("alignment", _) => builder.alignment(size(value)?),
            ("thread_cache_bytes", _) => builder.thread_cache_bytes(size(value)?),
            ("maintain_every_ms", _) => builder.maintain_every(Duration::from_millis(size(value)? as u64)),
            _ => return Err(format!("unknown option {option} = {value}")),
        };
    }
    Ok(builder)
}

fn field<T>(known: &[Field<T>], stats: &T, name: &str) -> Outcome<u64> {
    let found = known.iter().find(|field| field.name == name);
    found.map(|field| (field.get)(stats)).ok_or_else(|| format!("unknown statistics field {name}"))
}

fn expect_stats(step: &Step<'_>, stats: &Stats) -> Outcome {
    type Holds = fn(u64, u64) -> bool;
    let bounds: [(&str, Holds); 3] = [("is", |a, b| a == b), ("at_least", |a, b| a >= b), ("at_most", |a, b| a <= b)];
    for (bound, holds) in bounds {
        for (name, value) in step.get(bound).and_then(Value::as_object).into_iter().flatten() {
            let (actual, wanted) = (field(Stats::FIELDS, stats, name)?, size(value)? as u64);
            if BY_REUSE.contains(&name.as_str()) && !MODE.reuses() {
                continue;
            }
            check(holds(actual, wanted), || format!("expected {name} {bound} {wanted}, came {actual}"))?;
        }
    }
    for (class, fields) in step.get("classes").and_then(Value::as_object).into_iter().flatten() {
        let found = stats.classes.iter().find(|c| c.size.to_string() == *class);
        let found = found.ok_or_else(|| format!("no class of {class} bytes"))?;
        for (name, value) in fields.as_object().ok_or("classes holds no object")? {
            let (actual, wanted) = (field(ClassStats::FIELDS, found, name)?, size(value)? as u64);
            if BY_REUSE.contains(&name.as_str()) && !MODE.reuses() {
                continue;
            }
            check(actual == wanted, || format!("expected {name} of class {class} is {wanted}, came {actual}"))?;
        }
    }
    Ok(())
}

fn reconcile(pools: &Table<BufferPool>) -> Outcome {
    let pools: Vec<_> = pools.lock().values().cloned().collect();
    for pool in pools.iter().chain([millpond::default_pool().expect("memory")]) {
        let s = pool.stats();
        let leases = s.gets == s.puts + s.in_use + s.detached + s.leaked;
        let buffers = s.created - s.destroyed == s.in_use + s.retained_buffers;
        check(leases && buffers, || format!("pool {} does not reconcile: {s:?}", pool.name()))?;
        s.check()?;
    }
    Ok(())
}

fn got(tables: &Tables, step: &Step<'_>, result: Result<Lease, Error>) -> Outcome {
    let (name, len) = (step.text("lease")?, step.size("len")?);
    let Some(lease) = step.judge(result)? else { return Ok(()) };
    let (length, capacity, address) = (lease.len(), lease.capacity(), lease.as_ptr() as usize);
    tables.leases.put(name, lease);
    check(length == len && capacity >= len, || format!("asked for {len}, came {length} of {capacity}"))?;
    check(len == 0 || address.is_multiple_of(64), || format!("address {address:#x} is not aligned to 64"))
}

/// Puts a refused lease back under its name.
fn keep(tables: &Tables, name: &str, refused: PutError) -> Error {
    if let Some(lease) = refused.lease {
        tables.leases.put(name, lease);
    }
    refused.error
}

fn put(tables: &Tables, step: &Step<'_>) -> Outcome {
    let name = step.text("lease")?;
    let lease = tables.leases.take(name)?;
    let result = match (step.get("pool"), step.get("used")) {
        (None, None) => lease.put(),
        (None, Some(used)) => lease.put_used(size(used)?),
        (Some(_), None) => tables.pool(step.text("pool")?)?.put(lease).map_err(|refused| keep(tables, name, refused)),
        (Some(_), Some(_)) => return Err("pool and used at once are not in the Rust API".to_owned()),
    };
    step.judge(result).map(drop)
}

fn spawn(tables: &Arc<Tables>, after: Duration, steps: &[Value]) -> JoinHandle<Outcome> {
    let (tables, steps) = (Arc::clone(tables), steps.to_vec());
    thread::spawn(move || {
        thread::sleep(after);
        run(&tables, &steps)
    })
}

fn join(thread: JoinHandle<Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|_| Err("the thread panicked".to_owned()))
}

fn fork(tables: &Arc<Tables>, steps: &[Value]) -> Outcome {
    // SAFETY: the child runs on the one thread that was copied and leaves by `_exit`; millpond promises to work there, which is
    // what the scenario tests, and the process has no other thread that could hold the allocator's or the standard streams' locks.
    let child = unsafe { libc::fork() };
    check(child >= 0, || "fork failed".to_owned())?;
    if child == 0 {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(tables, steps).and_then(|()| reconcile(&tables.pools))));
        let status = match outcome {
            Ok(Ok(())) => 0,
            Ok(Err(fault)) => {
                eprintln!("in the child: {fault}");
                1
            }
            Err(_) => 2,
        };
        // SAFETY: `_exit` may be called at any time; the parent's destructors and buffered output must not run twice.
        unsafe { libc::_exit(status) }
    }
    let end = Instant::now() + Duration::from_secs(30);
    let mut status = 0;
    // SAFETY: `status` lives across the call and `child` is this process's own child, waited for once.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > end {
            // SAFETY: the child was not waited for yet, so the number is still its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            return Err("the child hangs".to_owned());
        }
        thread::sleep(Duration::from_millis(2));
    }
    check(status == 0, || format!("the child ended with wait status {status}"))
}

fn execute(tables: &Arc<Tables>, step: &Step<'_>) -> Outcome {
    match step.text("do")? {
        "pool" => {
            let built = builder(step.get("options").unwrap_or(&Value::Null))?.build();
            let name = step.text("pool")?;
            if let Some(pool) = step.judge(built)? {
                tables.pools.put(name, pool);
            }
            Ok(())
        }
        "get" => got(tables, step, tables.pool(step.text("pool")?)?.get(step.size("len")?)),
        "try_get" => got(tables, step, tables.pool(step.text("pool")?)?.try_get(step.size("len")?)),
        "get_timeout" => {
            let pool = tables.pool(step.text("pool")?)?;
            got(tables, step, pool.get_timeout(step.size("len")?, step.ms()?))
        }
        "put" => put(tables, step),
        "scope_end" => tables.leases.take(step.text("lease")?).map(drop),
        "scope_raise" => {
            let lease = tables.leases.take(step.text("lease")?)?;
            let raised = catch_unwind(AssertUnwindSafe(move || {
                let _owned_by_the_scope = lease;
                resume_unwind(Box::new("the user's own"));
            }));
            let payload = raised.err().and_then(|payload| payload.downcast::<&str>().ok());
            check(payload.is_some_and(|text| *text == "the user's own"), || "another panic came".to_owned())
        }
        verb @ ("len" | "capacity") => {
            let wanted = step.size("is")?;
            tables.leases.with(step.text("lease")?, |lease| {
                let actual = if verb == "len" { lease.len() } else { lease.capacity() };
                check(actual == wanted || (verb == "capacity" && !MODE.reuses()), || {
                    format!("expected {wanted}, came {actual}")
                })
            })
        }
        "aligned" => {
            let to = if MODE.keeps { step.size("to")? } else { step.size("to")?.min(64) };
            tables.leases.with(step.text("lease")?, |lease| {
                check((lease.as_ptr() as usize).is_multiple_of(to), || format!("{:p}", lease.as_ptr()))
            })
        }
        verb @ ("write" | "read") => {
            let (byte, at) = (step.byte()?, step.size_or("at", 0)?);
            tables.leases.with(step.text("lease")?, |lease| {
                let count = step.size_or("count", lease.len().saturating_sub(at))?;
                if verb == "write" {
                    lease.get_mut(at..at + count).ok_or("out of range")?.fill(byte);
                    return Ok(());
                }
                let bytes = lease.get(at..at + count).ok_or("out of range")?;
                let other = bytes.iter().position(|b| *b != byte);
                check(other.is_none(), || format!("expected {byte} everywhere, not at {other:?}"))
            })
        }
        "overrun" => {
            let by = step.size("by")?;
            tables.leases.with(step.text("lease")?, |lease| {
                let (len, capacity) = (lease.len(), lease.capacity());
                check(len + by <= capacity, || format!("{len} + {by} is more than the capacity {capacity}"))?;
                let end = lease.as_mut_ptr().wrapping_add(len);
                // SAFETY: the check above keeps the bytes inside the buffer's capacity, which this lease alone owns. Writing
                // there breaks millpond's rule, not Rust's: it is the violation under test.
                unsafe { end.write_bytes(0xA5, by) };
                Ok(())
            })
        }
        "freeze" => {
            let lease = tables.leases.take(step.text("lease")?)?;
            tables.views.put(step.text("view")?, lease.freeze());
            Ok(())
        }
        "clone_view" => {
            let clone = tables.views.with(step.text("view")?, |view| Ok(view.clone()))?;
            tables.views.put(step.text("as")?, clone);
            Ok(())
        }
        "drop_view" => tables.views.take(step.text("view")?).map(drop),
        "lose" => tables.leases.take(step.text("lease")?).map(std::mem::forget),
        "detach" => {
            let (lease, owned) = (step.text("lease")?, step.text("owned")?);
            let detached = tables.leases.take(lease)?.detach();
            if let Some(detached) = step.judge(detached.map_err(|refused| keep(tables, lease, refused)))? {
                tables.owned.put(owned, detached);
            }
            Ok(())
        }
        "owned_read" => {
            let byte = step.byte()?;
            tables.owned.with(step.text("owned")?, |owned| {
                check(owned.iter().all(|b| *b == byte), || format!("expected {byte} everywhere"))
            })
        }
        "drop_owned" => tables.owned.take(step.text("owned")?).map(drop),
        "writer" => {
            let made = tables.pool(step.text("pool")?)?.writer(step.size("capacity")?);
            let name = step.text("writer")?;
            if let Some(writer) = step.judge(made)? {
                tables.writers.put(name, writer);
            }
            Ok(())
        }
        "append" => {
            let bytes = vec![step.byte()?; step.size("count")?];
            let full = step.get("expect").is_some_and(|kind| kind == "FULL");
            tables.writers.with(step.text("writer")?, |writer| {
                let before = writer.len();
                match writer.write_all(&bytes) {
                    Ok(()) => check(!full, || "expected FULL, came success".to_owned()),
                    Err(error) => check(full && writer.len() == before, || error.to_string()),
                }
            })
        }
        "finish" => {
            let writer = tables.writers.take(step.text("writer")?)?;
            tables.leases.put(step.text("lease")?, writer.finish());
            Ok(())
        }
        "leaks" => {
            let leaks = tables.pool(step.text("pool")?)?.leaks().map_err(|error| error.to_string())?;
            let count = step.size("count")?;
            check(leaks.len() == count, || format!("expected {count} records, came {leaks:?}"))?;
            let Some(len) = step.get("len") else { return Ok(()) };
            let len = size(len)?;
            check(leaks[0].len == len, || format!("expected the oldest of {len} bytes, came {leaks:?}"))
        }
        "stats" => expect_stats(step, &tables.pool(step.text("pool")?)?.stats()),
        "class_sizes" => {
            let wanted = sizes(step.get("is").unwrap_or(&Value::Null))?;
            let pool = tables.pool(step.text("pool")?)?;
            check(pool.class_sizes() == wanted, || format!("came {:?}", pool.class_sizes()))
        }
        "trim" => {
            let least = step.size_or("at_least", 0)?;
            let bytes = tables.pool(step.text("pool")?)?.trim();
            check(bytes >= least || !MODE.reuses(), || format!("expected at least {least} bytes, came {bytes}"))
        }
        "maintain" => {
            tables.pool(step.text("pool")?)?.maintain();
            Ok(())
        }
        "close" => step.judge(tables.pool(step.text("pool")?)?.close()).map(drop),
        "thread" => join(spawn(tables, Duration::ZERO, step.steps()?)),
        "threads" => {
            let (count, times, steps) = (step.size("count")?, step.size("times")?, step.steps()?.to_vec());
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let (own, steps) = (Tables::new(Arc::clone(&tables.pools)), steps.clone());
                    thread::spawn(move || (0..times).try_for_each(|_| run(&own, &steps)))
                })
                .collect();
            threads.into_iter().map(join).fold(Ok(()), Outcome::and)
        }
        "later" => {
            let thread = spawn(tables, step.ms()?, step.steps()?);
            tables.later.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            Ok(())
        }
        "repeat" => {
            let (times, steps) = (step.size("times")?, step.steps()?);
            (0..times).try_for_each(|_| run(tables, steps))
        }
        "fork" => fork(tables, step.steps()?),
        "sleep" => {
            thread::sleep(step.ms()?);
            Ok(())
        }
        verb => Err(format!("unknown verb {verb}")),
    }
}

fn run(tables: &Arc<Tables>, steps: &[Value]) -> Outcome {
    for (number, json) in steps.iter().enumerate() {
        let step = Step::new(json);
        let outcome = execute(tables, &step).and_then(|()| {
            let fields = json.as_object().ok_or("a step is no object")?;
            let unread: Vec<_> = fields.keys().filter(|f| !step.read.borrow().contains(f.as_str())).collect();
            check(unread.is_empty(), || format!("unknown fields {unread:?}"))
        });
        outcome.map_err(|fault| format!("step {} ({}): {fault}", number + 1, json["do"]))?;
    }
    Ok(())
}

fn scenario(steps: &[Value]) -> Outcome {
    let tables = Tables::new(Arc::new(Table::new()));
    let outcome = run(&tables, steps);
    let later = std::mem::take(&mut *tables.later.lock().unwrap_or_else(PoisonError::into_inner));
    let outcome = later.into_iter().map(join).fold(outcome, Outcome::and).and_then(|()| reconcile(&tables.pools));
    tables.leases.lock().clear();
    for pool in tables.pools.lock().values() {
        pool.close().map_err(|error| format!("closing at the end: {error}"))?;
    }
    outcome
}

/// Runs all scenarios once more with a variable of the environment.
fn again(name: &str, value: &str) -> bool {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).env(name, value).output().expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        println!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    println!("{name}={value}: {}, {}", output.status, text.lines().last().unwrap_or("no word"));
    output.status.success()
}

fn main() -> ExitCode {
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let files: BTreeMap<_, _> = fs::read_dir(&directory)
        .expect("tests/spec is there")
        .filter_map(|entry| Some((entry.ok()?.path(), ())))
        .filter(|(path, ())| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    let (mut run, mut skipped, mut failed) = (0, 0, 0);
    for path in files.keys() {
        let text = fs::read_to_string(path).expect("a spec file can be read");
        let scenarios: Vec<Value> = serde_json::from_str(&text).expect("a spec file is a JSON list");
        for one in &scenarios {
            let name = one["name"].as_str().expect("a scenario has a name");
            if !filter.is_empty() && !filter.iter().any(|part| name.contains(part)) {
                continue;
            }
            let overruns = one["steps"].to_string().contains("\"overrun\"");
            let unfound = overruns && !MODE.finds_overruns();
            let unfound = unfound.then_some("an overrun is not found in this mode, or at once fatal");
            if let Some(reason) = one["skip"]["rust"].as_str().or(unfound) {
                println!("SKIP {name}: {reason}");
                skipped += 1;
                continue;
            }
            run += 1;
            match scenario(one["steps"].as_array().expect("a scenario has steps")) {
                Ok(()) => println!("ok {name}"),
                Err(fault) => {
                    println!("FAILED {name}: {fault}");
                    failed += 1;
                }
            }
        }
    }
    let told = ["MILLPOND_CHECK", "MILLPOND_POOL"].iter().any(|name| std::env::var_os(name).is_some());
    if !told && filter.is_empty() {
        failed += MODES.into_iter().filter(|(name, value)| !again(name, value)).count();
    }
    println!("spec rust: {} scenarios, {run} run, {skipped} skipped, {failed} failed", run + skipped);
    if failed > 0 || run == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
