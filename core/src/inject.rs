//! Makes a pool fail and dawdle on purpose, so that programs can test what they do then.

use std::str::FromStr;
use std::time::Duration;

use crate::environment;
use crate::error::{Error, Result};

const CHOICE: &str = "use a list of get=N, alloc=N, p=0.0 to 1.0, seed=N and delay=N (milliseconds), separated by commas, or \
                      nothing";

/// What a pool does wrong on purpose. Written as a list separated by commas, in
/// [`BufferPool::inject`](crate::BufferPool::inject) and in the environment variable `MILLPOND_INJECT`, which is for all
/// pools: `get=N` fails the N-th get from now with `EXHAUSTED`, `alloc=N` the N-th creation of a buffer with `NO_MEMORY`,
/// `p=P` each get with this probability with `EXHAUSTED`, by a sequence that `seed=N` chooses (0 by default), and `delay=N`
/// makes each put take N milliseconds longer.
///
/// *Thread-compatible.* *Fork:* plain data.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// Gets until one fails; 0 for none.
    get: u64,
    /// Creations until one fails; 0 for none.
    alloc: u64,
    probability: f64,
    /// The state of the generator, whose start is the seed.
    random: u64,
    delay: Duration,
}

impl Injection {
    /// Returns what the environment says.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it says something else than is listed at [`Injection`].
    pub(crate) fn from_environment() -> Result<Injection> {
        Ok(environment::read(c"MILLPOND_INJECT", CHOICE, |text| text.parse().ok())?.unwrap_or_default())
    }

    /// Says whether anything is to go wrong.
    pub(crate) fn is_active(&self) -> bool {
        self.get > 0 || self.alloc > 0 || self.probability > 0.0 || !self.delay.is_zero()
    }

    /// Counts a get; `true` when it is to fail.
    pub(crate) fn fails_get(&mut self) -> bool {
        let turn = self.get == 1;
        self.get = self.get.saturating_sub(1);
        turn || (self.probability > 0.0 && self.next() < self.probability)
    }

    /// Counts the creation of a buffer; `true` when it is to fail.
    pub(crate) fn fails_alloc(&mut self) -> bool {
        let turn = self.alloc == 1;
        self.alloc = self.alloc.saturating_sub(1);
        turn
    }

    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns a number from 0 to 1 by SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
    /// 2014).
    fn next(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl FromStr for Injection {
    type Err = Error;

    /// Reads the list; the empty text injects nothing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` names the part that is none of those.
    fn from_str(text: &str) -> Result<Injection> {
        let mut injection = Injection::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let wrong = || Error::invalid(format_args!("inject has \"{part}\" in it; {CHOICE}"));
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let number = || value.parse::<u64>().map_err(|_| wrong());
            match name {
                "get" => injection.get = number()?,
                "alloc" => injection.alloc = number()?,
                "seed" => injection.random = number()?,
                "delay" => injection.delay = Duration::from_millis(number()?),
                "p" => {
                    let probability = value.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)?;
                    injection.probability = probability;
                }
                _ => return Err(wrong()),
            }
        }
        Ok(injection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_fails_and_only_that() {
        let mut injection: Injection = "get=3,alloc=1".parse().expect("a list");
        let gets: Vec<_> = (0..6).map(|_| injection.fails_get()).collect();
        assert_eq!(gets, [false, false, true, false, false, false]);
        assert!(injection.fails_alloc() && !injection.fails_alloc());
    }

    #[test]
    fn a_seed_repeats_and_the_probability_holds() {
        let run = |text: &str| {
            let mut injection: Injection = text.parse().expect("a list");
            (0..10_000).map(|_| injection.fails_get()).collect::<Vec<_>>()
        };
        let first = run("p=0.25,seed=7");
        assert_eq!(first, run("seed=7,p=0.25"));
        assert_ne!(first, run("seed=8,p=0.25"));
        let failed = first.iter().filter(|failed| **failed).count();
        assert!((2300..2700).contains(&failed), "{failed}");
        assert!(run("p=1").iter().all(|failed| *failed));
    }

    #[test]
    fn numbers_are_those_of_the_generator() {
        let mut injection = Injection { random: 1_234_567, ..Injection::default() };
        for word in [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423] {
            assert_eq!(injection.next(), (word >> 11) as f64 / 2_f64.powi(53));
        }
        // One that is not below the probability fails nothing.
        let start = Injection { random: 7, ..Injection::default() };
        let probability = { start }.next();
        assert!(!Injection { probability, ..start }.fails_get());
        assert!(Injection { probability: probability.next_up(), ..start }.fails_get());
    }

    #[test]
    fn what_injects_nothing_changes_nothing() {
        let mut injection = Injection::default();
        assert!(!injection.fails_get() && !injection.fails_alloc());
        assert_eq!(injection, Injection::default());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["get", "get=", "get=-1", "p=1.1", "p=NaN", "p=-0.1", "delay=1ms", "puts=1", ",", "get=1,", " get=1"]
        {
            assert!(text.parse::<Injection>().is_err(), "{text}");
        }
        assert!(!"".parse::<Injection>().expect("nothing").is_active());
    }
}
