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
import tomllib
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
# Results of which more tests may make others. "open": not caught by the quick suites, the slow ones were not tried.
LIVING = ("open", "survived", "unreached")
# What a test may take, in bytes of addresses: a mutant may ask for all there is.
ADDRESSES = 16 << 30
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


def die(text):
    print(f"mutants: {text}", file=sys.stderr)
    sys.exit(1)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Mutant:
    def __init__(self, number, entry, occurrence, text):
        self.id = number
        self.entry = entry
        self.file = entry["file"]
        self.line = entry["span"]["start"]["line"]
        self.what = entry["name"].split(": ", 1)[1]
        # Without the line number, which changes with every edit above.
        self.key = f"{self.file}: {self.what}" + (f" #{occurrence}" if occurrence > 1 else "")
        lines = text.splitlines()
        self.source = lines[self.line - 1].strip()
        # What the mutant is a mutant of: its function, whatever changes around it.
        span = (entry.get("function") or {}).get("span")
        self.of = digest("\n".join(lines[span["start"]["line"] - 1 : span["end"]["line"]]) if span else text)
        self.lines = tuple((span or entry["span"])[side]["line"] for side in ("start", "end"))


def is_source(name):
    return name.endswith(".rs") and name.startswith(tuple(f"{crate}/src/" for crate in PACKAGES))


