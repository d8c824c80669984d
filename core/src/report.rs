//! Reports the leases that are out when a pool is closed and when the process ends, if the environment asks for it.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::buffer::inner::Inner;
use crate::buffer::{history, registry, slot};
use crate::clock;
use crate::error::{Error, Result};
use crate::site::Site;

const VARIABLE: &str = "MILLPOND_LEAKS";

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
/// `INVALID_ARGUMENT`: the variable has another value than `report`, `json` or `off`.
pub(crate) fn prepare() -> Result<()> {
    let form = match std::env::var_os(VARIABLE) {
        None => 0,
        Some(value) => match value.to_str() {
            Some("off") => 0,
            Some("report") => 1,
            Some("json") => 2,
            _ => {
                return Err(Error::invalid(format_args!(
                    "{VARIABLE} is \"{}\"; use report, json or off",
                    value.to_string_lossy()
                )));
            }
        },
    };
    FORM.store(form, Ordering::Relaxed);
    if form != 0 {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the function lives as long as the process: the shared library is linked with `nodelete`. Without
            // memory for it there is no report.
            unsafe { libc::atexit(at_exit) };
        });
    }
    Ok(())
}

fn form() -> Form {
    FORMS[usize::from(FORM.load(Ordering::Relaxed)) % FORMS.len()]
}

extern "C" fn at_exit() {
    // A panic must not leave a C function; there is nothing to be told of it any more.
    let _ = std::panic::catch_unwind(|| {
        let mut pools = Vec::new();
        for member in registry::lock().members() {
            if let Some(inner) = member.inner()
                && pools.try_reserve(1).is_ok()
            {
                pools.push(inner);
            }
        }
        pools.iter().for_each(|inner| report(inner, "exit"));
    });
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
    let form = form();
    if form == Form::Off {
        return;
    }
    let groups = groups(inner);
    if groups.is_empty() {
        return;
    }
    let mut text = String::new();
    let written = match form {
        Form::Json => json(&mut text, inner, when, &groups),
        _ => lines(&mut text, inner, when, &groups),
    };
    if written.is_ok() {
        // A closed standard error is no reason to fail.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn groups(inner: &Inner) -> Vec<Group> {
    clock::tick();
    let mut groups: Vec<Group> = Vec::new();
    slot::for_each(|slot| {
        let taken = slot.taken.load(Ordering::Relaxed);
        if taken == 0 || !std::ptr::eq(slot.pool.load(Ordering::Relaxed), inner) {
            return;
        }
        let site = Site::from_bits(slot.site.load(Ordering::Relaxed));
        let place = match groups.iter().position(|group| group.site == site) {
            Some(place) => place,
            None if groups.try_reserve(1).is_err() => return,
            None => {
                groups.push(Group { site, count: 0, bytes: 0, oldest: taken, running: 0 });
                groups.len() - 1
            }
        };
        let group = &mut groups[place];
        group.count += 1;
        group.bytes += slot.len.load(Ordering::Relaxed) as u64;
        group.oldest = group.oldest.min(taken);
        group.running += u64::from(history::present(slot.index()).is_some_and(|act| act.thread.is_running()));
    });
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    groups
}

fn lines(text: &mut String, inner: &Inner, when: &str, groups: &[Group]) -> fmt::Result {
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

fn json(text: &mut String, inner: &Inner, when: &str, groups: &[Group]) -> fmt::Result {
    let (count, bytes) = sums(groups);
    write!(text, "{{\"millpond\":\"leaks\",\"pool\":")?;
    quote(text, &inner.name)?;
    write!(text, ",\"when\":\"{when}\",\"leases\":{count},\"bytes\":{bytes},\"groups\":[")?;
    for (number, group) in groups.iter().enumerate() {
        text.write_str(if number == 0 { "{\"site\":" } else { ",{\"site\":" })?;
        quote(text, &group.site.to_string())?;
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
fn quote(text: &mut String, value: &str) -> fmt::Result {
    text.write_char('"')?;
    for letter in value.chars() {
        match letter {
            '"' | '\\' => write!(text, "\\{letter}")?,
            letter if letter < ' ' => write!(text, "\\u{:04x}", letter as u32)?,
            letter => text.write_char(letter)?,
        }
    }
    text.write_char('"')
}
