//! What the integration tests of the C library share: paths, commands, skips.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ffi-c lies in the repository").to_path_buf()
}

/// An empty directory for one test.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target directory is writable");
    dir
}

/// Whether a command can be run.
pub fn installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

/// Says that a check did not run; with STRICT=1 that is a failure.
pub fn skipped(check: &str, tool: &str) {
    println!("SKIPPED: {check} (no {tool})");
    assert!(
        std::env::var("STRICT").as_deref() != Ok("1") || tool.starts_with("clang"),
        "STRICT=1 and {tool} is missing"
    );
}

/// Runs a command: whether it worked, and all it said.
pub fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// What a command said; it must have worked.
pub fn run(what: &str, (worked, text): (bool, String)) -> String {
    assert!(worked, "{what} failed:\n{text}");
    text
}

/// Builds the library as tests find it: the directory with `libmillpond.so` and `libmillpond.a`.
pub fn library() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("inside the target directory");
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--quiet", "-p", "millpond-c", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    run("cargo build", output(&mut build));
    target.join("debug")
}
