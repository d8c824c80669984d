//! The addon's functions about pools: open, attach, statistics, leaks, trim, close.

use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::text::Text;
use millpond::{BufferPool, Check, ClassStats, Classes, ClearPolicy, ErrorKind, LimitPolicy, Site, Stats, raw};
use napi_sys as sys;

use crate::handover;
use crate::js::{Call, Fail, Outcome, Value, call, exports, internal};
use crate::memory::{Arc, Rc, push};
use crate::rows::{Chunk, LIST, live_leases, threads};
use crate::short::Short;
use crate::station::Station;

exports! {
    c"version" => version,
    c"setUp" => set_up,
    c"errors" => errors,
    c"fields" => fields,
    c"open" => open,
    c"attach" => attach,
    c"attachDefault" => attach_default,
    c"counters" => counters,
    c"rows" => rows,
    c"mirror" => mirror,
    c"stats" => stats,
    c"leaks" => leaks,
    c"trim" => trim,
    c"maintain" => maintain,
    c"close" => close,
    c"isClosed" => is_closed,
    c"settled" => settled,
    c"mayKeep" => may_keep,
    c"misuse" => misuse,
    c"site" => site,
    c"siteName" => site_name,
}

/// version() -> that of the addon and of the whole workspace
fn version(call: &Call<'_>) -> Outcome<Value> {
    call.js.string(millpond::VERSION)
}

/// setUp(scratch, notify, MillpondError, thread, external)
fn set_up(call: &Call<'_>) -> Outcome<Value> {
    call.environment.set_up(
        call.js,
        call.value(0)?,
        call.value(1)?,
        call.value(2)?,
        call.short(3)?,
        call.boolean(4)?,
    )?;
    call.undefined()
}

/// errors() -> [[name, code, description, anchor], …]
fn errors(call: &Call<'_>) -> Outcome<Value> {
    let js = call.js;
    js.array(ErrorKind::ALL.iter().map(|kind| {
        js.array([
            js.string(kind.name()),
            js.number(f64::from(kind.code())),
            js.string(kind.description()),
            js.string(kind.anchor()),
        ])
    }))
}

/// fields() -> [names of a pool's fields, names of a class's fields], the order of `stats`
fn fields(call: &Call<'_>) -> Outcome<Value> {
    let js = call.js;
    js.array([
        js.array(Stats::FIELDS.iter().map(|field| js.string(field.name))),
        js.array(ClassStats::FIELDS.iter().map(|field| js.string(field.name))),
    ])
}

/// open(name, classes, maxBytes, maxRetainedBytes, onLimit, clear, alignment, threadCacheBytes, check, maintainEvery)
///
/// classes: undefined, [sizes] or [min, max, 0]; onLimit: undefined, -1 for unpooled, or milliseconds to wait;
/// clear: undefined or 0 on put, 1 on get, 2 never; maintainEvery in milliseconds.
fn open(call: &Call<'_>) -> Outcome<Value> {
    let mut builder = BufferPool::builder();
    if !call.is_undefined(0)? {
        builder = builder.name(call.string(0)?);
    }
    if !call.is_undefined(1)? {
        let sizes = call.sizes(1)?;
        builder = builder.classes(match sizes[..] {
            [min, max, 0] => Classes::FourPerDoubling { min, max },
            _ => Classes::List(sizes),
        });
    }
    if let Some(bytes) = call.size_or_none(2)? {
        builder = builder.max_bytes(bytes);
    }
    if let Some(bytes) = call.size_or_none(3)? {
        builder = builder.max_retained_bytes(bytes);
    }
    if !call.is_undefined(4)? {
        builder = builder.on_limit(match call.number(4)? {
            wait if wait < 0.0 => LimitPolicy::Unpooled,
            wait => LimitPolicy::Wait(Duration::from_secs_f64(wait / 1000.0)),
        });
    }
    if !call.is_undefined(5)? {
        builder = builder.clear(match call.size(5)? {
            0 => ClearPolicy::OnPut,
            1 => ClearPolicy::OnGet,
            _ => ClearPolicy::Never,
        });
    }
    if let Some(bytes) = call.size_or_none(6)? {
        builder = builder.alignment(bytes);
    }
    if let Some(bytes) = call.size_or_none(7)? {
        builder = builder.thread_cache_bytes(bytes);
    }
    if !call.is_undefined(8)? {
        builder = builder.check(call.string(8)?.parse::<Check>()?);
    }
    if !call.is_undefined(9)? {
        builder = builder.maintain_every(Duration::from_secs_f64(call.number(9)? / 1000.0));
    }
    describe(call, builder.build()?)
}

