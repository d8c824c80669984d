"""Reads a directory tree through pooled buffers and hashes it; a second thread puts them back.

    tree.py pool|plain DIR LIST
    tree.py misuse

LIST names a file with one path relative to DIR per line. `plain` does the same with a bytearray
per file, `misuse` provokes each violation of the ownership rules. The last line printed is one
JSON object; `make demo` runs this program and its siblings in the other languages and compares them.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import queue
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import millpond

QUEUE = 64
"""How many buffers may wait for the thread that gives them back."""

B = TypeVar("B", millpond.Lease, bytearray)


class Progress:
    """Tells the driver on stderr how far the work is, at most 20 times a second, if it asked for that."""

    def __init__(self, root: Path, paths: list[bytes]) -> None:
        self.wanted = os.environ.get("MILLPOND_PROGRESS") == "1"
        self.total = sum((root / os.fsdecode(path)).stat().st_size for path in paths) if self.wanted else 0
        self.next = 0.0

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self.wanted and (now >= self.next or done == self.total):
            print(f"P {done} {self.total}", file=sys.stderr, flush=True)
            self.next = now + 0.05


def fill(descriptor: int, buffer: millpond.Lease | bytearray, path: bytes) -> None:
    """Reads until the buffer is full."""
    with memoryview(buffer) as view:
        filled = 0
        while filled < len(view):
            count = os.readv(descriptor, [view[filled:]])
            if count == 0:
                raise EOFError(f"{os.fsdecode(path)} became shorter while it was read")
            filled += count


def tree(root: Path, listing: Path, get: Callable[[int], B], put: Callable[[B], object]) -> dict[str, Any]:
    """Hashes every file of the list in a buffer of its size; another thread gives the buffers back."""
    paths = [path for path in listing.read_bytes().split(b"\n") if path]
    progress = Progress(root, paths)
    waiting: queue.Queue[B | None] = queue.Queue(QUEUE)
    failures: list[BaseException] = []

    def give_back() -> None:
        while (buffer := waiting.get()) is not None:
            try:
                put(buffer)
            except BaseException as error:
                failures.append(error)
            # A name that stays while the thread waits would keep the buffer from its next tenant.
            del buffer

    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    second = threading.Thread(target=give_back)
    second.start()
    total, size_of_all = hashlib.sha256(), 0
    try:
        for path in paths:
            descriptor = os.open(root / os.fsdecode(path), os.O_RDONLY)
            try:
                size = os.fstat(descriptor).st_size
                buffer = get(size)
                fill(descriptor, buffer, path)
            finally:
                os.close(descriptor)
            total.update(path + b"\0" + size.to_bytes(8, "little") + hashlib.sha256(buffer).digest())
            waiting.put(buffer)
            del buffer
            size_of_all += size
            progress.show(size_of_all)
    finally:
        waiting.put(None)
        second.join()
    if failures:
        raise failures[0]
    return {
        "files": len(paths),
        "bytes": size_of_all,
        "digest": total.hexdigest(),
        "seconds": round(time.perf_counter() - start, 3),
        "minor_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults,
        "peak_rss_kib": peak_rss_kib(),
    }


def peak_rss_kib() -> int:
    """Returns the most memory the process ever had resident, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def with_pool(root: Path, listing: Path) -> dict[str, Any]:
    pool = millpond.Pool("tree-python")
    result = tree(root, listing, pool.get, pool.put)
    gc.collect()
    stats = pool.stats()
    return {**result, "stats": stats.as_dict(), "reconciled": stats.check() is None and stats.in_use == 0}


def misuse() -> dict[str, Any]:
    """Provokes each violation of the ownership rules in pools of its own."""
    pool = millpond.Pool("misuse-python", classes=[4096], max_bytes=1 << 20)
    other = millpond.Pool("other-python")
    seen: list[dict[str, Any]] = []

    def add(name: str, expected: str, caught: bool, code: str, message: str) -> None:
        seen.append({"name": name, "expected": expected, "caught": caught, "code": code, "message": message})

    def tried(name: str, expected: str, act: Callable[[], object]) -> None:
        try:
            act()
        except millpond.Error as error:
            kind = getattr(type(error), "kind", "")
            add(name, expected, kind == expected, f"millpond.{type(error).__name__}", str(error))
        else:
            add(name, expected, False, "none", "no error came")

    lease = pool.get(1000)
    lease.put()
    tried("second put", "DOUBLE_PUT", lease.put)
    tried("use after put", "USE_AFTER_PUT", lambda: memoryview(lease))

    live = pool.get(1000)
    tried("put into another pool", "FOREIGN_LEASE", partial(other.put, live))
    with memoryview(live):
        tried("put while a view lives", "BUSY", live.put)
    live.put()
    del live

    overrun = pool.get(1000)
    address = ctypes.addressof(ctypes.c_char.from_buffer(overrun))
    ctypes.memset(address + len(overrun), 0xA5, 1)
    tried("write past the end", "OVERRUN", overrun.put)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool.get(1000)
        gc.collect()
    warned = caught[0] if caught else None
    found = warned is not None and pool.stats().leaked == 1
    category = "" if warned is None else warned.category.__name__
    add("lost lease", "leaked", found, category, "" if warned is None else str(warned.message))

    forged = "Python has no handles: a lease is an object, and put() takes nothing else (TypeError)"
    try:
        pool.put(12345)  # type: ignore[arg-type]
    except TypeError as error:
        add("forged handle", "INVALID_HANDLE", True, "impossible", f"{forged}: {error}")
    else:
        add("forged handle", "INVALID_HANDLE", False, "none", "no error came")

    other.close()
    tried("get after close", "CLOSED", lambda: other.get(1))
    leases = [pool.get(4096) for _ in range(256)]
    tried("limit reached", "EXHAUSTED", lambda: pool.get(4096))
    for held in leases:
        held.put()
    tried("impossible size", "INVALID_ARGUMENT", lambda: pool.get(2**63))

    stats = (pool.stats(), other.stats())
    reconciled = all(one.check() is None and one.in_use == 0 for one in stats)
    return {"violations": seen, "reconciled": reconciled}


def main(arguments: list[str]) -> int:
    match arguments:
        case ["pool", root, listing]:
            result = with_pool(Path(root), Path(listing))
        case ["plain", root, listing]:
            result = tree(Path(root), Path(listing), bytearray, lambda _: None)
        case ["misuse", *_]:
            result = misuse()
        case _:
            print("usage: tree.py pool|plain DIR LIST, tree.py misuse", file=sys.stderr)
            return 2
    print(json.dumps({"language": "python", "mode": arguments[0], **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
