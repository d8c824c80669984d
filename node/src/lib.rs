//! The Node addon: core's buffers as ArrayBuffers, made once each, for the JavaScript in `lib/` that leases them.
//!
//! What runs at every get and put is JavaScript. This crate serves the cold paths: it fetches buffers from core's
//! [`Stock`](millpond::raw::Stock), shows them to V8, proves at the way back that nothing in JavaScript reaches them,
//! and takes them over when the collector or the end of the environment finds them.

mod buffer_calls;
mod check_calls;
mod environment;
mod handover;
mod js;
mod memory;
mod moving;
mod pool_calls;
mod rows;
mod short;
mod slab;
mod station;

use napi::JsValue;
use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;

use crate::environment::{Environment, throw_plain};
use crate::js::{Js, Outcome, export};
use crate::moving::Mover;

/// Adds the raw functions to the addon's exports; Node calls it once per environment.
#[napi(module_exports)]
pub fn init(exports: Object, env: Env) -> napi::Result<()> {
    // SAFETY: Node is loading the addon into this environment, on its thread.
    let js = unsafe { Js::new(env.raw()) };
    let add = || -> Outcome<()> {
        let environment = Environment::install(js)?;
        for (name, callback) in pool_calls::EXPORTS.iter().chain(buffer_calls::EXPORTS).chain(check_calls::EXPORTS) {
            export(js, exports.raw(), name, *callback, environment)?;
        }
        if Mover::find().is_some() {
            for (name, callback) in moving::EXPORTS {
                export(js, exports.raw(), name, *callback, environment)?;
            }
        }
        Ok(())
    };
    if let Err(fail) = add() {
        // napi-rs would need memory for its error.
        throw_plain(js, &fail);
    }
    Ok(())
}
