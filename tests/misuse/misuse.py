#!/usr/bin/env python3
"""Commits twelve kinds of bug in each language and prints what each mode and tool says of them, next to what other pools
say: `make misuse`.

    misuse.py [--no-tools] [--accept] [PROGRAM...]

Every cell comes from a run of a program of its own, and is compared with expected.toml; another one fails. --no-tools
leaves out the columns that need AddressSanitizer or valgrind; --accept writes what was seen into expected.toml.
"""

import json
import os
import resource
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

sys.dont_write_bytecode = True

import cells  # noqa: E402
import programs  # noqa: E402
from programs import BUGS, COLUMNS, HERE, MODES, PROGRAMS, ROOT  # noqa: E402

EXPECTED = HERE / "expected.toml"
# Seconds after which a program counts as hanging: it waits for its own children less long.
TIMEOUT = {"plain": 60, "full": 60, "sample:1": 60, "asan": 120, "valgrind": 300}


@dataclass
class Run:
    """What came of one run."""

    status: int
    output: str
    errors: str
    timed_out: bool = False


def environment(column):
    """Returns the environment of a run; in every column but the first, leak reports are asked for too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILLPOND_")}
    kept["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0"
    if column != "plain":
        kept["MILLPOND_LEAKS"] = "report"
    if column in MODES[1:]:
        kept["MILLPOND_CHECK"] = column
    if column == "valgrind":
        kept["MISUSE_CHILDREN"] = "3"
    return kept


def run(program, column, bug):
    """Commits one bug and returns the cell."""
    arguments = [*program.prepare(column), bug]
    # A child of fork has no threads but one, and what belonged to the others counts as leaked there.
    if bug == "forked-use":
        arguments = ["--leak-check=no" if word == "--leak-check=full" else word for word in arguments]
    try:
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT[column],
            env=environment(column),
        )
        came = Run(done.returncode, done.stdout, done.stderr)
    except subprocess.TimeoutExpired as late:
        came = Run(0, (late.stdout or b"").decode(errors="replace"), (late.stderr or b"").decode(errors="replace"), True)
    return cells.read(cells.Source(ROOT / program.source), came)


def run_all(chosen, columns):
    """Returns the cells by bug, program and column, and the columns that had to be left out, with the reason."""
    matrix, skipped, work = {bug: {} for bug in BUGS}, {}, []
    for key, program in chosen.items():
        for column in columns:
            if column not in program.columns():
                continue
            try:
                program.prepare(column)
            except programs.Missing as missing:
                skipped[key, column] = str(missing)
                continue
            work += [(bug, key, column) for bug in program.runs()]
    # What faults on purpose needs no core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (bug, key, column), cell in zip(work, pool.map(lambda item: run(chosen[item[1]], item[2], item[0]), work)):
            matrix[bug].setdefault(key, {})[column] = cell
    for key, program in chosen.items():
        for bug, compile_it in program.refused.items():
            # There is nothing to run: the same in every column.
            matrix[bug][key] = dict.fromkeys(columns, compile_it())
    return matrix, skipped


def load(chosen):
    """Reads the expectations as bug, program, column."""
    path = ROOT / EXPECTED
    listed = tomllib.loads(path.read_text()) if path.exists() else {}
    expected = {}
    for bug, rows in listed.items():
        if bug not in BUGS:
            raise SystemExit(f"{EXPECTED}: {bug} is no bug")
        for key, row in rows.items():
            if key not in PROGRAMS or len(row) != len(COLUMNS):
                raise SystemExit(f"{EXPECTED}: {bug}: {key} is no program, or has not {len(COLUMNS)} cells")
            if key in chosen:
                expected.setdefault(bug, {})[key] = dict(zip(COLUMNS, row))
    return expected


def accept(matrix, expected):
    """Writes what was seen; what was not run stays, and so does a choice that holds what was seen."""
    text = ["# What each program says of each bug, by column: " + ", ".join(COLUMNS) + '. "": nothing runs there.']
    text.append("# Several that may come are separated by \" | \". Written by misuse.py --accept; look at the difference.")
    for bug in BUGS:
        text.append(f"\n[{bug}]")
        for key in PROGRAMS:
            seen, before = matrix.get(bug, {}).get(key, {}), expected.get(bug, {}).get(key, {})
            row = [
                before.get(column, "")
                if column not in seen
                or agrees(before.get(column, ""), seen[column])
                or seen[column].startswith("BROKEN")
                else seen[column]
                for column in COLUMNS
            ]
            if any(row):
                text.append(f"{key} = {json.dumps(row)}")
    (ROOT / EXPECTED).write_text("\n".join(text) + "\n")


def agrees(expected, cell):
    """Says whether a cell is one of those that may come."""
    return cell in expected.split(" | ")


def judge(matrix, expected):
    """Returns a sentence for each cell that is not as expected."""
    faults = []
    for bug, rows in matrix.items():
        for key, row in rows.items():
            for column, cell in row.items():
                wanted = expected.get(bug, {}).get(key, {}).get(column, "")
                if not agrees(wanted, cell):
                    faults.append(f'{bug}, {PROGRAMS[key].name}, {column}: "{cell}", not "{wanted}"')
    return faults


def show(matrix, chosen, columns):
    """Prints the matrix, and below it why some bugs cannot be committed."""
    reasons = {}
    rows = [["bug", "in", *columns]]
    for bug in BUGS:
        first = True
        for key, program in chosen.items():
            if bug not in program.bugs():
                continue
            row = matrix[bug].get(key, {})
            if bug in program.cannot:
                number = reasons.setdefault(program.cannot[bug], len(reasons) + 1)
                line = [f"- ({number})", *("" for _ in columns[1:])]
            else:
                line = [row.get(column, "skipped" if column in program.columns() else "") for column in columns]
                line = ["BROKEN" if cell.startswith("BROKEN") else cell for cell in line]
            rows.append([bug if first else "", program.name, *line])
            first = False
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        if row[0]:
            print("-" * (sum(widths) + 2 * len(widths) - 2))
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()
    for bug, meaning in BUGS.items():
        print(f"{bug:16} {meaning}")
    print()
    for reason, number in reasons.items():
        print(f"({number}) {reason}")
    print(LEGEND)


LEGEND = """
KIND                  a call was refused with this error; after the colon the places that its message names: of the get,
                      of the put, and here, of the bug
