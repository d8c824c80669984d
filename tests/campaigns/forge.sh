#!/usr/bin/env bash
# Guesses handles: 24 kinds of guesses through the Rust functions, then those of C programs through every function of the C
# library that takes a handle. No guess may be accepted.
#   GUESSES=N  guesses through Rust, 10^9 unless given; a tenth of them through C
set -euo pipefail
cd "$(dirname "$0")/../.."
guesses=${GUESSES:-1000000000}

MILLPOND_FORGE=$guesses cargo test --release -p millpond-tests --test forge -- --nocapture
# The C program makes 400,000 guesses at a time.
times=$((guesses / 10 / 400000))
MILLPOND_TEST_TIMES=$((times > 1 ? times : 1)) bash tests/c/run.sh "c99 shared own_forge"
