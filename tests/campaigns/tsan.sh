#!/usr/bin/env bash
# Drives the static library, built for ThreadSanitizer, by C threads that are built for it too. 0 reports, after seeded races
# were caught on both sides. Rust's own runtime serves both, so that any C compiler with -fsanitize=thread will do.
#   TIMES=N  a twentieth of the C programs' usual rounds, times N; 1 unless given
# Last line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
times=${TIMES:-1}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

host=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(rustc --print sysroot)/lib/rustlib/$host/lib/librustc-stable_rt.tsan.a
if [ ! -f "$runtime" ] || ! echo 'int x;' | gcc -fsanitize=thread -c -x c - -o "$scratch/x.o" 2>/dev/null; then
  echo "SKIPPED: the C programs under ThreadSanitizer (no runtime, or no compiler for it)"
  echo "0 passed, 0 failed"
  exit 0
fi

# The standard library is the one there is, without instrumentation: millpond locks by its own means, and tsan_arc.c says what
# remains. Without link-time optimisation, which would mix the two.
target=${CARGO_TARGET_DIR:-$PWD/target}/tsan
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR=$target \
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo build --release -p millpond-c --target "$host" || exit 1
library=$target/$host/release/libmillpond.a
if [ "$(nm "$library" 2>/dev/null | grep -c 'U __tsan_write8')" -eq 0 ]; then
  echo "the library is not instrumented" >&2
  exit 1
fi
read -r -a native <<<"$(bash ffi-c/native-libs.sh)"
gcc -std=c99 -O1 -Wall -Wextra -Werror -c tests/c/tsan_arc.c -o "$scratch/arc.o" || exit 1

build() { # build NAME: tests/c/NAME.c
  gcc -std=c99 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror -fsanitize=thread -Iinclude -c "tests/c/$1.c" -o "$scratch/program.o" &&
    cc "$scratch/program.o" "$scratch/arc.o" "$library" -Wl,--wrap=__tsan_atomic64_fetch_sub \
      -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive "${native[@]}" -lstdc++ -lm -lrt -ldl -lpthread -o "$scratch/program"
}

run() { # run NAME STATUS REPORTS WORD: the exit status, how many reports ("some"), what one of them says
  local name=$1 wanted=$2 wanted_reports=$3 word=$4 log=$scratch/log status reports
  if ! build "$name" >"$log" 2>&1; then
    status=build reports=0
  else
    TSAN_OPTIONS="exitcode=66 die_after_fork=0 halt_on_error=0" timeout 600 "$scratch/program" >"$log" 2>&1
    status=$?
    reports=$(grep -c 'WARNING: ThreadSanitizer' "$log")
  fi
  if [ "$status" = "$wanted" ] && grep -q -- "$word" "$log" &&
    { [ "$reports" = "$wanted_reports" ] || { [ "$wanted_reports" = some ] && [ "$reports" -gt 0 ]; }; }; then
    passed=$((passed + 1))
    echo "ok tsan $name: $reports reports: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1))
    echo "FAILED tsan $name: $reports reports, status $status"
    head -n 60 "$log" | cut -c1-160 | sed 's/^/  /'
  fi
}

run seeded/race 66 some scribble
# The report must come from inside the library.
run seeded/race_inside 66 some millpond_lease_lookup
MILLPOND_TEST_SCALE=20
if [ "$times" -gt 1 ]; then
  if [ "$times" -ge 20 ]; then
    unset MILLPOND_TEST_SCALE
    export MILLPOND_TEST_TIMES=$((times / 20))
  else
    MILLPOND_TEST_SCALE=$((20 / times))
  fi
fi
[ -z "${MILLPOND_TEST_SCALE:-}" ] || export MILLPOND_TEST_SCALE
for each in own_housekeeping own_threads own_table own_fork own_forge own_bad_input leak_list api_pool; do run $each 0 0 "$each"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
