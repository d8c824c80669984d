"""Says for whom the pool is: by what a program does, against doing nothing, glibc's environment variables and five lines of code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .plan import KIB, MIB
from .run import Row

RUST, PYTHON, NODE = "Rust, fat LTO", "Python", "Node 22"


class Case(NamedTuple):
    """What a program does, and who does it: nothing, glibc told to keep its memory, a free list by hand, the pool."""

    what: str
    program: str
    work: str
    size: int
    nothing: str
    variable: str
    lines: str
    own: str = "millpond"
    careless: str = "millpond-noclear"
    key: str = "ns"


def native(what: str, work: str, size: int) -> Case:
    return Case(f"Rust, {what}", RUST, work, size, "glibc", "glibc-tuned", "vec-stack")


def python(what: str, work: str, size: int) -> Case:
    return Case(f"Python, {what}", PYTHON, work, size, "bytearray", "bytearray, glibc-tuned", "bytearray list")


def node(what: str, work: str, size: int, key: str = "ns") -> Case:
    return Case(f"Node 22, {what}", NODE, work, size, "Buffer.allocUnsafe", "Buffer.allocUnsafe, glibc-tuned", "array pool", key=key)


CASES = (
    native("4 KiB, one at a time, nothing written", "pair", 4 * KIB),
    native("1 KiB, one at a time, filled", "full", KIB),
    native("64 KiB, one at a time, filled", "full", 64 * KIB),
    native("1 MiB, one at a time, filled", "full", MIB),
    native("64 MiB, one at a time, filled", "full", 64 * MIB),
    native("64 KiB, 32 at a time, a byte of each page", "burst32", 64 * KIB),
    native("1 MiB, 32 at a time, a byte of each page", "burst32", MIB),
    native("sizes of a real program up to 1 MiB, 64 live", "mixed1m", MIB),
    python("1 KiB, one at a time, nothing written", "pair", KIB),
    python("64 KiB, 8 at a time, filled by readinto", "fill8", 64 * KIB),
    python("1 MiB, 8 at a time, filled by readinto", "fill8", MIB),
    python("16 MiB, 8 at a time, filled by readinto", "fill8", 16 * MIB),
    node("1 KiB, one at a time, filled", "full", KIB),
    node("64 KiB, one at a time, filled", "full", 64 * KIB),
    node("1 MiB, one at a time, filled", "full", MIB),
    node("16 MiB, one at a time, filled", "full", 16 * MIB),
    node("256 KiB, worst hundredth of the event loop's turns", "turn", 256 * KIB, "p99_us"),
    Case("Rust, memory held 30 s after a burst of 1 GiB; last column: `maintain_every`", RUST, "rss", MIB, "glibc", "glibc-tuned", "vec-stack", careless="millpond-maintain", key="rss_kib"),
)


def time_text(ns: float) -> str:
    for unit, name in ((1e6, "ms"), (1e3, "us")):
        if ns >= unit:
            return f"{ns / unit:.3g} {name}"
    return f"{ns:.3g} ns"


def text(key: str, value: float) -> str:
    if key == "rss_kib":
        return f"{value / KIB:.3g} MiB"
    return time_text(value * 1e3 if key == "p99_us" else value)


def figure(row: Row | None, key: str) -> float | None:
    if row is None or not row.get(key):
        return None
    return row[key][-1][1] if key == "rss_kib" else row[key]


def table(rows: Iterable[Row]) -> list[str]:
    """A table in Markdown. Where the pool, clearing, is the slower one, the other's figure is in bold."""
    known = {(row["contender"], row["work"], row["peer"], row["size"]): row for row in rows}
    lines = []
    for case in CASES:
        program = next((name for name, *_ in known if name.startswith(case.program)), "")
        peers = (case.nothing, case.variable, case.lines, case.own, case.careless)
        figures = [figure(known.get((program, case.work, peer, case.size)), case.key) for peer in peers]
        own = figures[3]
        if own is None:
            continue
        cells = ["-" if value is None else text(case.key, value) for value in figures]
        for place in range(3):
            value = figures[place]
            if value is not None and value < own:
                cells[place] = f"**{cells[place]}**"
        lines.append(f"| {case.what} | {' | '.join(cells)} |")
    if not lines:
        return []
    return ["| what the program does | nothing is done | glibc's variables | five lines | millpond | the same, not cleared |", "|---|---|---|---|---|---|", *lines]
