//! Holds what a pool is told when it is made, and checks it.

use std::fmt::{self, Write};
use std::io::Read;
use std::ops::Deref;
use std::time::Duration;

use crate::buffer::classes::ClassTable;
use crate::check::Check;
use crate::error::{Error, Result};
use crate::inject::Injection;

/// The capacities that a pool hands out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Classes {
    /// Nine: 512 bytes, 1, 4, 16, 64 and 256 KiB, 1, 4 and 16 MiB.
    #[default]
    Default,
    /// Four per doubling, so that a buffer is at most 25 % larger than asked for.
    FourPerDoubling {
        /// The smallest class in bytes: a power of two from 256.
        min: usize,
        /// The largest class in bytes, up to 1 GiB.
        max: usize,
    },
    /// These sizes in bytes: ascending multiples of 64 from 64 to 1 GiB, 128 of them at most.
    List(Vec<usize>),
}

/// What a get does when the pool may not grow.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LimitPolicy {
    /// Fails with `EXHAUSTED`.
    #[default]
    Fail,
    /// Waits for a put, at most this long, then fails with `EXHAUSTED`.
    Wait(Duration),
    /// Allocates a buffer for this lease alone, beyond the limit; it is freed at its put.
    Unpooled,
}

/// When a buffer is cleared between two tenants.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClearPolicy {
    /// At put, over all that may have been written: idle memory holds nothing and a get is all zero.
    #[default]
    OnPut,
    /// At get, over the length handed out: a get is all zero, idle memory keeps what the last tenant wrote.
    OnGet,
    /// Never: contents are unspecified and may be an earlier tenant's. For pools with one tenant.
    Never,
}

/// Alignments a pool can be asked for, in bytes.
pub(crate) const ALIGNMENT_MIN: usize = 64;
const ALIGNMENT_MAX: usize = 2 << 20;
const NAME_MAX: usize = 64;
const THREAD_CACHE_DEFAULT: usize = 32 << 20;
const RETAINED_DEFAULT_MAX: usize = 256 << 20;
const RETAINED_DEFAULT_MIN: usize = 1 << 20;

/// A pool's name, in place: to give one needs no memory.
#[derive(Clone)]
pub(crate) struct Name {
    /// The text, or as much of one that is too long as fits.
    bytes: [u8; NAME_MAX],
    /// The length of the whole text.
    len: usize,
}

impl Name {
    /// Copies a name, which may be too long for one: [`Options::check`] tells.
    pub(crate) fn of(text: &str) -> Name {
        let mut name = Name { bytes: [0; NAME_MAX], len: 0 };
        // A name takes any text.
        let _ = name.write_str(text);
        name
    }

    /// Makes the name of a pool that was given none.
    pub(crate) fn of_number(number: usize) -> Name {
        let mut name = Name::of("");
        let _ = write!(name, "pool-{number}");
        name
    }

    pub(crate) fn as_str(&self) -> &str {
        // Zeroes stand where a character was cut.
        std::str::from_utf8(&self.bytes[..self.len.min(NAME_MAX)]).unwrap_or_default()
    }
}

impl Write for Name {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = part.floor_char_boundary(room.len());
        room[..fits].copy_from_slice(&part.as_bytes()[..fits]);
        self.len += part.len();
        Ok(())
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Everything a pool was told, checked and filled in.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub name: Option<Name>,
    pub classes: Classes,
    pub max_bytes: Option<usize>,
    pub max_retained_bytes: Option<usize>,
    pub on_limit: LimitPolicy,
    pub clear: ClearPolicy,
    pub alignment: usize,
    pub thread_cache_bytes: usize,
    pub maintain_every: Option<Duration>,
    /// None: what the environment says.
    pub check: Option<Check>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: None,
            classes: Classes::Default,
            max_bytes: None,
            max_retained_bytes: None,
            on_limit: LimitPolicy::Fail,
            clear: ClearPolicy::OnPut,
            alignment: ALIGNMENT_MIN,
            thread_cache_bytes: THREAD_CACHE_DEFAULT,
            maintain_every: None,
            check: None,
        }
    }
}

