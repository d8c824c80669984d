"""What mutants there are, and the copy of the checkout that they are put into."""

import collections
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from state import ADDED, PACKAGES, ROOT, STATE, TREE, die, digest, write


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


def mutated(text, mutant):
    lines = text.splitlines(keepends=True)
    start, end = mutant.entry["span"]["start"], mutant.entry["span"]["end"]
    before = "".join(lines[: start["line"] - 1]) + lines[start["line"] - 1][: start["column"] - 1]
    after = lines[end["line"] - 1][end["column"] - 1 :] + "".join(lines[end["line"] :])
    return before + mutant.entry["replacement"] + after
