//! What the process has used, as the system tells it.

use std::fs;

/// CPU time and minor page faults of the whole process.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu_ns: f64,
    pub faults: f64,
}

impl Usage {
    pub fn now() -> Usage {
        let mut used = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the place is a rusage, which the call fills; it cannot fail for RUSAGE_SELF.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, used.as_mut_ptr()) };
        // SAFETY: all zero is a rusage, and the call has filled it.
        let used = unsafe { used.assume_init() };
        let ns = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
        Usage { cpu_ns: ns(used.ru_utime) + ns(used.ru_stime), faults: used.ru_minflt as f64 }
    }

    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu_ns: self.cpu_ns - before.cpu_ns, faults: self.faults - before.faults }
    }
}

/// Makes `VmHWM` start again from what is resident now; without the permission the peak is the process's.
pub fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A figure of /proc/self/status in KiB; 0 where the system tells none.
pub fn resident_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
