//! Wraps the raw Node-API calls that the cold paths make: arguments in, values out, errors thrown, panics caught.
//!
//! `#[napi]` functions cost 100 to 300 ns a call, a raw callback 7 to 17, so everything that a get or a put may reach
//! is a raw callback behind [`guard`].

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use millpond::text::Text;
use millpond::{Error, ErrorKind};
use napi_sys as sys;

use crate::environment::Environment;
use crate::memory::{Rc, none_for, push};
use crate::short::Short;

/// A value of the running callback's handle scope.
pub(crate) type Value = sys::napi_value;

/// Why a callback does not return a value.
pub(crate) enum Fail {
    /// An error of millpond, thrown as a `MillpondError`.
    Error(Error),
    /// JavaScript threw already: nothing to add.
    Pending,
}

impl From<Error> for Fail {
    fn from(error: Error) -> Fail {
        Fail::Error(error)
    }
}

/// What a callback returns.
pub(crate) type Outcome<T> = Result<T, Fail>;

/// Makes one Node-API call and turns its status into an [`Outcome`].
macro_rules! call {
    ($js:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let js: $crate::js::Js = $js;
        // SAFETY: a `Js` exists only while its environment runs us on its own thread (`Js::new`), values come from the
        // running callback, and every pointer points to a local that outlives the call.
        let status = unsafe { napi_sys::$function(js.env(), $($argument),*) };
        $crate::js::check(status, stringify!($function))
    }};
}
pub(crate) use call;

/// Turns a status into an outcome; `function` is named in the message.
pub(crate) fn check(status: sys::napi_status, function: &str) -> Outcome<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        sys::Status::napi_pending_exception => Err(Fail::Pending),
        other => Err(Fail::Error(Error::new(
            ErrorKind::Panic,
            format_args!("{function} failed with status {other}; please report it"),
        ))),
    }
}

/// The environment (main thread or worker) that is calling us.
#[derive(Copy, Clone)]
pub(crate) struct Js(sys::napi_env);

impl Js {
    /// Wraps the environment that Node passed to a callback or finalizer.
    ///
    /// # Safety
    /// Node is calling us with `env`, on its thread, and the result does not outlive that call.
    pub(crate) unsafe fn new(env: sys::napi_env) -> Js {
        Js(env)
    }

    pub(crate) fn env(self) -> sys::napi_env {
        self.0
    }

    /// Tells whether JavaScript can still run: false while the environment is torn down.
    pub(crate) fn alive(self) -> bool {
        let ask = || -> Outcome<()> {
            let mut global = ptr::null_mut();
            call!(self, napi_get_global(&mut global))?;
            let mut has = false;
            call!(self, napi_has_named_property(global, c"Object".as_ptr(), &mut has))
        };
        ask().is_ok()
    }

    pub(crate) fn undefined(self) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        call!(self, napi_get_undefined(&mut value))?;
        Ok(value)
    }

    pub(crate) fn number(self, number: f64) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        call!(self, napi_create_double(number, &mut value))?;
        Ok(value)
    }

    pub(crate) fn boolean(self, boolean: bool) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        call!(self, napi_get_boolean(boolean, &mut value))?;
        Ok(value)
    }

    pub(crate) fn bigint(self, number: u64) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        call!(self, napi_create_bigint_uint64(number, &mut value))?;
        Ok(value)
    }

    pub(crate) fn string(self, text: &str) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        let length = text.len() as isize;
        call!(self, napi_create_string_utf8(text.as_ptr().cast::<c_char>(), length, &mut value))?;
        Ok(value)
    }

    /// Makes a string of a text that is whole.
    pub(crate) fn text(self, text: &Text) -> Outcome<Value> {
        self.string(text.whole().ok_or_else(|| none_for("a text"))?)
    }

    /// Makes an array of what `items` yields.
    pub(crate) fn array(self, items: impl IntoIterator<Item = Outcome<Value>>) -> Outcome<Value> {
        let mut array = ptr::null_mut();
        call!(self, napi_create_array(&mut array))?;
        for (index, item) in (0u32..).zip(items) {
            let item = item?;
            call!(self, napi_set_element(array, index, item))?;
        }
        Ok(array)
    }

    /// Makes an object of these members.
    pub(crate) fn object(self, members: &[(&std::ffi::CStr, Value)]) -> Outcome<Value> {
        let mut object = ptr::null_mut();
        call!(self, napi_create_object(&mut object))?;
        for (name, value) in members {
            call!(self, napi_set_named_property(object, name.as_ptr(), *value))?;
        }
        Ok(object)
    }

    /// Returns address and length of an ArrayBuffer: null and 0 when it was detached.
    pub(crate) fn array_buffer(self, value: Value) -> Outcome<(*mut u8, usize)> {
        let mut data: *mut c_void = ptr::null_mut();
        let mut length = 0;
        call!(self, napi_get_arraybuffer_info(value, &mut data, &mut length))
            .map_err(|_| internal("an ArrayBuffer was expected"))?;
        Ok((data.cast::<u8>(), length))
    }

    /// Returns address and element count of a Float64Array.
    pub(crate) fn float64_array(self, value: Value) -> Outcome<(*mut f64, usize)> {
        let mut kind = 0;
        let mut length = 0;
        let mut data: *mut c_void = ptr::null_mut();
        let mut buffer = ptr::null_mut();
        let mut offset = 0;
        call!(self, napi_get_typedarray_info(value, &mut kind, &mut length, &mut data, &mut buffer, &mut offset))?;
        if kind != sys::TypedarrayType::float64_array {
            return Err(internal("a Float64Array was expected"));
        }
        Ok((data.cast::<f64>(), length))
    }

    /// Keeps a value alive beyond the running callback.
    pub(crate) fn reference(self, value: Value) -> Outcome<sys::napi_ref> {
        let mut reference = ptr::null_mut();
        call!(self, napi_create_reference(value, 1, &mut reference))?;
        Ok(reference)
    }

    /// Returns what a reference keeps.
    pub(crate) fn referenced(self, reference: sys::napi_ref) -> Outcome<Value> {
        let mut value = ptr::null_mut();
        call!(self, napi_get_reference_value(reference, &mut value))?;
        Ok(value)
    }
}

