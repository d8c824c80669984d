"""Builds the copy with mutants in it: all of them behind conditions, or several that do not compile together."""

import collections
import json
import os
import re
import resource
import subprocess

from mutants import mutated, restore_sources
from state import ADDED, ENVIRONMENT, PACKAGES, ROOT, STATE, TREE, die, write

# What one compiler may compute; the longest, of all mutants behind conditions, is far from it.
CPU_SECONDS = 600


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
    done = compiled(command)
    return done.stdout, done.returncode == 0, done.stderr


def check_build():
    command = ["cargo", "check", "--message-format=json", "-p", "millpond", "-p", "millpond-c", "--lib", "--profile", "test"]
    done = compiled(command)
    return done.stdout, done.returncode == 0


def compiled(command):
    """Runs a build. A mutant of a constant may have the compiler compute for ever, which it would not notice itself."""

    def bound():
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    return subprocess.run(command, cwd=TREE, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=bound)


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