def listed_files():
    """What git knows of the checkout, by name."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def copy_tree():
    """Brings the copy up to date with the checkout, touching only what is different, and not what is instrumented."""
    names = listed_files()
    wanted = {name for name in names if not name.startswith(("python/", "node/"))}
    wanted |= {name for name in names if name.endswith("Cargo.toml") or re.match(r"(python|node)/.*\.rs$", name)}
    TREE.mkdir(parents=True, exist_ok=True)
    for path in [path for path in TREE.rglob("*") if path.is_file() and str(path.relative_to(TREE)) not in wanted]:
        if path.name != ADDED:
            path.unlink()
    for name in wanted:
        there, here = TREE / name, (ROOT / name).read_bytes()
        if not is_source(name) and (not there.exists() or there.read_bytes() != here):
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(here)
            shutil.copymode(ROOT / name, there)


def restore_sources():
    """Puts the sources as they are into the copy."""
    for crate in PACKAGES:
        for path in (ROOT / crate / "src").rglob("*.rs"):
            write(TREE / path.relative_to(ROOT), path.read_text())


def list_mutants():
    tools = [STATE / "tools/bin", Path.home() / ".cargo/bin"]
    path = os.pathsep.join([*map(str, tools), os.environ["PATH"]])
    tool = shutil.which("cargo-mutants", path=path)
    if not tool:
        die("missing: cargo-mutants 27. Install it with: cargo install --locked cargo-mutants --version '^27' --root target/mutants/tools")
    # It leaves unsafe functions out, half of the C interface. In a copy where none is called so, everything stands in the same place.
    copy = STATE / "listed"
    shutil.rmtree(copy, ignore_errors=True)
    for name in [name for name in listed_files() if name.endswith((".rs", "Cargo.toml", "Cargo.lock"))]:
        text = (ROOT / name).read_text()
        write(copy / name, re.sub(r"\bunsafe(?= (extern \"C\" )?fn\b)", " " * 6, text) if is_source(name) else text)
    command = [tool, "mutants", "--list", "--json", "--config", str(ROOT / "tests/mutants/mutants.toml")]
    for package in PACKAGES.values():
        command += ["-p", package]
    listed = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if listed.returncode:
        die(f"cargo mutants: {listed.stderr}")
    seen, mutants = collections.Counter(), []
    texts = {}
    for number, entry in enumerate(json.loads(listed.stdout), 1):
        text = texts.setdefault(entry["file"], (ROOT / entry["file"]).read_text())
        name = (entry["file"], entry["name"].split(": ", 1)[1])
        seen[name] += 1
        mutants.append(Mutant(number, entry, seen[name], text))
    return mutants


def build_schemata():
    manifest = ROOT / "tests/mutants/schemata/Cargo.toml"
    env = {**os.environ, "CARGO_TARGET_DIR": str(STATE / "schemata")}
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", manifest], env=env, check=True)
    return STATE / "schemata/release/schemata"


def instrument(tool, mutants, without):
    """Writes the sources with all mutants but those of `without` in them. Returns the numbers of those that are in, and of those
    that are in constant functions."""
    inside, constant = set(), set()
    paths = [path for crate in PACKAGES for path in (ROOT / crate / "src").rglob("*.rs")]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    by_file = collections.defaultdict(list)
    for mutant in mutants:
        if mutant.id not in without:
            by_file[mutant.file].append({**mutant.entry, "id": mutant.id, "diff": ""})
    for file, entries in by_file.items():
        answer = subprocess.run([tool, ROOT / file], input=json.dumps(entries), capture_output=True, text=True, check=True)
        answer = json.loads(answer.stdout)
        texts[file] = answer["source"]
        inside.update(answer["ids"])
        constant.update(answer["constant"])
    for crate in PACKAGES:
        features = "#![feature(core_intrinsics, const_eval_select)]\n#![allow(internal_features)]\n"
        texts[f"{crate}/src/lib.rs"] = features + texts[f"{crate}/src/lib.rs"] + "\n#[doc(hidden)]\npub mod mutant_;\n"
        texts[f"{crate}/src/{ADDED}"] = (ROOT / "tests/mutants/schemata/src/active.rs").read_text()
    for name, text in texts.items():
        write(TREE / name, text)
    return inside, constant


def write(path, text):
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def errors_of(output):
    """The file and lines of each error in the messages of a build."""
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line).get("message")
        if isinstance(message, dict) and message.get("level") == "error":
            for span in message.get("spans", []):
                if span["is_primary"]:
                    yield span["file_name"], span["line_start"], span["line_end"], message["message"]


def build(packages, *more):
    """Builds the tests of packages. Returns the messages and whether it worked."""
    command = ["cargo", "test", "--no-run", "--message-format=json", "--lib", "--tests", *more]
    for package in packages:
        command += ["-p", package]
    done = subprocess.run(command, cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True)
    return done.stdout, done.returncode == 0, done.stderr


def check_build():
    command = ["cargo", "check", "--message-format=json", "-p", "millpond", "-p", "millpond-c", "--lib", "--profile", "test"]
    done = subprocess.run(command, cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True)
    return done.stdout, done.returncode == 0


def build_all(tool, mutants, results):
    """One build with as many mutants as it takes. Returns those inside and those in constant functions, by number."""
    known = STATE / "one-by-one.json"
    names = set(json.loads(known.read_text())) if known.exists() else set()
    without = {mutant.id for mutant in mutants if mutant.key + mutant.of in names}
    by_id = {mutant.id: mutant for mutant in mutants}
    impossible = set()
    while True:
        inside, constant = instrument(tool, mutants, without)
        output, worked = check_build()
        if worked:
            break
        wrong = set()
        for file, first, last, text in errors_of(output):
            lines = (TREE / file).read_text().splitlines()
            ids = {int(number) for number in re.findall(r"mutant_::is\((\d+)\)", "\n".join(lines[first - 1 : last]))}
            if not ids:
                # The condition stands further up: operands of several lines.
                for back in range(first - 1, max(first - 12, 0), -1):
                    ids = {int(number) for number in re.findall(r"mutant_::is\((\d+)\)", lines[back - 1])}
                    if ids:
                        break
            if "non-exhaustive" in text:
                # An arm that may be switched off, somewhere in the match that begins here.
                arms = re.findall(r"^if !crate::mutant_::is\((\d+)\)$", "\n".join(lines[first - 1 : first + 60]), re.MULTILINE)
                ids = {int(number) for number in arms}
            wrong |= ids & inside
            # A function that returns at once what its body may not be does not compile with this body either.
            replaced = re.fullmatch(r"if crate::mutant_::is\((\d+)\) \{ return .*", lines[first - 1])
            if replaced and first == last:
                impossible.add(int(replaced[1]))
        if not wrong:
            messages = [text for *_, text in errors_of(output)]
            die(f"the instrumented sources do not build, and no mutant is to blame: {messages[:5]}")
        without |= wrong
        known.write_text(json.dumps([mutant.key + mutant.of for mutant in mutants if mutant.id in without]))
        print(f"  {len(wrong)} mutants do not compile behind a condition", flush=True)
    for number in impossible:
        results.add(by_id[number], "unviable", "", 0)
    return inside, constant


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


class Results:
    def __init__(self):
        self.known = {}
        if RESULTS.exists():
            for line in RESULTS.read_text().splitlines():
                entry = json.loads(line)
                self.known[entry["key"]] = entry

    def of(self, mutant):
        entry = self.known.get(mutant.key)
        return entry if entry and entry["of"] == mutant.of else None

    def add(self, mutant, result, by, seconds):
        entry = {"key": mutant.key, "of": mutant.of, "result": result, "by": by, "seconds": round(seconds, 1)}
        self.known[mutant.key] = entry
        with RESULTS.open("a") as file:
            file.write(json.dumps(entry) + "\n")


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


def mutated(text, mutant):
    lines = text.splitlines(keepends=True)
    start, end = mutant.entry["span"]["start"], mutant.entry["span"]["end"]
    before = "".join(lines[: start["line"] - 1]) + lines[start["line"] - 1][: start["column"] - 1]
    after = lines[end["line"] - 1][end["column"] - 1 :] + "".join(lines[end["line"] :])
    return before + mutant.entry["replacement"] + after


def put_in(mutants):
    """Writes the sources with several mutants in them, no two in one function. Returns between which lines each one's function
    stands then."""
    restore_sources()
    places = {}
    for file in {mutant.file for mutant in mutants}:
        text, moved = (ROOT / file).read_text(), 0
        inside = sorted((mutant for mutant in mutants if mutant.file == file), key=lambda mutant: mutant.lines)
        before = text.count("\n")
        for mutant in reversed(inside):
            text = mutated(text, mutant)
            grown = text.count("\n") - before
            before += grown
            places[mutant] = (mutant.lines[0], mutant.lines[1], grown)
        for mutant in inside:
            first, last, grown = places[mutant]
            places[mutant] = (first + moved, last + moved + grown)
            moved += grown
        write(TREE / file, text)
    return places


def unviable_of(mutants):
    """Finds those that do not compile: with one in each function at a time, an error is of the one in whose function it stands."""
    unviable, left = set(), list(mutants)
    while left:
        batch, later = [], []
        for mutant in left:
            (first, last), file = mutant.lines, mutant.file
            apart = all(other.file != file or other.lines[1] < first or last < other.lines[0] for other in batch)
            (batch if apart else later).append(mutant)
        left = later
        while batch:
            places = put_in(batch)
            output, worked = check_build()
            errors = [(file, first) for file, first, *_ in errors_of(output)]
            wrong = {m for m in batch if any(file == m.file and places[m][0] <= line <= places[m][1] for file, line in errors)}
            # Nothing wrong, or nothing that can be told: that is found out by itself.
            if worked or not wrong:
                break
            unviable |= wrong
            batch = [mutant for mutant in batch if mutant not in wrong]
    restore_sources()
    return unviable


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


def survivors_allowed():
    """The mutants that no test can find, by name."""
    reasons = tomllib.loads((ROOT / "tests/mutants/survivors.toml").read_text()).get("reason", [])
    return {mutant for reason in reasons for mutant in reason["mutants"]}


def judge(mutants, results, complete):
    """Prints a table by file and what is wrong. Returns whether something is."""
    allowed = survivors_allowed()
    table = collections.defaultdict(collections.Counter)
    wrong, living = [], set()
    for mutant in mutants:
        entry = results.of(mutant)
        result = entry["result"] if entry else "not tried"
        if result in LIVING:
            living.add(mutant.key)
            if mutant.key in allowed:
                result = "excused"
            elif result != "open":
                wrong.append(f"{result}: {mutant.key}, line {mutant.line}: {mutant.source}")
        table[mutant.file][result] += 1
    stale = [key for key in allowed if key not in living and any(m.key == key and results.of(m) for m in mutants)]
    gone = [key for key in allowed if not any(m.key == key for m in mutants)] if complete else []
    wrong += [f"listed in survivors.toml and caught: {key}" for key in stale]
    wrong += [f"listed in survivors.toml and no mutant: {key}" for key in gone]
    columns = ["caught", "timeout", "survived", "unreached", "excused", "unviable", "open", "not tried"]
    print(f"\n{'':34}" + "".join(f"{column:>10}" for column in columns))
    total = collections.Counter()
    for file in sorted(table):
        total += table[file]
        print(f"{file:34}" + "".join(f"{table[file][column]:10}" for column in columns))
    print(f"{'in all':34}" + "".join(f"{total[column]:10}" for column in columns))
    for line in wrong:
        print(f"FAILED: {line}")
    missing = total["not tried"] + total["open"]
    if missing:
        print(f"FAILED: {missing} mutants were not tried yet, or not with the slow tests: run it again, it goes on where it stopped")
    return bool(wrong or missing)


def main():
    words = sys.argv[1:]
    os.environ.pop("RUSTC_WORKSPACE_WRAPPER", None)
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


if __name__ == "__main__":
    sys.exit(main())
