"""Time, processor time, page faults and resident memory of a body that is called in short repetitions."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

REPETITION_NS = 1_000_000


def resident_kib(what: str = "VmRSS") -> int:
    """Returns a figure of /proc/self/status in KiB: VmRSS, or VmHWM, the highest since `reset_peak`."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(what + ":"):
                return int(line.split()[1])
    raise RuntimeError(f"the system tells no {what}")


def reset_peak() -> None:
    """Makes VmHWM start again from what is resident now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # Without it the peak is the process's: higher, never lower.


def usage() -> tuple[float, int]:
    """Returns the process's CPU nanoseconds and minor page faults."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e9, used.ru_minflt


def run(
    body: Callable[[int], None],
    ms: float,
    per_call: int = 1,
    empty: Callable[[int], None] | None = None,
    repetition: float = REPETITION_NS,
    calibrate: Callable[[int], None] | None = None,
    warm: int = 1,
) -> dict[str, Any]:
    """Calls `body(n)`, which does `n` turns of `per_call` operations each, for about `ms` milliseconds after a warm-up.

    What `empty(n)` takes, the bare loop, is taken off. `repetition` is how long one call of `body` should take, in ns;
    `calibrate`, where `body` begins with something long, finds out how many turns that is.
    `warm` is how many turns the warm-up makes at least.
    """
    turns = 1
    started = time.perf_counter_ns()
    while True:
        before = time.perf_counter_ns()
        (calibrate or body)(turns)
        spent = time.perf_counter_ns() - before
        if spent >= repetition / 4 or turns >= 1 << 24:
            break
        turns *= 2
    turns = max(1, round(turns * repetition / max(spent, 1)))
    while time.perf_counter_ns() - started < ms * 1e6 / 3:
        body(turns)
    body(warm)
    reset_peak()
    samples: list[float] = []
    cpu, faults = usage()
    started = time.perf_counter_ns()
    while len(samples) < 3 or time.perf_counter_ns() - started < ms * 1e6:
        before = time.perf_counter_ns()
        body(turns)
        samples.append((time.perf_counter_ns() - before) / turns)
    wall = time.perf_counter_ns() - started
    cpu_after, faults_after = usage()
    ops = turns * len(samples) * per_call
    loop = 0.0
    if empty is not None:
        spent_empty = []
        for _ in range(25):
            few = max(turns // 8, 1)
            before = time.perf_counter_ns()
            empty(few)
            spent_empty.append((time.perf_counter_ns() - before) / few)
        loop = min(spent_empty) / per_call
    return {
        "ns": round(max(statistics.median(samples) / per_call - loop, 0.0), 2),
        "cpu_ns": round(max((cpu_after - cpu) / ops - loop, 0.0), 2),
        "faults": round((faults_after - faults) / ops, 4),
        "ops": ops,
        "ns_min": round(max(min(samples) / per_call - loop, 0.0), 2),
        "ns_mean": round(max(wall / ops - loop, 0.0), 2),
        "peak_rss_kib": resident_kib("VmHWM"),
    }
