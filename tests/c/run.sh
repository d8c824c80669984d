#!/usr/bin/env bash
# Builds and runs the C and C++ programs: in every language version, against the shared and the static library, with gcc and
# clang, under AddressSanitizer and valgrind; then the ownership scenarios through the shared library.
#   run.sh [NAME]         only the runs whose name contains NAME
#   MILLPOND_LIB_DIR=...  a directory with libmillpond.so and libmillpond.a; otherwise they are built here (release)
#   STRICT=1              a check that cannot run for want of a tool is a failure
# Last line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
only=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
declare -A told=()

note() { printf '%s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

skip() { # skip CHECK TOOL
  [ -z "${told[$1]:-}" ] || return 0
  told[$1]=1
  note "SKIPPED: $1 (no $2)"
  if [ "${STRICT:-}" = 1 ]; then failed=$((failed + 1)); fi
}

judge() { # judge NAME STATUS LOG
  if [ "$2" -eq 0 ]; then
    passed=$((passed + 1))
    note "ok $1${4:+: $4}"
  else
    failed=$((failed + 1))
    note "FAILED $1 (status $2)"
    tail -n 40 "$3" | sed 's/^/  /'
  fi
}

# --- the library
if [ -z "${MILLPOND_LIB_DIR:-}" ]; then
  cargo build --release -p millpond-c || exit 1
  target=$(cargo metadata --format-version=1 --no-deps --offline | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  MILLPOND_LIB_DIR=$target/release
fi
lib=$scratch/lib
mkdir -p "$lib"
cp "$MILLPOND_LIB_DIR/libmillpond.so" "$MILLPOND_LIB_DIR/libmillpond.a" "$lib/" || exit 1
soname=$(sed -n 's/^#define MILLPOND_VERSION_MAJOR /libmillpond.so./p' include/millpond.h)
ln -s libmillpond.so "$lib/$soname"
read -r -a native <<<"$(bash ffi-c/native-libs.sh)"
export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0

warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
c_programs=(api_layout api_pool api_status leak_list link_units own_bad_input own_forge own_fork own_housekeeping own_table own_threads)
cpp_programs=(api_pool link_units own_lease own_pmr)

# build OUTPUT LINK COMPILER... -- SOURCES...: LINK is shared, static or none
build() {
  local output=$1 link=$2 compiler=() sources=()
  shift 2
  while [ "$1" != -- ]; do
    compiler+=("$1")
    shift
  done
  shift
  sources=("$@")
  local libraries=()
  case $link in
  shared) libraries=(-L"$lib" -lmillpond) ;;
  static) libraries=("$lib/libmillpond.a" "${native[@]}") ;;
  none) libraries=(-ldl) ;;
  esac
  # A leading language option would hold for the archive too: switch it off before the libraries.
  local reset=()
  if [[ " ${compiler[*]} " == *" -x "* ]]; then reset=(-x none); fi
  "${compiler[@]}" -D_GNU_SOURCE -g -O1 "${warnings[@]}" -Iinclude "${sources[@]}" "${reset[@]}" -o "$output" \
    "${libraries[@]}" -pthread
}

# program NAME LINK WRAPPER COMPILER... : WRAPPER is a command line before the program, or empty
program() {
  local name=$1 source=$2 link=$3 wrapper=$4 log=$scratch/log output=$scratch/program sources=()
  shift 4
  [[ "$name" == *"$only"* ]] || return 0
  sources=("$source")
  case $source in
  */c/link_units.c) sources+=(tests/c/link_units_bare.c) ;;
  */cpp/link_units.cpp) sources+=(tests/cpp/link_units_other.cpp) ;;
  esac
  local arguments=()
  if [[ "$source" == *link_dlopen* ]]; then
    link=none
    arguments=("$lib/libmillpond.so")
  fi
  if ! build "$output" "$link" "$@" -- "${sources[@]}" >"$log" 2>&1; then
    judge "$name: build" 1 "$log"
    return
  fi
  # shellcheck disable=SC2086
  timeout 600 $wrapper "$output" "${arguments[@]}" >"$log" 2>&1
  local status=$?
  judge "$name" $status "$log" "$(tail -n 1 "$log")"
}

