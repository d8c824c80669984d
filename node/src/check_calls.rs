//! The addon's functions about finding misuse: how closely a pool looks, what it does wrong on purpose, reports of faults.

use millpond::text::Text;
use millpond::{Check, Injection};

use crate::js::{Call, Outcome, Value, exports};

exports! {
    c"check" => check,
    c"setCheck" => set_check,
    c"inject" => inject,
    c"watched" => watched,
    c"reportFaults" => report_faults,
}

/// What `watched` adds up.
const ALL: u32 = 1;
const SITES: u32 = 2;
const KEEPS: u32 = 4;

/// check(station) -> text
fn check(call: &Call<'_>) -> Outcome<Value> {
    let check = call.environment.station(call.size(0)?)?.pool().check();
    call.js.text(&Text::of(check))
}

/// setCheck(station, text); asks the stations of all threads for what they keep, after which they look at `watched`
fn set_check(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    station.pool().set_check(call.string(1)?.parse::<Check>()?)?;
    call.undefined()
}

/// inject(station, text); as setCheck
fn inject(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    station.pool().inject(call.string(1)?.parse::<Injection>()?);
    call.undefined()
}

/// watched(station) -> 1 if every lease is core's, plus 2 if places are recorded, plus 4 if memory that was put and is still
/// looked at is kept; scratch: each how manieth lease is guarded (0: none), bytes that this thread may keep without asking
fn watched(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    let watch = station.stock().watch();
    let part = |is: bool, value: u32| if is { value } else { 0 };
    let sum = part(watch.all, ALL) | part(watch.sites, SITES) | part(watch.keeps, KEEPS);
    call.environment.scratch(&[f64::from(watch.every), station.stock().share() as f64]);
    call.js.number(f64::from(sum))
}

/// reportFaults()
fn report_faults(call: &Call<'_>) -> Outcome<Value> {
    millpond::report_faults()?;
    call.undefined()
}
