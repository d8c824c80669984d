#!/usr/bin/env bash
# Measures the pair of get and put in every language beside what a program would use instead, one after the other.
# Figures are ratios of one run on one machine: run it while nothing else runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== $(uname -srm), $(nproc) cores, $(rustc --version), load $(cut -d' ' -f1-3 /proc/loadavg)"

echo "== Rust"
cargo bench -q -p millpond --bench pair

echo "== C"
bash ffi-c/install.sh "$work/prefix" >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
lib=$(dirname "$(find "$work/prefix" -name libmillpond.so)")
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -O2 -I"$work/prefix/include" tests/bench/pair.c -o "$work/pair" -L"$lib" -lmillpond -Wl,-rpath,"$lib"
"$work/pair"

echo "== Python"
python=$(bash tests/tools/prerequisites.sh --python)
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q ./python
"$work/venv/bin/python" python/bench/pair.py

echo "== Node"
(cd node && npm install --silent --no-audit --no-fund && node --expose-gc bench/pair.mjs)
