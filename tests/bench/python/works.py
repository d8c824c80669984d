"""The works of the benchmark that make sense in Python, as loops into which a peer's lines are pasted."""

from __future__ import annotations

import random
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

from peers import Peer

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SMALL = [512, KIB, 4 * KIB, 4 * KIB + 1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB, MIB]
LARGE = [4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB]

# One turn of each work. `m` is a view over the buffer, `ones` a byte for each page, `data` a byte for each byte,
# `source` /dev/zero, unbuffered.
BODIES = {
    "pair": "{pair}",
    "ends": "b = {take}; b[0] = 1; b[size - 1] = 1; {give}",
    "pages": "b = {take}; m = memoryview(b); m[::4096] = ones; del m; {give}",
    "full": "b = {take}; b[:] = data; {give}",
    "view": "memoryview(b)",
    "array": "b = {take}; a = {array}; del a; {give}",
    "arraymethod": "b = {take}; a = {method}; del a; {give}",
    "clear0": "b = {take}; {clear}",
    "clear64": "b = {take}; b[0:64] = data; {clear}",
    "clear4k": "b = {take}; b[0:4096] = data; {clear}",
    "clearall": "b = {take}; b[0:size] = data; {clear}",
}
DIRTIED = {"clear0": 0, "clear64": 64, "clear4k": 4 * KIB}
BURSTS = {"burst1": 1, "burst8": 8, "burst32": 32, "burst128": 128, "fill8": 8}
MIXED = {"mixed64k": 64 * KIB, "mixed1m": MIB}
SLOTS = 64
DRAWS = 4096

SIZES: dict[str, list[int]] = {
    "pair": SMALL + LARGE,
    "ends": SMALL + LARGE,
    "with": [512, KIB, 4 * KIB, 64 * KIB, MIB],
    "view": [KIB],
    "array": [KIB, 64 * KIB, MIB],
    "arraymethod": [KIB],
    "pages": SMALL[2:] + LARGE,
    "full": SMALL + LARGE[:3],
    "burst1": [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB],
    "burst8": [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB],
    "burst32": [64 * KIB, 256 * KIB, MIB, 4 * MIB],
    "burst128": [64 * KIB, 256 * KIB, MIB],
    "fill8": [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB],
    "mixed64k": [64 * KIB],
    "mixed1m": [MIB],
    "twothreads": [KIB, 4 * KIB, 64 * KIB],
    "clear0": [64 * KIB, MIB, 16 * MIB],
    "clear64": [64 * KIB, MIB, 16 * MIB],
    "clear4k": [64 * KIB, MIB, 16 * MIB],
    "clearall": [64 * KIB, MIB, 16 * MIB],
    "rss": [64 * KIB, MIB],
    "first": [KIB, MIB],
    "metrics": [0],
}


class Skip(Exception):
    """A combination that a peer cannot do; its text says why."""


def live_bytes(work: str, size: int) -> int:
    """Returns how many bytes the work holds at once."""
    return size * (BURSTS.get(work) or (SLOTS if work in MIXED else 2))


def _compile(lines: str, names: dict[str, Any]) -> Callable[[int], None]:
    source = "def body(n):\n" + textwrap.indent(lines, "    ")
    scope = dict(names)
    # Names of the loop become locals, as they would be in a program that cares.
    bound = "".join(f", {name}={name}" for name in names)
    exec(compile(source.replace("def body(n)", f"def body(n{bound})"), "<work>", "exec"), scope)
    body: Callable[[int], None] = scope["body"]
    return body


def _loop(turn: str) -> str:
    return "for _ in range(n):\n" + textwrap.indent("\n".join(part.strip() for part in turn.split("; ")), "    ")


def empty_loop(n: int) -> None:
    for _ in range(n):
        pass


def mixed_sizes(limit: int, count: int = DRAWS) -> list[int]:
    """Returns sizes from 64 bytes to `limit`, each doubling as likely as another, the same in each run."""
    draw = random.Random(4711)
    return [int(64 * (limit / 64) ** draw.random()) for _ in range(count)]


def build(peer: Peer, work: str, size: int) -> tuple[Callable[[int], None], int, dict[str, Any]]:
    """Returns the body of a work, how many operations one turn of it is, and the names it uses."""
    names = peer.names(size, live_bytes(work, size))
    names |= {"size": size}
    if work in BODIES:
        return _compile(_loop(_turn(peer, work, size, names)), names), 1, names
    if work == "with":
        block = f"with {peer.block} as b:\n    pass" if peer.block else f"b = {peer.take}\n{peer.give}"
        return _compile("for _ in range(n):\n" + textwrap.indent(block, "    "), names), 1, names
    if work in BURSTS:
        return _burst(peer, work, BURSTS[work], names), BURSTS[work], names
    if work in MIXED:
        return _mixed(peer, MIXED[work], names), 1, names
    if work == "twothreads":
        return _two_threads(peer, names), 1, names
    raise Skip(f"there is no work {work} in Python")