/// attach(id)
fn attach(call: &Call<'_>) -> Outcome<Value> {
    describe(call, raw::pool(call.bigint(0)?)?)
}

/// attachDefault()
fn attach_default(call: &Call<'_>) -> Outcome<Value> {
    describe(call, millpond::default_pool()?.clone())
}

/// Opens a station and says what JavaScript needs to know of its pool.
fn describe(call: &Call<'_>, pool: BufferPool) -> Outcome<Value> {
    let js = call.js;
    let station = Station::open(call.environment, pool)?;
    let pool = station.pool();
    let on_limit = match pool.limit_policy() {
        LimitPolicy::Unpooled => -1.0,
        LimitPolicy::Wait(time) => time.as_secs_f64() * 1000.0,
        _ => 0.0,
    };
    let clear = match pool.clear_policy() {
        ClearPolicy::OnPut => 0.0,
        ClearPolicy::OnGet => 1.0,
        _ => 2.0,
    };
    js.object(&[
        (c"keep", keep(call, &station)?),
        (c"number", js.number(station.number() as f64)?),
        (c"id", js.bigint(pool.id())?),
        (c"name", js.string(pool.name())?),
        (c"classes", js.array(pool.class_sizes().iter().map(|size| js.number(*size as f64)))?),
        (c"onLimit", js.number(on_limit)?),
        (c"clear", js.number(clear)?),
        (c"maxBytes", js.number(pool.max_bytes() as f64)?),
        (c"threadCacheBytes", js.number(pool.thread_cache_bytes() as f64)?),
    ])
}

/// Makes the value whose collection releases the station.
fn keep(call: &Call<'_>, station: &Rc<Station>) -> Outcome<Value> {
    unsafe extern "C" fn release(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
        // SAFETY: `keep` made this owner for this one call.
        let station = unsafe { Rc::<Station>::from_raw(data) };
        station.release();
    }
    let data = station.clone().into_raw();
    let mut value = ptr::null_mut();
    let made = call!(call.js, napi_create_external(data, Some(release), ptr::null_mut(), &mut value));
    if made.is_err() {
        // SAFETY: Node took no ownership, so this owner is still ours.
        drop(unsafe { Rc::<Station>::from_raw(data) });
    }
    made.map(|()| value)
}

/// counters(station) -> ArrayBuffer over core's counter block, or undefined where the host refuses that
fn counters(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    if !call.environment.external() {
        return call.undefined();
    }
    let (counters, count) = station.stock().counters();
    // The block stays mapped for the life of the process (`Stock::counters`): no owner, no finalizer.
    shown(call, counters.cast::<u8>(), count * size_of::<f64>(), None, ptr::null_mut())
}

/// rows(station, chunk) -> ArrayBuffer over one chunk of rows, or undefined where the host refuses that
fn rows(call: &Call<'_>) -> Outcome<Value> {
    unsafe extern "C" fn release(_env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
        // SAFETY: `rows` made this owner for this one call.
        drop(unsafe { Arc::<Chunk>::from_raw(hint) });
    }
    let station = call.environment.station(call.size(0)?)?;
    let Some(chunk) = station.rows().chunk(call.size(1)?)? else {
        return Err(internal("no such chunk of rows"));
    };
    if !call.environment.external() {
        return call.undefined();
    }
    let (data, length) = chunk.memory();
    let hint = chunk.into_raw();
    shown(call, data, length, Some(release), hint)
}

