"""What a Python program would take for its buffers: each peer as the lines of code that take one and give it back.

The works paste these lines into their loops, so that no peer pays for a call that a program would not make.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# glibc gives nothing back with these, whatever the sizes: it maps nothing apart and never trims its heap.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "17179869184"}

@dataclass(frozen=True)
class Peer:
    """`take` is an expression with `size`, `give` a statement with `b`; `pair` does both in the shortest way there is."""

    take: str
    give: str
    pair: str
    names: Callable[[int, int], dict[str, Any]]
    """Returns the names those lines use, for the largest size and the bytes that live at once."""
    clear: str | None = None
    """The give of the works whose next tenant must find zeros; None: what it takes is not zero, and stays so."""
    block: str | None = None
    """The with statement's expression; None: it has none, and the work takes and gives."""
    mixed: str | None = None
    """The take where each size is another; None: the same."""
    array: str = "frombuffer(b, u8)"
    """How NumPy sees it."""
    env: dict[str, str] = field(default_factory=dict)
    millpond: bool = False


def _plain(largest: int, live: int) -> dict[str, Any]:
    return {"make": bytearray}


def _numpy(largest: int, live: int) -> dict[str, Any]:
    import numpy as np

    return {"empty": np.empty, "zeros": np.zeros, "u8": np.dtype(np.uint8)}


def _list(largest: int, live: int) -> dict[str, Any]:
    class Free(dict[int, list[bytearray]]):
        def __missing__(self, size: int) -> list[bytearray]:
            self[size] = found = []
            return found

    return {"make": bytearray, "free": Free(), "zero": bytearray(largest)}


def _numpy_list(largest: int, live: int) -> dict[str, Any]:
    return _numpy(largest, live) | {"free": []}


def _mmap(largest: int, live: int) -> dict[str, Any]:
    import mmap

    return {"map": mmap.mmap}


def _millpond(**options: Any) -> Callable[[int, int], dict[str, Any]]:
    def names(largest: int, live: int) -> dict[str, Any]:
        import millpond

        pool = millpond.Pool("bench", **options)
        return {"pool": pool, "get": pool.get, "put": pool.put}

    return names


def _sized(**options: Any) -> Callable[[int, int], dict[str, Any]]:
    """A pool whose options fit the work: a class for its largest size, and as much kept idle as was live at once."""

    def names(largest: int, live: int) -> dict[str, Any]:
        import millpond

        classes = list(millpond.default_pool().class_sizes)
        while classes[-1] < largest:
            classes.append(classes[-1] * 4)
        keep = max(4 * live, 4 * largest, 16 << 20)
        limits = {"max_bytes": 4 * keep, "max_retained_bytes": keep, "thread_cache_bytes": keep}
        return _millpond(classes=classes, **limits, **options)(largest, live)

    return names


_LEASE = {"take": "get(size)", "give": "put(b)", "pair": "put(get(size))", "block": "get(size)", "millpond": True}
_BYTES = {"take": "make(size)", "give": "del b", "pair": "make(size)", "clear": "del b"}
_EMPTY = {"take": "empty(size, u8)", "give": "del b", "pair": "empty(size, u8)", "array": "b"}

PEERS: dict[str, Peer] = {
    "millpond": Peer(names=_millpond(), clear="put(b)", **_LEASE),
    "millpond-sized": Peer(names=_sized(), clear="put(b)", **_LEASE),
    "millpond-noclear": Peer(names=_sized(clear="never"), **_LEASE),
    "bytearray": Peer(names=_plain, **_BYTES),
    "bytearray, glibc-tuned": Peer(names=_plain, env=KEEP, **_BYTES),
    "numpy.empty": Peer(names=_numpy, **_EMPTY),
    "numpy.empty, glibc-tuned": Peer(names=_numpy, env=KEEP, **_EMPTY),
    "numpy.zeros": Peer("zeros(size, u8)", "del b", "zeros(size, u8)", _numpy, clear="del b", array="b"),
    "bytearray list": Peer(
        "free[size].pop() if free[size] else make(size)",
        "free[len(b)].append(b)",
        "free[size].append(free[size].pop() if free[size] else make(size))",
        _list,
        clear="b[:] = zero; free[size].append(b)",
        mixed="free[c].pop() if free[c := 1 << (size - 1).bit_length()] else make(c)",
    ),
    "numpy list, overwritten": Peer(
        "free.pop() if free else empty(size, u8)", "b.fill(0); free.append(b)", "free.append(free.pop())", _numpy_list, array="b"
    ),
    "mmap": Peer("map(-1, size)", "b.close()", "map(-1, size).close()", _mmap, clear="b.close()", block="map(-1, size)"),
}


SETTINGS = {
    "millpond": "a pool with nothing but defaults",
    "millpond-sized": "a class for the largest size, limits and thread cache as large as the work needs",
    "millpond-noclear": "as millpond-sized, and clear='never'",
    "bytearray list": "free lists by size, buffers as they were left; cleared by hand in the works clear*",
    "numpy list, overwritten": "floor: a list of arrays of one size, each overwritten whole when it is given back",
} | {name: " ".join(f"{key}={value}" for key, value in peer.env.items()) for name, peer in PEERS.items() if peer.env}


# Peers that are there for some works only.
ONLY = {"numpy list, overwritten": ["fill8"]}


def versions() -> dict[str, str]:
    """Returns what ran, for the header of the report."""
    found = {"CPython": platform.python_version(), "glibc": platform.libc_ver()[1]}
    for name in ("millpond", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
