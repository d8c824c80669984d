//! Reports the leases that are out when a pool is closed and when the process ends, if the environment asks for it.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::buffer::inner::Inner;
use crate::buffer::slot::Slot;
use crate::buffer::{history, registry, slot};
use crate::clock;
use crate::environment;
use crate::error::{Result, Text};
use crate::site::Site;
use crate::sync::Lock;

/// What `MILLPOND_LEAKS` asks for.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Form {
    Off,
    Text,
    Json,
}

const FORMS: [Form; 3] = [Form::Off, Form::Text, Form::Json];
/// An index into [`FORMS`]: what the environment said when the last pool was made.
static FORM: AtomicU8 = AtomicU8::new(0);

/// Reads the environment; called when a pool is made.
///
/// # Errors
/// `INVALID_ARGUMENT`: the variable has another value than `report`, `json` or `off`. `NO_MEMORY`: none to be called at the
/// process's end.
pub(crate) fn prepare() -> Result<()> {
    let form = environment::read(c"MILLPOND_LEAKS", "use report, json or off", |text| match text {
        "off" => Some(0),
        "report" => Some(1),
        "json" => Some(2),
        _ => None,
    })?
    .unwrap_or(0);
    if form != 0 {
        static REGISTERED: Lock<bool> = Lock::new(false);
        let mut registered = REGISTERED.lock();
        // SAFETY: the function lives as long as the process: the shared library is linked with `nodelete`.
        *registered = *registered || unsafe { libc::atexit(at_exit) } == 0;
        if !*registered {
            return Err(registry::no_memory());
        }
    }
    FORM.store(form, Ordering::Relaxed);
    Ok(())
}

fn form() -> Form {
    FORMS[usize::from(FORM.load(Ordering::Relaxed)) % FORMS.len()]
}

extern "C" fn at_exit() {
    // A panic must not leave a C function; there is nothing to be told of it any more.
    let _ = std::panic::catch_unwind(exit);
}

/// Reports what is out of all pools at the process's end, once: a binding whose leases end with its runtime does it before.
pub(crate) fn exit() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut place = 0;
    while let Some((inner, next)) = registry::next(place) {
        report(&inner, "exit");
        place = next;
    }
}

/// Says whether anybody asked for reports.
pub(crate) fn is_asked() -> bool {
    form() != Form::Off
}

/// The leases that were got at one place.
struct Group {
    site: Site,
    count: u64,
    bytes: u64,
    /// Coarse time of the oldest get.
    oldest: u32,
    /// How many were got by threads that are still there, where that is recorded.
    running: u64,
}

/// Writes what is out of a pool on standard error, grouped by place, largest first. Nothing if nothing is out, or if nobody
/// asked for reports.
pub(crate) fn report(inner: &Inner, when: &str) {
    report_those(inner, when, |_| true);
}

/// As [`report`], of those leases that `which` selects.
pub(crate) fn report_those(inner: &Inner, when: &str, which: impl Fn(&Slot) -> bool) {
    let form = form();
    if form == Form::Off {
        return;
    }
    let groups = groups(inner, which);
    if groups.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let mut text = Text::default();
    let written = groups.and_then(|groups| match form {
        Form::Json => json(&mut text, inner, when, &groups).ok(),
        _ => lines(&mut text, inner, when, &groups).ok(),
    });
    let whole = match written {
        Some(()) => text.0.as_bytes(),
        None => b"millpond: leases are out, and there is no memory to report them\n",
    };
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(whole);
}

/// `None` without memory for all of them.
fn groups(inner: &Inner, which: impl Fn(&Slot) -> bool) -> Option<Vec<Group>> {
    clock::tick();
    let mut groups: Vec<Group> = Vec::new();
    let mut whole = true;
    slot::for_each(|slot| {
        let taken = slot.taken.load(Ordering::Relaxed);
        if taken == 0 || !std::ptr::eq(slot.pool.load(Ordering::Relaxed), inner) || !which(slot) {
            return;
        }
        let site = Site::from_bits(slot.site.load(Ordering::Relaxed));
        let place = match groups.iter().position(|group| group.site == site) {
            Some(place) => place,
            None if groups.try_reserve(1).is_err() => {
                whole = false;
                return;
            }
            None => {
                groups.push(Group { site, count: 0, bytes: 0, oldest: taken, running: 0 });
                groups.len() - 1
            }
        };
        let group = &mut groups[place];
        group.count += 1;
        group.bytes += slot.len() as u64;
        group.oldest = group.oldest.min(taken);
        group.running += u64::from(history::present(slot.index()).is_some_and(|act| act.thread.is_running()));
    });
    // A stable sort would need memory.
    groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.bytes), group.site.bits()));
    whole.then_some(groups)
}

fn lines(text: &mut Text, inner: &Inner, when: &str, groups: &[Group]) -> fmt::Result {
    let (count, bytes) = sums(groups);
    writeln!(text, "millpond: pool \"{}\" at {when}: {count} leases of {bytes} bytes are out", inner.name)?;
    for group in groups {
        let Group { site, count, bytes, running, .. } = group;
        let age = clock::since(group.oldest).as_secs_f64();
        write!(text, "millpond:   {count} leases of {bytes} bytes, the oldest for {age:.2} s, got at {site}")?;
        if *running > 0 {
            write!(text, "; {running} by threads that still run")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn json(text: &mut Text, inner: &Inner, when: &str, groups: &[Group]) -> fmt::Result {
    let (count, bytes) = sums(groups);
    write!(text, "{{\"millpond\":\"leaks\",\"pool\":")?;
    quote(text, &inner.name)?;
    write!(text, ",\"when\":\"{when}\",\"leases\":{count},\"bytes\":{bytes},\"groups\":[")?;
    for (number, group) in groups.iter().enumerate() {
        text.write_str(if number == 0 { "{\"site\":" } else { ",{\"site\":" })?;
        quote(text, &group.site)?;
        let age = clock::since(group.oldest).as_secs_f64();
        let Group { count, bytes, running, .. } = group;
        write!(
            text,
            ",\"leases\":{count},\"bytes\":{bytes},\"oldest_seconds\":{age:.2},\"by_running_threads\":{running}}}"
        )?;
    }
    writeln!(text, "]}}")
}

fn sums(groups: &[Group]) -> (u64, u64) {
    groups.iter().fold((0, 0), |(count, bytes), group| (count + group.count, bytes + group.bytes))
}

/// Writes a JSON string (RFC 8259, section 7).
fn quote(text: &mut Text, value: &dyn fmt::Display) -> fmt::Result {
    text.write_char('"')?;
    write!(Quoted(text), "{value}")?;
    text.write_char('"')
}

/// Writes the inside of a JSON string.
struct Quoted<'a>(&'a mut Text);

impl fmt::Write for Quoted<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for letter in part.chars() {
            match letter {
                '"' | '\\' => write!(self.0, "\\{letter}")?,
                letter if letter < ' ' => write!(self.0, "\\u{:04x}", letter as u32)?,
                letter => self.0.write_char(letter)?,
            }
        }
        Ok(())
    }
}
