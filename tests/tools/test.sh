#!/usr/bin/env bash
# Runs every part of the tests, goes on after a part that failed, and reports at the end.
# test.sh [PART]: only the parts whose name contains PART. STRICT=1: a skipped check fails the run. LIMIT: seconds for a part.
set -uo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} STRICT=${STRICT:-}
only=${1:-}
# Seconds after which a part counts as hanging, so that one part cannot keep the others from being run.
LIMIT=${LIMIT:-900}

bash tests/tools/prerequisites.sh || exit 1
PYTHON=$(bash tests/tools/prerequisites.sh --python)
export PYTHON
echo "$(rustc --version), $("$PYTHON" --version) ($PYTHON), node $(node --version), $(cc --version | head -n 1)"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0
failed=()

part() { # part NAME COMMAND...
  local name=$1 start=$SECONDS status
  shift
  [[ "$name" == *"$only"* ]] || return 0
  printf '\n=== %s\n' "$name"
  timeout --kill-after=10 "$LIMIT" "$@" </dev/null 2>&1 | tee "$logs/${name// /-}.log"
  status=${PIPESTATUS[0]}
  # 124: timeout ended it; 137: it did not end by itself even then.
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    printf -- '--- %s: ended after %d s without a result\n' "$name" "$LIMIT"
  fi
  if [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
    printf -- '--- %s: passed in %d s\n' "$name" "$((SECONDS - start))"
  else
    failed+=("$name")
    printf -- '--- %s: FAILED (status %d) after %d s\n' "$name" "$status" "$((SECONDS - start))"
  fi
}

part "rustfmt" cargo fmt --all --check
part "clippy" cargo clippy --workspace --all-targets -- -D warnings
part "rust core" cargo test --no-fail-fast -p millpond
part "rust ffi-c" cargo test --no-fail-fast -p millpond-c
part "spec files" "$PYTHON" tests/spec/flatten.py --check
part "rust spec and repository" cargo test --no-fail-fast -p millpond-tests
part "c and c++" bash tests/c/run.sh
part "c and c++ installed" bash tests/packaging-c/run.sh
part "models" bash tests/models/run.sh
part "worn out slots" bash tests/campaigns/generations.sh
part "thread sanitizer" bash tests/campaigns/tsan.sh
part "fuzz" bash tests/fuzz/run.sh
part "python" bash python/tests/run.sh
part "node" bash node/test/run.sh
part "demo" bash tests/demo/test.sh
part "misuse" "$PYTHON" tests/misuse/misuse.py --no-tools

skipped=$(cat "$logs"/*.log 2>/dev/null | grep -a '^SKIPPED:' | sort -u)
if [ -n "$skipped" ]; then
  printf '\n!!! %s checks were skipped:\n%s\n' "$(wc -l <<<"$skipped")" "$skipped"
  if [ -n "$STRICT" ] && [ "$STRICT" != 0 ]; then failed+=("skipped checks (STRICT)"); fi
fi
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed:\n'
  printf '  %s\n' "${failed[@]}"
fi
printf '\n%d s\n%d passed, %d failed\n' "$SECONDS" "$passed" "${#failed[@]}"
[ ${#failed[@]} -eq 0 ] && [ "$passed" -gt 0 ]
