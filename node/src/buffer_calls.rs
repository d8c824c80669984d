//! The addon's functions about buffers: what a get or a put does when JavaScript's magazine cannot serve it.

use millpond::raw::Stock;
use millpond::{Error, ErrorKind, Site, raw};

use crate::handover::{self, Moved};
use crate::js::{Call, Outcome, Value, exports, internal};
use crate::memory::Rc;
use crate::rows::Column;
use crate::slab::{Origin, Slab, room_for_detached, show_detached};
use crate::station::Station;

exports! {
    c"take" => take,
    c"takeOwn" => take_own,
    c"give" => give,
    c"putOwn" => put_own,
    c"putParked" => put_parked,
    c"endParked" => end_parked,
    c"putKept" => put_kept,
    c"endKept" => end_kept,
    c"putForeign" => put_foreign,
    c"lose" => lose,
    c"retire" => retire,
    c"overrun" => overrun,
    c"rewrap" => rewrap,
    c"detach" => detach,
    c"send" => send,
    c"sentPool" => sent_pool,
    c"adopt" => adopt,
    c"load" => load,
    c"store" => store,
    c"tailWritten" => tail_written,
    c"collected" => collected,
}

fn station(call: &Call<'_>) -> Outcome<Rc<Station>> {
    call.environment.station(call.size(0)?)
}

/// Returns the station and buffer that the first two arguments name.
fn buffer(call: &Call<'_>) -> Outcome<(Rc<Station>, Rc<Slab>)> {
    let station = station(call)?;
    let slab = station.slab(call.size(1)?)?;
    Ok((station, slab))
}

fn token(slab: &Slab) -> Outcome<u64> {
    match slab.origin() {
        Origin::Stock { token, .. } => Ok(token),
        Origin::Own { .. } => Err(internal("the buffer has no size class")),
    }
}

fn own(slab: &Slab) -> Outcome<u64> {
    match slab.origin() {
        Origin::Own { lease } => Ok(lease),
        Origin::Stock { .. } => Err(internal("the buffer has a size class")),
    }
}

/// take(station, class) -> ArrayBuffer, or undefined where the host refuses ours; scratch: index, length, capacity
fn take(call: &Call<'_>) -> Outcome<Value> {
    Station::take(&station(call)?, call.js, call.size(1)?)
}

/// takeOwn(station, length, unbounded, guard, site, parked) -> the same, for a lease that core knows itself; scratch: index, or
/// -1 when the limit is reached, length, capacity, whether it is guarded. `parked`: the index of what putParked left, or
/// undefined; a lease that stands there has that index, and undefined is returned.
fn take_own(call: &Call<'_>) -> Outcome<Value> {
    let station = station(call)?;
    let (length, unbounded, guard) = (call.size(1)?, call.boolean(2)?, call.boolean(3)?);
    let site = handover::site(call.number(4)?);
    match call.size_or_none(5)? {
        Some(parked) if !guard => {
            let slab = station.slab(parked)?;
            Station::take_parked(&station, call.js, &slab, length, unbounded, site)
        }
        _ => Station::take_own(&station, call.js, length, unbounded, guard, site),
    }
}

/// give(station, index, arrayBuffer, dirty, put): gives a buffer back to core, at a put or from the magazine.
///
/// The first `dirty` bytes are to be cleared before anybody else gets them.
fn give(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let token = token(&slab)?;
    let dirty = call.size(3)?.min(slab.bytes);
    let put = call.boolean(4)?;
    slab.seal(call.js, call.value(2)?)?;
    slab.leave();
    if put {
        station.stock().put(token, dirty)?;
    } else {
        slab.give_idle(token, dirty)?;
    }
    call.undefined()
}

/// putOwn(station, index, arrayBuffer, used, site, whole); whole: JavaScript had all of the ArrayBuffer
fn put_own(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let lease = own(&slab)?;
    let used = call.size(3)?;
    let site = handover::site(call.number(4)?);
    slab.seal(call.js, call.value(2)?)?;
    slab.leave();
    if call.boolean(5)? {
        station.stock().look_behind(lease, site)?;
    }
    raw::put(station.pool().id(), lease, Some(used), site)?;
    call.undefined()
}

