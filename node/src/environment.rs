//! Holds what belongs to one environment: the main thread or one worker.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::ptr;

use millpond::text::Text;
use millpond::{Error, ErrorKind, raw};
use napi_sys as sys;

use crate::js::{Fail, Js, Outcome, Value, call, internal};
use crate::memory::{Rc, push};
use crate::moving::Mover;
use crate::short::Short;
use crate::station::Station;

/// The thread's name where JavaScript began; the process ends with it.
const MAIN: Short = Short::of("main");

/// Room for the numbers that a call returns beside its value.
pub(crate) const SCRATCH: usize = 8;

/// What JavaScript hands over once, when it has loaded the addon.
struct Hooks {
    notify: sys::napi_ref,
    error_class: sys::napi_ref,
    scratch: *mut f64,
    thread: Short,
}

/// One environment's state.
///
/// *Thread-bound:* to the environment's thread. *Fork:* Node does not fork.
pub(crate) struct Environment {
    stations: RefCell<Vec<Option<Rc<Station>>>>,
    hooks: OnceCell<Hooks>,
    /// False where the host refuses ArrayBuffers over memory that is not V8's own.
    external: Cell<bool>,
    ended: Cell<bool>,
    mover: Option<Mover>,
}

impl Environment {
    /// Makes the state of the environment that is loading the addon; it lives until that environment ends.
    pub(crate) fn install(js: Js) -> Outcome<*mut c_void> {
        let environment = Environment {
            stations: RefCell::new(Vec::new()),
            hooks: OnceCell::new(),
            external: Cell::new(true),
            ended: Cell::new(false),
            mover: Mover::find(),
        };
        let data = Rc::new(environment, "a thread's state")?.into_raw();
        let set = call!(js, napi_set_instance_data(data, Some(uninstall), ptr::null_mut()));
        if set.is_err() {
            // SAFETY: the pointer comes from `into_raw` above and nobody else took it.
            drop(unsafe { Rc::<Environment>::from_raw(data) });
        }
        set.map(|()| data)
    }

    /// Takes over what JavaScript set up: the scratch array, the function to notify, the error class.
    pub(crate) fn set_up(
        &self,
        js: Js,
        scratch: Value,
        notify: Value,
        error_class: Value,
        thread: Short,
        external: bool,
    ) -> Outcome<()> {
        let (data, length) = js.float64_array(scratch)?;
        if length < SCRATCH {
            return Err(internal("the scratch array is too short"));
        }
        // The array stays referenced for the life of the environment, so its memory stays where it is.
        js.reference(scratch)?;
        let hooks =
            Hooks { notify: js.reference(notify)?, error_class: js.reference(error_class)?, scratch: data, thread };
        self.external.set(external);
        self.hooks.set(hooks).map_err(|_| internal("set up twice"))
    }

    /// The environment ends, and its leases with it: reports those that are out. Called before the first of them is ended,
    /// after the last JavaScript; where it is the main thread's, after the workers ended.
    pub(crate) fn ends(&self) {
        if self.ended.replace(true) {
            return;
        }
        let thread = self.thread();
        if thread == MAIN {
            raw::report_exit();
            return;
        }
        let when = Text::of(format_args!("the end of {}", thread.as_str()));
        self.stations.borrow().iter().flatten().for_each(|station| station.report_leaks(when.as_str()));
    }

    /// The thread's name in leak records: "main" or "worker 3".
    pub(crate) fn thread(&self) -> Short {
        self.hooks.get().map_or_else(Short::default, |hooks| hooks.thread)
    }

    pub(crate) fn external(&self) -> bool {
        self.external.get()
    }

    /// Notes that the host refuses external ArrayBuffers.
    pub(crate) fn refuse_external(&self) {
        self.external.set(false);
    }

    /// Returns V8's functions that move memory between ArrayBuffers, where they are known.
    pub(crate) fn mover(&self) -> Option<Mover> {
        self.mover
    }

    /// Returns numbers beside a call's value.
    pub(crate) fn scratch(&self, numbers: &[f64]) {
        if let Some(hooks) = self.hooks.get() {
            for (index, number) in numbers.iter().enumerate().take(SCRATCH) {
                // SAFETY: the scratch array has SCRATCH elements (`set_up`), kept alive by a reference.
                let place = unsafe { hooks.scratch.add(index) };
                // SAFETY: the same; no JavaScript runs meanwhile.
                unsafe { place.write(*number) };
            }
        }
    }

