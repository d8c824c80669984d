#!/usr/bin/env bash
# Refuses the native half of a language's package its memory, request by request, through everything that pools do.
#   run.sh python|node [STEP]   every STEP-th request, 1 unless given: all of them
#   INTERPRETER=...             a Python that has the package installed; otherwise it is built and installed here
#   PACKAGE=...                 the folder of the installed Node package; the same
#   LEAST=...                   Node: the smallest request that is refused, in bytes; 65536 unless given: all buffers of their own
#                               mapping. Smaller ones are what the addon's table and texts are made of, which abort.
# First shows that an abort would be seen: by the one that is left, in a library that the package stands on.
set -euo pipefail
cd "$(dirname "$0")/../.."
language=$1 step=${2:-1}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Without the calls in tail position a function would have its caller's return address.
cc -std=c11 -O1 -fno-optimize-sibling-calls -Wall -Wextra -Wpedantic -Werror -shared -fPIC tests/preload/failing_memory.c \
  -o "$scratch/failing_memory.node"
ulimit -c 0

installed() { # installed FUNCTION: builds and installs a package as the demo does
  "$(bash tests/tools/prerequisites.sh --python)" -B -c "
import sys; from pathlib import Path; sys.path.insert(0, 'tests/demo'); import build
print(build.$1(Path('$scratch'))[0])"
}

case $language in
python)
  interpreter=${INTERPRETER:-$(installed python)}
  run=(env "LD_PRELOAD=$scratch/failing_memory.node" "$interpreter" -B tests/preload/no_memory.py)
  # The shell would tell of the abort, too.
  if { "${run[@]}" --seeded >"$scratch/seeded.log" 2>&1; } 2>/dev/null; then
    echo "the abort that is there was not seen" >&2 && exit 1
  elif ! grep -q 'memory allocation of .* failed' "$scratch/seeded.log"; then
    cat "$scratch/seeded.log" >&2 && exit 1
  fi
  "${run[@]}" "$step"
  ;;
node)
  if [ -z "${PACKAGE:-}" ]; then
    installed node >/dev/null
    PACKAGE=$scratch/node/node_modules/millpond
  fi
  LD_PRELOAD="$scratch/failing_memory.node" NO_MEMORY_PACKAGE=$PACKAGE \
    node --expose-gc tests/preload/no_memory.mjs "$step" "${LEAST:-65536}"
  ;;
*)
  echo "usage: run.sh python|node [STEP]" >&2
  exit 2
  ;;
esac
