"""Runs contenders in turns, one program for each peer and work, and for each size where that starts fast; collects their lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from . import plan

Row = dict[str, Any]


@dataclass
class Contender:
    """A program that measures peers, as bench.py found it."""

    name: str
    group: str
    argv: list[str]
    env: dict[str, str]
    kind: str
    threads: int
    peers: list[str] = field(default_factory=list)
    works: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    # Works of the peers that are there for some only.
    only: dict[str, list[str]] = field(default_factory=dict)
    # Peers that the program knows and cannot offer, with the reason.
    missing: dict[str, str] = field(default_factory=dict)


@dataclass
class Turn:
    """What one program run measures."""

    contender: Contender
    peer: str
    work: plan.Work
    sizes: list[int]
    ms: int

    # In how many rounds it takes part, and how long it took the last time.
    rounds: int = 1
    took: float = 0.0
    # Whether its instructions are counted too, which takes a second.
    is_stepped: bool = False

    @property
    def seconds(self) -> float:
        """How long it takes, or before that is known, about how long."""
        if self.took or self.work.name == "rss":
            return self.took or self.ms / 1000 + 3
        startup, each = next((known for name, known in STARTING.items() if self.contender.group.startswith(name)), (0.01, self.ms * 1.6 / 1000))
        return startup + sum(each + size / 4e9 for size in self.sizes)


# Seconds until a program measures, and those that it takes for a size, where that is more than it is told.
STARTING = {"Python": (0.2, 0.03), "Node": (0.2, 0.1)}


def environment(extra: dict[str, str]) -> dict[str, str]:
    """What every program gets: nothing that changes allocators or pools by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLPOND_", "MALLOC_", "LD_PRELOAD", "PYTHON", "NODE_OPTIONS", "GO"))}
    return {**kept, "LC_ALL": "C", **extra}


def ask(argv: list[str], env: dict[str, str], seconds: float) -> tuple[str, str, str]:
    """Runs a program to its end. Returns what it printed, what it said of errors, and why it failed, or ""."""
    try:
        process = subprocess.Popen(argv, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True)
    except OSError as error:
        return "", "", f"cannot be started: {error}"
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return out, err, f"no result after {seconds:.0f} s"
    if process.returncode < 0:
        return out, err, f"ended by {signal.Signals(-process.returncode).name}"
    return out, err, "" if process.returncode == 0 else f"exit status {process.returncode}"


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def describe(contender: Contender) -> str:
    """Asks the program what it offers. Returns why it could not, or ""."""
    out, err, failed = ask([*contender.argv, "--list"], contender.env, 60)
    try:
        answer = json.loads(out.strip().splitlines()[-1])
        contender.peers = list(answer["peers"])
        contender.works = {name: [int(size) for size in sizes] for name, sizes in answer["works"].items()}
    except (ValueError, KeyError, IndexError, TypeError):
        return f"--list: {failed or 'no answer'} {last_line(err)}".strip()
    for name in ("versions", "settings", "missing"):
        setattr(contender, name, {str(key): str(value) for key, value in answer.get(name, {}).items()})
    contender.only = {peer: list(works) for peer, works in answer.get("only", {}).items()}
    contender.peers = [peer for peer in contender.peers if peer not in contender.missing]
    return ""


def measure(turn: Turn, core: int | None, number: int) -> list[Row]:
    """Runs one program. Each size has a row: with figures, with `skip`, or with `error`."""
    # Instructions are the same in each round.
    env = turn.contender.env | ({"BENCH_STEPS": "1"} if turn.is_stepped and number == 0 else {})
    contender, rows, sizes = turn.contender, [], list(turn.sizes)
    pin = ["taskset", "-c", str(core)] if core is not None and turn.work.threads == 1 and contender.threads == 1 else []
    while sizes:
        argv = [*pin, *contender.argv, turn.peer, turn.work.name, ",".join(map(str, sizes)), "--ms", str(turn.ms)]
        # A machine that does something else meanwhile gets many times as long, one that hangs does not get for ever.
        out, err, failed = ask(argv, env, 20 + (2 if turn.work.name == "rss" else 20) * turn.seconds)
        found: dict[int, Row] = {}
        for line in out.splitlines():
            try:
                row = json.loads(line)
                found[int(row["size"])] = row
            except (ValueError, KeyError, TypeError):
                continue
        answered = [size for size in sizes if size in found]
        rows += [found[size] for size in answered]
        sizes = [size for size in sizes if size not in found]
        if sizes:
            why = failed or "no line for this size"
            said = last_line(err)
            rows.append({"size": sizes.pop(0), "error": f"{why}: {said}" if said else why})
            if "no result" in why:
                rows += [{"size": size, "error": "not tried after that"} for size in sizes]
                sizes = []
    return rows


class Results:
    """All rows that came, by what they are of."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str, str, int], list[Row]] = {}
        self._lock = Lock()

    def add(self, turn: Turn, rows: list[Row], number: int) -> None:
        """Keeps what a turn measured in the round of that number."""
        with self._lock:
            for row in rows:
                row["round"] = number
                self.samples.setdefault((turn.contender.name, turn.work.name, turn.peer, row["size"]), []).append(row)

    def is_settled(self, turn: Turn) -> bool:
        """Whether another round has nothing to add: it was skipped or it failed."""
        last = [self.samples.get((turn.contender.name, turn.work.name, turn.peer, size), [{}])[-1] for size in turn.sizes]
        return all("skip" in row or "error" in row for row in last)


def run_round(turns: list[Turn], number: int, core: int | None, results: Results) -> None:
    """Runs those turns of one work that take part in the round, one after the other."""
    if turns[0].work.name == "rss":
        together(turns, number, results)
        return
    for turn in turns:
        if number == 0 or not results.is_settled(turn):
            begun = time.monotonic()
            results.add(turn, measure(turn, core, number), number)
            turn.took = time.monotonic() - begun


def together(turns: list[Turn], number: int, results: Results) -> None:
    """Runs what mostly rests side by side, as many as there is memory for."""
    free = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    with ThreadPoolExecutor(max(1, min(plan.RESTING_TOGETHER, free // (3 << 19)))) as workers:
        for turn, rows in zip(turns, workers.map(lambda turn: measure(turn, None, number), turns)):
            results.add(turn, rows, number)
