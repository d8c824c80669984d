"""What the workloads in Python share: the command line of every contender, and what a batch of work used."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import measure
import peers

KEEP = peers.KEEP
versions = peers.versions


class Skip(Exception):
    """A combination that a peer cannot do; its text says why."""


def repeat(batch: Callable[[], tuple[int, int]], ms: float) -> dict[str, Any]:
    """Calls `batch`, which returns operations and a digest, for `ms` milliseconds after two calls to warm up.

    Each call must have the same digest: batches are the same work.
    """
    _, digest = batch()
    batch()
    gc.collect()
    measure.reset_peak()
    collected = sum(generation["collections"] for generation in gc.get_stats())
    cpu, faults = measure.usage()
    started = time.perf_counter_ns()
    samples: list[float] = []
    ops = 0
    while len(samples) < 2 or time.perf_counter_ns() - started < ms * 1e6:
        before = time.perf_counter_ns()
        done, seen = batch()
        samples.append((time.perf_counter_ns() - before) / done)
        ops += done
        if seen != digest:
            raise RuntimeError(f"a batch had the digest {seen:x}, the first one {digest:x}")
    cpu_after, faults_after = measure.usage()
    samples.sort()
    return {
        "ns": round(samples[len(samples) // 2]),
        "cpu_ns": round((cpu_after - cpu) / ops),
        "faults": round((faults_after - faults) / ops, 2),
        "ops": ops,
        "cpu_seconds": round((cpu_after - cpu) / 1e9, 3),
        "gc": sum(generation["collections"] for generation in gc.get_stats()) - collected,
        "peak_rss_kib": measure.resident_kib("VmHWM"),
        "digest": f"{digest:08x}",
    }


def main(
    described: dict[str, Any],
    env: dict[str, dict[str, str]],
    row: Callable[[str, str, int, float], dict[str, Any]],
) -> int:
    """Runs a workload's command line. `env` is what a peer needs in its environment when it starts."""
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        print(json.dumps(described))
        return 0
    ms = 1000.0
    if len(arguments) == 5 and arguments[3] == "--ms":
        ms = float(arguments.pop())
        arguments.pop()
    if len(arguments) != 3 or arguments[0] not in described["peers"] or arguments[1] not in described["works"]:
        print("usage: PEER WORK SIZE[,SIZE...] [--ms N], or --list", file=sys.stderr)
        return 2
    peer, work, sizes = arguments
    wanted = env.get(peer, {})
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        # The C library reads these when it starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    for size in map(int, sizes.split(",")):
        told: dict[str, Any] = {"peer": peer, "work": work, "size": size}
        try:
            told |= row(peer, work, size, ms)
            gc.collect()
            told["settled_rss_kib"] = measure.resident_kib()
        except Skip as why:
            told["skip"] = str(why)
        except Exception as why:  # Whatever it is, a row of the report shows it.
            told["skip"] = f"failed: {type(why).__name__}: {why}"
        print(json.dumps(told), flush=True)
    return 0