/// What [`Options::check`] computes from the options.
pub(crate) struct Checked {
    pub table: ClassTable,
    pub max_bytes: usize,
    pub max_retained_bytes: usize,
    pub thread_cache_bytes: usize,
    pub check: Check,
    /// Whether idle buffers are kept at all.
    pub keeps: bool,
    pub injection: Injection,
}

impl Options {
    /// Checks every option and every pair of options that can contradict each other.
    pub(crate) fn check(&self) -> Result<Checked> {
        if let Some(name) = &self.name {
            if !(1..=NAME_MAX).contains(&name.len) {
                return Err(Error::invalid(format_args!(
                    "name has {} bytes; a pool's name has 1 to {NAME_MAX}",
                    name.len
                )));
            }
            if name.chars().any(char::is_control) {
                return Err(Error::invalid(
                    "name contains a control character; it appears in messages and metrics, use printable text",
                ));
            }
        }
        if !self.alignment.is_power_of_two() || !(ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&self.alignment) {
            return Err(Error::invalid(format_args!(
                "alignment is {}; use a power of two from {ALIGNMENT_MIN} to {ALIGNMENT_MAX} bytes",
                self.alignment
            )));
        }
        let table = ClassTable::new(&self.classes)?;
        let max_bytes = match self.max_bytes {
            Some(0) => {
                return Err(Error::invalid(
                    "max_bytes is 0: the pool could never hand out a buffer; leave it out for a quarter of the memory",
                ));
            }
            Some(bytes) if bytes < table.smallest() => {
                return Err(Error::invalid(format_args!(
                    "max_bytes is {bytes}, less than the smallest size class of {} bytes",
                    table.smallest()
                )));
            }
            Some(bytes) => bytes,
            None => (memory_bytes() / 4).max(table.smallest()),
        };
        let max_retained_bytes = match self.max_retained_bytes {
            Some(bytes) if bytes > max_bytes => {
                return Err(Error::invalid(format_args!(
                    "max_retained_bytes is {bytes}, more than max_bytes, {max_bytes}: idle buffers count in both"
                )));
            }
            Some(bytes) => bytes,
            None => (max_bytes / 16).clamp(RETAINED_DEFAULT_MIN, RETAINED_DEFAULT_MAX).min(max_bytes),
        };
        if let LimitPolicy::Wait(limit) = self.on_limit
            && limit.is_zero()
        {
            return Err(Error::invalid("on_limit waits for no time at all; use LimitPolicy::Fail for that"));
        }
        if let Some(every) = self.maintain_every
            && every < Duration::from_millis(1)
        {
            return Err(Error::invalid(format_args!("maintain_every is {every:?}; the shortest interval is 1 ms")));
        }
        Ok(Checked {
            table,
            max_bytes,
            max_retained_bytes,
            // What threads keep for themselves is idle memory too.
            thread_cache_bytes: self.thread_cache_bytes.min(max_retained_bytes),
            check: match self.check {
                Some(check) => check,
                None => Check::from_environment()?,
            },
            keeps: crate::check::pools_keep()?,
            injection: Injection::from_environment()?,
        })
    }
}

/// Where the limit of the control group stands: version 2, version 1. Both are looked up at the group's mount point, where a
/// container sees its own.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// What a machine is taken to have that does not tell.
const UNTOLD: usize = 1 << 30;

/// Returns how much memory this process may use: the machine's, or less by a control group.
fn memory_bytes() -> usize {
    // SAFETY: sysconf only reads its argument.
    usable(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) }, control_group_limit(&LIMITS))
}

fn usable(pages: libc::c_long, limit: Option<usize>) -> usize {
    let machine =
        usize::try_from(pages).map_or(UNTOLD, |pages| pages.saturating_mul(crate::buffer::memory::page_size()));
    limit.map_or(machine, |limit| limit.min(machine))
}

fn control_group_limit(files: &[&str]) -> Option<usize> {
    files.iter().find_map(|path| read_number(path)).filter(|limit| *limit > 0)
}

