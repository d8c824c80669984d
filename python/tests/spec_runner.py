"""Executes the ownership scenarios of tests/spec through the Python package.

python spec_runner.py [DIRECTORY]; see tests/spec/README.md for the format.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import millpond

DIRECTORY = Path(__file__).resolve().parents[2] / "tests" / "spec"
SIZES = {"SIZE_MAX": 2**64 - 1, "SIZE_MAX-63": 2**64 - 64, "ISIZE_MAX": 2**63 - 1, "ISIZE_MAX+1": 2**63}
SIZES["ISIZE_MAX-4095"] = 2**63 - 4096
BAD = {"negative": -1, "nan": float("nan"), "infinite": float("inf"), "fraction": 1.5, "string": "4096"}
BAD |= {"null": None, "bool": True, "object": {}}
STATS = {name for name in dir(millpond.PoolStats) if not name.startswith("_")}
# How closely the pools look, which the environment says: see "Modes" in the README of the scenarios.
MODE = os.environ.get("MILLPOND_CHECK", "on").partition(":")[0]
KEEPS = os.environ.get("MILLPOND_POOL", "on") == "on"
FINDS_OVERRUNS = KEEPS and MODE in ("on", "sites", "full")
REUSES = KEEPS and MODE in ("off", "on", "sites")
BY_REUSE = {"allocations", "hits", "created", "destroyed", "discarded", "retained_buffers", "retained_bytes", "trimmed_bytes"}
OTHERS = {"NO_MEMORY": MemoryError, "BUSY": BufferError, "IO": OSError, "INVALID_ARGUMENT": TypeError, "FULL": ValueError}


class Failed(Exception):
    """A step did not do what the scenario expects."""


def size(value: Any) -> Any:
    """Resolves the strings that stand for sizes."""
    if not isinstance(value, str):
        return value
    return BAD[value[4:]] if value.startswith("bad:") else SIZES[value]


def check(holds: bool, text: str) -> None:
    if not holds:
        raise Failed(text)


class Scenario:
    """The tables of one scenario, and a method for each verb."""

    def __init__(self, tables: Scenario | None = None) -> None:
        self.pools: dict[str, Any] = tables.pools if tables else {"default": millpond.default_pool()}
        self.leases: dict[str, Any] = {}
        self.views: dict[str, Any] = {}
        self.owned: dict[str, Any] = {}
        self.writers: dict[str, Any] = {}
        self.later_threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def run(self, steps: list[dict[str, Any]]) -> None:
        for number, step in enumerate(steps, 1):
            verb, fields = step["do"], {k: v for k, v in step.items() if k not in ("do", "expect", "says")}
            method = getattr(self, "do_" + verb, None)
            try:
                if method is None:
                    raise Failed("unknown verb")
                self.expecting(step, lambda: method(**fields))
            except Exception as error:
                raise Failed(f"step {number} ({verb}): {error!r}") from error

    def expecting(self, step: dict[str, Any], act: Any) -> None:
        wanted = step.get("expect")
        try:
            act()
        except Failed:
            raise
        except Exception as error:
            if wanted is None:
                raise
            kinds = wanted.split("|")
            known = getattr(error, "kind", None) in kinds or ("ANY" in kinds and isinstance(error, millpond.Error))
            check(known or any(isinstance(error, OTHERS.get(kind, ())) for kind in kinds), f"{wanted} wanted, {error!r} came")
            check(step.get("says", "") in str(error), f"{step.get('says')!r} wanted in {str(error)!r}")
        else:
            check(wanted is None, f"{wanted} wanted, nothing came")

    def do_pool(self, pool: str, options: dict[str, Any] | None = None) -> None:
        given = {key: value if key in ("name", "clear") else size(value) for key, value in (options or {}).items() if key not in ("classes", "on_limit")}
        for key, value in (options or {}).items():
            if key == "classes":
                given[key] = millpond.FourPerDoubling(**value) if isinstance(value, dict) else value if value == "default" or not isinstance(value, str) else size(value)
            elif key == "on_limit" and isinstance(value, dict):
                given |= {"on_limit": "wait", "timeout": value["wait_ms"] / 1000}
            elif key == "on_limit":
                given[key] = value
        if "maintain_every_ms" in given:
            given["maintain_every"] = given.pop("maintain_every_ms") / 1000
        self.pools[pool] = millpond.Pool(**given)

    def take(self, lease: str, wanted: Any, taken: millpond.Lease) -> None:
        self.leases[lease] = taken
        check(len(taken) == wanted and taken.capacity >= wanted, f"a lease of {len(taken)}, capacity {taken.capacity}")

    def do_get(self, pool: str, lease: str, len: Any) -> None:
        self.take(lease, size(len), self.pools[pool].get(size(len)))

    def do_try_get(self, pool: str, lease: str, len: Any) -> None:
        self.take(lease, size(len), self.pools[pool].try_get(size(len)))

    def do_get_timeout(self, pool: str, lease: str, len: Any, ms: float) -> None:
        self.take(lease, size(len), self.pools[pool].get(size(len), timeout=ms / 1000))

    def do_put(self, lease: str, pool: str | None = None, used: Any = None) -> None:
        given = {} if used is None else {"used": size(used)}
        if pool is None:
            self.leases[lease].put(**given)
        else:
            self.pools[pool].put(self.leases[lease], **given)

    def do_scope_end(self, lease: str) -> None:
        self.leases[lease].__exit__(None, None, None)

    def do_scope_raise(self, lease: str) -> None:
        try:
            with self.leases[lease]:
                raise KeyError("the user's own")
        except KeyError as error:
            check(error.args == ("the user's own",), f"another exception arrived: {error!r}")

    def do_len(self, lease: str, **wanted: Any) -> None:
        check(len(self.leases[lease]) == size(wanted["is"]), f"length {len(self.leases[lease])}")

    def do_capacity(self, lease: str, **wanted: Any) -> None:
        check(not REUSES or self.leases[lease].capacity == size(wanted["is"]), f"capacity {self.leases[lease].capacity}")

    def do_aligned(self, lease: str, to: int) -> None:
        held = self.leases[lease]
        address = ctypes.addressof((ctypes.c_char * len(held)).from_buffer(held))
        check(address % (to if KEEPS else 64) == 0, f"the address is {address:#x}")

    def do_write(self, lease: str, byte: int, at: int = 0, count: int | None = None) -> None:
        held = self.leases[lease]
        end = len(held) if count is None else at + count
        held[at:end] = bytes([byte]) * (end - at)

    def do_read(self, lease: str, byte: int, at: int = 0, count: int | None = None) -> None:
        held = self.leases[lease]
        data = held[at : len(held) if count is None else at + count]
        check(data == bytes([byte]) * len(data), f"not all of {len(data)} bytes are {byte}")

    def do_overrun(self, lease: str, by: int) -> None:
        held = self.leases[lease]
        end = ctypes.addressof((ctypes.c_char * len(held)).from_buffer(held)) + len(held)
        ctypes.memset(end, 0xA5, by)

    def do_view(self, lease: str, view: str) -> None:
        self.views[view] = memoryview(self.leases[lease])

    def do_loose_view(self, lease: str, view: str) -> None:
        import numpy as np

        held = self.leases[lease]
        self.views[view] = np.ndarray(len(held), "B", buffer=held)

    def do_clone_view(self, view: str, **new: str) -> None:
        self.views[new["as"]] = memoryview(self.views[view])

    def do_drop_view(self, view: str) -> None:
        dropped = self.views.pop(view)
        if isinstance(dropped, memoryview):
            dropped.release()

    def do_view_never(self, view: str, byte: int) -> None:
        check(byte not in bytes(self.views[view]), f"a stale view shows {byte}")

    def do_pin(self, lease: str) -> None:
        self.leases[lease].pin()

    def do_unpin(self, lease: str) -> None:
        self.leases[lease].unpin()

    def do_lose(self, lease: str) -> None:
        pool = self.leases[lease].pool
        before, end = pool.stats().leaked, time.monotonic() + 10
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del self.leases[lease]
            while pool.stats().leaked == before and time.monotonic() < end:
                gc.collect()
        check(pool.stats().leaked == before + 1, "the lost lease was not noticed")
        check([warning.category for warning in caught] == [ResourceWarning], f"warnings: {caught}")

    def do_detach(self, lease: str, owned: str) -> None:
        self.owned[owned] = self.leases[lease].detach()

    def do_owned_read(self, owned: str, byte: int) -> None:
        data = bytes(self.owned[owned])
        check(data == bytes([byte]) * len(data), f"not all of the detached bytes are {byte}")

    def do_drop_owned(self, owned: str) -> None:
        del self.owned[owned]

    def do_writer(self, pool: str, writer: str, capacity: Any) -> None:
        self.writers[writer] = self.pools[pool].writer(size(capacity))

    def do_append(self, writer: str, byte: int, count: int) -> None:
        self.writers[writer].write(bytes([byte]) * count)

    def do_finish(self, writer: str, lease: str) -> None:
        self.leases[lease] = self.writers[writer].finish()

    def do_leaks(self, pool: str, count: int, **wanted: Any) -> None:
        found = self.pools[pool].leaks()
        check(len(found) == count, f"{len(found)} leaks: {found}")
        check("len" not in wanted or found[0].len == size(wanted["len"]), f"the oldest is {found[:1]}")

    def do_stats(self, pool: str, **wanted: Any) -> None:
        stats = self.pools[pool].stats()
        tests = {"is": int.__eq__, "at_least": int.__ge__, "at_most": int.__le__}
        classes = {str(row.size): row for row in stats.classes}
        for row, values in wanted.pop("classes", {}).items():
            for name, value in values.items():
                if name in BY_REUSE and not REUSES:
                    continue
                check(getattr(classes[row], name) == size(value), f"class {row} {name} is {getattr(classes[row], name)}, not {value}")
        for relation, values in wanted.items():
            for name, value in values.items():
                check(name in STATS, f"unknown field {name}")
                if name in BY_REUSE and not REUSES:
                    continue
                check(tests[relation](getattr(stats, name), size(value)), f"{name} is {getattr(stats, name)}, {relation} {value}")

    def do_class_sizes(self, pool: str, **wanted: Any) -> None:
        check(list(self.pools[pool].class_sizes) == wanted["is"], f"class sizes {self.pools[pool].class_sizes}")

    def do_trim(self, pool: str, at_least: int = 0) -> None:
        freed = self.pools[pool].trim()
        check(freed >= at_least or not REUSES, f"{freed} bytes were given back")

    def do_maintain(self, pool: str) -> None:
        self.pools[pool].maintain()

    def do_close(self, pool: str) -> None:
        self.pools[pool].close()

    def do_sleep(self, ms: float) -> None:
        time.sleep(ms / 1000)

    def do_repeat(self, times: int, steps: list[Any]) -> None:
        for _ in range(times):
            self.run(steps)

    def spawn(self, act: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                act()
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def join(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join()
            # Before 3.13 join() does not wait for the end of the system's thread, when its caches go to the depot.
            task, end = Path(f"/proc/self/task/{thread.native_id}"), time.monotonic() + 10
            while task.exists() and time.monotonic() < end:
                time.sleep(0.001)
        check(not self.failures, f"in a thread: {self.failures}")

    def do_thread(self, steps: list[Any]) -> None:
        self.join([self.spawn(lambda: self.run(steps))])

    def do_threads(self, count: int, times: int, steps: list[Any]) -> None:
        others = [Scenario(self) for _ in range(count)]
        self.join([self.spawn(lambda other=other: other.do_repeat(times, steps)) for other in others])

    def do_later(self, ms: float, steps: list[Any]) -> None:
        def wait_and_run() -> None:
            time.sleep(ms / 1000)
            self.run(steps)

        self.later_threads.append(self.spawn(wait_and_run))

    def do_race_put(self, lease: str, threads: int) -> None:
        held, barrier, outcomes = self.leases[lease], threading.Barrier(threads), list[str]()

        def race() -> None:
            barrier.wait()
            try:
                held.put()
                outcomes.append("put")
            except millpond.DoublePutError:
                outcomes.append("refused")

        self.join([self.spawn(race) for _ in range(threads)])
        check(sorted(outcomes) == ["put"] + ["refused"] * (threads - 1), f"outcomes {outcomes}")

    def do_fork(self, steps: list[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, from 3.12 on
            child = os.fork()
        if child == 0:
            self.in_child(steps)
        end = time.monotonic() + 30
        while (waited := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        if waited == (0, 0):
            os.kill(child, 9)
            os.waitpid(child, 0)
        check(waited[1] == 0, f"the child ended with {waited}")

    def in_child(self, steps: list[Any]) -> NoReturn:
        try:
            self.run(steps)
            self.reconcile()
            os._exit(0)
        except BaseException as error:
            print(f"in the child: {error!r}", flush=True)
            os._exit(1)

    def reconcile(self) -> None:
        for name, pool in self.pools.items():
            stats = pool.stats()
            check(stats.gets == stats.puts + stats.in_use + stats.detached + stats.leaked, f"pool {name}: {stats}")
            check(stats.created - stats.destroyed == stats.in_use + stats.retained_buffers, f"pool {name}: {stats}")

    def finish(self) -> None:
        self.views.clear()
        for held in [*self.leases.values(), *self.writers.values()]:
            try:
                held.put()
            except (millpond.Error, BufferError):
                pass
        for name, pool in self.pools.items():
            if name != "default":
                pool.close()


def main(directory: Path) -> int:
    run = skipped = failed = 0
    for file in sorted(directory.glob("*.json")):
        for scenario in json.loads(file.read_text()):
            reason = scenario.get("skip", {}).get("python")
            if not FINDS_OVERRUNS and '"overrun"' in json.dumps(scenario["steps"]):
                reason = "an overrun is not found in this mode, or at once fatal"
            if reason is not None:
                print(f"SKIP {scenario['name']}: {reason}")
                skipped += 1
                continue
            run, tables = run + 1, Scenario()
            try:
                tables.run(scenario["steps"])
                tables.join(tables.later_threads)
                tables.reconcile()
                print(f"ok {scenario['name']}", flush=True)
            except Failed as error:
                failed += 1
                print(f"FAILED {scenario['name']}: {error}", flush=True)
            finally:
                tables.finish()
    print(f"spec python: {run + skipped} scenarios, {run} run, {skipped} skipped, {failed} failed")
    return 1 if failed or run == 0 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY))
