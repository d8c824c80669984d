//! The committed header is the one that the sources make, it compiles everywhere without a warning, and its version is ours.

mod common;

use std::fs;

use common::{root, run};

/// In the order in which the header presents them.
const SOURCES: [&str; 8] = ["version", "status", "pool", "options", "lease", "detached", "stats", "leaks"];

fn generated() -> String {
    let crate_dir = root().join("ffi-c");
    let mut config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    config.after_includes = config.after_includes.map(|text| text.replace("@VERSION@", env!("CARGO_PKG_VERSION")));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(crate_dir.join(format!("src/{source}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_committed_header_is_what_the_sources_make() {
    let path = root().join("include/millpond.h");
    let generated = generated();
    if std::env::var_os("MILLPOND_UPDATE_HEADER").is_some() {
        fs::write(&path, &generated).expect("include/ is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/millpond.h is not what ffi-c/src makes. Run MILLPOND_UPDATE_HEADER=1 cargo test -p millpond-c --test header, \
         look at the difference and commit it"
    );
}

#[test]
fn every_source_with_exports_is_listed() {
    for entry in fs::read_dir(root().join("ffi-c/src")).expect("a directory") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let exports = text.contains("\n#[unsafe(no_mangle)]") || text.contains("\n#[repr(C)]");
        assert_eq!(exports, SOURCES.contains(&&*name), "{name}.rs");
    }
}

#[test]
fn every_exported_function_goes_through_the_guard_and_is_documented() {
    let mut functions = 0;
    for source in SOURCES {
        let text = fs::read_to_string(root().join(format!("ffi-c/src/{source}.rs"))).expect("UTF-8");
        let production = text.split("#[cfg(test)]").next().expect("a part");
        let mut rest = production;
        while let Some(at) = rest.find("#[unsafe(no_mangle)]") {
            let (before, after) = rest.split_at(at);
            let name = after.split("fn ").nth(1).and_then(|text| text.split('(').next()).expect("a function");
            let body = after.split("\n}\n").next().expect("a body");
            // The plain form of a function that also has an `_at` form hands over to that one.
            let guarded = ["boundary::status(", "boundary::value(", "bytes_given_back("].iter().any(|call| body.contains(call))
                    || body.contains(&format!("{name}_at("))
                    // The frequent ones call nothing that could panic, and leave the rest to a function that is guarded.
                    || ["get_with_care(", "put("].iter().any(|call| body.contains(&format!("unsafe {{ {call}")));
            assert!(guarded, "{name} does not go through the guard");
            let docs = before.rsplit("\n\n").next().expect("a part");
            let types = before.rsplit('}').next().expect("a part");
            assert!(types.contains("Threads: "), "{name}: no thread words in {docs}");
            functions += 1;
            rest = &after["#[unsafe(no_mangle)]".len()..];
        }
    }
    assert!(functions >= 30, "only {functions} functions found");
    let leases = fs::read_to_string(root().join("ffi-c/src/lease.rs")).expect("UTF-8");
    for name in ["get_with_care", "put_with_care", "put_rest"] {
        let body = leases.split(&format!("extern \"C\" fn {name}(")).nth(1).and_then(|text| text.split("\n}\n").next());
        assert!(body.is_some_and(|body| body.contains("boundary::status(")), "{name} does not go through the guard");
    }
    println!("{functions} exported functions");
}

#[test]
fn the_headers_compile_in_every_language_version_without_a_warning() {
    let dir = common::scratch("header");
    let warnings = [
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wconversion",
        "-Wsign-conversion",
        "-Wshadow",
        "-Wundef",
        "-Werror",
        "-fsyntax-only",
    ];
    let c_text = "#include <millpond.h>\nmillpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;\n\
         millpond_stats stats = MILLPOND_STATS_INIT;\nmillpond_class_stats classes = MILLPOND_CLASS_STATS_INIT;\n\
         int main(void) {\n  millpond_lease lease;\n  if (millpond_get(millpond_default_pool(), 1, &lease)) return 1;\n  \
         return millpond_put(millpond_default_pool(), lease.id) != MILLPOND_OK;\n}\n";
    let sites = dir.join("sites.c");
    fs::write(&sites, c_text).expect("writable");
    let bare = dir.join("bare.c");
    fs::write(&bare, format!("#define MILLPOND_NO_SITES\n{c_text}")).expect("writable");
    let plus = dir.join("plus.cpp");
    fs::write(&plus, c_text).expect("writable");
    let modern = dir.join("modern.cpp");
    fs::write(&modern, "#include <millpond.hpp>\nint main() {}\n").expect("writable");
    // The compiler's own check first: a seeded warning fails.
    let seeded = dir.join("seeded.c");
    fs::write(&seeded, "#include <millpond.h>\nint f(int unused) { return 0; }\n").expect("writable");

    let include = root().join("include");
    let compile = |compiler: &str, standard: &str, file: &std::path::Path| {
        let mut command = std::process::Command::new(compiler);
        command.arg(standard).args(warnings).arg("-I").arg(&include).arg(file);
        common::output(&mut command)
    };
    let mut compiled = 0;
    let clang = if common::installed("clang-22") { ("clang-22", "clang++-22") } else { ("clang", "clang++") };
    for (c, cpp) in [("gcc", "g++"), clang] {
        if !common::installed(c) {
            common::skipped("the headers compile", c);
            continue;
        }
        assert!(!compile(c, "-std=c11", &seeded).0, "{c} does not report a seeded warning");
        for standard in ["-std=c99", "-std=c11", "-std=c17"] {
            for file in [&sites, &bare] {
                run(c, compile(c, standard, file));
                compiled += 1;
            }
        }
        if !common::installed(cpp) {
            common::skipped("the headers compile as C++", cpp);
            continue;
        }
        for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
            run(cpp, compile(cpp, standard, &plus));
            compiled += 1;
        }
        for standard in ["-std=c++17", "-std=c++20"] {
            run(cpp, compile(cpp, standard, &modern));
            compiled += 1;
        }
    }
    assert!(compiled >= 11, "only {compiled} compilations ran");
    println!("{compiled} compilations");
}

#[test]
fn the_version_is_one() {
    let header = fs::read_to_string(root().join("include/millpond.h")).expect("committed");
    let number = |name: &str| -> String {
        let line = format!("#define MILLPOND_VERSION_{name} ");
        let at = header.find(&line).unwrap_or_else(|| panic!("no {line}"));
        header[at + line.len()..].lines().next().expect("a line").to_owned()
    };
    let version = [number("MAJOR"), number("MINOR"), number("PATCH")].join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert!(header.contains(&format!("#define MILLPOND_VERSION \"{version}\"")));
}