/// Makes the error of a call that only our own JavaScript can make wrongly.
pub(crate) fn internal(what: &str) -> Fail {
    Fail::Error(Error::new(
        ErrorKind::Panic,
        format_args!("millpond's own JavaScript called its addon wrongly: {what}; please report it"),
    ))
}

const ARGUMENTS_MAX: usize = 12;
/// Most calls have no more; Node fills what is not given with handles of undefined, which costs.
const ARGUMENTS_USUAL: usize = 3;

/// One call from JavaScript: who calls, with what.
pub(crate) struct Call<'a> {
    pub js: Js,
    pub environment: &'a Rc<Environment>,
    /// Where Node wrote them: to copy them just then would wait for the stores.
    arguments: &'a [Value],
}

impl Call<'_> {
    /// Returns an argument.
    pub(crate) fn value(&self, index: usize) -> Outcome<Value> {
        match self.arguments.get(index) {
            Some(value) => Ok(*value),
            None => Err(internal("an argument is missing")),
        }
    }

    pub(crate) fn kind(&self, index: usize) -> Outcome<sys::napi_valuetype> {
        let mut kind = 0;
        let value = self.value(index)?;
        call!(self.js, napi_typeof(value, &mut kind))?;
        Ok(kind)
    }

    pub(crate) fn is_undefined(&self, index: usize) -> Outcome<bool> {
        Ok(index >= self.arguments.len() || self.kind(index)? == sys::ValueType::napi_undefined)
    }

    pub(crate) fn number(&self, index: usize) -> Outcome<f64> {
        let mut number = 0.0;
        let value = self.value(index)?;
        call!(self.js, napi_get_value_double(value, &mut number)).map_err(|_| internal("a number was expected"))?;
        Ok(number)
    }

    /// Returns a size or index: JavaScript checked that it is an integer that a double holds exactly.
    pub(crate) fn size(&self, index: usize) -> Outcome<usize> {
        let number = self.number(index)?;
        if !(0.0..=9_007_199_254_740_991.0).contains(&number) {
            return Err(internal("a size was expected"));
        }
        Ok(number as usize)
    }

    /// Returns a size, or nothing where JavaScript passed undefined.
    pub(crate) fn size_or_none(&self, index: usize) -> Outcome<Option<usize>> {
        if self.is_undefined(index)? {
            return Ok(None);
        }
        self.size(index).map(Some)
    }

    pub(crate) fn boolean(&self, index: usize) -> Outcome<bool> {
        let mut boolean = false;
        let value = self.value(index)?;
        call!(self.js, napi_get_value_bool(value, &mut boolean))?;
        Ok(boolean)
    }

    pub(crate) fn bigint(&self, index: usize) -> Outcome<u64> {
        let mut number = 0;
        let mut lossless = false;
        let value = self.value(index)?;
        call!(self.js, napi_get_value_bigint_uint64(value, &mut number, &mut lossless))?;
        if !lossless {
            return Err(Fail::Error(Error::new(
                ErrorKind::InvalidHandle,
                "the number has more than 64 bits; it is no handle of this process",
            )));
        }
        Ok(number)
    }

    pub(crate) fn string(&self, index: usize) -> Outcome<String> {
        let value = self.value(index)?;
        let mut length = 0;
        call!(self.js, napi_get_value_string_utf8(value, ptr::null_mut(), 0, &mut length))?;
        let mut text = Vec::new();
        text.try_reserve_exact(length + 1).map_err(|_| none_for("a text"))?;
        text.resize(length + 1, 0_u8);
        call!(self.js, napi_get_value_string_utf8(value, text.as_mut_ptr().cast::<c_char>(), text.len(), &mut length))?;
        text.truncate(length);
        String::from_utf8(text).map_err(|_| internal("a string was expected"))
    }

    /// Returns a text of our own JavaScript; of one that is too long, the beginning.
    pub(crate) fn short(&self, index: usize) -> Outcome<Short> {
        let value = self.value(index)?;
        let mut text = [0_u8; Short::ROOM];
        let mut length = 0;
        call!(self.js, napi_get_value_string_utf8(value, text.as_mut_ptr().cast::<c_char>(), text.len(), &mut length))?;
        Short::new(text, length).ok_or_else(|| internal("a text was expected"))
    }

    /// Returns the sizes of an array of numbers.
    pub(crate) fn sizes(&self, index: usize) -> Outcome<Vec<usize>> {
        let array = self.value(index)?;
        let mut count = 0;
        call!(self.js, napi_get_array_length(array, &mut count))?;
        let mut sizes = Vec::new();
        for element in 0..count {
            let mut value = ptr::null_mut();
            call!(self.js, napi_get_element(array, element, &mut value))?;
            let mut number = 0.0;
            call!(self.js, napi_get_value_double(value, &mut number))?;
            push(&mut sizes, number as usize, "the sizes of the classes")?;
        }
        Ok(sizes)
    }

    pub(crate) fn undefined(&self) -> Outcome<Value> {
        self.js.undefined()
    }
}

