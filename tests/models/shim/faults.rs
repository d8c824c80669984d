//! Seeds bugs: an operation of the product, named by its place in the source, that does something else than it says.
//!
//! A model that still passes with a bug in it looks at nothing. `seeds.rs` lists the bugs and the models that must find
//! them.

use std::panic::Location;
use std::sync::OnceLock;

/// What an operation does instead.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Its order is `Relaxed`.
    Relax,
    /// It finds this value, whatever is there: the check behind it is as good as removed.
    Blind(u64),
    /// It loads and stores in two steps.
    Split,
    /// It changes nothing.
    Skip,
}

/// A bug in the product.
pub(crate) struct Seed {
    pub name: &'static str,
    /// The file, from `core/src`, and a part of the line that only one line of it has. Empty: a barrier.
    pub file: &'static str,
    pub line: &'static str,
    pub fault: Fault,
    /// The model that must find it.
    #[cfg_attr(shuttle, expect(dead_code, reason = "loom's models look for the bugs"))]
    pub model: &'static str,
    /// What its report must say.
    #[cfg_attr(shuttle, expect(dead_code, reason = "as above"))]
    pub finds: &'static str,
}

/// The bug that this process was told to have, with its line.
struct Planted {
    seed: &'static Seed,
    line: u32,
}

fn planted() -> Option<&'static Planted> {
    static PLANTED: OnceLock<Option<Planted>> = OnceLock::new();
    let found = PLANTED.get_or_init(|| {
        let name = std::env::var("MODELS_SEED").ok()?;
        let seed = crate::models::seeds::SEEDS.iter().find(|seed| seed.name == name);
        let seed = seed.unwrap_or_else(|| panic!("no seeded bug is called \"{name}\""));
        Some(Planted { seed, line: line_of(seed) })
    });
    found.as_ref()
}

macro_rules! sources {
    ($($file:literal),*) => {
        /// The files that have seeds in them, as this program was made from them.
        const SOURCES: &[(&str, &str)] = &[$(($file, include_str!(concat!("../../../core/src/", $file)))),*];
    };
}
sources!(
    "buffer/cache.rs",
    "buffer/get.rs",
    "buffer/inner.rs",
    "buffer/life.rs",
    "buffer/magazine.rs",
    "buffer/raw.rs",
    "buffer/slot.rs",
    "buffer/strong.rs"
);

/// Returns the number of a seed's line. The line must be there, once: a seed that follows no change of the source is no
/// seed.
fn line_of(seed: &Seed) -> u32 {
    if seed.file.is_empty() {
        return 0;
    }
    let (_, text) = SOURCES.iter().find(|(file, _)| *file == seed.file).expect("one of the sources");
    let mut lines = text.lines().enumerate().filter(|(_, line)| line.contains(seed.line));
    let Some((number, _)) = lines.next() else { panic!("{}: no line has \"{}\"", seed.file, seed.line) };
    assert!(lines.next().is_none(), "{}: several lines have \"{}\"", seed.file, seed.line);
    number as u32 + 1
}

/// Returns what the operation at a place does instead.
pub(super) fn at(place: &Location<'_>) -> Option<Fault> {
    let planted = planted()?;
    let it = planted.line == place.line() && !planted.seed.file.is_empty() && place.file().ends_with(planted.seed.file);
    it.then_some(planted.seed.fault)
}

/// Says whether a barrier is left out.
pub(super) fn leaves_out(barrier: &str) -> bool {
    planted().is_some_and(|planted| planted.seed.file.is_empty() && planted.seed.line == barrier)
}

/// Returns a place that is no operation's.
#[track_caller]
pub(super) fn nowhere() -> &'static Location<'static> {
    Location::caller()
}
