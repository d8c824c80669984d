#!/usr/bin/env bash
# Installs and builds what the Python and Node contenders and the real workloads need, below DIR:
#   setup.sh DIR [python|node|upload|pmr]...     default: all four
# A part that cannot be had writes its reason to DIR/missing/PART and does not stop the others. What is there and was made
# from the same pins and sources is kept.
set -uo pipefail
cd "$(dirname "$0")/../.."
dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift
root=$PWD
CARGO_TARGET_DIR=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm_config_loglevel=error
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
mkdir -p "$dir/missing" "$dir/log"

# pinned STAMP FILE...: whether STAMP was left by the same files.
pinned() {
  local stamp=$1
  shift
  [ -f "$stamp" ] && [ "$(cat "$@" | cksum)" = "$(cat "$stamp")" ]
}

# newer STAMP PATH...: whether one of the files or folders is younger than STAMP, or STAMP is not there.
newer() {
  local stamp=$1
  shift
  [ ! -f "$stamp" ] || [ -n "$(find "$@" -name __pycache__ -prune -o -newer "$stamp" -print -quit)" ]
}

python() {
  local wanted=${PYTHON:-} found
  # 3.11 where there is one: what earlier figures were measured with.
  [ -n "$wanted" ] || wanted=$(command -v python3.11 || bash tests/tools/prerequisites.sh --python)
  found=$("$wanted" -c 'import sys; print(sys.executable)') || return 1
  if ! pinned "$dir/venv/pins" tests/bench/python/requirements.txt <(echo "$found"); then
    rm -rf "$dir/venv"
    "$found" -m venv "$dir/venv" || return 1
    "$dir/venv/bin/pip" install -q -r tests/bench/python/requirements.txt || return 1
    cat tests/bench/python/requirements.txt <(echo "$found") | cksum >"$dir/venv/pins"
  fi
  if newer "$dir/venv/millpond" Cargo.lock Cargo.toml core python/Cargo.toml python/pyproject.toml python/python python/src; then
    "$dir/venv/bin/pip" install -q --force-reinstall --no-deps ./python || return 1
    touch "$dir/venv/millpond"
  fi
}

node() {
  local app=$dir/node
  mkdir -p "$app"
  cargo build -q --release -p millpond-node || return 1
  # A copy, so that a rebuild during a measurement changes nothing.
  rm -rf "$app/node_modules/millpond"
  mkdir -p "$app/node_modules/millpond/prebuilt"
  cp -r node/index.js node/index.mjs node/lib node/package.json "$app/node_modules/millpond/"
  local name
  name=$(command node -p "require('path').basename(require('./node/lib/binding').addonFiles().built)") || return 1
  cp "$CARGO_TARGET_DIR/release/libmillpond_node.so" "$app/node_modules/millpond/prebuilt/$name" || return 1
  if ! pinned "$app/tools/pins" tests/bench/node/package.json tests/bench/node/package-lock.json; then
    rm -rf "$app/tools"
    mkdir -p "$app/tools"
    cp tests/bench/node/package.json tests/bench/node/package-lock.json "$app/tools/"
    npm ci --prefix "$app/tools" || return 1
    cat tests/bench/node/package.json tests/bench/node/package-lock.json | cksum >"$app/tools/pins"
  fi
}

upload() {
  cargo build -q --release --locked --manifest-path tests/bench/workloads/upload/Cargo.toml --target-dir "$dir/upload"
}

pmr() {
  newer "$dir/pmr" Cargo.lock Cargo.toml core ffi-c include tests/bench/workloads/pmr.cpp || return 0
  bash ffi-c/install.sh "$dir/prefix" || return 1
  local lib
  lib=$(dirname "$(find "$dir/prefix" -name libmillpond.so)")
  "${CXX:-c++}" -std=c++17 -O2 -DNDEBUG -pthread -I"$dir/prefix/include" tests/bench/workloads/pmr.cpp -o "$dir/pmr" \
    -L"$lib" -lmillpond -Wl,-rpath,"$lib"
}

[ $# -gt 0 ] || set -- python node upload pmr
for part in "$@"; do
  rm -f "$dir/missing/$part"
  if ! "$part" >"$dir/log/$part.log" 2>&1; then
    { echo "the set-up failed: $(grep -v '^[[:space:]]*$' "$dir/log/$part.log" | tail -n 1 | cut -c1-200)"; } >"$dir/missing/$part"
    echo "bench: $part cannot be had; $dir/log/$part.log says why" >&2
  fi
done
