#!/usr/bin/env bash
# Fuzzes the C library by libFuzzer: the library is built for AddressSanitizer and with counters of coverage, the targets are C.
# Each target starts from its corpus here, twice: with the library's own marking of memory for AddressSanitizer, and without
# it, so that pools keep buffers in threads' caches as they do in programs.
#   run.sh [TARGET...]  calls, forge, options, statistics; all unless given
#   SECONDS_EACH=N      how long each of the eight runs is; without: RUNS inputs
#   RUNS=N              how many inputs each run tries, 2000 unless given
#   KEEP=DIR            where inputs that reach something new are kept, and those that fail; a temporary directory unless given
# Last line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
targets=("$@")
[ $# -gt 0 ] || targets=(calls forge options statistics)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
keep=${KEEP:-$scratch/keep}
passed=0 failed=0

host=$(rustc -vV | sed -n 's/^host: //p')
asan=$(rustc --print sysroot)/lib/rustlib/$host/lib/librustc-stable_rt.asan.a
fuzzer=$(clang -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-$(uname -m).a
if [ ! -f "$asan" ] || [ ! -f "$fuzzer" ]; then
  echo "SKIPPED: the fuzz targets (no clang with libFuzzer)"
  echo "0 passed, 0 failed"
  exit 0
fi

# Rust's own sanitizer runtime serves the C side too. Checks of overflow and of core's own assumptions are on.
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address $coverage -Cdebug-assertions -Coverflow-checks" CARGO_TARGET_DIR=$target \
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo build --release -p millpond-c --target "$host" || exit 1
library=$target/$host/release/libmillpond.a
if [ "$(nm "$library" 2>/dev/null | grep -c 'U __asan_report_store8')" -eq 0 ]; then
  echo "the library is not instrumented" >&2
  exit 1
fi
read -r -a native <<<"$(bash ffi-c/native-libs.sh)"
link=("$fuzzer" -Wl,--whole-archive "$asan" -Wl,--no-whole-archive "${native[@]}" -lstdc++ -lm -lrt -ldl -lpthread)
# The library marks memory where the linker knows AddressSanitizer's two functions. In this copy they have names nobody knows.
objcopy --redefine-sym __asan_poison_memory_region=unknown_poison --redefine-sym __asan_unpoison_memory_region=unknown_unpoison \
  "$library" "$scratch/unmarked.a" || exit 1

build() { # build SOURCE OUTPUT FLAGS...
  local source=$1 output=$2
  shift 2
  clang -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror -fsanitize=address,fuzzer-no-link -Iinclude "${@}" -c "$source" \
    -o "$scratch/target.o" || return 1
  cc "$scratch/target.o" "$library" "${link[@]}" -o "$output-marked" || return 1
  cc "$scratch/target.o" "$scratch/unmarked.a" "${link[@]}" -o "$output-unmarked"
}

fuzz() { # fuzz TARGET KIND: one run
  local target=$1 kind=$2 log=$scratch/log limit=("-runs=${RUNS:-2000}") status
  if [ -n "${SECONDS_EACH:-}" ]; then limit=("-max_total_time=$SECONDS_EACH"); fi
  mkdir -p "$keep/$target" "$keep/failed"
  ASAN_OPTIONS=detect_leaks=1 "$scratch/$target-$kind" "${limit[@]}" -seed=20261121 -max_len=600 -timeout=60 -rss_limit_mb=8192 \
    -print_final_stats=1 -artifact_prefix="$keep/failed/$target-" "$keep/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1
  status=$?
  local runs coverage
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
    echo "ok fuzz $target $kind: $runs inputs, $coverage"
  else
    failed=$((failed + 1))
    echo "FAILED fuzz $target $kind (status $status)"
    grep -v 'NEW\|REDUCE\|pulse' "$log" | tail -n 50 | cut -c1-160 | sed 's/^/  /'
  fi
}

# First the detector itself: a byte written behind a lease, which AddressSanitizer must report where the memory is marked.
printf m >"$scratch/input"
if build tests/fuzz/seeded.c "$scratch/seeded" && ! "$scratch/seeded-marked" "$scratch/input" >"$scratch/log" 2>&1 &&
  grep -q 'AddressSanitizer: use-after-poison' "$scratch/log"; then
  passed=$((passed + 1))
  echo "ok fuzz seeded: found"
else
  failed=$((failed + 1))
  echo "FAILED fuzz seeded: the write behind a lease was not reported"
  tail -n 20 "$scratch/log" | cut -c1-160 | sed 's/^/  /'
fi
for each in "${targets[@]}"; do
  if build "tests/fuzz/$each.c" "$scratch/$each"; then
    for kind in marked unmarked; do fuzz "$each" $kind; done
  else
    failed=$((failed + 1))
    echo "FAILED fuzz $each: build"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
