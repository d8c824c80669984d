#!/usr/bin/env bash
# Builds the C library and installs it with its headers, its pkg-config file and its CMake package.
#   install.sh [PREFIX [DESTDIR]]   or PREFIX=... DESTDIR=... install.sh
#   LIBDIR=lib64                    the directory for libraries below PREFIX (default lib)
#   MILLPOND_LIB_DIR=...            take libmillpond.so and libmillpond.a from there instead of building them
set -euo pipefail
PREFIX=${1:-${PREFIX:-/usr/local}}
DESTDIR=${2:-${DESTDIR:-}}
LIBDIR=${LIBDIR:-lib}
case $PREFIX in /*) ;; *) PREFIX=$PWD/$PREFIX ;; esac
cd "$(dirname "$0")/.."

if [ -z "${MILLPOND_LIB_DIR:-}" ]; then
  cargo build --release -p millpond-c
  target=$(cargo metadata --format-version=1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  MILLPOND_LIB_DIR=$target/release
fi

number() { sed -n "s/^#define MILLPOND_VERSION_$1 //p" include/millpond.h; }
major=$(number MAJOR)
version=$major.$(number MINOR).$(number PATCH)
native=$(bash ffi-c/native-libs.sh)
up=$(sed 's|[^/][^/]*|..|g' <<<"$LIBDIR/pkgconfig")
lib=$DESTDIR$PREFIX/$LIBDIR
include=$DESTDIR$PREFIX/include

install -d "$lib/pkgconfig" "$lib/cmake/millpond" "$include"
install -m 755 "$MILLPOND_LIB_DIR/libmillpond.so" "$lib/libmillpond.so.$version"
ln -sfn "libmillpond.so.$version" "$lib/libmillpond.so.$major"
ln -sfn "libmillpond.so.$major" "$lib/libmillpond.so"
install -m 644 "$MILLPOND_LIB_DIR/libmillpond.a" "$lib/libmillpond.a"
install -m 644 include/millpond.h include/millpond.hpp "$include/"

fill() { # fill TEMPLATE OUTPUT
  sed -e "s|@UP@|$up|g" -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" -e "s|@LIBDIR@|$LIBDIR|g" -e "s|@NATIVE@|$native|g" "$1" >"$2"
  chmod 644 "$2"
}
fill ffi-c/package/millpond.pc.in "$lib/pkgconfig/millpond.pc"
fill ffi-c/package/millpondConfig.cmake.in "$lib/cmake/millpond/millpondConfig.cmake"
fill ffi-c/package/millpondConfigVersion.cmake.in "$lib/cmake/millpond/millpondConfigVersion.cmake"

echo "millpond $version is installed in $DESTDIR$PREFIX"
if [ -z "$DESTDIR" ] && [ "$(id -u)" -eq 0 ] && command -v ldconfig >/dev/null && [ "$PREFIX" = /usr/local ]; then
  ldconfig
fi
