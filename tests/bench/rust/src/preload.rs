//! Starts the program anew in another environment: with a preloaded allocator, or with glibc's own settings changed.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// What says that this process is the second one.
const STARTED: &str = "BENCH_STARTED";

/// Settings with which glibc keeps what is freed. It refuses a threshold above 32 MiB, so that above it only the
/// switch that forbids mappings helps.
pub const GLIBC_TUNED: [(&str, &str); 3] =
    [("MALLOC_MMAP_MAX_", "0"), ("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "17179869184")];

/// The library of a peer that is preloaded: where the set-up has put it.
pub fn library(peer: &str) -> Option<PathBuf> {
    let name = match peer {
        "tcmalloc" => "libtcmalloc_minimal.so.4",
        "tbbmalloc" => "libtbbmalloc_proxy.so.2",
        _ => return None,
    };
    Some(PathBuf::from(env::var_os("BENCH_LIBS").unwrap_or_default()).join(name))
}

/// Goes on in the environment that the peer needs; comes back only in it, or with the reason why there is none.
pub fn environment_of(peer: &str, work: &str) -> Result<(), String> {
    if env::var_os(STARTED).is_some() {
        return Ok(());
    }
    let mut changes: Vec<(&str, String)> = match (peer, work) {
        ("glibc-tuned", _) => GLIBC_TUNED.map(|(name, value)| (name, value.to_owned())).into(),
        // Its own thread gives idle memory back: the best that it can do while a program rests.
        ("jemalloc", "rss") => vec![("_RJEM_MALLOC_CONF", "background_thread:true".to_owned())],
        _ => Vec::new(),
    };
    if let Some(path) = library(peer) {
        if !path.exists() {
            return Err(format!("{} is not there", path.display()));
        }
        changes.push(("LD_PRELOAD", path.display().to_string()));
        changes.push(("LD_LIBRARY_PATH", env::var("BENCH_LIBS").unwrap_or_default()));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let failed = Command::new(program).args(env::args_os().skip(1)).envs(changes).env(STARTED, "1").exec();
    Err(failed.to_string())
}