/// Puts a lease of which core may leave something for `keep`; -> whether it did. As putOwn if not.
fn put_leaving<T>(
    call: &Call<'_>,
    put: impl FnOnce(&Stock, u64, Site) -> millpond::Result<Option<T>>,
    keep: impl FnOnce(&Slab, T),
) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let lease = own(&slab)?;
    let array_buffer = call.value(2)?;
    slab.verify(call.js, array_buffer)?;
    let site = handover::site(call.number(4)?);
    let looked = if call.boolean(5)? { station.stock().look_behind(lease, site) } else { Ok(()) };
    match looked.and_then(|()| put(station.stock(), lease, site)) {
        Ok(Some(left)) => {
            keep(&slab, left);
            call.js.boolean(true)
        }
        Ok(None) => {
            put_own(call)?;
            call.js.boolean(false)
        }
        Err(error) => {
            // Of an overrun the memory is gone: no JavaScript has run since, and none sees it below.
            slab.seal(call.js, array_buffer)?;
            slab.leave();
            Err(error.into())
        }
    }
}

/// putParked(station, index, arrayBuffer, used, site, whole) -> whether the mapping stays, for takeOwn or endParked; as putOwn
/// if not. Nobody but the caller has the ArrayBuffer.
fn put_parked(call: &Call<'_>) -> Outcome<Value> {
    put_leaving(call, Stock::put_parked, Slab::park)
}

/// endParked(station, index, arrayBuffer): ends what putParked left
fn end_parked(call: &Call<'_>) -> Outcome<Value> {
    let (_, slab) = buffer(call)?;
    slab.end_parked(call.js, call.value(2)?)?;
    call.undefined()
}

/// putKept(station, index, arrayBuffer, used, site, whole) -> whether the ArrayBuffer stays alive, until endKept; as putOwn if not
fn put_kept(call: &Call<'_>) -> Outcome<Value> {
    let used = call.size(3)?;
    put_leaving(call, |stock, lease, site| stock.put_kept(lease, used, site), Slab::keep)
}

/// endKept(station, index, arrayBuffer): ends the ArrayBuffer and gives the memory back; undefined instead of the ArrayBuffer
/// if somebody else has it now
fn end_kept(call: &Call<'_>) -> Outcome<Value> {
    let (_, slab) = buffer(call)?;
    if call.is_undefined(2)? {
        slab.abandon_kept();
    } else {
        slab.end_kept(call.js, call.value(2)?)?;
    }
    call.undefined()
}

/// putForeign(station, own station, index, length, got, here): a put into a pool that the lease is not from; always throws
fn put_foreign(call: &Call<'_>) -> Outcome<Value> {
    let station = station(call)?;
    let slab = call.environment.station(call.size(1)?)?.slab(call.size(2)?)?;
    if slab.is_of(&station) {
        return Err(internal("the lease is this pool's"));
    }
    let length = call.size(3)?;
    let (got, here) = (handover::site(call.number(4)?), handover::site(call.number(5)?));
    let error: Error = match slab.origin() {
        Origin::Stock { token, .. } => station.stock().foreign(token, length, got, here),
        Origin::Own { lease } => match raw::put(station.pool().id(), lease, None, here) {
            Err(error) => error,
            Ok(()) => return Err(internal("another pool took the lease")),
        },
    };
    Err(error.into())
}

/// lose(station, index, length): somebody else has the ArrayBuffer of a leased buffer
fn lose(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let length = call.size(2)?;
    slab.leave();
    match slab.origin() {
        Origin::Stock { token, .. } => station.stock().lose(token, length)?,
        Origin::Own { lease } => raw::lose(station.pool().id(), lease)?,
    }
    call.undefined()
}

/// retire(station, index): the same for an idle buffer
fn retire(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let token = token(&slab)?;
    slab.leave();
    station.stock().retire(token)?;
    call.undefined()
}

/// overrun(station, index, arrayBuffer, length, got, here): the bytes behind the length were written; always throws
fn overrun(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let token = token(&slab)?;
    let length = call.size(3)?;
    let got = handover::site(call.number(4)?);
    let here = handover::site(call.number(5)?);
    slab.seal(call.js, call.value(2)?)?;
    slab.leave();
    station.stock().overrun(token)?;
    Err(station.pool().misuse(ErrorKind::Overrun, length, got, Site::NONE, here).into())
}

/// rewrap(station, index, arrayBuffer) -> a new ArrayBuffer; the old one is detached (Node 20 has no transfer)
fn rewrap(call: &Call<'_>) -> Outcome<Value> {
    let (_, slab) = buffer(call)?;
    slab.seal(call.js, call.value(2)?)?;
    Slab::wrap(&slab, call.js)
}

