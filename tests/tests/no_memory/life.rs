//! Everything that a program does with pools, from the first to the last, as long as there is memory and when there is none.

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use millpond::raw::{self, Stock};
use millpond::{BufferPool, Builder, Check, Classes, Error, ErrorKind, Lease, LimitPolicy, Site};

use crate::faults::{self, Source, spared};

const SIZES: [usize; 6] = [0, 100, 700, 5000, 100_000, 5 << 20];

/// Takes a result whose error says that there is no memory.
pub fn tolerate<T>(result: Result<T, impl Into<Error>>) -> Option<T> {
    expect(ErrorKind::NoMemory, result)
}

fn expect<T>(kind: ErrorKind, result: Result<T, impl Into<Error>>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let error = error.into();
            spared(|| assert_eq!(error.kind(), kind, "{error}"));
            None
        }
    }
}

/// Says that something holds that needs no memory to be found out.
fn holds(what: &str, condition: bool) {
    if !condition {
        spared(|| panic!("{what}"));
    }
}

/// The options of the pools, made while there is memory: the list of classes is the program's own.
pub struct Options {
    ticking: Builder,
    small: Builder,
    unpooled: Builder,
    full: Builder,
    guarded: Builder,
}

impl Options {
    pub fn new() -> Options {
        let list = Classes::List(vec![512, 4096, 65536, 128 << 10]);
        let builder = |name| BufferPool::builder().name(name).classes(list.clone());
        Options {
            ticking: builder("ticking").maintain_every(Duration::from_secs(3600)),
            small: builder("small").max_bytes(4096),
            unpooled: builder("unpooled").max_bytes(4096).on_limit(LimitPolicy::Unpooled),
            full: builder("full").check(Check::Full),
            guarded: builder("guarded").check(Check::Sample(NonZeroU32::MIN)),
        }
    }
}

/// What the program holds on to: places for leases, made while there is memory.
pub struct Hands {
    leases: Vec<Lease>,
}

impl Hands {
    pub fn new() -> Hands {
        Hands { leases: Vec::with_capacity(256) }
    }

    fn take(&mut self, lease: Result<Lease, Error>) {
        self.leases.extend(tolerate(lease));
    }
}

/// Lives through all of it. Every error is the right one, and what can be asked without memory is right at any time.
pub fn live(options: &Options, hands: &mut Hands) {
    with_pool(tolerate(options.ticking.clone_in_memory().build()), hands, |pool, hands| {
        get(pool, hands);
        look(pool, hands);
        detach(pool, hands);
        by_handle(pool);
        stock(pool);
        in_a_thread(pool);
        misuse(pool, hands);
        freeze(hands);
        hands.leases.truncate(hands.leases.len() / 2);
        pool.maintain();
        pool.maintain();
        pool.trim();
        look(pool, hands);
        holds("closing needs no memory", pool.close().is_ok());
        holds("a closed pool says so", pool.get(10).is_err_and(|error| error.kind() == ErrorKind::Closed));
    });
    for builder in [&options.small, &options.unpooled] {
        with_pool(tolerate(builder.clone_in_memory().build()), hands, at_the_limit);
    }
    look_closely(&options.full, hands);
}

/// Lives with a pool that guards its leases, whose mappings are remembered for some time after it.
pub fn live_guarded(options: &Options, hands: &mut Hands) {
    look_closely(&options.guarded, hands);
}

fn look_closely(builder: &Builder, hands: &mut Hands) {
    with_pool(tolerate(builder.clone_in_memory().build()), hands, |pool, hands| {
        for _ in 0..2 {
            get(pool, hands);
            look(pool, hands);
            hands.leases.clear();
        }
        holds("a mode needs no memory", pool.set_check(Check::Sites).is_ok());
        by_handle(pool);
    });
}

trait InMemory {
    fn clone_in_memory(&self) -> Builder;
}

impl InMemory for Builder {
    fn clone_in_memory(&self) -> Builder {
        spared(|| self.clone())
    }
}

/// Uses a pool if there is one, and looks at what is left of it when nothing of it is used any more.
fn with_pool(pool: Option<BufferPool>, hands: &mut Hands, act: impl FnOnce(&BufferPool, &mut Hands)) {
    let Some(pool) = pool else { return };
    raw::retain(&pool);
    act(&pool, hands);
    hands.leases.clear();
    let stats = pool.stats();
    let whole = stats.check().is_ok() && stats.in_use == 0;
    if !whole {
        spared(|| panic!("{stats:?}"));
    }
    holds("a number ends without memory", raw::release(pool.id()).is_ok());
    let stats = pool.stats();
    if stats.created != stats.destroyed {
        spared(|| panic!("{stats:?}"));
    }
}

fn get(pool: &BufferPool, hands: &mut Hands) {
    for len in SIZES {
        hands.take(pool.get(len));
        hands.take(pool.try_get(len));
        hands.take(pool.get_timeout(len, Duration::from_millis(1)));
        if let Some(mut writer) = tolerate(pool.writer(len)) {
            let written = writer.write(b"what is written").ok();
            holds("a writer takes what fits", written == Some(len.min(15)));
            hands.leases.push(writer.finish());
        }
    }
    // Several of a class, so that lists grow.
    for _ in 0..6 {
        hands.take(pool.get(600));
    }
    hands.leases.truncate(hands.leases.len() - hands.leases.len() / 4);
}

