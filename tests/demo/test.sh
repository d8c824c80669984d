#!/usr/bin/env bash
# Tests the demo's driver, runs the demo over a small tree with odd files, then the examples of README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONDONTWRITEBYTECODE=1
python=${PYTHON:-$(bash tests/tools/prerequisites.sh --python)}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

"$python" tests/demo/test_demo.py

# Empty, at the class boundaries, larger than every class, names with spaces and letters beyond ASCII, a link.
mkdir -p "$tree/a b/ü"
: >"$tree/empty"
printf x >"$tree/one"
for size in 511 512 513 1024 4096 65535 65536 65537; do head -c "$size" /dev/urandom >"$tree/a b/$size"; done
head -c 17000000 /dev/urandom >"$tree/a b/ü/large"
for number in $(seq 300); do printf '%s\n' "$number" >"$tree/a b/ü/$number.txt"; done
ln -s one "$tree/link"
"$python" tests/demo/demo.py "$tree"
if "$python" tests/demo/demo.py "$tree/not-there" 2>/dev/null; then
  echo "demo.py accepted a directory that is not there" >&2
  exit 1
fi

"$python" tests/demo/readme.py