/// detach(station, index, arrayBuffer, length): the buffer leaves the pool for good; -> an ArrayBuffer of `length`
///
/// Undefined where there are no bytes, or where the ArrayBuffer is V8's own and stays the user's. When core throws,
/// nothing has changed.
fn detach(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let array_buffer = call.value(2)?;
    let length = call.size(3)?;
    slab.verify(call.js, array_buffer)?;
    let room = room_for_detached()?;
    let owned = match slab.origin() {
        Origin::Stock { token, .. } => station.stock().detach(token, length)?,
        Origin::Own { lease } => raw::detach(station.pool().id(), lease)?,
    };
    // Core may have copied the bytes and given the buffer away: no JavaScript has run since, and none sees it below.
    let shown = slab.was_wrapped();
    if shown {
        slab.seal(call.js, array_buffer)?;
    }
    slab.leave();
    if shown { show_detached(call.js, station.pool().name(), room, owned) } else { call.undefined() }
}

/// send(station, index, arrayBuffer, length) -> the token of a lease on its way
fn send(call: &Call<'_>) -> Outcome<Value> {
    let (station, slab) = buffer(call)?;
    let rows = station.rows();
    let mut moved = Moved::new(station.pool().clone(), slab.origin(), slab.data());
    moved.bytes = slab.bytes;
    moved.capacity = slab.capacity;
    moved.length = call.size(3)?;
    moved.since = rows.get(slab.index, Column::Since);
    moved.site = rows.get(slab.index, Column::Site);
    let departure = handover::depart()?;
    slab.seal(call.js, call.value(2)?)?;
    let number = departure.send(moved);
    slab.leave();
    call.js.bigint(number)
}

/// sentPool(token) -> the id of its pool
fn sent_pool(call: &Call<'_>) -> Outcome<Value> {
    let pool = handover::pool_of(call.bigint(0)?)?;
    call.js.bigint(pool.id())
}

/// adopt(station, token) -> ArrayBuffer or undefined; scratch: index, bytes, capacity, class or -1, length
fn adopt(call: &Call<'_>) -> Outcome<Value> {
    let station = station(call)?;
    let number = call.bigint(1)?;
    let moved = handover::receive(number)?;
    if moved.pool.id() != station.pool().id() {
        handover::put_back(number, moved);
        return Err(internal("the lease is another pool's"));
    }
    match Station::adopt(&station, call.js, &moved) {
        Ok(value) => {
            handover::arrived(number);
            Ok(value)
        }
        Err(fail) => {
            handover::put_back(number, moved);
            Err(fail)
        }
    }
}

/// load(station, index, arrayBuffer): copies core's memory into V8's, where V8 may not see core's
fn load(call: &Call<'_>) -> Outcome<Value> {
    let (_, slab) = buffer(call)?;
    slab.exchange(call.js, call.value(2)?, false)?;
    call.undefined()
}

/// store(station, index, arrayBuffer): the other way
fn store(call: &Call<'_>) -> Outcome<Value> {
    let (_, slab) = buffer(call)?;
    slab.exchange(call.js, call.value(2)?, true)?;
    call.undefined()
}

/// tailWritten(arrayBuffer, from) -> whether any byte from there on is not 0
fn tail_written(call: &Call<'_>) -> Outcome<Value> {
    let (data, length) = call.js.array_buffer(call.value(0)?)?;
    let from = call.size(1)?.min(length);
    let written = length > from && {
        // SAFETY: `from` is inside the ArrayBuffer.
        let start = unsafe { data.add(from) };
        // SAFETY: the bytes up to `length` are the ArrayBuffer's, initialised, and no JavaScript of this thread runs
        // while the slice lives; memory that a pinned operation still writes is never looked at (put refuses it).
        let tail = unsafe { std::slice::from_raw_parts(start, length - from) };
        // Eight at a time, where aligned: an untouched page is read once and stays the system's zero page.
        // SAFETY: every bit pattern is a u64.
        let (head, words, rest) = unsafe { tail.align_to::<u64>() };
        head.iter().any(|byte| *byte != 0) || words.iter().any(|word| *word != 0) || rest.iter().any(|byte| *byte != 0)
    };
    call.js.boolean(written)
}

/// collected(station, index, serial) -> whether the buffer was still there
///
/// V8's collector took the buffer's JavaScript object; called where the memory is V8's own.
fn collected(call: &Call<'_>) -> Outcome<Value> {
    let serial = call.number(2)?;
    // The station may be gone with all its buffers, the buffer may have left, another one may have its number.
    let found = buffer(call).ok().map(|(_, slab)| slab).filter(|slab| slab.serial == serial && !slab.is_wrapped());
    if let Some(slab) = &found {
        slab.unreachable(Some(call.js));
    }
    call.js.boolean(found.is_some())
}
