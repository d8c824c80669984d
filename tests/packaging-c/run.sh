#!/usr/bin/env bash
# Installs the C library into a prefix of its own and builds and runs a C and a C++ program against it, as users do: through
# pkg-config and through CMake, shared and static, and after the whole tree was moved.
# STRICT=1: a missing tool is a failure. Last line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
programs=$PWD/tests/packaging-c

check() { # check NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$scratch/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAILED $name"
    tail -n 30 "$scratch/log" | sed 's/^/  /'
  fi
}

skip() {
  echo "SKIPPED: $1 (no $2)"
  if [ "${STRICT:-}" = 1 ]; then failed=$((failed + 1)); fi
}

has() { command -v "$1" >/dev/null 2>&1; }

check "install" bash ffi-c/install.sh "$scratch/first"
version=$(sed -n 's/^#define MILLPOND_VERSION "\(.*\)"/\1/p' include/millpond.h)
major=${version%%.*}
check "install with DESTDIR and another LIBDIR" env LIBDIR=lib/some-system bash ffi-c/install.sh /usr "$scratch/stage"

files() {
  local prefix=$1 lib=$2
  test -f "$prefix/$lib/libmillpond.so.$version" -a ! -L "$prefix/$lib/libmillpond.so.$version" &&
    test "$(readlink "$prefix/$lib/libmillpond.so.$major")" = "libmillpond.so.$version" &&
    test "$(readlink "$prefix/$lib/libmillpond.so")" = "libmillpond.so.$major" &&
    test -f "$prefix/$lib/libmillpond.a" -a -f "$prefix/include/millpond.h" -a -f "$prefix/include/millpond.hpp" &&
    test -f "$prefix/$lib/pkgconfig/millpond.pc" -a -f "$prefix/$lib/cmake/millpond/millpondConfig.cmake" &&
    ! grep -rn '@[A-Z]*@' "$prefix/$lib/pkgconfig" "$prefix/$lib/cmake" &&
    ! grep -rn "$PWD\|$scratch" "$prefix/$lib/pkgconfig" "$prefix/$lib/cmake"
}
check "every file is there, with its links" files "$scratch/first" lib
check "every file is there under DESTDIR" files "$scratch/stage/usr" lib/some-system

# From here on the tree is somewhere else than where it was installed.
mv "$scratch/first" "$scratch/moved"
prefix=$scratch/moved
export LD_LIBRARY_PATH=

needs() { # needs PROGRAM: 0 when it needs the shared library
  readelf -d "$1" | grep -q "NEEDED.*libmillpond.so.$major\]"
}

through_pkg_config() { # through_pkg_config LINKAGE COMPILER SOURCE
  local output=$scratch/pc-$1-${3##*.} flags
  export PKG_CONFIG_PATH=${4:-$prefix/lib}/pkgconfig
  test "$(pkg-config --modversion millpond)" = "$version" || return 1
  if [ "$1" = static ]; then
    # -lmillpond takes the shared library where both are there; the archive is asked for by its name.
    flags=$(pkg-config --static --cflags --libs millpond | sed 's/-lmillpond/-l:libmillpond.a/')
  else
    flags="$(pkg-config --cflags --libs millpond) -Wl,-rpath,$(pkg-config --variable=libdir millpond)"
  fi
  # shellcheck disable=SC2086
  $2 -Wall -Wextra -Werror "$programs/$3" -o "$output" $flags && "$output" || return 1
  if [ "$1" = static ]; then ! needs "$output"; else needs "$output"; fi
}

if has pkg-config && has readelf; then
  for linkage in shared static; do
    check "pkg-config $linkage, C" through_pkg_config $linkage "gcc -std=c99" program.c
    check "pkg-config $linkage, C++" through_pkg_config $linkage "g++ -std=c++17" program.cpp
  done
  check "pkg-config from another LIBDIR" through_pkg_config shared gcc program.c "$scratch/stage/usr/lib/some-system"
else
  skip "the installed library through pkg-config" "pkg-config or readelf"
fi

configure() { # configure WANTED DIRECTORY PREFIX
  mkdir -p "$2" && cp "$programs"/program.c* "$2/" &&
    sed "s/@WANTED@/$1/" "$programs/CMakeLists.txt" >"$2/CMakeLists.txt" &&
    cmake -S "$2" -B "$2/build" -DCMAKE_PREFIX_PATH="$3" -DCMAKE_BUILD_TYPE=Release
}
through_cmake() {
  configure "$version" "$scratch/cmake" "$prefix" && cmake --build "$scratch/cmake/build" || return 1
  local program
  for program in c_millpond cpp_millpond c_millpond_static cpp_millpond_static; do
    "$scratch/cmake/build/$program" || return 1
  done
  needs "$scratch/cmake/build/c_millpond" && ! needs "$scratch/cmake/build/c_millpond_static"
}
from_another_libdir() {
  configure "" "$scratch/cmake-stage" "$scratch/stage/usr/lib/some-system/cmake/millpond" &&
    cmake --build "$scratch/cmake-stage/build" --target c_millpond && "$scratch/cmake-stage/build/c_millpond"
}
refuses() { ! configure "$1" "$scratch/cmake-$1" "$prefix"; }

if has cmake; then
  check "find_package, shared and static, C and C++" through_cmake
  check "find_package from another LIBDIR" from_another_libdir
  check "find_package refuses a newer minor version" refuses "$major.99"
  check "find_package refuses another major version" refuses "$((major + 1)).0"
else
  skip "the installed library through CMake" cmake
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
