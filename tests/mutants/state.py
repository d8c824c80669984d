"""Where builds and results of the mutants are kept, and how they are built."""

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("STATE", ROOT / "target/mutants")).resolve()
TREE, TARGET = STATE / "tree", STATE / "build"
RESULTS = STATE / "results.jsonl"
PACKAGES = {"core": "millpond", "ffi-c": "millpond-c"}
# Suites that take less than this, in seconds, are tried with all mutants before the others are with what is left.
QUICK = float(os.environ.get("QUICK", 1.0))
SLOW = os.environ.get("SLOW") != "0"
# The module with the conditions, in each crate.
ADDED = "mutant_.rs"
os.environ.pop("RUSTC_WORKSPACE_WRAPPER", None)
ENVIRONMENT = {
    **os.environ,
    "CARGO_TARGET_DIR": str(TARGET),
    "CARGO_INCREMENTAL": "0",
    "CARGO_PROFILE_TEST_DEBUG": "0",
    "CARGO_PROFILE_DEV_DEBUG": "0",
    "RUSTFLAGS": "--cap-lints allow",
    # The conditions in constant functions need `const_eval_select`, which only the library may use otherwise.
    "RUSTC_BOOTSTRAP": ",".join(package.replace("-", "_") for package in PACKAGES.values()),
    "CARGO_TERM_COLOR": "never",
    # What can be run for longer or shorter is run for shorter, and always with the same cases.
    "MILLPOND_FORK_CHILDREN": "40",
    "MILLPOND_THREADS": "500",
    "PROPTEST_CASES": "60",
    "PROPTEST_RNG_SEED": "1",
}
# For what is built by itself.
APART = {**ENVIRONMENT, "CARGO_TARGET_DIR": str(STATE / "alone"), "CARGO_INCREMENTAL": "1"}


def die(text):
    print(f"mutants: {text}", file=sys.stderr)
    sys.exit(1)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(path, text):
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
