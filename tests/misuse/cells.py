"""Reads what one run of a seeded program said into a few words: a cell of the matrix."""

import re
import signal
from pathlib import Path

# Where the library says that something happened, as "got at FILE:LINE".
SITE = re.compile(r"(?:\b(got|taken|put) )?at (?:\S*/)?([\w.-]+):(\d+)")
KIND = r"(?:MILLPOND_ERR_|ERR_MILLPOND_)?([A-Z][A-Z_]+)"


class Source:
    """A program's source, whose lines say in a comment what happens there: GET, PUT or HERE, the bug."""

    def __init__(self, path):
        self.name = Path(path).name
        self.marks = [set(re.findall(r"\b(GET|PUT|HERE)\b", line)) for line in Path(path).read_text().splitlines()]

    def has(self, line, mark):
        """Says whether a line is marked so."""
        return 0 < line <= len(self.marks) and mark in self.marks[line - 1]

    def sites(self, message):
        """Names the places that a message of the library says: get, put and here, in that order; a wrong one is WRONG."""
        found = {}
        for act, name, line in SITE.findall(message):
            own = name == self.name
            mark = {"got": "GET", "taken": "GET", "put": "PUT"}.get(act, "HERE")
            # Where a put finds what was done before, this place is the put's.
            if mark == "HERE" and own and not self.has(int(line), mark) and self.has(int(line), "PUT"):
                mark = "PUT"
            found[mark] = mark.lower() if own and self.has(int(line), mark) else f"WRONG {mark.lower()}"
        return " ".join(found[mark] for mark in ("GET", "PUT", "HERE") if mark in found)

    def at_the_bug(self, stack):
        """Says whether one of the lines of a tool's stack is the bug's."""
        lines = re.findall(re.escape(self.name) + r":(\d+)", stack)
        return any(self.has(int(line), "HERE") for line in lines)


def read(source, run):
    """Returns the cell of a run: an object with status, output, errors and timed_out. BROKEN: the program is at fault."""
    output, errors = run.output.splitlines(), run.errors
    words = [line.split(" ", 2) for line in output]
    parts = []

    def add(part, detail=""):
        part = f"{part}: {detail}" if detail else part
        if part not in parts:
            parts.append(part)

    for line in output:
        if found := re.match(rf"error {KIND}(?:Error)? ?(.*)", line):
            add(found[1], source.sites(found[2]))
        elif line.startswith("saw "):
            add(line[4:])
    fault = next((word for number, word in FAULTS.items() if run.status == -number), None)
    for line in errors.splitlines():
        if found := re.match(r"millpond: ([A-Z_]+): (.*)", line):
            add(f"{fault or 'report'} {found[1]}", source.sites(found[2]))
        elif found := re.match(r"millpond: pool .* leases of \d+ bytes are out", line):
            told = re.search(r"^millpond:   \d+ leases.*", errors, re.MULTILINE)
            add("leak report", source.sites(told[0]) if told else "")
        elif found := WARNING.search(line):
            add("warning", source.sites(line))
    tool = list(tools(source, errors))
    for part in tool:
        add(part)
    if fault and not tool and not any(part.startswith(fault) for part in parts):
        add(fault)
    if run.timed_out:
        add("timeout")
    ended = ["done"] in [[word for word in line if word] for line in words]
    begun = any(line[0] == "bug" for line in words)
    if not begun or (not ended and not fault and not tool and not run.timed_out):
        return f"BROKEN: status {run.status}, {' '.join((errors or run.output).split())[-300:]}"
    return ", ".join(parts) if parts else "nothing"


FAULTS = {signal.SIGSEGV: "fault", signal.SIGBUS: "fault", signal.SIGABRT: "abort", signal.SIGILL: "abort", signal.SIGTRAP: "abort"}
# A warning of the Python or Node package about a lost lease.
WARNING = re.compile(r"(?:ResourceWarning|MillpondLeakWarning): .*\blease\b")

MEMCHECK = (
    (r"Invalid (read|write) of size", "memcheck invalid {}"),
    (r"Invalid free\(\)", "memcheck invalid free"),
    (r"Syscall param \S+ points to unaddressable", "memcheck syscall"),
    (r"depends on uninitialised|Use of uninitialised", "memcheck uninitialised"),
    (r"are definitely lost", "memcheck leak"),
)


def tools(source, errors):
    """Yields what AddressSanitizer and valgrind said, and whether they named the line of the bug."""
    for found in re.finditer(r"==\d+==ERROR: (Address|Leak)Sanitizer: (?:attempting )?(\S+)", errors):
        kind = "leak" if found[1] == "Leak" else {"free": "bad-free"}.get(found[2], found[2])
        # The stack of the access or the put comes first, those of the memory's past behind an empty line.
        stack = errors[found.start() :] if kind == "leak" else errors[found.start() :].split("\n\n")[0]
        yield f"asan {kind}" + (": here" if source.at_the_bug(stack) else "")
    # Each report of valgrind ends with a line that is empty behind its mark.
    for report in re.split(r"^==\d+== ?$", errors, flags=re.MULTILINE):
        for pattern, name in MEMCHECK:
            if found := re.search(r"^==\d+== .*" + pattern, report, re.MULTILINE):
                stack = re.split(r"^==\d+==  (?:Address|Block)", report[found.start() :], flags=re.MULTILINE)[0]
                yield name.format(*found.groups()) + (": here" if source.at_the_bug(stack) else "")