    /// Returns one more number beside a call's value.
    pub(crate) fn scratch_at(&self, index: usize, number: f64) {
        if let Some(hooks) = self.hooks.get().filter(|_| index < SCRATCH) {
            // SAFETY: as in `scratch`.
            let place = unsafe { hooks.scratch.add(index) };
            // SAFETY: as in `scratch`.
            unsafe { place.write(number) };
        }
    }

    /// Adds a station and returns its number.
    pub(crate) fn add(&self, make: impl FnOnce(usize) -> Outcome<Rc<Station>>) -> Outcome<Rc<Station>> {
        let mut stations = self.stations.borrow_mut();
        let number = stations.iter().position(Option::is_none).unwrap_or(stations.len());
        if number == stations.len() {
            push(&mut stations, None, "a pool's state")?;
        }
        let station = make(number)?;
        stations[number] = Some(Rc::clone(&station));
        Ok(station)
    }

    pub(crate) fn station(&self, number: usize) -> Outcome<Rc<Station>> {
        match self.stations.borrow().get(number) {
            Some(Some(station)) => Ok(Rc::clone(station)),
            _ => Err(internal("no such station")),
        }
    }

    /// Lets go of a station.
    pub(crate) fn remove(&self, number: usize) {
        let station = self.stations.borrow_mut().get_mut(number).and_then(Option::take);
        drop(station);
    }

    /// Tells JavaScript that the collector found a lease that nobody put.
    pub(crate) fn notify_leak(&self, js: Js, pool: &str, length: usize, site: &str) {
        let Some(hooks) = self.hooks.get() else { return };
        let tell = || -> Outcome<()> {
            let notify = js.referenced(hooks.notify)?;
            let arguments = [js.string(pool)?, js.number(length as f64)?, js.string(site)?];
            let this = js.undefined()?;
            let mut result = ptr::null_mut();
            call!(js, napi_call_function(this, notify, arguments.len(), arguments.as_ptr(), &mut result))
        };
        // The warning is a courtesy: a collector's callback has nobody to report its failure to.
        let _ = tell();
    }

    /// Throws as a `MillpondError`. Not a part of who calls it: the texts would make every callback's stack long.
    #[cold]
    #[inline(never)]
    pub(crate) fn throw(&self, js: Js, fail: Fail) {
        let Fail::Error(error) = &fail else { return };
        let (code, message) = words(error);
        let throw = || -> Outcome<()> {
            let Some(hooks) = self.hooks.get() else {
                return Err(internal("not set up"));
            };
            let class = js.referenced(hooks.error_class)?;
            let arguments = [js.string(code.as_str())?, js.string(message.as_str())?];
            let mut value = ptr::null_mut();
            call!(js, napi_new_instance(class, arguments.len(), arguments.as_ptr(), &mut value))?;
            call!(js, napi_throw(value))
        };
        if throw().is_err() {
            throw_plain(js, &fail);
        }
    }
}

/// Returns the code and the message that JavaScript sees.
fn words(error: &Error) -> (Text, Text) {
    (Text::of(format_args!("ERR_MILLPOND_{}", error.kind().name())), Text::of(error))
}

/// Throws without the help of JavaScript; a pending exception stays.
#[cold]
#[inline(never)]
pub(crate) fn throw_plain(js: Js, fail: &Fail) {
    let Fail::Error(error) = fail else { return };
    let (code, message) = words(error);
    let throw = || -> Outcome<()> {
        let (code, message) = (js.string(code.as_str())?, js.string(message.as_str())?);
        let mut error = ptr::null_mut();
        call!(js, napi_create_error(code, message, &mut error))?;
        call!(js, napi_throw(error))
    };
    // It fails only when an exception is pending already: the callback fails with that one.
    let _ = throw();
}

/// Ends an environment's state; Node calls it once, after the last finalizer of its buffers.
unsafe extern "C" fn uninstall(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: `install` stored an `into_raw` pointer; Node hands it back once.
    let environment = unsafe { Rc::<Environment>::from_raw(data) };
    environment.ends();
    let stations = std::mem::take(&mut *environment.stations.borrow_mut());
    for station in stations.into_iter().flatten() {
        station.end();
    }
}

/// The error of an allocation that failed inside V8.
pub(crate) fn no_memory(pool: &str, length: usize) -> Fail {
    Fail::Error(Error::new(
        ErrorKind::NoMemory,
        format_args!("pool \"{pool}\": V8 makes no ArrayBuffer of {length} bytes; put leases or ask for less"),
    ))
}
