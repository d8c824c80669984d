#!/usr/bin/env bash
# Forks under load, a library that is closed under live threads, threads that come and go, memory that is refused, slots that wear
# out: the long form of what `make test` does with fewer.
#   TIMES=N  multiplies all counts, 1 unless given
set -euo pipefail
cd "$(dirname "$0")/../.."
times=${TIMES:-1}

MILLPOND_FORK_CHILDREN=$((2000 * times)) cargo test -p millpond --test fork
MILLPOND_THREADS=$((100000 * times)) cargo test -p millpond-tests --test threads -- --nocapture
# The C programs alone fork 100 children, load the library in 100 rounds and start 200 threads.
MILLPOND_TEST_TIMES=$((20 * times)) bash tests/c/run.sh "c99 shared own_fork"
MILLPOND_TEST_TIMES=$((5 * times)) bash tests/c/run.sh "c99 dlopen"
MILLPOND_TEST_TIMES=$((50 * times)) bash tests/c/run.sh "c99 shared own_threads"
# Each request for memory of Python's and Node's native half fails in turn; in make test it is each fifth, or less.
bash tests/preload/run.sh python
bash tests/preload/run.sh node
HANDLES=$((50000000 * times)) CHILDREN=$((2000 * times)) bash tests/campaigns/generations.sh
