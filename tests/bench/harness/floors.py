"""Says what decides the targets that are missed: what the least that has to be done costs in the same run."""

from __future__ import annotations

from collections.abc import Iterable

from .plan import size_text
from .run import Row
from .tables import duration
from .targets import Figure, Found, Key, Verdict

# The floors of a work by program: what each does is said of it at the head of the report.
_PLACE = ("one-place", "one-place+who", "one-place+who+counts", "one-place+who+counts+gate", "one-place+who+counts+gate+classes")
_PAIR, _BURST = ("registers only", "vec-stack", *_PLACE, "locked-list"), ("kept", "kept-spread", "vec-stack")
_SHARED = ("pmr-locked-list", "pmr-locked-list+spin")
_MIXED = ("vec-stack", "vec-stack+record", "vec-stack+record+pages", "vec-stack+record+pages+books")
FLOORS: dict[tuple[str, str], tuple[str, ...]] = {
    ("Rust", "pair"): _PAIR,
    ("Rust", "pairidle"): ("vec-stack",),
    ("Rust", "twothreads"): _PAIR,
    ("Rust", "depth256"): ("vec-stack",),
    ("Rust", "held256"): ("vec-stack",),
    ("Rust", "pc"): ("queue+record", "queue+record+back", "queue+record+back+books"),
    ("Rust", "burst32"): _BURST,
    ("Rust", "mixed64k"): _MIXED,
    ("Rust", "mixed1m"): _MIXED,
    ("Rust", "pages"): ("overwritten",),
    ("Rust", "clear64"): ("vec-stack+memset",),
    ("C and C++", "pair"): ("checked-list",),
    ("C and C++", "twothreads"): _SHARED,
    ("C and C++", "pc"): _SHARED,
    ("Python", "fill8"): ("numpy list, overwritten", "bytearray list"),
    ("Node", "pair"): ("detach alone", "detach alone, cleared", "show and detach alone"),
    ("Node", "turn"): ("array pool",),
}
# What shares nothing between its threads, for rows that are held to themselves without the other thread.
APART = ("registers only", "vec-stack+record", "vec-stack")
# How a value is told, by what it is.
SHOWN = {"ns": lambda value: with_unit(value), "cpu_ns": lambda value: with_unit(value), "p99_us": lambda value: f"{value:.3g} us", "alone_ratio": lambda value: f"{value:.3g}x"}


def with_unit(ns: float) -> str:
    return duration(ns) + (" ns" if ns < 1000 else "")


def section(found: Found, verdicts: Iterable[Verdict]) -> list[str]:
    """For each target that is missed: millpond, the peer, the floors, and how much of millpond's time they explain."""
    asked, more = [], []
    for verdict in verdicts:
        lines = asked if verdict.is_asked else more
        by_row: dict[Key, list[Figure]] = {}
        for figure in verdict.missed:
            if figure.own is not None:
                by_row.setdefault(figure.own, []).append(figure)
        if by_row:
            lines.append(f"  {verdict.what}: {verdict.target}")
        for own, figures in by_row.items():
            lines += row(found, verdict, own, figures)
    what = "(with the pool's defaults; rows of this run; a floor does only what is said of it above)"
    shown = ["", f"What decides the targets that are missed {what}", *asked] if asked else []
    return shown + (["", "What decides where it is held to more than was asked for and misses that", *more] if more else [])


def row(found: Found, verdict: Verdict, own: Key, figures: list[Figure]) -> list[str]:
    """The lines of one of millpond's rows: what it missed, and what the floors are."""
    key, (program, work, name, size) = figures[0].key, own
    mine = found.value(key, *own)
    if mine is None:
        return []
    shown = SHOWN.get(key, lambda value: f"{value:.3g}")
    against = [f"{told(figure.peer)} {shown(value)} ({figure.value:.3g}{verdict.unit})" for figure in figures if figure.peer and (value := found.value(key, *figure.peer)) is not None]
    rest = f" and {len(against) - 5} more" if len(against) > 5 else ""
    lines = [f"    {program}, {work} {size_text(size)}: {name} {shown(mine)}" + (f"; {', '.join(against[:5])}{rest}" if against else "")]
    lines += [f"      told {words}: {', '.join(values)}" for words, values in helped(verdict, figures).items()]
    peers = [figure.peer for figure in figures if figure.peer is not None]
    lines += [*steps(found, own, peers), *([] if key == "alone_ratio" else alone(found, own, peers))]
    floors = APART if key == "alone_ratio" else floors_of(own)
    said = [text for floor in floors if (text := explained(found, verdict, (program, work, floor, size), mine, figures, shown))]
    return lines + (said or ["      no floor is measured for this"])