# seeded NAME TOOL-SAYS WRAPPER COMPILER SOURCE: a detector proves that it is on
seeded() {
  local name=$1 says=$2 wrapper=$3 source=$4 log=$scratch/log output=$scratch/seeded
  shift 4
  [[ "$name" == *"$only"* ]] || return 0
  if ! build "$output" shared "$@" -- "$source" >"$log" 2>&1; then
    judge "$name: build" 1 "$log"
    return
  fi
  # shellcheck disable=SC2086
  timeout 120 $wrapper "$output" >"$log" 2>&1
  local status=$?
  if [ $status -ne 0 ] && grep -q -- "$says" "$log"; then
    judge "$name" 0 "$log" "found"
  else
    echo "the seeded bug was not reported: status $status, \"$says\" not said" >>"$log"
    judge "$name" 1 "$log"
  fi
}

all_c() { # all_c LABEL LINK WRAPPER COMPILER...
  local label=$1 link=$2 wrapper=$3 each
  shift 3
  for each in "${c_programs[@]}"; do program "$label $each" "tests/c/$each.c" "$link" "$wrapper" "$@"; done
}

all_cpp() {
  local label=$1 link=$2 wrapper=$3 each
  shift 3
  for each in "${cpp_programs[@]}"; do program "$label $each.cpp" "tests/cpp/$each.cpp" "$link" "$wrapper" "$@"; done
}

# --- the test programs' own checks, first of all
seeded "seeded second put" "failed: millpond_put" "" tests/c/seeded/second_put.c gcc -std=c99
if [[ "seeded warning" == *"$only"* ]]; then
  if build "$scratch/warned" shared gcc -std=c99 -- tests/c/seeded/warning.c >"$scratch/log" 2>&1; then
    echo "a warning did not fail the compilation" >"$scratch/log"
    judge "seeded warning" 1 "$scratch/log"
  else
    grep -q -- -Werror=conversion "$scratch/log"
    judge "seeded warning" $? "$scratch/log" "found"
  fi
fi

# --- plain (the first two programs after dlopen measure or limit the process, which a detector would upset)
all_c "c99 shared" shared "" gcc -std=c99
program "c99 dlopen" tests/c/link_dlopen.c none "" gcc -std=c99
MILLPOND_TEST_SEEDED=1 seeded "seeded growth" "after - before < BOUND_KIB" "" tests/c/leak_rss.c gcc -std=c99
program "c99 memory stays as large as it was" tests/c/leak_rss.c shared "" gcc -std=c99
program "c99 without memory" tests/c/own_no_memory.c shared "" gcc -std=c99
program "c99 without heap" tests/c/own_no_heap.c shared "" gcc -std=c99
all_c "c11 static" static "" gcc -std=c11
all_c "c as c++11" shared "" g++ -x c++ -std=c++11
all_cpp "c++17 shared" shared "" g++ -std=c++17
all_cpp "c++20 static" static "" g++ -std=c++20

clang=clang clangxx=clang++
if ! has clang && has clang-22; then clang=clang-22 clangxx=clang++-22; fi
if has "$clang" && has "$clangxx"; then
  all_c "clang c11" shared "" "$clang" -std=c11
  all_cpp "clang c++20" shared "" "$clangxx" -std=c++20
else
  skip "the C and C++ programs compiled by clang" clang
fi

# --- AddressSanitizer and LeakSanitizer in the program, the shipped library as it is
# Under a tool a write behind the length is reported at the instruction, as tests/misuse shows: what the put says of it is
# left to the runs before.
export MILLPOND_TEST_WATCHED=1
if echo 'int main(void) { return 0; }' | gcc -fsanitize=address -x c - -o "$scratch/asan" 2>/dev/null; then
  asan=(-fsanitize=address -fno-omit-frame-pointer)
  seeded "asan seeded use after free" heap-use-after-free "" tests/c/seeded/use_after_free.c gcc -std=c99 "${asan[@]}" -Wno-use-after-free
  seeded "asan seeded leak" "12345 byte" "" tests/c/seeded/leak.c gcc -std=c99 "${asan[@]}"
  all_c "asan" shared "" gcc -std=c99 "${asan[@]}"
  program "asan dlopen" tests/c/link_dlopen.c none "" gcc -std=c99 "${asan[@]}"
  all_cpp "asan" static "" g++ -std=c++17 "${asan[@]}"
