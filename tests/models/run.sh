#!/usr/bin/env bash
# Runs the models of the pool's protocols: loom's with two threads, shuttle's with three and more, and the seeded bugs that
# they must find. run.sh [long]: all interleavings where the short run bounds them, and twenty times as many schedules.
# LIMIT: seconds for each model of the long run. See README.md beside this file.
set -uo pipefail
cd "$(dirname "$0")/../.."
targets=${CARGO_TARGET_DIR:-target}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export CARGO_PROFILE_TEST_OPT_LEVEL=3 CARGO_PROFILE_TEST_DEBUG=0
if [ "${1:-}" = long ]; then
  export MODELS_LONG=1 MODELS_LIMIT=${LIMIT:-60} MODELS_SCHEDULES=${MODELS_SCHEDULES:-20000}
fi

build() { # build ENGINE: prints the path of the test program
  # Slots wear out after seven leases, so that models get there.
  RUSTFLAGS="--cfg millpond_models --cfg $1 --cfg millpond_short_generations" CARGO_TARGET_DIR="$targets/models-$1" \
    cargo test -p millpond --lib --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

loom=$(build loom) && shuttle=$(build shuttle) && [ -x "$loom" ] && [ -x "$shuttle" ] || exit 1
run() { # run ENGINE PROGRAM
  (cd core && "$2" models:: --nocapture --test-threads=1) >"$logs/$1.log" 2>&1
  echo $? >"$logs/$1.status"
}
run loom "$loom" &
run shuttle "$shuttle" &
wait

status=0
for engine in loom shuttle; do
  sed -n 's/.*\(model .*:\)/\1/p; s/.*\(seed found:\)/\1/p' "$logs/$engine.log"
  if [ "$(cat "$logs/$engine.status")" != 0 ]; then
    status=1
    tail -n 60 "$logs/$engine.log"
  fi
done
awk '
  /model .*: [0-9]+ interleavings/ { match($0, /[0-9]+ interleavings/); n = substr($0, RSTART) + 0; sum += n; models++
    if ($0 ~ /interleavings, all, /) { whole++; of_whole += n } }
  END { printf "loom: %d interleavings; %d models explored whole, without a bound (%d), %d with one (%d)\n",
        sum, whole, of_whole, models - whole, sum - of_whole
        if (whole < 30) { print "fewer than 30 models were explored whole"; exit 1 } }' "$logs/loom.log" || status=1
awk '
  /schedules at random/ { match($0, /[0-9]+ schedules at random/); r += substr($0, RSTART) + 0
    match($0, /[0-9]+ by priorities/); p += substr($0, RSTART) + 0; models++ }
  END { printf "shuttle: %d schedules (%d at random, %d by priorities), %d models of three threads and more\n", r + p, r, p, models
        if (models == 0) exit 1 }' "$logs/shuttle.log" || status=1
grep -a -E '^[0-9]+ seeded bugs' "$logs/loom.log" "$logs/shuttle.log" -h || status=1
exit $status
