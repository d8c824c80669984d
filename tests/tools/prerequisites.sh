#!/usr/bin/env bash
# Checks by name and version that everything a build needs is there. With --python: prints the interpreter the checks use,
# the newest released CPython >= 3.11 with a GIL that can make virtual environments (python3 itself may be an older one).
set -euo pipefail
cd "$(dirname "$0")/../.."

newest_python() {
  local found="" newest=0 candidate version
  for candidate in "${PYTHON:-}" python3 python3.{11..29} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    # A name without an interpreter behind it (a version manager's) fails here and is passed over.
    version=$("$candidate" -c '
import sys, sysconfig, venv, ensurepip
ok = sys.version_info >= (3, 11) and sys.version_info.releaselevel == "final" and not sysconfig.get_config_var("Py_GIL_DISABLED")
print(sys.version_info[1] if ok and sys.implementation.name == "cpython" else 0)' </dev/null 2>/dev/null) || continue
    if [ "$version" -gt "$newest" ]; then
      newest=$version
      found=$("$candidate" -c 'import sys; print(sys.executable)' </dev/null)
    fi
    # One that was asked for is taken, newer ones or not.
    if [ "$candidate" = "${PYTHON:-}" ] && [ "$newest" -gt 0 ]; then break; fi
  done
  printf '%s' "$found"
}

if [ "${1:-}" = --python ]; then
  newest_python
  exit
fi

missing=0
# at_least NAME WANTED FOUND HINT
at_least() {
  if [ -z "$3" ]; then
    echo "missing: $1 >= $2. $4" >&2
    missing=1
  elif [ "$(printf '%s\n%s\n' "$2" "$3" | sort -V | head -n 1)" != "$2" ]; then
    echo "too old: $1 is $3, needed is >= $2. $4" >&2
    missing=1
  fi
}
version_of() { "$@" --version </dev/null 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true; }

msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
at_least rustc "$msrv" "$(version_of rustc)" "Install Rust from rust-lang.org or the distribution."
at_least cargo "$msrv" "$(version_of cargo)" "It comes with rustc."
python=$(newest_python)
at_least "python3 (CPython with venv)" 3.11 "${python:+$(version_of "$python")}" "Install python3 and python3-venv, or set PYTHON."
at_least node 20.0 "$(version_of node)" "Install Node.js 20 or newer."
at_least npm 9.0 "$(version_of npm)" "It comes with Node.js."
at_least "cc (C compiler)" 1.0 "$(version_of cc)" "Install gcc or clang."
at_least "c++ (C++ compiler)" 1.0 "$(version_of c++)" "Install g++ or clang."
at_least make 4.0 "$(version_of make)" "Install GNU make."
exit "$missing"