report KIND           the library wrote a report on standard error, no call being there to fail
fault KIND            the program ended at the very access (SIGSEGV), the library's handler having written whose memory it was
asan, memcheck ...    the tool's report; "here": its stack names the line of the bug
compiler E...         the compiler refuses the program with this error, at the line of the bug
works                 not a bug with this pool: legal, and the outcome was checked
In every column but "plain", MILLPOND_LEAKS=report is set; a leak is not reported without.
The libraries are the stock release ones; Rust's asan column is the crate built with -Zsanitizer=address.
"""


def main(arguments):
    """Runs everything; returns the exit status."""
    flags = {word for word in arguments if word.startswith("--")}
    names = [word for word in arguments if not word.startswith("--")]
    if not flags <= {"--no-tools", "--accept"} or not set(names) <= set(PROGRAMS):
        print(__doc__, "PROGRAM: " + ", ".join(PROGRAMS), sep="\n", file=sys.stderr)
        return 2
    chosen = {key: program for key, program in PROGRAMS.items() if not names or key in names}
    columns = MODES if "--no-tools" in flags else COLUMNS
    expected = load(PROGRAMS)
    try:
        matrix, skipped = run_all(chosen, columns)
    except programs.BuildFailed as failed:
        print(f"misuse: {failed}", file=sys.stderr)
        return 1
    show(matrix, chosen, columns)
    for (key, column), missing in skipped.items():
        print(f"SKIPPED: misuse in {PROGRAMS[key].name} under {column} (no {missing})")
    if "--accept" in flags:
        accept(matrix, expected)
        expected = load(PROGRAMS)
    faults = judge(matrix, expected)
    count = sum(len(row) for rows in matrix.values() for row in rows.values())
    for fault in faults:
        print(f"UNEXPECTED: {fault}")
    print(f"misuse: {count} cells, {count - len(faults)} as expected, {len(faults)} not, {len(skipped)} columns skipped")
    return 1 if faults or count == 0 or (skipped and os.environ.get("STRICT", "0") not in ("", "0")) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
