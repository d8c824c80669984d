"""The Python contender of the benchmark.

    contender.py PEER WORK SIZE[,SIZE...] [--ms N]
    contender.py --list

N is how long one size is measured (default 30); in the work rss it is the longest rest.
One JSON object per size, with the keys that tests/bench/workloads/README.md explains. `ns` is without the cost of the bare loop.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import measure
import works
from peers import ONLY, PEERS, SETTINGS, Peer, versions


def first(name: str, size: int) -> dict[str, Any]:
    """The first get of a process, in seven processes; the median."""
    spent, imports = [], []
    for _ in range(7):
        told = subprocess.run([sys.executable, __file__, "--first", name, str(size)], check=True, capture_output=True, text=True)
        import_ns, get_ns = map(int, told.stdout.split())
        spent.append(get_ns)
        imports.append(import_ns)
    return {"ns": statistics.median(spent), "setup_ns": statistics.median(imports), "ops": len(spent)}


def first_here(name: str, size: int) -> None:
    before = time.perf_counter_ns()
    names = PEERS[name].names(size, size) | {"size": size}
    ready = time.perf_counter_ns()
    code = compile(PEERS[name].take, "<first>", "eval")
    start = time.perf_counter_ns()
    kept = eval(code, names)
    spent = time.perf_counter_ns() - start
    print(ready - before, spent)
    del kept


def row(name: str, peer: Peer, work: str, size: int, ms: float) -> dict[str, Any]:
    if work == "first":
        return first(name, size)
    if work == "rss":
        at = [second for second in (0.0, 1.0, 5.0, 10.0, 30.0) if second * 1000 <= ms]
        found = works.burst_of_a_gib(peer, size, at, measure.resident_kib)
        return {"rss_kib": found, "peak_rss_kib": measure.resident_kib("VmHWM"), "settled_rss_kib": int(found[-1][1])}
    if work == "metrics":
        if not peer.millpond:
            raise works.Skip("has no statistics")
        read, text, stop = works.metrics(peer)
        figures = measure.run(text, ms, empty=works.empty_loop)
        figures["read_ns"] = measure.run(read, ms / 2, empty=works.empty_loop)["ns"]
        stop()
        return figures
    body, per_turn, names = works.build(peer, work, size)
    bare = None if work in works.BURSTS or work in works.MIXED or work == "twothreads" else works.empty_loop
    # Longer than what starting a thread costs, and than a thread keeps the interpreter's lock.
    repetition = 20e6 if work == "twothreads" else measure.REPETITION_NS
    # Mixed sizes: until a list has had as many of each size as are ever alive.
    warm = 4 * works.DRAWS if work in works.MIXED else 1
    figures = measure.run(body, ms, per_turn, bare, repetition, names.get("alone"), warm)
    held = names.get("b")
    if work == "view" and peer.millpond:
        held.put()
    del body, names, held
    gc.collect()
    figures["settled_rss_kib"] = measure.resident_kib()
    return figures


def main(arguments: list[str]) -> int:
    if arguments == ["--list"]:
        print(json.dumps({"peers": list(PEERS), "works": works.SIZES, "only": ONLY, "versions": versions(), "settings": SETTINGS}))
        return 0
    if len(arguments) == 3 and arguments[0] == "--first":
        first_here(arguments[1], int(arguments[2]))
        return 0
    ms = 30_000.0 if arguments[1:2] == ["rss"] else 30.0
    if len(arguments) == 5 and arguments[3] == "--ms":
        ms = float(arguments.pop())
        arguments.pop()
    if len(arguments) != 3 or arguments[0] not in PEERS or arguments[1] not in works.SIZES:
        print(__doc__, file=sys.stderr)
        return 2
    name, work, sizes = arguments
    peer = PEERS[name]
    if any(os.environ.get(key) != value for key, value in peer.env.items()):
        # The C library reads these when it starts.
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], {**os.environ, **peer.env})
    for size in map(int, sizes.split(",")):
        told: dict[str, Any] = {"peer": name, "work": work, "size": size}
        try:
            told |= row(name, peer, work, size, ms)
        except works.Skip as why:
            told["skip"] = str(why)
        except Exception as why:  # Whatever it is, a row of the report shows it, and the next size is measured.
            told["skip"] = f"failed: {type(why).__name__}: {why}"
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
