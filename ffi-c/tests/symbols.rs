//! What the shared library shows to the dynamic linker: its name, its symbols, and that it stays loaded.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use common::{installed, library, output, root, run, skipped};

fn readelf(option: &str) -> Option<String> {
    if !installed("readelf") {
        skipped("what the library tells the dynamic linker", "readelf");
        return None;
    }
    let mut command = Command::new("readelf");
    command.args([option, "--wide"]).arg(library().join("libmillpond.so"));
    Some(run("readelf", output(&mut command)))
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/millpond.h")).expect("committed");
    let mut names = BTreeSet::new();
    for line in header.lines().filter(|line| !line.starts_with([' ', '#', '/'])) {
        if let Some((before, _)) = line.split_once('(') {
            let name = before.rsplit([' ', '*']).next().expect("a word");
            if name.starts_with("millpond_") {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn exactly_the_declared_functions_are_exported() {
    if !installed("nm") {
        return skipped("exported symbols", "nm");
    }
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only"]).arg(library().join("libmillpond.so"));
    let text = run("nm", output(&mut command));
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|name| name.split('@').next().expect("a part").to_owned())
        .collect();
    assert_eq!(exported, declared());
    assert!(exported.len() >= 30, "{exported:?}");
    println!("{} symbols", exported.len());
}

#[test]
fn the_soname_carries_the_major_version() {
    let Some(text) = readelf("--dynamic") else { return };
    let name = format!("Library soname: [libmillpond.so.{}]", env!("CARGO_PKG_VERSION_MAJOR"));
    assert!(text.contains(&name), "{text}");
}

#[test]
fn the_library_stays_loaded_after_dlclose() {
    let Some(text) = readelf("--dynamic") else { return };
    assert!(text.contains("NODELETE"), "{text}");
}

#[test]
fn the_library_can_be_loaded_late() {
    // STATIC_TLS marks initial-exec thread-locals: dlopen fails when a process has no room left for them.
    let Some(text) = readelf("--dynamic") else { return };
    assert!(!text.contains("STATIC_TLS"), "{text}");
}

#[test]
fn nothing_is_needed_but_the_system_s_own_libraries() {
    let Some(text) = readelf("--dynamic") else { return };
    for line in text.lines().filter(|line| line.contains("(NEEDED)")) {
        let known = ["libc.so", "libgcc_s.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "ld-linux"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
}