def _turn(peer: Peer, work: str, size: int, names: dict[str, Any]) -> str:
    if work.startswith("clear") and peer.clear is None:
        raise Skip("hands out what was there before")
    if work == "view":
        names["b"] = eval(peer.take, names)
    if work == "arraymethod" and not peer.millpond:
        raise Skip("has no array method; see the work array")
    if work == "array":
        import numpy as np

        names |= {"frombuffer": np.frombuffer, "u8": np.dtype(np.uint8)}
    if work == "pages":
        names["ones"] = b"\x01" * -(-size // 4096)
    if work == "full" or work.startswith("clear"):
        # A bytearray, because assigning bytes to a slice of a bytearray copies twice.
        names["data"] = bytearray(b"\x01" * min(DIRTIED.get(work, size), size))
        if "empty" in names or "zeros" in names:
            import numpy as np

            names["data"] = np.frombuffer(names["data"], np.uint8)
    return BODIES[work].format(take=peer.take, give=peer.give, pair=peer.pair, clear=peer.clear, array=peer.array, method="b.array()")


def _burst(peer: Peer, work: str, count: int, names: dict[str, Any]) -> Callable[[int], None]:
    if work == "fill8":
        names["source"] = open("/dev/zero", "rb", buffering=0)
        fill = "source.readinto(b)"
    else:
        names["ones"] = b"\x01" * -(-names["size"] // 4096)
        fill = "m = memoryview(b)\nm[::4096] = ones\ndel m"
    names["count"] = count
    take = f"b = {peer.take}\n{fill}\nheld.append(b)"
    lines = (
        "held = []\nfor _ in range(n):\n    for _ in range(count):\n"
        + textwrap.indent(take, " " * 8)
        + f"\n    del b\n    while held:\n        b = held.pop()\n        {peer.give}"
    )
    return _compile(lines, names)


def _mixed(peer: Peer, limit: int, names: dict[str, Any]) -> Callable[[int], None]:
    draw = random.Random(1147)
    names |= {"sizes": mixed_sizes(limit), "slots": [draw.randrange(SLOTS) for _ in range(DRAWS)], "held": [None] * SLOTS}
    names["state"] = [0]
    del names["size"]
    lines = (
        "i = state[0]\nfor _ in range(n):\n"
        f"    slot = slots[i]\n    size = sizes[i]\n    i = i + 1 & {DRAWS - 1}\n    b = held[slot]\n    held[slot] = None\n"
        f"    if b is not None:\n        {peer.give}\n    b = {peer.mixed or peer.take}\n    b[0] = 1\n    held[slot] = b\n    b = None\n"
        "state[0] = i"
    )
    return _compile(lines, names)


def _two_threads(peer: Peer, names: dict[str, Any]) -> Callable[[int], None]:
    names["alone"] = one = _compile(_loop(peer.pair), names)

    def both(n: int) -> None:
        other = threading.Thread(target=one, args=(n,))
        other.start()
        one(n)
        other.join()

    return both


def burst_of_a_gib(peer: Peer, size: int, seconds: list[float], resident: Callable[[], int]) -> list[list[float]]:
    """Takes 1 GiB in buffers of `size`, touches each page, gives all back, and returns resident KiB at these times after."""
    names = peer.names(size, GIB) | {"size": size}
    burst = _burst(peer, "burst", GIB // size, names)
    rows: list[list[float]] = [[-1, resident()]]
    burst(1)
    started = time.monotonic()
    for at in seconds:
        time.sleep(max(0.0, started + at - time.monotonic()))
        rows.append([at, resident()])
    return rows


def metrics(peer: Peer) -> tuple[Callable[[int], None], Callable[[int], None], Callable[[], None]]:
    """Returns reading statistics, the same as text, and what ends the 64 threads that have used the pool's classes."""
    names = peer.names(16 * MIB, 32 * MIB)
    pool = names["pool"]
    done = threading.Event()
    ready = threading.Barrier(65)

    def use() -> None:
        for size in pool.class_sizes:
            pool.put(pool.get(size))
        ready.wait()
        done.wait()

    threads = [threading.Thread(target=use) for _ in range(64)]
    for thread in threads:
        thread.start()
    ready.wait()

    def stop() -> None:
        done.set()
        for thread in threads:
            thread.join()

    return _compile(_loop("pool.stats()"), {"pool": pool}), _compile(_loop("pool.stats().to_prometheus()"), {"pool": pool}), stop