else
  skip "the C and C++ programs under AddressSanitizer" libasan
fi

# --- valgrind
if has valgrind; then
  memcheck="valgrind -q --error-exitcode=9 --fair-sched=yes"
  valgrind="$memcheck --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect"
  export MILLPOND_TEST_SCALE=20
  seeded "valgrind seeded use after free" "Invalid read" "$valgrind" tests/c/seeded/use_after_free.c gcc -std=c99 -Wno-use-after-free
  seeded "valgrind seeded leak" "12,345 bytes" "$valgrind" tests/c/seeded/leak.c gcc -std=c99
  seeded "valgrind seeded uninitialised" "uninitialised" "$valgrind" tests/c/seeded/uninitialised.c gcc -std=c99 -Wno-uninitialized -Wno-maybe-uninitialized
  for each in "${c_programs[@]}"; do
    # A forked child has no threads but one, and what belonged to the others counts as leaked there.
    checks=$valgrind
    if [ "$each" = own_fork ]; then checks="$memcheck --leak-check=no"; fi
    program "valgrind $each" "tests/c/$each.c" shared "$checks" gcc -std=c99
  done
  program "valgrind dlopen" tests/c/link_dlopen.c none "$valgrind" gcc -std=c99
  all_cpp "valgrind" shared "$valgrind" g++ -std=c++17
  unset MILLPOND_TEST_SCALE
else
  skip "the C and C++ programs under valgrind" valgrind
fi

# --- the ownership scenarios
python=${PYTHON:-python3}
scenarios() { # scenarios NAME LINK COMPILER...
  local name=$1 link=$2 log=$scratch/log
  shift 2
  [[ "$name" == *"$only"* ]] || return 0
  if ! build "$scratch/spec" "$link" "$@" -- tests/c/spec_runner.c >"$log" 2>&1; then
    judge "$name: build" 1 "$log"
    return
  fi
  timeout 600 "$scratch/spec" <"$scratch/steps" >"$log" 2>&1
  local status=$?
  judge "$name" $status <(grep -v '^ok \|^SKIP ' "$log") "$(tail -n 1 "$log")"
  # The library and the checks of the two builds are the same: one of them in the other modes will do.
  [ "$link" = shared ] || return 0
  local mode
  for mode in CHECK={off,on,sites,sample:1,sample:1000,full} POOL=off; do
    env "MILLPOND_$mode" timeout 600 "$scratch/spec" <"$scratch/steps" >"$log" 2>&1
    status=$?
    judge "$name MILLPOND_$mode" $status <(grep -v '^ok \|^SKIP ' "$log") "$(tail -n 1 "$log")"
  done
}
if ! has "$python"; then
  skip "the ownership scenarios in C" python3
elif ! "$python" tests/spec/flatten.py --lang c >"$scratch/steps"; then
  judge "flatten.py" 1 /dev/null
else
  scenarios "spec c shared" shared gcc -std=c99
  scenarios "spec c static" static gcc -std=c11
fi

# --- the example programs of the README
if has "$python" && [[ "readme examples" == *"$only"* ]]; then
  "$python" tests/c/readme_examples.py ffi-c/README.md "$scratch/examples" >"$scratch/log" 2>&1
  judge "readme examples are found" $? "$scratch/log" "$(tail -n 1 "$scratch/log")"
  for each in "$scratch"/examples/*.c; do program "readme $(basename "$each")" "$each" shared "" gcc -std=c99; done
  for each in "$scratch"/examples/*.cpp; do program "readme $(basename "$each")" "$each" shared "" g++ -std=c++17; done
fi

cd "$here" || exit 1
note "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