/// Shows memory to JavaScript, or notes that the host refuses that.
fn shown(
    call: &Call<'_>,
    data: *mut u8,
    length: usize,
    release: sys::napi_finalize,
    hint: *mut c_void,
) -> Outcome<Value> {
    let mut value = ptr::null_mut();
    // SAFETY: `data` points to `length` bytes that live as long as `hint`'s owner, which `release` drops, or for ever.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(call.js.env(), data.cast::<c_void>(), length, release, hint, &mut value)
    };
    if status == sys::Status::napi_no_external_buffers_allowed {
        call.environment.refuse_external();
        if let Some(release) = release {
            // SAFETY: Node took no ownership: the owner that `hint` names is dropped here, once.
            unsafe { release(call.js.env(), ptr::null_mut(), hint) };
        }
        return call.undefined();
    }
    crate::js::check(status, "napi_create_external_arraybuffer")?;
    Ok(value)
}

/// mirror(station, counters, [rows…], chunk): takes over JavaScript's own counters and one chunk of rows (-1: none),
/// where it may not see core's; -> the gate
fn mirror(call: &Call<'_>) -> Outcome<Value> {
    let js = call.js;
    let station = call.environment.station(call.size(0)?)?;
    let (from, length) = js.float64_array(call.value(1)?)?;
    let (counters, count) = station.stock().counters();
    if length != count {
        return Err(internal("the counters have another length"));
    }
    // Index 0 is the gate, which core writes.
    for index in 1..count {
        // SAFETY: JavaScript's array has `count` elements and nothing moves it during this call.
        let source = unsafe { from.add(index) };
        // SAFETY: the same.
        let value = unsafe { source.read() };
        // SAFETY: core's block has `count` elements and stays mapped (`Stock::counters`).
        let target = unsafe { counters.add(index) };
        // SAFETY: the same; this environment's thread is the only writer.
        unsafe { target.write(value) };
    }
    if call.number(3)? >= 0.0 {
        let number = call.size(3)?;
        let mut value = ptr::null_mut();
        call!(js, napi_get_element(call.value(2)?, number as u32, &mut value))?;
        let (cells, length) = js.float64_array(value)?;
        // SAFETY: the array has `length` elements, and no JavaScript runs while this slice lives.
        let cells = unsafe { std::slice::from_raw_parts(cells, length) };
        station.rows().copy_from(number, cells);
    }
    // SAFETY: the gate is the block's first element; core writes it, whole.
    let gate = unsafe { counters.read_volatile() };
    js.number(gate)
}

/// stats(station) -> [fields…, then per class its fields…]
fn stats(call: &Call<'_>) -> Outcome<Value> {
    let js = call.js;
    let stats = call.environment.station(call.size(0)?)?.pool().stats();
    let whole = Stats::FIELDS.iter().map(|field| (field.get)(&stats));
    let classes = stats.classes.iter().flat_map(|class| ClassStats::FIELDS.iter().map(|field| (field.get)(class)));
    js.array(whole.chain(classes).map(|value| js.number(value as f64)))
}

/// A lease that is out, as `leaks` tells of it.
struct Leak {
    length: f64,
    capacity: f64,
    age: f64,
    place: Site,
    thread: Short,
}

