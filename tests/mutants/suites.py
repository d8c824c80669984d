"""The test programs that are to find a mutant, in Rust and in C, and what each of them reaches."""

import collections
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from state import ENVIRONMENT, QUICK, SLOW, STATE, TARGET, TREE, die

# What a test may take, in bytes of addresses: a mutant may ask for all there is.
ADDRESSES = 16 << 30
# Test programs of Rust that find most, by package; in each the fastest come first.
SUITES = {
    "millpond": ["lib", "handles", "surface", "stock", "pool", "checks", "faults", "environment", "*", "refusals", "secrets", "fork", "ends"],
    "millpond-tests": ["handles", "generations", "spec", "reconcile", "threads", "no_memory"],
    "millpond-c": ["lib"],
}
C_PROGRAMS = ["api_pool", "api_status", "api_layout", "own_table", "own_bad_input", "own_housekeeping", "leak_list", "own_no_memory", "own_no_heap", "own_fork"]
C_FLAGS = ["-std=c99", "-D_GNU_SOURCE", "-O1", "-Iinclude"]
# Valgrind finds nothing in the program without a bug, and both uses of what is nobody's.
UNDER_VALGRIND = """
run() { valgrind -q --error-exitcode=9 --fair-sched=yes ./misuse "$1"; }
run none || exit 1
for bug in read-after-put past-by-one; do run "$bug"; test $? -eq 9 || exit 1; done
"""


class Suite:
    def __init__(self, name, command, directory, stdin=None, environment=None):
        self.name, self.command, self.directory = name, command, directory
        self.stdin, self.environment = stdin, environment or {}
        self.seconds = 0.0
        self.caught = 0
        self.reached = set()

    def limit(self):
        """How many seconds it may take with a mutant."""
        return 10 + 6 * self.seconds

    def run(self, environment, limit):
        def prepare():
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        start = time.monotonic()
        stdin = open(self.stdin) if self.stdin else subprocess.DEVNULL
        process = subprocess.Popen(
            self.command, cwd=self.directory, env={**ENVIRONMENT, **self.environment, **environment}, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=prepare,
        )
        try:
            output, _ = process.communicate(timeout=limit)
            result = "ok" if process.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            result, output = "timeout", b""
        # What it started and left behind too.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        return result, output.decode(errors="replace"), time.monotonic() - start


def find_suites(output):
    """The test programs of a build, in the order in which they are to be tried."""
    found = collections.defaultdict(dict)
    library = None
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact":
            continue
        package = re.sub(r".*[/#]([a-z-]+)[#@].*", r"\1", message["package_id"])
        package = {"core": "millpond", "ffi-c": "millpond-c", "tests": "millpond-tests"}.get(package, package)
        if message.get("executable"):
            name = "lib" if "test" not in message["target"]["kind"] else message["target"]["name"]
            found[package][name] = message["executable"]
        library = next((name for name in message.get("filenames", []) if name.endswith("libmillpond.so")), library)
    suites = []
    for package, order in SUITES.items():
        directory = TREE / {"millpond": "core", "millpond-tests": "tests", "millpond-c": "ffi-c"}[package]
        programs = found[package]
        rest = [name for name in programs if name not in order]
        names = [one for name in order for one in (sorted(rest) if name == "*" else [name]) if one in programs]
        environment = {"CARGO_MANIFEST_DIR": str(directory)}
        suites += [Suite(f"{package} {name}", [programs[name], "--quiet"] if name not in ("spec", "fork") else [programs[name]], directory, None, environment) for name in names]
    return suites