def helped(verdict: Verdict, figures: list[Figure]) -> dict[str, list[str]]:
    """What becomes of the figures when the pool is told what the work needs, by what it is told."""
    by_words: dict[str, list[str]] = {}
    for figure in figures:
        if figure.told is not None:
            by_words.setdefault(figure.words, []).append(f"{figure.told:.3g}{verdict.unit}" + (f" against {figure.peer[2]}" if figure.peer and len(figures) > 1 else ""))
    return {words: values[:5] + ([f"{len(values) - 5} more"] if len(values) > 5 else []) for words, values in by_words.items()}


def steps(found: Found, own: Key, peers: list[Key]) -> list[str]:
    """What millpond and the others execute, where that was counted."""
    counted = [f"{row['peer']} {row['instructions']:.0f} and {row['mispredicted']:.2f}" for row in beside(found, own, peers) if "instructions" in row]
    return [f"      instructions, and conditional branches that a simple predictor (two bits, gshare) does not guess: {', '.join(counted)}"] if counted else []


def alone(found: Found, own: Key, peers: list[Key]) -> list[str]:
    """What millpond and the others take where the other thread does nothing: what is not for meeting it."""
    timed = [f"{row['peer']} {with_unit(row['alone_ns'])}" for row in beside(found, own, peers) if "alone_ns" in row]
    return [f"      one of the threads alone: {', '.join(timed)}"] if timed else []


def beside(found: Found, own: Key, peers: list[Key]) -> list[Row]:
    """The rows of millpond, of what it is held to and of the floors, as far as they were measured."""
    keys = dict.fromkeys([own, *peers, *((own[0], own[1], name, own[3]) for name in floors_of(own))])
    return [row for key in keys if (row := found.get(*key)) is not None]


def floors_of(own: Key) -> tuple[str, ...]:
    """The floors of the work that one of millpond's rows is of."""
    return next((names for (start, of), names in FLOORS.items() if own[0].startswith(start) and of == own[1]), ())


def told(peer: Key) -> str:
    """A peer's name, with what else is not as in millpond's row."""
    return f"{peer[2]} in {peer[1]}" if peer[1] in ("clear0",) else peer[2]


def explained(found: Found, verdict: Verdict, floor: Key, mine: float, figures: list[Figure], shown) -> str:
    """One floor: whether it would meet the target itself, and what of millpond's time it is."""
    key = figures[0].key
    least = found.value(key, *floor)
    if least is None:
        return ""
    meets, misses = [], []
    for figure in figures:
        # What is held to a row of its own is so here too.
        peer = figure.peer if figure.peer is None or figure.peer[2] != figure.own[2] else (*figure.peer[:2], floor[2], floor[3])
        if peer is not None and peer == floor:
            continue
        value = least if peer is None else found.over(peer, floor, key) if figure.is_lead else found.over(floor, peer, key)
        if value is not None:
            (meets if verdict.good(value) else misses).append(f"{value:.3g}{verdict.unit}" + (f" against {peer[2]}" if len(figures) > 1 else ""))
    # A ratio is told with the target that it is held to.
    text = f"      {floor[2]}: " if key == "alone_ratio" else f"      {floor[2]} {shown(least)}: "
    parts = []
    if misses:
        parts.append(f"misses the target too ({', '.join(misses[:3])}{', ...' if len(misses) > 3 else ''})")
    if meets:
        parts.append(f"would meet it ({', '.join(meets[:3])}{', ...' if len(meets) > 3 else ''})")
    if key == "alone_ratio":
        # And a part of one says nothing.
        return text + "; ".join(parts)
    if mine > least:
        parts.append(f"it is {100 * least / mine:.0f} % of millpond's, the other {shown(mine - least)} are millpond's own")
    else:
        parts.append("millpond is not behind it")
    return text + "; ".join(parts)