/// Reads a file that holds a number and nothing else. Without the heap: a pool that is made while there is no memory has
/// the same limits as any other.
fn read_number(path: &str) -> Option<usize> {
    let mut text = [0; 32];
    let len = std::fs::File::open(path).ok()?.read(&mut text).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Options), argument: &str) {
        let mut options = Options::default();
        change(&mut options);
        let error = options.check().err().expect("refused");
        assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
        assert!(error.message().contains(argument), "{error}");
    }

    #[test]
    fn contradictions_name_the_option() {
        refused(|o| o.name = Some(Name::of("")), "name has 0 bytes");
        refused(|o| o.name = Some(Name::of(&"x".repeat(65))), "name has 65 bytes");
        refused(|o| o.name = Some(Name::of(&"\u{20ac}".repeat(22))), "name has 66 bytes");
        refused(|o| o.name = Some(Name::of("a\nb")), "name");
        refused(|o| o.alignment = 63, "alignment");
        refused(|o| o.alignment = 96, "alignment");
        refused(|o| o.alignment = 4 << 20, "alignment");
        refused(|o| o.max_bytes = Some(0), "max_bytes");
        refused(|o| o.max_bytes = Some(511), "max_bytes");
        refused(
            |o| {
                o.max_bytes = Some(4096);
                o.max_retained_bytes = Some(4097);
            },
            "max_retained_bytes",
        );
        refused(|o| o.on_limit = LimitPolicy::Wait(Duration::ZERO), "on_limit");
        refused(|o| o.maintain_every = Some(Duration::from_micros(999)), "maintain_every");
        refused(|o| o.classes = Classes::List(vec![]), "classes");
    }

    #[test]
    fn names_are_kept_whole_or_cut_between_characters() {
        for text in ["", "frames", &"x".repeat(64), &"\u{20ac}".repeat(21)] {
            assert_eq!(&*Name::of(text), text);
        }
        let long = Name::of(&"\u{20ac}".repeat(22));
        assert_eq!((long.trim_end_matches('\0'), long.len), (&*"\u{20ac}".repeat(21), 66));
        assert_eq!(&*Name::of_number(65_534), "pool-65534");
    }

    #[test]
    fn a_sixteenth_is_retained_within_bounds() {
        for (max, retained) in
            [(512, 512), (2 << 20, 1 << 20), (64 << 20, 4 << 20), (4 << 30, 256 << 20), (1 << 40, 256 << 20)]
        {
            let options = Options { max_bytes: Some(max), ..Options::default() };
            assert_eq!(options.check().ok().map(|checked| checked.max_retained_bytes), Some(retained), "{max}");
        }
    }

    #[test]
    fn memory_is_the_machines_or_the_control_groups() {
        let page = crate::buffer::memory::page_size();
        assert_eq!((usable(1000, None), usable(1000, Some(usize::MAX))), (1000 * page, 1000 * page));
        assert_eq!((usable(1000, Some(5000)), usable(libc::c_long::MAX, None)), (5000, usize::MAX));
        // A machine that does not tell.
        assert_eq!((usable(-1, None), usable(-1, Some(5000))), (1 << 30, 5000));

        let folder = std::env::temp_dir();
        let file = |name: &str, text: &str| {
            let path = folder.join(format!("millpond-{}-{name}", std::process::id()));
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("a name").to_owned()
        };
        let (none, some) = (file("none", "max\n"), file("some", "1048576\n"));
        let (zero, missing) = (file("zero", "0\n"), "/proc/no/such/file");
        assert_eq!(control_group_limit(&[missing, &some]), Some(1 << 20));
        assert_eq!(control_group_limit(&[&some, &zero]), Some(1 << 20));
        // The first that is a number counts.
        for unlimited in [&[][..], &[missing], &[&none], &[&zero, &some]] {
            assert_eq!(control_group_limit(unlimited), None, "{unlimited:?}");
        }
        for path in [none, some, zero] {
            std::fs::remove_file(path).expect("ours");
        }
    }

    #[test]
    fn defaults_are_finite() {
        let checked = Options::default().check().expect("defaults");
        assert!(checked.max_bytes <= memory_bytes() / 4);
        assert!(checked.max_retained_bytes <= RETAINED_DEFAULT_MAX);
    }
}
