//! The addon's functions about finding misuse: how closely a pool looks, what it does wrong on purpose, reports of faults.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock};

use millpond::{BufferPool, Check, Injection, raw};

use crate::js::{Call, Outcome, Value, exports};
use crate::rows::lock;

exports! {
    c"check" => check,
    c"setCheck" => set_check,
    c"inject" => inject,
    c"watched" => watched,
    c"reportFaults" => report_faults,
}

/// What `watched` adds up.
const RECORDS: u32 = 1;
const INJECTS: u32 = 2;
const KEEPS_NOTHING: u32 = 4;

/// The pools that were told from JavaScript what to do wrong, and whether that was anything. Core does not say it.
fn told() -> MutexGuard<'static, HashMap<u64, bool>> {
    static TOLD: OnceLock<Mutex<HashMap<u64, bool>>> = OnceLock::new();
    lock(TOLD.get_or_init(Mutex::default))
}

/// Says whether a pool does something wrong on purpose: as it was told last, or as the environment says for all pools.
fn injects(pool: &BufferPool) -> bool {
    let last = told().get(&pool.id()).copied();
    last.unwrap_or_else(|| std::env::var_os("MILLPOND_INJECT").is_some_and(|text| !text.is_empty()))
}

/// check(station) -> text
fn check(call: &Call<'_>) -> Outcome<Value> {
    let check = call.environment.station(call.size(0)?)?.pool().check();
    call.js.string(&check.to_string())
}

/// setCheck(station, text); asks the stations of all threads for what they keep, after which they look at `watched`
fn set_check(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    station.pool().set_check(call.string(1)?.parse::<Check>()?)?;
    // Only trimming asks every stock.
    station.pool().trim();
    call.undefined()
}

/// inject(station, text); as setCheck
fn inject(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    let text = call.string(1)?;
    station.pool().inject(text.parse::<Injection>()?);
    let mut told = told();
    told.retain(|pool, _| raw::pool(*pool).is_ok());
    told.insert(station.pool().id(), !text.is_empty());
    drop(told);
    station.pool().trim();
    call.undefined()
}

/// watched(station) -> 1 if places are recorded, plus 2 if something goes wrong on purpose, plus 4 if pools keep nothing
fn watched(call: &Call<'_>) -> Outcome<Value> {
    let station = call.environment.station(call.size(0)?)?;
    let pool = station.pool();
    let mut sum = 0;
    if matches!(pool.check(), Check::Sites | Check::Full) {
        sum |= RECORDS;
    }
    if injects(pool) {
        sum |= INJECTS;
    }
    if std::env::var_os("MILLPOND_POOL").is_some_and(|text| text == "off") {
        sum |= KEEPS_NOTHING;
    }
    call.js.number(f64::from(sum))
}

/// reportFaults()
fn report_faults(call: &Call<'_>) -> Outcome<Value> {
    millpond::report_faults()?;
    call.undefined()
}