def c_suites():
    """The C programs, linked with the instrumented library."""
    made = subprocess.run(["cargo", "build", "--quiet", "-p", "millpond-c"], cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True)
    if made.returncode:
        die(f"the instrumented C library does not build: {made.stderr[-2000:]}")
    out = STATE / "c"
    out.mkdir(exist_ok=True)
    (out / "libmillpond.so.0").unlink(missing_ok=True)
    for name in ("libmillpond.so", "libmillpond.so.0"):
        shutil.copy(TARGET / "debug/libmillpond.so", out / name)
    steps = out / "steps"
    with steps.open("w") as file:
        subprocess.run([sys.executable, TREE / "tests/spec/flatten.py", "--lang", "c"], stdout=file, check=True)
    suites = []
    for name in [*C_PROGRAMS, "spec_runner"]:
        sources = [f"tests/c/{name}.c"]
        command = ["gcc", *C_FLAGS, *sources, "-o", out / name, f"-L{out}", "-lmillpond", "-pthread"]
        subprocess.run(command, cwd=TREE, check=True)
        suites.append(Suite(f"c {name}", [str(out / name)], TREE, steps if name == "spec_runner" else None, {"LD_LIBRARY_PATH": str(out)}))
    # Loaded late, the library finds what is its threads' in another way.
    late = out / "link_dlopen"
    subprocess.run(["gcc", *C_FLAGS, "tests/c/link_dlopen.c", "-o", late, "-ldl", "-pthread"], cwd=TREE, check=True)
    suites.append(Suite("c link_dlopen", [str(late), str(out / "libmillpond.so")], TREE))
    if shutil.which("valgrind"):
        subprocess.run(["gcc", *C_FLAGS, "tests/misuse/c/misuse.c", "-o", out / "misuse", f"-L{out}", "-lmillpond", "-pthread"], cwd=TREE, check=True)
        suites.append(Suite("c valgrind", ["/bin/sh", "-c", UNDER_VALGRIND], out, None, {"LD_LIBRARY_PATH": str(out)}))
    else:
        print("  no valgrind: what it is told is not looked at")
    return suites


def trace(suite, mutants):
    """Runs a suite once as it is, and notes how long it takes and what it reaches. What was noted of the same program holds."""
    store = STATE / "traces.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    programs = [Path(suite.command[0]), *Path(suite.environment.get("LD_LIBRARY_PATH", "/none")).glob("*.so")]
    program = hashlib.sha256(b"".join(path.read_bytes() for path in programs)).hexdigest()
    entry = known.get(suite.name)
    if entry and entry["program"] == program:
        suite.seconds, suite.reached = entry["seconds"], set(entry["reached"])
        return
    if entry and not SLOW and entry["seconds"] >= QUICK:
        suite.seconds = entry["seconds"]
        return
    path = STATE / "trace"
    path.write_bytes(bytes(1 << 16))
    result, output, suite.seconds = suite.run({"MILLPOND_MUTANT_TRACE": str(path)}, 900)
    if result != "ok":
        die(f"{suite.name} fails ({result}) without any mutant:\n{output[-3000:]}")
    marks = path.read_bytes()
    suite.reached = {mutant.id for mutant in mutants if marks[mutant.id]}
    known[suite.name] = {"program": program, "seconds": suite.seconds, "reached": sorted(suite.reached)}
    store.write_text(json.dumps(known))


def attempt(mutant, suites, environment):
    """caught, timeout or survived, and by which suite. First those that find much in little time. What takes too long in one suite
    alone is given more time: the machine may have been busy."""
    tried, late = 0, []
    for suite in sorted(suites, key=lambda suite: (suite.seconds + 0.2) / (suite.caught + 1)):
        if environment and mutant.id not in suite.reached:
            continue
        tried += 1
        result, _, _ = suite.run(environment, suite.limit())
        if result == "timeout":
            late.append(suite)
        if result == "failed" or len(late) == 2:
            suite.caught += 1
            return ("caught" if result == "failed" else "timeout"), suite.name
    if late:
        result, _, _ = late[0].run(environment, 2 * late[0].limit())
        if result != "ok":
            return ("caught" if result == "failed" else "timeout"), late[0].name
    return ("survived" if tried else "unreached"), ""
