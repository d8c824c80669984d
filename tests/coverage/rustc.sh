#!/bin/sh
# Calls the compiler for a crate of the workspace with counters in it. Counters are found through a register, so that they can stand
# in a mapped file: what a process counted is kept however it ends, by a signal or in a forked child.
rustc=$1
shift
exec "$rustc" "$@" -Cinstrument-coverage -Zcoverage-options=branch -Cllvm-args=-runtime-counter-relocation
