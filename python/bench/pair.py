"""Measures get+put, `with` and memoryview against bytearray, in one run.

    python bench/pair.py [--json]

The contenders take turns in short repetitions, and the fastest repetition of each counts,
with the cost of the empty loop taken off: so all meet the same machine, and what else runs
on it is left out. The ratio is what to look at: the nanoseconds are this machine's.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import millpond

SIZE = 1024
LOOPS = 2_000
ROUNDS = 2_000


def empty(n: int) -> None:
    for _ in range(n):
        pass


def plain(n: int) -> None:
    make = bytearray
    for _ in range(n):
        make(SIZE)


def pair(n: int) -> None:
    pool = millpond.default_pool()
    get, put = pool.get, pool.put
    for _ in range(n):
        put(get(SIZE))


def pair_named(n: int) -> None:
    pool = millpond.default_pool()
    for _ in range(n):
        lease = pool.get(SIZE)
        pool.put(lease)


def pair_release(n: int) -> None:
    get = millpond.get
    for _ in range(n):
        get(SIZE).release()


def block(n: int) -> None:
    pool = millpond.default_pool()
    for _ in range(n):
        with pool.get(SIZE) as _lease:
            pass


class Empty:
    """What a block costs at least in Python."""

    def __enter__(self) -> Empty:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def block_python(n: int) -> None:
    empty = Empty()
    for _ in range(n):
        with empty:
            pass


def block_lock(n: int) -> None:
    lock = threading.Lock()
    for _ in range(n):
        with lock:
            pass


def filled_plain(n: int) -> None:
    make, data = bytearray, b"x" * SIZE
    for _ in range(n):
        with memoryview(make(SIZE)) as view:
            view[:] = data


def filled_pair(n: int) -> None:
    get, data = millpond.get, b"x" * SIZE
    for _ in range(n):
        lease = get(SIZE)
        with memoryview(lease) as view:
            view[:] = data
        lease.release()


def view_plain(n: int) -> None:
    buffer = bytearray(SIZE)
    for _ in range(n):
        memoryview(buffer)


def view_lease(n: int) -> None:
    with millpond.get(SIZE) as lease:
        for _ in range(n):
            memoryview(lease)


def measure(bodies: list[Callable[[int], None]]) -> dict[Callable[[int], None], float]:
    """Returns the nanoseconds of one turn of each body's loop."""
    best = dict.fromkeys([empty, *bodies], float("inf"))
    for body in best:
        body(LOOPS)
    for _ in range(ROUNDS):
        for body in best:
            start = time.perf_counter_ns()
            body(LOOPS)
            best[body] = min(best[body], (time.perf_counter_ns() - start) / LOOPS)
    return {body: spent - best[empty] for body, spent in best.items()}


# What is measured, what it is held against, that one's name, and the ratio to reach.
ROWS: list[tuple[str, Callable[[int], None], Callable[[int], None], str, float | None]] = [
    ("get+put, bound", pair, plain, "bytearray(n)", 0.5),
    ("get+put, pool.get(n); pool.put(b)", pair_named, plain, "bytearray(n)", None),
    ("millpond.get(n).release()", pair_release, plain, "bytearray(n)", 0.5),
    ("with pool.get(n) as b", block, plain, "bytearray(n)", 1.2),
    ("with pool.get(n) as b", block, block_lock, "with lock", None),
    ("with pool.get(n) as b", block, block_python, "with a class", None),
    ("get, fill through a view, release", filled_pair, filled_plain, "the same", None),
    ("memoryview(b)", view_lease, view_plain, "the same", 1.05),
]


def main() -> None:
    spent = measure([body for row in ROWS for body in row[1:3]])
    table: list[dict[str, Any]] = []
    for name, body, reference, against, budget in ROWS:
        ours, theirs = spent[body], spent[reference]
        figures = {"ns": round(ours, 1), "against_ns": round(theirs, 1), "ratio": round(ours / theirs, 2)}
        table.append({"what": name, "against": against, **figures, "budget": budget})
    if "--json" in sys.argv:
        print(json.dumps({"python": sys.version.split()[0], "size": SIZE, "rows": table}))
        return
    print(f"CPython {sys.version.split()[0]}, n = {SIZE} bytes; ns per turn, against bytearray or what is named")
    print(f"{'':36}{'ns':>7}  {'against':14}{'ns':>6}{'ratio':>8}{'budget':>8}")
    for row in table:
        limit = "" if row["budget"] is None else f"{row['budget']:.2f}"
        print(f"{row['what']:36}{row['ns']:7.1f}  {row['against']:14}{row['against_ns']:6.1f}{row['ratio']:8.2f}{limit:>8}")


if __name__ == "__main__":
    main()
