//! Converts the options of `Pool(...)`. Values are checked by core; here are types, names and contradictions
//! that only Python can express.

use std::str::FromStr;

use millpond::{BufferPool, Builder, Check, Classes, ClearPolicy, LimitPolicy};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::args;
use crate::errors::{invalid, shielded, to_py};
use crate::text;

/// Size classes, four for each doubling: a buffer is at most 25 % larger than what was asked for.
///
/// Args:
///     min: The smallest class in bytes, a power of two from 256.
///     max: The largest class in bytes, up to 1 GiB.
///
/// Raises:
///     InvalidArgumentError: A value is negative or cannot be a size. Pool(classes=...) checks the rest.
///     TypeError: A value is not an int.
///
/// Thread-safe. Fork: plain data.
#[pyclass(frozen, eq, hash, get_all, module = "millpond")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct FourPerDoubling {
    /// The smallest class in bytes.
    min: usize,
    /// The largest class in bytes.
    max: usize,
}

#[pymethods]
impl FourPerDoubling {
    #[new]
    fn py_new(py: Python<'_>, min: &Bound<'_, PyAny>, max: &Bound<'_, PyAny>) -> PyResult<FourPerDoubling> {
        shielded(py, || Ok(FourPerDoubling { min: args::bytes("min", min)?, max: args::bytes("max", max)? }))
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text::string(py, format_args!("FourPerDoubling(min={}, max={})", self.min, self.max))
    }
}

type Argument<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// The options as they were given.
pub(crate) struct Given<'a, 'py> {
    pub name: Argument<'a, 'py>,
    pub classes: Argument<'a, 'py>,
    pub max_bytes: Argument<'a, 'py>,
    pub max_retained_bytes: Argument<'a, 'py>,
    pub on_limit: Argument<'a, 'py>,
    pub timeout: Argument<'a, 'py>,
    pub clear: Argument<'a, 'py>,
    pub alignment: Argument<'a, 'py>,
    pub thread_cache_bytes: Argument<'a, 'py>,
    pub check: Argument<'a, 'py>,
    pub maintain_every: Argument<'a, 'py>,
}

#[derive(Copy, Clone, PartialEq)]
enum Limit {
    Fail,
    Wait,
    Unpooled,
}

impl Given<'_, '_> {
    /// Fills a builder with what was given; what was left out keeps core's default.
    pub(crate) fn builder(&self, py: Python<'_>) -> PyResult<Builder> {
        let mut builder = BufferPool::builder();
        if let Some(name) = self.name {
            let Ok(text) = name.cast::<PyString>() else {
                return Err(args::wrong_type("name", "a str", name));
            };
            let text = text.to_str().map_err(|_| invalid(py, "name has surrogates; use text that UTF-8 can hold"))?;
            builder = builder.name(text);
        }
        if let Some(classes) = self.classes {
            builder = builder.classes(class_list(classes)?);
        }
        if let Some(bytes) = args::optional_bytes("max_bytes", self.max_bytes)? {
            builder = builder.max_bytes(bytes);
        }
        if let Some(bytes) = args::optional_bytes("max_retained_bytes", self.max_retained_bytes)? {
            builder = builder.max_retained_bytes(bytes);
        }
        if let Some(policy) = self.limit_policy(py)? {
            builder = builder.on_limit(policy);
        }
        if let Some(clear) = self.clear {
            let choices =
                [("on_put", ClearPolicy::OnPut), ("on_get", ClearPolicy::OnGet), ("never", ClearPolicy::Never)];
            builder = builder.clear(args::choice("clear", clear, &choices)?);
        }
        if let Some(bytes) = args::optional_bytes("alignment", self.alignment)? {
            builder = builder.alignment(bytes);
        }
        if let Some(bytes) = args::optional_bytes("thread_cache_bytes", self.thread_cache_bytes)? {
            builder = builder.thread_cache_bytes(bytes);
        }
        if let Some(check) = self.check {
            builder = builder.check(parsed::<Check>("check", check)?);
        }
        if let Some(every) = self.maintain_every {
            builder = builder.maintain_every(args::seconds("maintain_every", every)?);
        }
        Ok(builder)
    }

    fn limit_policy(&self, py: Python<'_>) -> PyResult<Option<LimitPolicy>> {
        let choices = [("fail", Limit::Fail), ("wait", Limit::Wait), ("unpooled", Limit::Unpooled)];
        let chosen = self.on_limit.map(|value| args::choice("on_limit", value, &choices)).transpose()?;
        let timeout = self.timeout.map(|value| args::seconds("timeout", value)).transpose()?;
        match (chosen, timeout) {
            (Some(Limit::Wait), Some(timeout)) => Ok(Some(LimitPolicy::Wait(timeout))),
            (Some(Limit::Wait), None) => {
                Err(invalid(py, "on_limit is \"wait\": say with timeout for how many seconds"))
            }
            (_, Some(_)) => Err(invalid(py, "timeout is given, but on_limit is not \"wait\"")),
            (Some(Limit::Fail), None) => Ok(Some(LimitPolicy::Fail)),
            (Some(Limit::Unpooled), None) => Ok(Some(LimitPolicy::Unpooled)),
            (None, None) => Ok(None),
        }
    }
}

/// Reads what core has a way of writing for.
pub(crate) fn parsed<T: FromStr<Err = millpond::Error>>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(args::wrong_type(name, "a str", value));
    };
    text.to_string_lossy().parse().map_err(|error| to_py(value.py(), &error))
}

fn class_list(value: &Bound<'_, PyAny>) -> PyResult<Classes> {
    let py = value.py();
    if let Ok(doubling) = value.cast::<FourPerDoubling>() {
        let FourPerDoubling { min, max } = *doubling.get();
        return Ok(Classes::FourPerDoubling { min, max });
    }
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_string_lossy();
        return if text == "default" {
            Ok(Classes::Default)
        } else {
            Err(invalid(py, format_args!("classes is {text:?}; the only name is \"default\"")))
        };
    }
    let wrong = || args::wrong_type("classes", "\"default\", a sequence of ints or a FourPerDoubling", value);
    let mut sizes = Vec::new();
    for size in value.try_iter().map_err(|_| wrong())? {
        // Core refuses lists this long; the limit is here so that an endless iterator ends.
        if sizes.len() > 1024 {
            return Err(invalid(py, "classes has more than 1024 sizes; 128 are allowed"));
        }
        sizes.try_reserve(1).map_err(|_| text::no_memory(py))?;
        sizes.push(args::bytes("an item of classes", &size?)?);
    }
    Ok(Classes::List(sizes))
}
