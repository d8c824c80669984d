//! Writes which lengths were got and put when, by which thread, into a file: what a benchmark can replay.
//!
//! `MILLPOND_TRACE=FILE` asks for it, read when a pool is made; `%p` in the name becomes the process's number. The file has
//! nothing in it but numbers: no names, no places, no addresses, no content. Its first line names the columns:
//!
//! ```text
//! # millpond trace 1: ns,thread,pool,act,lease,bytes
//! 1200,1,1,g,7,65536
//! 5100,2,1,p,7,65536
//! ```
//!
//! `ns` counts from the file's beginning and never decreases; threads are numbered as they come, pools as they were made;
//! `g` is a get and `p` what ends it; `lease` tells leases apart that are out at the same time, and is used again after the
//! end. A number that is got again without an end was detached. A child of fork writes nothing; pools go the long way while
//! they are traced.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::{cache, registry};
use crate::environment;
use crate::error::{Error, Result, Text};
use crate::sync::{AtomicU32, Lock};

static ON: AtomicBool = AtomicBool::new(false);
static FILE: Lock<File> = Lock::new(File { registered: false, descriptor: -1, start: 0, len: 0, bytes: [0; ROOM] });
static THREADS: AtomicU32 = AtomicU32::new(0);

/// What is written at a time, in bytes.
const ROOM: usize = 64 << 10;
/// The longest line: six numbers of at most 20 digits.
const LINE: usize = 128;

thread_local! {
    /// The thread's number; 0 before its first line.
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

struct File {
    /// Whether the process's end writes the rest.
    registered: bool,
    descriptor: libc::c_int,
    start: u64,
    len: usize,
    bytes: [u8; ROOM],
}

/// Opens the file if the environment asks for one, once in a process; called when a pool is made.
///
/// # Errors
/// `INVALID_ARGUMENT`: the file cannot be made. `NO_MEMORY`: none to be called at the process's end.
pub(crate) fn prepare() -> Result<()> {
    environment::read(c"MILLPOND_TRACE", "use the name of a file", |name| Some(open(name)))?.unwrap_or(Ok(()))
}

fn open(name: &str) -> Result<()> {
    let mut file = FILE.lock();
    if name.is_empty() || file.descriptor >= 0 || file.start != 0 {
        return Ok(());
    }
    let mut path = Text::default();
    let (before, after) = name.split_once("%p").unwrap_or((name, ""));
    let written = match before.len() < name.len() {
        true => write!(path, "{before}{}{after}\0", std::process::id()),
        false => write!(path, "{name}\0"),
    };
    // SAFETY: the function lives as long as the process: the shared library is linked with `nodelete`.
    file.registered = file.registered || unsafe { libc::atexit(at_exit) } == 0;
    if written.is_err() || !file.registered {
        return Err(registry::no_memory());
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    // SAFETY: the name ends with a NUL.
    let descriptor = unsafe { libc::open(path.0.as_ptr().cast(), flags, 0o600 as libc::c_uint) };
    if descriptor < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
        return Err(Error::invalid(format_args!(
            "MILLPOND_TRACE is \"{name}\", which cannot be written (errno {errno}); use the name of a file"
        )));
    }
    file.descriptor = descriptor;
    file.start = now();
    file.append(b"# millpond trace 1: ns,thread,pool,act,lease,bytes\n");
    ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// Says whether gets and puts are written down.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Writes a get down.
pub(crate) fn got(pool: u64, lease: usize, len: usize) {
    if is_on() {
        note(pool, 'g', lease, len);
    }
}

/// Writes the end of a lease down.
pub(crate) fn put(pool: u64, lease: usize, len: usize) {
    if is_on() {
        note(pool, 'p', lease, len);
    }
}

#[cold]
fn note(pool: u64, act: char, lease: usize, len: usize) {
    let thread = THREAD.get();
    let thread = if thread == 0 { THREADS.fetch_add(1, Ordering::Relaxed) + 1 } else { thread };
    THREAD.set(thread);
    let mut line = Line { len: 0, bytes: [0; LINE] };
    let mut file = FILE.lock();
    let time = now().saturating_sub(file.start);
    let pool = cache::number_of(pool);
    // Six numbers fit.
    let _ = writeln!(line, "{time},{thread},{pool},{act},{lease},{len}");
    file.append(&line.bytes[..line.len]);
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl File {
    fn append(&mut self, line: &[u8]) {
        if self.len + line.len() > ROOM {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.len..self.len + line.len()) {
            place.copy_from_slice(line);
            self.len += line.len();
        }
    }

    /// Gives what is waiting to the system. A trace that cannot be written ends there, and says so.
    fn flush(&mut self) {
        let mut done = 0;
        while done < self.len && self.descriptor >= 0 {
            let rest = &self.bytes[done..self.len];
            // SAFETY: writes bytes of this process to its own file.
            let written = unsafe { libc::write(self.descriptor, rest.as_ptr().cast(), rest.len()) };
            let error = std::io::Error::last_os_error();
            match usize::try_from(written) {
                Ok(written) => done += written,
                Err(_) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    let errno = error.raw_os_error().unwrap_or_default();
                    // A closed standard error is no reason to fail.
                    let _ = writeln!(
                        std::io::stderr(),
                        "millpond: the trace ends here: it cannot be written (errno {errno})"
                    );
                    self.end();
                }
            }
        }
        self.len = 0;
    }

    fn end(&mut self) {
        ON.store(false, Ordering::Relaxed);
        // SAFETY: the file that was opened here, closed once.
        unsafe { libc::close(self.descriptor) };
        self.descriptor = -1;
    }
}

extern "C" fn at_exit() {
    FILE.lock().flush();
}

pub(crate) fn lock_for_fork() {
    FILE.lock_for_fork();
}

/// Gives the lock back; a child leaves the file to its parent.
///
/// # Safety
/// As [`Lock::unlock_after_fork`].
pub(crate) unsafe fn unlock_after_fork(child: bool) {
    if child && is_on() {
        // SAFETY: the lock is held by this thread, or its copy in the child, as the caller promises.
        let file = unsafe { FILE.get_held() };
        file.len = 0;
        file.end();
    }
    // SAFETY: the caller's promise.
    unsafe { FILE.unlock_after_fork() };
}

/// A line on the stack.
struct Line {
    len: usize,
    bytes: [u8; LINE],
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + part.len()).ok_or(std::fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_is_the_monotonic_clocks_in_nanoseconds() {
        let clock = || {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: writes one timespec; the clock exists on every Linux.
            unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos() as u64
        };
        let before = clock();
        let time = now();
        assert!((before..=clock()).contains(&time), "{before} {time}");
    }

    #[test]
    fn lines_wait_until_there_is_no_room_for_another() {
        let mut file = File { registered: false, descriptor: -1, start: 0, len: 0, bytes: [0; ROOM] };
        for number in 1..=ROOM / 64 {
            file.append(&[b'x'; 64]);
            assert_eq!(file.len, number * 64);
        }
        file.append(b"next\n");
        assert_eq!((file.len, &file.bytes[..5]), (5, &b"next\n"[..]));
    }
}