fn look(pool: &BufferPool, hands: &Hands) {
    let stats = pool.stats();
    let out = hands.leases.len() as u64;
    if stats.check().is_err() || stats.in_use != out || stats.classes.len() != 4 {
        spared(|| panic!("{out} leases are out: {stats:?}"));
    }
    if let Some(list) = tolerate(pool.leaks()) {
        holds("the list has all leases", list.len() as u64 == out);
    }
    if let Some(page) = tolerate(stats.to_prometheus(pool.name())) {
        holds("the page has all classes", page.contains("size_class=\"131072\""));
    }
}

fn detach(pool: &BufferPool, hands: &mut Hands) {
    let detached = pool.stats().detached;
    let mut came = 0;
    for _ in 0..hands.leases.len() / 3 {
        let Some(lease) = hands.leases.pop() else { break };
        match lease.detach() {
            Ok(memory) => {
                came += 1;
                tolerate(memory.into_vec());
            }
            Err(refused) => {
                hands.leases.extend(refused.lease);
                expect::<()>(ErrorKind::NoMemory, Err(refused.error));
            }
        }
    }
    holds("what was detached is counted", pool.stats().detached == detached + came);
}

fn by_handle(pool: &BufferPool) {
    let id = pool.id();
    for len in SIZES {
        let Some(lease) = tolerate(raw::get(id, len, Site::NONE)) else { continue };
        holds("a handle is known", raw::lookup(lease.id).is_ok_and(|found| found.len == len));
        holds("it can be pinned", raw::pin(lease.id).is_ok());
        expect(ErrorKind::Busy, raw::put(id, lease.id, None, Site::NONE));
        holds("and unpinned", raw::unpin(lease.id).is_ok());
        if tolerate(raw::detach(id, lease.id)).is_none() {
            holds("what was not detached is put", raw::put(id, lease.id, None, Site::NONE).is_ok());
        }
        expect(ErrorKind::DoublePut, raw::put(id, lease.id, None, Site::NONE));
        expect(ErrorKind::UseAfterPut, raw::lookup(lease.id));
    }
}

fn stock(pool: &BufferPool) {
    let Some(stock) = tolerate(Stock::new(pool)) else { return };
    for class in 0..3 {
        let Some(buffer) = tolerate(stock.take(class)) else { continue };
        holds("a token is taken back", stock.give(buffer.token).is_ok());
        expect(ErrorKind::DoublePut, stock.give(buffer.token));
    }
}

/// A thread ends with buffers in its cache, while memory may be short.
fn in_a_thread(pool: &BufferPool) {
    let plan = faults::plan();
    // Without memory for the thread there is none.
    faults::in_thread(|| {
        faults::join(plan);
        let mut leases = [const { None }; 30];
        for (number, place) in leases.iter_mut().enumerate() {
            *place = tolerate(pool.get(number * 300));
        }
    });
}

/// Errors need no memory either.
fn misuse(pool: &BufferPool, hands: &mut Hands) {
    let Some(other) = tolerate(BufferPool::new("other")) else { return };
    if let Some(lease) = hands.leases.pop() {
        match other.put(lease) {
            Err(refused) if refused.kind() == ErrorKind::ForeignLease => {
                hands.leases.extend(refused.lease);
                let copy = refused.error.clone();
                holds("a copy is of the same kind", copy.kind() == ErrorKind::ForeignLease);
                drop(copy.message());
            }
            _ => holds("another pool's lease is refused", false),
        }
    }
    expect(ErrorKind::InvalidArgument, pool.get(usize::MAX));
    holds("a pool has a name", BufferPool::new("").is_err());
    let site = Site::interned("life.rs", 1, "misuse");
    drop(pool.misuse(ErrorKind::DoublePut, 5, site, Site::NONE, site));
    if let Some(error) = pool.get(usize::MAX - 1).err() {
        holds("an error has a kind", !error.kind().name().is_empty());
    }
    if let Some(mut lease) = tolerate(pool.get(100)) {
        // SAFETY: inside the buffer, whose capacity is 512: behind the length, which is what is to be noticed.
        let behind = unsafe { lease.as_mut_ptr().add(100) };
        // SAFETY: as above.
        unsafe { behind.write(1) };
        expect(ErrorKind::Overrun, lease.put());
    }
}

/// The one operation that may end the process for want of memory, which `bytes` allocates: not while the heap is short.
fn freeze(hands: &mut Hands) {
    if faults::plan().is_some_and(|plan| plan.source == Source::Mappings)
        && let Some(lease) = hands.leases.pop()
    {
        let bytes = lease.freeze();
        drop(bytes.clone());
    }
}

fn at_the_limit(pool: &BufferPool, hands: &mut Hands) {
    for _ in 0..12 {
        match pool.get(600) {
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                holds("the pool says what its limit is", pool.limit_policy() == LimitPolicy::Fail);
            }
            result => hands.take(result),
        }
    }
    let out = hands.leases.len() as u64;
    holds("leases beyond the limit are counted", pool.stats().in_use == out);
}
