#!/usr/bin/env bash
# Refuses the native half of a language's package its memory, request by request, through everything that pools do.
#   run.sh python|node [STEP]   every STEP-th request, 1 unless given: all of them
#   MODES_STEP=...              the same for Node's other ways with memory, five times STEP unless given
#   INTERPRETER=...             a Python that has the package installed; otherwise it is built and installed here
#   PACKAGE=...                 the folder of the installed Node package; the same
#   NODE=...                    the Node to run it with; the machine's unless given
# First shows that an abort would be seen: for Python by the one that is left, in a library that the package stands on, for Node
# by one in an addon made for that.
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

aborts() { # aborts COMMAND...: that it ends for want of memory, and in no other way
  # The shell would tell of the abort, too.
  if { "$@" >"$scratch/seeded.log" 2>&1; } 2>/dev/null; then
    echo "the abort that is there was not seen" >&2 && exit 1
  elif ! grep -q 'memory allocation of .* failed' "$scratch/seeded.log"; then
    cat "$scratch/seeded.log" >&2 && exit 1
  fi
}

case $language in
python)
  interpreter=${INTERPRETER:-$(installed python)}
  run=(env "LD_PRELOAD=$scratch/failing_memory.node" "$interpreter" -B tests/preload/no_memory.py)
  aborts "${run[@]}" --seeded
  "${run[@]}" "$step"
  ;;
node)
  if [ -z "${PACKAGE:-}" ]; then
    installed node >/dev/null
    PACKAGE=$scratch/node/node_modules/millpond
  fi
  rustc --edition 2024 --crate-type cdylib -o "$scratch/seeded.node" tests/preload/seeded.rs
  run=(env "LD_PRELOAD=$scratch/failing_memory.node" "NO_MEMORY_PACKAGE=$PACKAGE" "${NODE:-node}" --expose-gc
    tests/preload/no_memory.mjs)
  aborts "${run[@]}" --seeded "$scratch/seeded.node"
  "${run[@]}" "$step"
  # In V8's own memory, and without V8's own way to move memory, which only Node 20 needs.
  for mode in MILLPOND_NODE_EXTERNAL MILLPOND_NODE_MOVE; do
    env $mode=off "${run[@]}" "${MODES_STEP:-$((step * 5))}"
  done
  ;;
*)
  echo "usage: run.sh python|node [STEP]" >&2
  exit 2
  ;;
esac
