#!/usr/bin/env python3
"""Judges what llvm-cov exported: prints lines and branches of each file, what was missed, and the verdict.

report.py ALLOWED ROOT EXPORT... FLOOR...: ALLOWED is a TOML file of what cannot be covered, ROOT the repository's top, each
EXPORT an output of `llvm-cov export`, and each FLOOR is CRATE=LINES:BRANCHES in percent. Fails below a floor, and for an entry of
ALLOWED that is covered after all.

A place counts as covered when any program covered it, whichever of its instances. llvm-cov's own figures take for each generic
function the better of its instances instead, so a branch whose two sides are taken in two programs counts as half missed there.
"""

import json
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

# The kind of a branch in llvm-cov's export.
BRANCH = 4
# A line of nothing but these has no code of its own. What llvm counts there is the way past an `if` without `else`, which is a
# side of its branch.
CLOSING = re.compile(r"[})\];,]+")


def test_lines(text):
    """Numbers of the lines that are compiled for tests only."""
    lines = text.splitlines()
    found = set()
    number = 0
    while number < len(lines):
        stripped = lines[number].lstrip()
        if stripped != "#[cfg(test)]":
            number += 1
            continue
        indent = lines[number][: len(lines[number]) - len(stripped)]
        end = number + 1
        while lines[end] != f"{indent}}}" and not (lines[end].startswith(indent) and lines[end].endswith(";") and end == number + 1):
            end += 1
        found.update(range(number + 1, end + 2))
        number = end + 1
    return found


def line_counts(segments):
    """The count of each line that has code, from the segments of a file; as llvm-cov does it."""
    by_line = defaultdict(list)
    for segment in segments:
        by_line[segment[0]].append(segment)
    counts = {}
    wrapped = None
    for line in range(segments[0][0], segments[-1][0] + 1):
        here = by_line.get(line, [])
        starts = [s for s in here if s[3] and s[4] and not s[5]]
        skipped = bool(here) and not here[0][3] and here[0][4]
        if not skipped and ((wrapped and wrapped[3]) or starts):
            counts[line] = max([s[2] for s in starts] + ([wrapped[2]] if wrapped and wrapped[3] else []))
        if here:
            wrapped = here[-1]
    return counts


class File:
    def __init__(self, path):
        text = path.read_text()
        self.source = text.splitlines()
        self.tests = test_lines(text)
        self.lines = {}
        # Where a branch stands -> how often it was true, and false.
        self.branches = {}

    def missed_lines(self):
        return sorted(line for line, count in self.lines.items() if count == 0)

    def missed_branches(self):
        """(line, column, side) of each side that was never taken."""
        missed = []
        for (line, column, _, _), taken in sorted(self.branches.items()):
            missed += [(line, column, side) for side, count in zip(("true", "false"), taken) if count == 0]
        return missed


def load(export, root, crates, files):
    """Adds what an export counted to `files`."""
    data = json.loads(Path(export).read_text())["data"][0]
    for entry in data["files"]:
        path = Path(entry["filename"])
        if not path.is_relative_to(root):
            continue
        name = str(path.relative_to(root))
        if not any(name.startswith(f"{crate}/src/") for crate in crates) or path.name == "tests.rs":
            continue
        file = files.setdefault(name, File(path))
        for line, count in line_counts(entry["segments"]).items():
            if line not in file.tests and not CLOSING.fullmatch(file.source[line - 1].strip()):
                file.lines[line] = file.lines.get(line, 0) + count
    for function in data["functions"]:
        names = function["filenames"]
        for branch in function.get("branches", []):
            path = Path(names[branch[6]])
            name = str(path.relative_to(root)) if path.is_relative_to(root) else ""
            if name not in files or branch[0] in files[name].tests or branch[8] != BRANCH:
                continue
            sides = files[name].branches.setdefault(tuple(branch[:4]), [0, 0])
            sides[0] += branch[4]
            sides[1] += branch[5]


def percent(covered, all_of_them):
    return 100.0 * covered / all_of_them if all_of_them else 100.0


def runs(numbers):
    """[1, 2, 3, 7] -> "1-3, 7"."""
    words = []
    for number in numbers:
        if words and words[-1][1] == number - 1:
            words[-1][1] = number
        else:
            words.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in words)


class Allowed:
    """What cannot be covered, by the text of the line: numbers change with every edit above."""

    def __init__(self, path):
        self.entries = []
        for reason in tomllib.loads(Path(path).read_text()).get("reason", []):
            for file, places in reason["missed"].items():
                for place in places:
                    side, _, line = place.partition(": ")
                    entry = {"file": file, "side": side, "line": line, "sometimes": reason.get("sometimes", False), "used": 0}
                    self.entries.append(entry)

    def covers(self, file, source, line, side="line"):
        for entry in self.entries:
            if entry["file"] == file and entry["line"] == source[line - 1].strip() and entry["side"] in (side, "any"):
                entry["used"] += 1
                return True
        return False

    def wrong(self):
        for entry in self.entries:
            if not entry["used"] and not entry["sometimes"]:
                yield f"{entry['file']}: `{entry['line']}` ({entry['side']}) is listed as never reached, and is not there or is reached"


def main():
    allowed_path, root, *words = sys.argv[1:]
    root = Path(root).resolve()
    floor, files = {}, {}
    for word in (word for word in words if "=" in word):
        crate, figures = word.split("=")
        floor[crate] = tuple(float(figure) for figure in figures.split(":"))
    for export in (word for word in words if "=" not in word):
        load(export, root, floor, files)
    allowed = Allowed(allowed_path)
    wrong = []
    print(f"{'':34}{'lines':>7}{'missed':>8}{'%':>8}{'branches':>10}{'missed':>8}{'%':>8}")
    row = "{:34}{:7}{:8}{:8.2f}{:10}{:8}{:8.2f}"
    listings = []
    for crate, (least_lines, least_branches) in floor.items():
        totals = [0, 0, 0, 0]
        for name in sorted(name for name in files if name.startswith(f"{crate}/src/")):
            file = files[name]
            lines = [l for l in file.missed_lines() if not allowed.covers(name, file.source, l)]
            sides = [b for b in file.missed_branches() if not allowed.covers(name, file.source, b[0], b[2])]
            figures = [len(file.lines), len(lines), 2 * len(file.branches), len(sides)]
            totals = [a + b for a, b in zip(totals, figures)]
            shares = [percent(figures[i] - figures[i + 1], figures[i]) for i in (0, 2)]
            print(row.format(name, *figures[:2], shares[0], *figures[2:], shares[1]))
            if lines:
                listings.append(f"{name}: lines {runs(lines)}")
            listings += [f"{name}:{line}:{column}: never {side}: {file.source[line - 1].strip()}" for line, column, side in sides]
        shares = [percent(totals[i] - totals[i + 1], totals[i]) for i in (0, 2)]
        print(row.format(f"{crate} in all", *totals[:2], shares[0], *totals[2:], shares[1]))
        if not totals[0]:
            wrong.append(f"{crate}: nothing was measured")
        for what, share, least in (("lines", shares[0], least_lines), ("branches", shares[1], least_branches)):
            if share < least:
                wrong.append(f"{crate}: {share:.2f} % of the {what} are covered, {least} % must be")
    excused = sum(entry["used"] for entry in allowed.entries)
    print(f"{excused} lines and sides are left out with a reason, see {allowed_path}")
    print("\nmissed:" if listings else "\nnothing else was missed")
    for listing in listings:
        print(f"  {listing}")
    wrong += allowed.wrong()
    for line in wrong:
        print(f"FAILED: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
