#!/usr/bin/env python3
"""Puts small bugs into core and ffi-c, one at a time, and looks whether a test finds each.

run.py [FILE...]: only mutants of source files whose path contains one of the words.
  AGAIN=1    try again what survived or is open, with all tests, after some were added
  LIST=1     try nothing, judge what earlier runs found
  QUICK=1    which suites are tried first, by the seconds they take; SLOW=0: no others, what they would find stays open
  ALONE=0    build none by itself
  STATE=DIR  where builds and results are kept (target/mutants)

cargo-mutants says which bugs there are. As building each one alone takes a minute, `schemata` puts all of a crate into one build,
each behind a condition that the environment variable MILLPOND_MUTANT switches on; a first run of each suite notes which mutants'
places it reaches, and only those are tried with it. What cannot be put behind a condition is built by itself.

Results are kept and taken up again: what was found out of a mutant holds as long as its function is as it was. Survivors must stand
in survivors.toml with the reason why no test can tell them from the original; the run fails for any other, and for an entry that
stands for nothing.
"""

import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from builds import build, build_all, build_schemata, unviable_of  # noqa: E402
from mutants import copy_tree, list_mutants, mutated  # noqa: E402
from results import LIVING, Results, judge, survivors_allowed  # noqa: E402
from state import APART, QUICK, ROOT, SLOW, STATE, TREE, die, write  # noqa: E402
from suites import attempt, c_suites, find_suites, trace  # noqa: E402


def main():
    words = sys.argv[1:]
    STATE.mkdir(parents=True, exist_ok=True)
    copy_tree()
    every = list_mutants()
    mutants = [m for m in every if not words or any(word in m.file for word in words)]
    if words:
        mutants.sort(key=lambda m: next(i for i, word in enumerate(words) if word in m.file))
    results = Results()
    again = os.environ.get("AGAIN")
    allowed = survivors_allowed()

    def is_open(mutant):
        entry = results.of(mutant)
        if entry is None:
            return True
        return entry["result"] in (LIVING if again else ("open",)) and mutant.key not in allowed

    left = [mutant for mutant in mutants if is_open(mutant)]
    print(f"{len(every)} mutants, {len(mutants)} of the files asked for, {len(left)} to be tried", flush=True)
    if left and not os.environ.get("LIST"):
        try_them(every, left, results)
    return judge(mutants, results, not words)


def try_them(every, left, results):
    tool = build_schemata()
    print("building them behind conditions", flush=True)
    # All of them, so that what another run needs is the same build.
    inside, constant = build_all(tool, every, results)
    left = [mutant for mutant in left if (results.of(mutant) or {}).get("result") != "unviable"]
    output, worked, errors = build(["millpond", "millpond-tests", "millpond-c"])
    if not worked:
        die(f"the instrumented tests do not build:\n{errors[-3000:]}")
    suites = find_suites(output) + c_suites()
    for suite in suites:
        trace(suite, every)
        print(f"  {suite.name}: {suite.seconds:.1f} s, reaches {len(suite.reached)}", flush=True)
    begin, done = time.monotonic(), 0
    quick = [suite for suite in suites if suite.seconds < QUICK]
    slow = [suite for suite in suites if suite.seconds >= QUICK]
    open_still = []
    for mutant in left:
        if mutant.id not in inside:
            continue
        entry = results.of(mutant)
        if entry and entry["result"] == "open" and not os.environ.get("AGAIN"):
            open_still.append(mutant)
            continue
        start = time.monotonic()
        result, by = attempt(mutant, quick, {"MILLPOND_MUTANT": str(mutant.id)})
        if result in ("caught", "timeout"):
            results.add(mutant, result, by, time.monotonic() - start)
        else:
            open_still.append(mutant)
            results.add(mutant, "open", "", time.monotonic() - start)
            print(f"not caught quickly: {mutant.key}, line {mutant.line}: {mutant.source}", flush=True)
        done += 1
        if done % 50 == 0:
            print(f"  {done} of {len(left)} in {time.monotonic() - begin:.0f} s", flush=True)
    if SLOW:
        print(f"{len(open_still)} are tried with the slow tests", flush=True)
        try_slowly(open_still, quick, slow, results)
    # What the compiler computes with a constant function is mutated only in a build of its own.
    single = [m for m in left if m.id not in inside or (m.id in constant and results.of(m)["result"] in LIVING)]
    if single and os.environ.get("ALONE") != "0":
        try_alone(single, suites, results)


def try_slowly(mutants, quick, slow, results):
    """Tries what the quick suites did not catch with the others."""
    for mutant in mutants:
        start = time.monotonic()
        result, by = attempt(mutant, slow, {"MILLPOND_MUTANT": str(mutant.id)})
        if result == "unreached" and any(mutant.id in suite.reached for suite in quick):
            result = "survived"
        results.add(mutant, result, by, time.monotonic() - start)
        if result not in ("caught", "timeout"):
            print(f"{result}: {mutant.key}, line {mutant.line}: {mutant.source}", flush=True)


def try_alone(single, suites, results):
    """Builds one by one what cannot be put behind a condition."""
    print(f"{len(single)} mutants are built one by one", flush=True)
    unviable = unviable_of(single)
    print(f"{len(unviable)} of them do not compile", flush=True)
    for mutant in unviable:
        results.add(mutant, "unviable", "", 0.0)
    rust = [suite for suite in suites if not suite.name.startswith("c ") and (SLOW or suite.seconds < QUICK)]
    rust.sort(key=lambda suite: (suite.seconds >= QUICK, -len(suite.reached)))
    order = [(*suite.name.split(), suite.seconds) for suite in rust]
    for mutant in [mutant for mutant in single if mutant not in unviable]:
        start = time.monotonic()
        result, by = alone(mutant, order)
        if result == "survived" and not SLOW:
            result = "open"
        results.add(mutant, result, by, time.monotonic() - start)
        if result not in ("caught", "timeout", "unviable"):
            print(f"{result}: {mutant.key}, line {mutant.line}: {mutant.source}", flush=True)


def alone(mutant, order):
    """Builds one mutant by itself, with one suite after the other until one finds it. What needs no new build is kept from the
    mutant before."""
    path = TREE / mutant.file
    original = (ROOT / mutant.file).read_text()
    try:
        write(path, mutated(original, mutant))
        tried = False
        for package, name, seconds in order:
            if mutant.file.startswith("ffi-c/") and package != "millpond-c":
                continue
            target = ["--lib"] if name == "lib" else ["--test", name]
            command = ["cargo", "test", "--no-run", "--message-format=json", "-p", package, *target]
            try:
                built = subprocess.run(command, cwd=TREE, env=APART, capture_output=True, text=True, timeout=900)
            except subprocess.TimeoutExpired:
                # A constant that the compiler computes for ever.
                return "unviable", ""
            if built.returncode:
                return "unviable", ""
            for suite in find_suites(built.stdout):
                tried = True
                suite.seconds = seconds
                result, _, _ = suite.run({}, suite.limit())
                if result != "ok":
                    return ("caught" if result == "failed" else "timeout"), suite.name
        if mutant.file.startswith("ffi-c/"):
            # Most of what is in the C interface is used by C programs only.
            return attempt(mutant, c_suites(), {})
        return ("survived" if tried else "unreached"), ""
    finally:
        write(path, original)


if __name__ == "__main__":
    sys.exit(main())
