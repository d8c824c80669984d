#!/usr/bin/env bash
# Measures which lines and branches of core and ffi-c the tests reach, Rust's and C's together, and fails below the floors.
#   run.sh            builds, runs, reports
#   run.sh --report   reports once more from the last run
# What stays uncovered for a reason is in allowed.toml. Builds and counts are kept in target/coverage.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Percent of lines and of branches.
floors=(core=100:98 ffi-c=100:98)

# The tools read only what a compiler with their own LLVM wrote.
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
tool() { # tool NAME: the path of the one that fits
  local each
  for each in "$1-$llvm" "/usr/lib/llvm-$llvm/bin/$1" "$1"; do
    if command -v "$each" >/dev/null && "$each" --version 2>/dev/null | grep "version $llvm\." >/dev/null; then
      command -v "$each"
      return
    fi
  done
  echo "missing: $1 of LLVM $llvm, the one of rustc. Run make tools FOR=coverage, or install the package llvm-$llvm." >&2
  return 1
}
cov=$(tool llvm-cov)
profdata=$(tool llvm-profdata)
python=$(bash tests/tools/prerequisites.sh --python)
[ -n "$python" ] || { echo "missing: python3 3.11 or newer" >&2; exit 1; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}/coverage")
export CARGO_TARGET_DIR=$target CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0
# Counting branches is an option that only development compilers take.
export RUSTC_BOOTSTRAP=1 RUSTC_WORKSPACE_WRAPPER=$PWD/tests/coverage/rustc.sh
mkdir -p "$target"

run() { # run COMMAND...: a test that fails makes the figures worthless
  echo "--- $*"
  if ! "$@" </dev/null >"$target/log" 2>&1; then
    tail -n 60 "$target/log"
    echo "coverage: this failed: $*" >&2
    exit 1
  fi
  grep -aE '^test result|passed, [0-9]+ failed' "$target/log" || true
}
# Slots that wear out are tested in a build with other flags, in a directory of its own.
short() {
  RUSTFLAGS="--cfg millpond_short_generations ${RUSTFLAGS:-}" CARGO_TARGET_DIR=$target/short-generations \
    "$@" -p millpond-tests --test generations --test generations_end
}
executables() { # executables COMMAND...: the test programs that a build has made, or finds made
  "$@" --no-run --message-format=json 2>/dev/null | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

if [ "${1:-}" != --report ]; then
  all=(cargo test -p millpond -p millpond-c -p millpond-tests --lib)
  # All test programs but the one that measures the process's memory, of which the counters are a part.
  for each in core/tests/*.rs core/tests/*/main.rs ffi-c/tests/*.rs tests/tests/*.rs tests/tests/*/main.rs; do
    each=${each%/main.rs}
    case $each in tests/tests/memory.rs) ;; *) all+=(--test "$(basename "$each" .rs)") ;; esac
  done
  # The compiler's own runs write profiles too, of build scripts and macros: not here.
  export LLVM_PROFILE_FILE=$target/ignored-%m.profraw
  echo "--- building"
  "${all[@]}" --no-run --quiet
  short cargo test --no-run --quiet
  cargo build --quiet -p millpond-c
  rm -rf "$target"/{rust,short,c} "$target"/ignored-*
  mkdir "$target"/{rust,short,c}
  executables "${all[@]}" >"$target/rust/objects"
  executables short cargo test >"$target/short/objects"
  echo "$target/debug/libmillpond.so" >"$target/c/objects"
  # Fewer of what only repeats.
  export MILLPOND_FORGE=100000 MILLPOND_HANDLES=200000 MILLPOND_THREADS=1000 MILLPOND_FORK_CHILDREN=50 PROPTEST_CASES=100
  # %m: a file for each program; %c: counted in the mapped file itself.
  LLVM_PROFILE_FILE=$target/rust/%m%c.profraw run "${all[@]}"
  LLVM_PROFILE_FILE=$target/short/%m%c.profraw run short cargo test
  # The library knows AddressSanitizer and valgrind and does more under them.
  export MILLPOND_LIB_DIR=$target/debug STRICT=1
  for part in "c99 " "c++17 shared" "spec c shared" "readme" "asan own_" "valgrind own_table"; do
    LLVM_PROFILE_FILE=$target/c/%m%c.profraw run bash tests/c/run.sh "$part"
  done
fi

# Each build by itself: functions of the same name are not the same in all of them.
for each in rust short c; do
  "$profdata" merge --sparse "$target/$each"/*.profraw -o "$target/$each/profile"
  objects=()
  while read -r object; do objects+=(-object "$object"); done <"$target/$each/objects"
  "$cov" export --instr-profile="$target/$each/profile" "${objects[@]}" >"$target/$each/export.json" 2>"$target/log"
done
"$python" tests/coverage/report.py tests/coverage/allowed.toml . "$target"/{rust,short,c}/export.json "${floors[@]}"
