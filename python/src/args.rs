//! Converts arguments; every refusal names the argument.

use std::fmt;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyString};

use crate::errors::invalid;
use crate::text;

/// Longer timeouts are this long, a hundred years: nobody sees the difference and no clock overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Refuses a value of the wrong type.
pub(crate) fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    match value.get_type().name() {
        Ok(given) => text::plain::<PyTypeError>(value.py(), format_args!("{name} must be {wanted}, not {given}")),
        Err(error) => error,
    }
}

/// Converts a number of bytes: an int or what has `__index__`.
pub(crate) fn bytes(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = value.py();
    let number = if value.is_instance_of::<PyInt>() {
        value.clone()
    } else if value.hasattr("__index__")? {
        value.call_method0("__index__")?
    } else {
        return Err(wrong_type(name, "an int", value));
    };
    match number.extract::<usize>() {
        Ok(number) => Ok(number),
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            let what = if number.lt(0)? { "negative" } else { "more than an address can hold" };
            // Python itself refuses to print a huge one.
            let bits: usize = number.call_method0("bit_length")?.extract()?;
            Err(match bits > 256 {
                true => invalid(py, format_args!("{name} is {what}: an integer of {bits} bits")),
                false => invalid(py, format_args!("{name} is {what}: {}", number.str()?)),
            })
        }
        Err(error) => Err(error),
    }
}

/// Converts a number of bytes that may be left out.
pub(crate) fn optional_bytes(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    value.filter(|value| !value.is_none()).map(|value| bytes(name, value)).transpose()
}

/// Converts seconds, an int or a float; negative ones and NaN are refused.
pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let py = value.py();
    if !value.is_instance_of::<PyFloat>() && !value.is_instance_of::<PyInt>() {
        return Err(wrong_type(name, "a number of seconds", value));
    }
    let seconds = match value.extract::<f64>() {
        Ok(seconds) => seconds,
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            if value.lt(0)? {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Err(error) => return Err(error),
    };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(invalid(py, format_args!("{name} is {seconds}; use a number of seconds of 0 or more")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST))
}

/// Picks one of the named choices.
pub(crate) fn choice<T: Copy>(name: &str, value: &Bound<'_, PyAny>, choices: &[(&str, T)]) -> PyResult<T> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(wrong_type(name, "a str", value));
    };
    let text = text.to_string_lossy();
    match choices.iter().find(|(known, _)| *known == text) {
        Some((_, chosen)) => Ok(*chosen),
        None => Err(invalid(value.py(), format_args!("{name} is {text:?}; use one of {}", Names(choices)))),
    }
}

/// Lists the names of choices.
struct Names<'a, T>(&'a [(&'a str, T)]);

impl<T> fmt::Display for Names<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, _)) in self.0.iter().enumerate() {
            write!(f, "{}{name:?}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
