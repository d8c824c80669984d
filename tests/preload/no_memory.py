"""Refuses Python's _millpond every request for memory in turn, once and for good, through everything that pools do.

    LD_PRELOAD=failing_memory.node python no_memory.py [STEP]

Every STEP-th request; with --seeded one at which the process is known to abort. Whatever fails is a MemoryError that leaves the pool as it was; at the end all buffers are back and the sums agree. An abort
ends this process, and so the test.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import sys
import warnings
from collections.abc import Callable

import millpond

memory = ctypes.CDLL(os.environ["LD_PRELOAD"])
memory.failing_memory_aim.argtypes = [ctypes.c_char_p]
memory.failing_memory_begin.argtypes = [ctypes.c_int64, ctypes.c_int]
memory.failing_memory_end.restype = ctypes.c_int64
memory.failing_memory_asked.restype = ctypes.c_int64

MODES = ("on", "sites", "sample:1", "full", "off")
SIZES = (0, 100, 5000, 60_000, 70_000, 1 << 20, 5 << 20, 40 << 20)
refusals: dict[str, int] = {}


class Refused(Exception):
    """A step was refused memory."""


def step(act: Callable[[], object]) -> object:
    """Does one step; a MemoryError is what may come of it."""
    try:
        return act()
    except MemoryError as error:
        name = type(error).__name__
        refusals[name] = refusals.get(name, 0) + 1
        raise Refused from None


def attempt(act: Callable[[], object]) -> None:
    """Does one step that may be refused without the others being in vain."""
    try:
        step(act)
    except Refused:
        pass


def refused(kind: type[Exception], act: Callable[[], object]) -> None:
    """Does one step that breaks a rule."""

    def wrong() -> None:
        try:
            act()
        except kind:
            return
        raise AssertionError(f"{kind.__name__} wanted")

    attempt(wrong)


def life(mode: str, pools: list[millpond.Pool]) -> None:
    """What pools do; ends early where nothing can go on without what was refused."""

    def make(**options: object) -> millpond.Pool:
        pools.append(millpond.Pool(**{"check": mode, **options}))  # type: ignore[arg-type]
        return pools[-1]

    def one(size: int) -> None:
        lease = pool.get(size)
        lease[:10] = b"x" * min(size, 10)
        lease.put()

    def viewed(size: int) -> None:
        with pool.get(size) as lease, memoryview(lease) as view:
            view[:10] = b"y" * min(size, 10)

    def deferred() -> None:
        try:
            with pool.get(1000) as lease:
                view = memoryview(lease)
                raise KeyError
        except KeyError:
            view.release()

    def named() -> None:
        lease = pool.get(1000)
        memoryview(lease).release()
        kept = lease
        lease.put()
        del kept

    def lost() -> None:
        pool.get(500)

    def detached(size: int) -> None:
        lease = pool.get(size)
        try:
            lease.detach().release()
        except MemoryError:
            lease.put()
            raise

    def written() -> None:
        writer = pool.writer(3000)
        try:
            writer.write(b"z" * 2000)
        finally:
            writer.finish().put()

    def overrun() -> None:
        lease = pool.get(1000)
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(lease)) + 1000, 1, 1)
        lease.put()

    pool = step(lambda: make(name="first", classes=[512, 4096, 65536, 1 << 20], max_bytes=256 << 20))
    other = step(lambda: make(classes=millpond.FourPerDoubling(256, 65536), clear="on_get"))
    assert isinstance(pool, millpond.Pool) and isinstance(other, millpond.Pool)
    for size in SIZES:
        attempt(lambda: one(size))
        attempt(lambda: viewed(size))
        attempt(lambda: detached(size))
        attempt(lambda: other.get(size).put())
        attempt(lambda: pool.try_get(size).put())
    for act in (deferred, named, lost, written):
        attempt(act)
    refused(millpond.InvalidArgumentError, lambda: pool.get(-1))
    refused(millpond.InvalidArgumentError, lambda: pool.get(1 << 63))
    refused(TypeError, lambda: pool.get("1"))
    refused(TypeError, lambda: pool.put(b"1"))
    refused(TypeError, lambda: pool.get(1, bad=1))
    refused(millpond.InvalidArgumentError, lambda: make(check="loud"))
    refused(millpond.InvalidArgumentError, lambda: make(clear="sometimes"))
    refused(millpond.InvalidArgumentError, lambda: make(classes=[100]))
    try:
        lease = step(lambda: pool.get(1000))
    except Refused:
        pass
    else:
        assert isinstance(lease, millpond.Lease)
        refused(IndexError, lambda: lease[1000])
        refused(millpond.InvalidArgumentError, lambda: lease.put(used=1001))
        refused(millpond.ForeignLeaseError, lambda: other.put(lease))
        with memoryview(lease):
            refused(BufferError, lease.put)
        attempt(lambda: repr(lease))
        attempt(pool.leaks)
        lease.put()
        refused(millpond.DoublePutError, lease.put)
        refused(millpond.UseAfterPutError, lambda: lease[0])
    if mode in ("on", "sites", "full"):
        refused(millpond.OverrunError, overrun)
    for act in (pool.stats, pool.leaks, pool.trim, pool.maintain, lambda: repr(pool), lambda: pool.name, lambda: pool.class_sizes):
        attempt(act)
    attempt(lambda: pool.stats().to_prometheus())
    attempt(lambda: repr(pool.stats()) + repr(pool.stats().classes) + str(pool.stats().as_dict()))
    if mode != "off":
        attempt(lambda: pool.set_check("sites"))
        attempt(lambda: one(100))
    attempt(lambda: pool.inject("get=1"))
    attempt(lambda: pool.inject(""))
    attempt(lambda: one(100))
    attempt(pool.close)
    refused(millpond.ClosedError, lambda: pool.get(1))


def run(mode: str, after: int, for_good: bool) -> tuple[int, int]:
    """Lives with one plan and returns how many requests there were and how many were refused."""
    pools: list[millpond.Pool] = []
    memory.failing_memory_begin(after, for_good)
    try:
        life(mode, pools)
    except Refused:
        pass
    finally:
        count = memory.failing_memory_end()
    gc.collect()
    for pool in pools:
        pool.close()
        stats = pool.stats()
        assert stats.check() is None, stats
        assert stats.in_use == 0 and stats.lost == 0 and stats.created == stats.destroyed, (mode, after, for_good, stats)
        assert pool.leaks() == []
    return memory.failing_memory_asked(), count


def seeded() -> None:
    """Is refused memory where PyO3 makes an exception of its own, for a call without its argument, and can only abort."""
    pool = millpond.Pool()
    memory.failing_memory_begin(0, 1)
    pool.set_check()  # type: ignore[call-arg]


def main(step_size: int) -> int:
    warnings.simplefilter("ignore", ResourceWarning)
    # Should it abort, it says where.
    faulthandler.enable()
    assert memory.failing_memory_aim(b"_millpond"), "the library is not loaded"
    # What is made once for the process is there afterwards.
    for mode in MODES:
        assert run(mode, 1 << 40, False)[1] == 0
    runs = requests = count = 0
    for mode in MODES:
        for for_good in (False, True):
            total = run(mode, 1 << 40, False)[0]
            for after in range(0, total, step_size):
                asked, refused_now = run(mode, after, for_good)
                runs, requests, count = runs + 1, requests + asked, count + refused_now
    # That requests are refused, and seen as such, is what the rest stands on.
    assert count >= runs > 0 and refusals.get("NoMemoryError", 0) > 0, refusals
    print(f"no memory in python: {runs} runs, {requests} requests, {count} refused, 0 aborts, errors {refusals}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--seeded"]:
        memory.failing_memory_aim(b"_millpond")
        sys.exit(seeded())
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
