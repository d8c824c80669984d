#!/usr/bin/env bash
# Prints what a program needs beside libmillpond.a, as linker flags: what Rust's standard library is made of on this system.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# An empty library tells, because millpond itself links to nothing else.
flags=$(: | "${RUSTC:-rustc}" --crate-name empty --crate-type staticlib --print native-static-libs -o "$scratch/libempty.a" - 2>&1 |
  sed -n 's/^note: native-static-libs: //p')
[ -n "$flags" ] || {
  echo "native-libs.sh: rustc does not say what a static library needs" >&2
  exit 1
}
echo "$flags"
