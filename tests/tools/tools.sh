#!/usr/bin/env bash
# Installs with apt what `make test` uses beside the prerequisites. Does nothing when all of it is there.
#   FOR=coverage  what `make coverage` uses too
set -euo pipefail

packages=()
need() { # need PACKAGE COMMAND...: the package unless the command succeeds
  local package=$1
  shift
  "$@" >/dev/null 2>&1 </dev/null || packages+=("$package")
}
need valgrind valgrind --version
need clang clang --version
need cmake cmake --version
need pkg-config pkg-config --version
need libssl-dev pkg-config --exists libcrypto
need binutils nm --version
# `make coverage` reads what rustc's LLVM wrote, with the tools of the same version: large, and nothing else needs them.
llvm=$(rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
[ "${FOR:-}" != coverage ] || need "llvm-$llvm" bash -c "command -v llvm-cov-$llvm || llvm-cov --version | grep 'version $llvm\.'"
# clang's AddressSanitizer runtime is a package of its own where clang does not bring it.
need libclang-rt-dev bash -c 'echo "int main(void){return 0;}" | clang -fsanitize=address -xc - -o /dev/null'

if [ ${#packages[@]} -eq 0 ]; then
  echo "tools: everything is there"
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "tools: missing ${packages[*]}; install them as root (the names are Debian's): apt-get install ${packages[*]}" >&2
  exit 1
fi
echo "tools: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
available=()
for package in "${packages[@]}"; do
  # Older releases have clang's runtime inside clang itself.
  if apt-cache show "$package" >/dev/null 2>&1; then available+=("$package"); fi
done
apt-get install -y -qq --no-install-recommends "${available[@]}" >/dev/null
echo "tools: installed ${available[*]}"