/// A callback's body.
pub(crate) type Body = fn(&Call<'_>) -> Outcome<Value>;

/// Runs a callback's body: reads the arguments, catches a panic, throws what failed.
///
/// # Safety
/// Node calls, and the function was created by [`export`] with what [`Environment::install`] returned.
pub(crate) unsafe fn guard(env: sys::napi_env, info: sys::napi_callback_info, body: Body) -> Value {
    // SAFETY: the caller of `guard` is a callback that Node is running with `env`.
    let js = unsafe { Js::new(env) };
    let mut arguments = [ptr::null_mut(); ARGUMENTS_MAX];
    let mut given = ARGUMENTS_USUAL;
    let mut data = ptr::null_mut();
    let mut read = call!(js, napi_get_cb_info(info, &mut given, arguments.as_mut_ptr(), ptr::null_mut(), &mut data));
    if given > ARGUMENTS_USUAL {
        given = ARGUMENTS_MAX;
        read = call!(js, napi_get_cb_info(info, &mut given, arguments.as_mut_ptr(), ptr::null_mut(), &mut data));
    }
    if read.is_err() || data.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: `export` stored this pointer, and the environment's instance data keeps what it points to until the
    // environment ends, after which no function of it is called.
    let environment = unsafe { Rc::<Environment>::borrow_raw(data) };
    let call = Call { js, environment: &environment, arguments: &arguments[..given.min(ARGUMENTS_MAX)] };
    match catch_unwind(AssertUnwindSafe(|| body(&call))) {
        Ok(Ok(value)) => value,
        Ok(Err(fail)) => {
            environment.throw(js, fail);
            ptr::null_mut()
        }
        Err(payload) => {
            environment.throw(js, Fail::Error(panic_error(payload.as_ref())));
            ptr::null_mut()
        }
    }
}

/// Describes a caught panic.
pub(crate) fn panic_error(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorKind::Panic, format_args!("millpond itself failed: {text}; please report it"))
}

/// The signature that Node calls.
pub(crate) type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

/// Adds a function to the addon's exports.
pub(crate) fn export(
    js: Js,
    exports: Value,
    name: &std::ffi::CStr,
    callback: Callback,
    data: *mut c_void,
) -> Outcome<()> {
    let mut function = ptr::null_mut();
    call!(
        js,
        napi_create_function(name.as_ptr(), name.to_bytes().len() as isize, Some(callback), data, &mut function,)
    )?;
    call!(js, napi_set_named_property(exports, name.as_ptr(), function))
}

/// Makes the table of a module's exports: name in JavaScript, body.
macro_rules! exports {
    ($($name:literal => $body:path),* $(,)?) => {
        pub(crate) const EXPORTS: &[(&std::ffi::CStr, $crate::js::Callback)] = &[$(({
            $name
        }, {
            unsafe extern "C" fn raw(
                env: napi_sys::napi_env,
                info: napi_sys::napi_callback_info,
            ) -> napi_sys::napi_value {
                // SAFETY: Node calls this function, which `lib.rs` exported with the environment's data.
                unsafe { $crate::js::guard(env, info, $body) }
            }
            raw
        })),*];
    };
}
pub(crate) use exports;
