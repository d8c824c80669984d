//! Says how closely a pool looks at its leases.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::environment;
use crate::error::{Error, Result};

/// How closely a pool looks at its leases. Set by [`Builder::check`](crate::Builder::check), by
/// [`BufferPool::set_check`](crate::BufferPool::set_check) while the pool works, or for all pools that say nothing else by
/// the environment variable `MILLPOND_CHECK`, in the words that [`Check`] is written in here.
///
/// *Thread-safe.* *Fork:* plain data.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// `off`: handles, limits and statistics only; no canaries behind handles' leases.
    Off,
    /// `on`: handles, canaries, and where the language tells it for nearly nothing the place of each get.
    #[default]
    On,
    /// `sites`: as `on`, and the places and threads of gets and puts. A get and put take some hundred nanoseconds.
    Sites,
    /// `sample:N`: as `on`, and each N-th lease of up to 1 MiB of a thread stands on pages of its own: a write past its end
    /// and a use after its put end at the very instruction (SIGSEGV). See
    /// [`report_faults`](crate::report_faults).
    Sample(NonZeroU32),
    /// `full`: as `sites`, and buffers are used again as late as possible, filled with a pattern meanwhile: a write into a
    /// buffer after its put is found and attributed when the buffer comes back. Up to 256 buffers and 64 MiB wait so, a
    /// quarter of `max_bytes` at most; they count as retained, beyond `max_retained_bytes`.
    Full,
}

/// Says whether pools keep buffers: `false` if `MILLPOND_POOL` is `off`.
///
/// # Errors
/// `INVALID_ARGUMENT`: the variable is neither `on` nor `off`.
pub(crate) fn pools_keep() -> Result<bool> {
    let keeps = environment::read(c"MILLPOND_POOL", "use on or off", |text| match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    })?;
    Ok(keeps.unwrap_or(true))
}

impl Check {
    /// Returns what the environment says, `On` if nothing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: the variable has another value than those that are listed at the variants.
    pub(crate) fn from_environment() -> Result<Check> {
        Ok(environment::read(c"MILLPOND_CHECK", CHOICE, |text| text.parse().ok())?.unwrap_or_default())
    }

    /// Says whether leases are recorded with places and threads.
    pub(crate) fn records(self) -> bool {
        matches!(self, Check::Sites | Check::Full)
    }

    /// Returns the mode as a word, for an atomic.
    pub(crate) fn to_bits(self) -> u64 {
        match self {
            Check::Off => 0,
            Check::On => 1,
            Check::Sites => 2,
            Check::Full => 3,
            Check::Sample(every) => 4 | (u64::from(every.get()) << 32),
        }
    }

    pub(crate) fn from_bits(bits: u64) -> Check {
        match (bits as u32, NonZeroU32::new((bits >> 32) as u32)) {
            (0, _) => Check::Off,
            (2, _) => Check::Sites,
            (3, _) => Check::Full,
            (4, Some(every)) => Check::Sample(every),
            _ => Check::On,
        }
    }
}

const CHOICE: &str = "use off, on, sites, sample:N with N from 1 to 4294967295, or full";

impl FromStr for Check {
    type Err = Error;

    /// Reads `off`, `on`, `sites`, `sample:N` or `full`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for anything else, with the list.
    fn from_str(text: &str) -> Result<Check> {
        match text {
            "off" => Ok(Check::Off),
            "on" => Ok(Check::On),
            "sites" => Ok(Check::Sites),
            "full" => Ok(Check::Full),
            _ => match text.strip_prefix("sample:").map(NonZeroU32::from_str) {
                // `from_str` would also take a plus sign.
                Some(Ok(every)) if text.as_bytes()[7].is_ascii_digit() => Ok(Check::Sample(every)),
                _ => Err(Error::invalid(format_args!("check is \"{text}\"; {CHOICE}"))),
            },
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Off => f.write_str("off"),
            Check::On => f.write_str("on"),
            Check::Sites => f.write_str("sites"),
            Check::Sample(every) => write!(f, "sample:{every}"),
            Check::Full => f.write_str("full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bits_round_trip() {
        for text in ["off", "on", "sites", "sample:1", "sample:1000", "sample:4294967295", "full"] {
            let check: Check = text.parse().expect(text);
            assert_eq!(check.to_string(), text);
            assert_eq!(Check::from_bits(check.to_bits()), check);
        }
    }

    #[test]
    fn other_words_are_refused_with_the_list() {
        for text in [
            "",
            "ON",
            " on",
            "sample",
            "sample:",
            "sample:0",
            "sample:-1",
            "sample:+1",
            "sample:4294967296",
            "all",
            "1",
        ] {
            let error = text.parse::<Check>().expect_err(text);
            assert!(error.message().contains("sample:N"), "{error}");
        }
    }
}
