"""Nothing leaks: memory is bounded over many rounds of everything."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from pathlib import Path

import pytest

import millpond


def resident() -> int:
    """Returns the resident set in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def everything(pool: millpond.Pool) -> None:
    """Takes every path that makes, moves or frees an object once."""
    lease = pool.get(3000)
    lease[0:5] = b"hello"
    with memoryview(lease) as view, pytest.raises(millpond.BusyError):
        view[0] = 1
        lease.put()
    lease.put(used=5)
    for refused in (lease.put, lambda: len(lease), lambda: memoryview(lease), lambda: pool.get(-1), lambda: pool.get("x")):
        with pytest.raises((millpond.Error, TypeError)):
            refused()
    with pytest.raises(KeyError), pool.get(100) as lease:
        view = memoryview(lease)
        raise KeyError
    view.release()
    pool.get(100).detach().release()
    pool.get(70_000).detach().release()
    with pool.writer(100) as writer:
        writer.write(b"abc")
        writer.finish().put()
    lease = pool.get(10)
    lease.pin()
    lease.unpin()
    lease.put()
    pool.get(500)
    pool.get(20 << 20).put()
    pool.stats().as_dict()
    pool.leaks()
    repr((pool, lease, pool.stats(), pool.stats().classes))
    millpond.Pool("short", classes=[64]).get(1).put()
    with pytest.raises(millpond.InvalidArgumentError):
        millpond.Pool(max_bytes=0)


def test_everything_many_times_in_bounded_memory() -> None:
    pool = millpond.Pool("rounds")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(300):
            everything(pool)
        gc.collect()
        objects, before = len(gc.get_objects()), resident()
        for _ in range(3000):
            everything(pool)
        gc.collect()
    grown, more = resident() - before, len(gc.get_objects()) - objects
    print(f"after 3000 rounds: {grown >> 10} KiB and {more} objects more")
    assert grown < 4 << 20
    assert more < 100
    stats = pool.stats()
    assert stats.check() is None and (stats.in_use, stats.leaked) == (0, 3300)


def test_references_are_balanced() -> None:
    pool = millpond.Pool("references")
    counted = (pool, millpond.Lease, None, millpond.Pool, ResourceWarning, millpond.DoublePutError)

    def rounds(times: int) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(times):
                everything(pool)
        gc.collect()
        return [sys.getrefcount(thing) for thing in counted]

    rounds(5)
    before, after = rounds(5), rounds(200)
    assert all(abs(late - early) < 50 for early, late in zip(before, after, strict=True)), (before, after)


def test_many_live_objects_are_freed() -> None:
    """More objects than the free list keeps."""
    pool = millpond.Pool("many")
    for _ in range(3):
        leases = [pool.get(64) for _ in range(5000)]
        for lease in leases:
            lease.put()
        del leases, lease
    gc.collect()
    assert pool.stats().in_use == 0
    assert pool.trim() > 0
    assert pool.stats().retained_buffers == 0