/// leaks(station) -> [[length, capacity, age in ms, site, thread], …], oldest first
fn leaks(call: &Call<'_>) -> Outcome<Value> {
    let js = call.js;
    let station = call.environment.station(call.size(0)?)?;
    let pool = station.pool();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let threads = threads(pool.id())?;
    let mut found = Vec::new();
    for lease in pool.leaks()? {
        let known = threads.binary_search_by_key(&lease.id, |(handle, _)| *handle);
        let next = found.len();
        let leak = Leak {
            length: lease.len as f64,
            capacity: lease.capacity as f64,
            age: lease.age.as_secs_f64() * 1000.0,
            place: lease.site,
            thread: known.map_or_else(|_| Short::default(), |place| threads[place].1),
        };
        push(&mut found, (next, leak), LIST)?;
    }
    let mut mine = Vec::new();
    live_leases(pool.id(), &mut mine)?;
    handover::on_their_way(pool.id(), &mut mine)?;
    for lease in mine {
        let next = found.len();
        let leak = Leak {
            length: lease.length,
            capacity: lease.capacity,
            age: now - lease.since,
            place: handover::site(lease.site),
            thread: lease.thread,
        };
        push(&mut found, (next, leak), LIST)?;
    }
    // A stable sort would need memory.
    found.sort_unstable_by(|(a, first), (b, second)| second.age.total_cmp(&first.age).then(a.cmp(b)));
    js.array(found.iter().map(|(_, leak)| {
        js.array([
            js.number(leak.length),
            js.number(leak.capacity),
            js.number(leak.age.max(0.0)),
            js.text(&Text::of(leak.place)),
            js.string(leak.thread.as_str()),
        ])
    }))
}

/// trim(station) -> bytes
fn trim(call: &Call<'_>) -> Outcome<Value> {
    let bytes = call.environment.station(call.size(0)?)?.pool().trim();
    call.js.number(bytes as f64)
}

/// maintain(station) -> bytes
fn maintain(call: &Call<'_>) -> Outcome<Value> {
    let bytes = call.environment.station(call.size(0)?)?.pool().maintain();
    call.js.number(bytes as f64)
}

/// close(station)
fn close(call: &Call<'_>) -> Outcome<Value> {
    call.environment.station(call.size(0)?)?.pool().close()?;
    call.undefined()
}

/// isClosed(station) -> boolean
fn is_closed(call: &Call<'_>) -> Outcome<Value> {
    let closed = call.environment.station(call.size(0)?)?.pool().is_closed();
    call.js.boolean(closed)
}

/// settled(station): everything idle was given back, as the gate asked
fn settled(call: &Call<'_>) -> Outcome<Value> {
    call.environment.station(call.size(0)?)?.stock().settled();
    call.undefined()
}

/// mayKeep(station, class) -> boolean
fn may_keep(call: &Call<'_>) -> Outcome<Value> {
    let keep = call.environment.station(call.size(0)?)?.stock().may_keep(call.size(1)?);
    call.js.boolean(keep)
}

/// misuse(station, kind, length, got, first put, here): counts a misuse that JavaScript found and throws core's error
fn misuse(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    let name = call.short(1)?;
    let Some(kind) = ErrorKind::ALL.iter().find(|kind| kind.name() == name.as_str()) else {
        return Err(internal("no such kind of error"));
    };
    let place = |index| Ok::<_, Fail>(handover::site(call.number(index)?));
    let (got, first_put, here) = (place(3)?, place(4)?, place(5)?);
    Err(station.pool().misuse(*kind, call.size(2)?, got, first_put, here).into())
}

/// site(file, line, function) -> number, or undefined for want of memory: whoever gets or puts must not fail for the place
fn site(call: &Call<'_>) -> Outcome<Value> {
    let line = call.size(1)?.min(u32::MAX as usize) as u32;
    let named = || Ok(handover::site_number(&call.string(0)?, line, &call.string(2)?));
    match named() {
        Ok(Some(number)) => call.js.number(number as f64),
        Ok(None) => call.undefined(),
        Err(Fail::Error(error)) if error.kind() == ErrorKind::NoMemory => call.undefined(),
        Err(fail) => Err(fail),
    }
}

/// siteName(number) -> the place as text
fn site_name(call: &Call<'_>) -> Outcome<Value> {
    call.js.text(&handover::site_name(call.number(0)?))
}
