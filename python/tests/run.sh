#!/usr/bin/env bash
# Builds the wheel and the sdist, a wheel from that sdist alone, installs the one abi3 wheel into a fresh environment for
# each CPython >= 3.11 of this machine and runs everything there is: pytest, the scenarios, stubtest, mypy --strict.
# Needs cargo and a python3 with venv; the rest comes from the package index into a directory that is removed.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
PYTHON=${PYTHON:-$(bash ../tests/tools/prerequisites.sh --python)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/../target}

say() { printf '\n== %s\n' "$*"; }

say "build the wheel and the sdist"
"$PYTHON" -m venv "$scratch/tools"
tools=$scratch/tools/bin
"$tools/pip" install --quiet 'maturin>=1.16,<2' pytest 'mypy>=2' numpy typing_extensions
"$tools/maturin" build --release --locked --out "$scratch/dist" 2>&1 | tail -n 1
"$tools/maturin" sdist --out "$scratch/dist" 2>&1 | tail -n 1
wheel=$(echo "$scratch"/dist/*.whl)
sdist=$(echo "$scratch"/dist/*.tar.gz)
case $wheel in
*-cp311-abi3-*.whl) echo "$(basename "$wheel"), $(basename "$sdist")" ;;
*) echo "not one abi3 wheel: $wheel" >&2 && exit 1 ;;
esac

say "build a wheel from the sdist alone, in an empty directory"
mkdir "$scratch/empty"
(cd "$scratch/empty" && CARGO_TARGET_DIR="$scratch/sdist-target" "$tools/pip" wheel --quiet --no-deps --wheel-dir "$scratch/from-sdist" "$sdist")
"$PYTHON" -m venv "$scratch/alone"
"$scratch/alone/bin/pip" install --quiet "$scratch"/from-sdist/*.whl
(cd "$scratch/empty" && "$scratch/alone/bin/python" -W error -c 'import millpond; millpond.get(10).put(); print("works:", millpond.__version__)')

say "a free-threaded interpreter is refused when the package is built"
cat >"$scratch/free-threaded.txt" <<'CONFIG'
implementation=CPython
version=3.14
shared=true
target_abi=CPython-free_threaded-3.14
pointer_width=64
build_flags=Py_GIL_DISABLED
suppress_build_script_link_lines=true
CONFIG
if PYO3_CONFIG_FILE="$scratch/free-threaded.txt" CARGO_TARGET_DIR="$scratch/free-target" cargo check --quiet --locked 2>"$scratch/refusal"; then
  echo "it was built for a free-threaded interpreter" >&2 && exit 1
fi
grep -o 'millpond needs the GIL.*' "$scratch/refusal" || { cat "$scratch/refusal" >&2 && exit 1; }

say "types: stubtest, mypy --strict"
"$tools/pip" install --quiet "$wheel"
# The directory of the sources would hide the installed package.
cd "$scratch/empty"
# Before 3.12 C types do not show their buffer protocol as methods.
printf 'millpond._millpond.Lease.__%sbuffer__\n' '' release_ >"$scratch/allowed"
"$tools/python" -m mypy.stubtest --mypy-config-file "$here/pyproject.toml" --ignore-unused-allowlist \
  --allowlist "$scratch/allowed" millpond
for version in 3.11 3.13; do
  "$tools/mypy" --config-file "$here/pyproject.toml" --python-version "$version" --cache-dir "$scratch/mypy" \
    "$here/examples/tree.py" "$here/bench/pair.py" "$here/tests/spec_runner.py" "$here"/python/millpond/*.py
done

candidates=("$PYTHON")
for name in python3 python3.{11..29}; do
  while read -r found; do candidates+=("$found"); done < <(type -ap "$name" || true)
done
candidates+=("${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3)
seen=" "
runs=0
for candidate in "${candidates[@]}"; do
  # A version manager's name without an interpreter behind it fails here and is passed over.
  about=$("$candidate" -c '
import sys, sysconfig, os
print(os.path.realpath(sys.executable), "%d.%d.%d" % sys.version_info[:3], sys.implementation.name, sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
print(int(sys.version_info >= (3, 11)))' </dev/null 2>/dev/null) || continue
  read -r path version kind free <<<"${about%$'\n'*}"
  [[ $seen == *" $path "* ]] && continue
  seen+="$path "
  [ "${about##*$'\n'}" = 1 ] || continue
  if [ "$kind" != cpython ] || [ "$free" != 0 ]; then
    echo "SKIPPED: $kind $version free-threaded=$free ($path): not supported"
    continue
  fi
  say "CPython $version"
  environment=$scratch/env-$version-$runs
  if ! "$path" -m venv "$environment" >"$scratch/venv.log" 2>&1; then
    echo "SKIPPED: CPython $version cannot make virtual environments (its venv or ensurepip is missing)"
    continue
  fi
  "$environment/bin/pip" install --quiet pytest "$wheel"
  for optional in numpy pyarrow; do
    "$environment/bin/pip" install --quiet --only-binary :all: "$optional" 2>/dev/null ||
      echo "SKIPPED: CPython $version has no wheel of $optional, its tests are left out"
  done
  "$environment/bin/python" -m pytest -q -p no:cacheprovider -c "$here/pyproject.toml" --rootdir "$here" "$here/tests"
  "$environment/bin/python" -W error "$here/tests/spec_runner.py" | tail -n 1
  # All of them once: the wheel is the same. The others look at what depends on the interpreter, its frames and its views.
  modes=(CHECK={sample:1,full})
  [ "$runs" -gt 0 ] || modes=(CHECK={off,on,sites,sample:1,sample:1000,full} POOL=off)
  for mode in "${modes[@]}"; do
    env "MILLPOND_$mode" "$environment/bin/python" -W error "$here/tests/spec_runner.py" >"$scratch/spec.log" 2>&1 ||
      { echo "MILLPOND_$mode: status $?" >&2 && cat "$scratch/spec.log" >&2 && exit 1; }
    echo "MILLPOND_$mode: $(tail -n 1 "$scratch/spec.log")"
  done
  INTERPRETER="$environment/bin/python" bash "$here/../tests/preload/run.sh" python "$((runs > 0 ? 25 : 5))"
  runs=$((runs + 1))
done
[ "$runs" -gt 0 ] || { echo "no CPython >= 3.11 was tested" >&2 && exit 1; }
echo
echo "python: one abi3 wheel tested on $runs interpreters"
