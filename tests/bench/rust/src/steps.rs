//! Counts what a copy of the process executes, by stepping through it: for figures that do not depend on what else runs.
//!
//! Not with callgrind: under valgrind millpond watches each buffer and keeps none in threads' caches.

use std::mem::offset_of;
use std::ptr;

/// Operations before the steps, those that the predictor learns from, and those that are counted.
const WARM: u64 = 4096;
const LEARNT: u64 = 256;
const COUNTED: u64 = 256;
/// What takes more steps than that is not counted: each of them is two switches between processes.
const STEPS_MOST: u64 = 200_000;

/// Guesses conditional branches as a simple processor does: two bits for each, found by address and the branches before.
struct Predictor {
    counters: Vec<u8>,
    history: usize,
}

impl Predictor {
    const BITS: u32 = 14;

    /// Learns what a branch did. Returns whether that was guessed.
    fn knew(&mut self, at: usize, taken: bool) -> bool {
        let mask = (1 << Self::BITS) - 1;
        let counter = &mut self.counters[(at ^ self.history) & mask];
        let guess = *counter >= 2;
        *counter = if taken { (*counter + 1).min(3) } else { counter.saturating_sub(1) };
        self.history = (self.history << 1 | usize::from(taken)) & mask;
        guess == taken
    }
}

/// The length of the conditional jump at that address; `None` where there is another instruction.
fn jump(at: usize) -> Option<usize> {
    let code: *const u8 = ptr::with_exposed_provenance(at);
    // SAFETY: the other process executes what is there, and has the same code at the same places.
    let first = unsafe { code.read() };
    if (0x70..0x80).contains(&first) {
        return Some(2);
    }
    // SAFETY: as above; what begins with this byte has another.
    (first == 0x0f && (0x80..0x90).contains(&unsafe { code.wrapping_add(1).read() })).then_some(6)
}

/// Steps the process to its next signal. Returns instructions and branches that were not guessed.
fn steps(child: libc::pid_t, predictor: &mut Predictor) -> Option<(u64, u64)> {
    let (mut count, mut wrong, mut branch) = (0, 0, None);
    loop {
        // SAFETY: reads one word of the registers of a process that is ours and stopped.
        let at = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, child, offset_of!(libc::user_regs_struct, rip), 0) };
        let at = usize::try_from(at).ok()?;
        if let Some((from, len)) = branch {
            wrong += u64::from(!predictor.knew(from, at != from + len));
        }
        branch = jump(at).map(|len| (at, len));
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) };
        count += 1;
        match stopped(child)? {
            libc::SIGTRAP if count < STEPS_MOST => {}
            libc::SIGSTOP => return Some((count, wrong)),
            _ => return None,
        }
    }
}

/// Waits until the process stops. Returns the signal, or `None` when it has ended.
fn stopped(child: libc::pid_t) -> Option<libc::c_int> {
    let mut status = 0;
    // SAFETY: writes one integer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    (waited == child && libc::WIFSTOPPED(status)).then(|| libc::WSTOPSIG(status))
}

/// Members for a row: instructions of one turn, and conditional branches that a simple predictor did not guess. Empty where
/// nobody asked for it, or the system refuses.
pub fn of(mut run: impl FnMut(u64)) -> String {
    if std::env::var_os("BENCH_STEPS").is_none() {
        return String::new();
    }
    // SAFETY: this process has one thread here; the copy ends below.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: asks to be traced by the parent.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        for turns in [WARM, LEARNT, COUNTED] {
            run(turns);
            // SAFETY: stops this process until its parent goes on.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        // SAFETY: ends the copy without what the program does at its end.
        unsafe { libc::_exit(0) };
    }
    let mut predictor = Predictor { counters: vec![1; 1 << Predictor::BITS], history: 0 };
    let counted = stopped(child).and_then(|_| steps(child, &mut predictor)).and_then(|_| steps(child, &mut predictor));
    // SAFETY: a process of our own.
    unsafe { libc::kill(child, libc::SIGKILL) };
    let mut status = 0;
    // SAFETY: writes one integer.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    counted.map_or(String::new(), |(instructions, wrong)| {
        let per = |count: u64| count as f64 / COUNTED as f64;
        format!(", \"instructions\": {:.1}, \"mispredicted\": {:.3}", per(instructions), per(wrong))
    })
}
