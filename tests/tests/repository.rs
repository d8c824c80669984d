//! Checks what the repository says about itself: its layout, its versions, its error table and that nothing in it is true of
//! one machine only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millpond::ErrorKind;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files under version control, relative to the root.
fn tracked() -> Vec<String> {
    let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let files: Vec<_> = listing.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    assert!(files.len() > 50, "git lists {} files", files.len());
    files.into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The anchors of a Markdown file's headings, formed as hosting sites form them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn the_top_level_holds_exactly_what_it_should() {
    let top: BTreeSet<String> = tracked()
        .iter()
        .map(|path| path.split('/').next().unwrap_or_default().to_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let wanted = "CHANGELOG.md Cargo.lock Cargo.toml LICENSE Makefile README.md core ffi-c include node python tests";
    assert_eq!(top, wanted.split(' ').map(str::to_owned).collect());
    assert!(tracked().contains(&".ci/run".to_owned()));
}

#[test]
fn every_error_kind_has_its_heading_and_its_names_in_the_readme() {
    let readme = text("README.md");
    let anchors = anchors(&readme);
    for kind in ErrorKind::ALL {
        assert!(anchors.contains(kind.anchor()), "README.md has no heading for {kind:?}, #{}", kind.anchor());
        assert!(readme.contains(&format!("`{}`", kind.code())), "README.md does not say the code of {kind:?}");
        assert!(readme.contains(kind.name()), "README.md does not say {}", kind.name());
    }
    println!("{} error kinds", ErrorKind::ALL.len());
}

#[test]
fn the_header_has_the_same_error_table() {
    let header = text("include/millpond.h");
    for kind in ErrorKind::ALL {
        let name = format!("MILLPOND_ERR_{}", kind.name());
        let value = header.lines().find_map(|line| {
            let rest = line.trim().trim_start_matches("#define ").strip_prefix(&name)?;
            rest.trim_matches(|c: char| c.is_whitespace() || "=,()".contains(c)).parse::<i32>().ok()
        });
        assert_eq!(value, Some(kind.code()), "{name} in include/millpond.h");
    }
}

#[test]
fn every_package_has_the_same_version() {
    let package: Value = serde_json::from_str(&text("node/package.json")).expect("package.json is JSON");
    assert_eq!(package["version"], VERSION, "node/package.json");
    assert_eq!(package["license"], "MIT OR Apache-2.0");
    assert!(
        package["engines"]["node"]
            .as_str()
            .is_some_and(|engines| engines.contains(">=20") || engines.contains(">= 20"))
    );

    let workspace = text("Cargo.toml");
    assert_eq!(workspace.matches(&format!("version = \"{VERSION}\"")).count(), 2, "the version and the core's");
    for member in ["core", "core/benches", "ffi-c", "python", "node", "tests"] {
        let manifest = text(&format!("{member}/Cargo.toml"));
        for inherited in ["version", "edition", "rust-version", "license"] {
            assert!(
                manifest.contains(&format!("\n{inherited}.workspace = true")),
                "{inherited} in {member}/Cargo.toml"
            );
        }
        assert!(manifest.contains("[lints]\nworkspace = true"), "lints in {member}/Cargo.toml");
    }

    let pyproject = text("python/pyproject.toml");
    assert!(
        pyproject.contains("dynamic = [\"version\"") || pyproject.contains("dynamic = ['version'"),
        "the wheel's version is cargo's"
    );
    assert!(pyproject.contains("requires-python = \">=3.11\""));

    let header = text("include/millpond.h");
    let numbers: Vec<&str> = VERSION.split('.').collect();
    for (part, number) in ["MAJOR", "MINOR", "PATCH"].into_iter().zip(numbers) {
        let defined = header.lines().any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.len() == 3
                && words[0] == "#define"
                && words[1] == format!("MILLPOND_VERSION_{part}")
                && words[2] == number
        });
        assert!(defined, "MILLPOND_VERSION_{part} {number} in include/millpond.h");
    }

    let changelog = text("CHANGELOG.md");
    assert!(changelog.contains(&format!("## [{VERSION}]")), "CHANGELOG.md has no entry for {VERSION}");
    let rust = workspace.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let readme = text("README.md");
    assert!(readme.contains(&format!("Rust ≥ {}", rust.expect("an MSRV"))), "README.md says another Rust version");
}

#[test]
fn nothing_names_one_machine() {
    // Written in two halves so that this file does not hold what it looks for.
    let private = [
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/Us", "ers/"),
        ("arti", "factory"),
        ("index.crates", ".io:"),
    ];
    let hosts: BTreeSet<&str> =
        "github.com docs.rs crates.io pypi.org registry.npmjs.org www.npmjs.com spdx.org opencollective.com
        www.apache.org opensource.org keepachangelog.com semver.org nodejs.org docs.python.org peps.python.org
        json.schemastore.org www.rust-lang.org doc.rust-lang.org rust-lang.org 127.0.0.1 localhost feross.org eslint.org
        www.w3.org purl.org creativecommons.org matplotlib.org"
            .split_whitespace()
            .collect();
    let mut read = 0;
    for path in tracked() {
        let Ok(content) = fs::read_to_string(root().join(&path)) else { continue };
        read += 1;
        for (first, second) in private {
            let word = format!("{first}{second}");
            assert!(!content.contains(&word), "{path} contains {word}");
        }
        for (at, _) in content.match_indices("://") {
            if !content[..at].ends_with("http") && !content[..at].ends_with("https") {
                continue;
            }
            let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
            let host = content[at + 3..].split(end).next().unwrap_or_default();
            assert!(host.is_empty() || hosts.contains(host), "{path} names the host {host}");
        }
    }
    println!("{read} files read");
    assert!(read > 50);
}

#[test]
fn the_licence_holds_both_texts() {
    let licence = text("LICENSE");
    for part in [
        "MIT OR Apache-2.0",
        "Permission is hereby granted, free of charge",
        "Apache License",
        "END OF TERMS AND CONDITIONS",
    ] {
        assert!(licence.contains(part), "LICENSE lacks {part:?}");
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut links = 0;
    for path in tracked().iter().filter(|path| path.ends_with(".md")) {
        let content = text(path);
        for (at, _) in content.match_indices("](") {
            let target = content[at + 2..].split(')').next().unwrap_or_default();
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            links += 1;
            let linked = match file {
                "" => root().join(path),
                file => root().join(path).parent().expect("a file is in a directory").join(file),
            };
            assert!(linked.exists(), "{path} links to {target}, which is not there");
            if !anchor.is_empty() {
                let content = fs::read_to_string(&linked).expect("a linked document is text");
                assert!(anchors(&content).contains(anchor), "{path} links to {target}, a heading that is not there");
            }
        }
    }
    println!("{links} links");
    assert!(links > 10);
}
