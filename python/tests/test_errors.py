"""The error table, and bad input at every door."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import millpond
from millpond import _millpond

MakePool = Callable[..., millpond.Pool]

BASES = {
    "INVALID_ARGUMENT": ("InvalidArgumentError", (millpond.Error, ValueError)),
    "DOUBLE_PUT": ("DoublePutError", (millpond.OwnershipError,)),
    "USE_AFTER_PUT": ("UseAfterPutError", (millpond.OwnershipError, ValueError)),
    "FOREIGN_LEASE": ("ForeignLeaseError", (millpond.OwnershipError,)),
    "BUSY": ("BusyError", (millpond.Error, BufferError)),
    "OVERRUN": ("OverrunError", (millpond.OwnershipError,)),
    "EXHAUSTED": ("ExhaustedError", (millpond.Error,)),
    "CLOSED": ("ClosedError", (millpond.Error,)),
    "NO_MEMORY": ("NoMemoryError", (millpond.Error, MemoryError)),
    "RECORD": ("RecordError", (millpond.Error,)),
    "JSON": ("JsonError", (millpond.Error,)),
    "CORRUPT": ("CorruptError", (millpond.Error,)),
    "IO": ("IoError", (millpond.Error, OSError)),
    "PANIC": ("InternalError", (millpond.Error,)),
}


def test_every_kind_of_core_has_its_class_or_cannot_arise() -> None:
    table = {kind: (code, description, cls) for kind, code, description, cls in _millpond._error_table()}
    assert {kind for kind, row in table.items() if row[2] is None} == {"NULL", "INVALID_HANDLE"}
    assert BASES.keys() == {kind for kind, row in table.items() if row[2] is not None}
    for kind, (name, bases) in BASES.items():
        code, description, cls = table[kind]
        assert cls is getattr(millpond, name) and cls.__bases__ == bases and name in millpond.__all__
        assert (cls.kind, cls.code) == (kind, code) and cls.__module__ == "millpond" and cls.__doc__ and description
    assert issubclass(millpond.OwnershipError, millpond.Error) and issubclass(millpond.Error, Exception)


def test_a_panic_is_an_internal_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(millpond.InternalError, match="provoked"):
        _millpond._panic()
    assert "provoked" in capfd.readouterr().err


WRONG_TYPES: list[Any] = ["100", b"1", 1.0, float("nan"), float("inf"), None, [], {}, object(), 1j]
IMPOSSIBLE: list[Any] = [-1, -(2**63), -(2**70), 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**5000]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
def test_a_size_of_a_wrong_type(pool: millpond.Pool, value: Any) -> None:
    for door in (pool.get, pool.try_get, pool.writer, millpond.get, lambda size: pool.get(size, timeout=0.01)):
        with pytest.raises(TypeError, match="size must be an int"):
            door(value)
    assert pool.stats().gets == 0


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=lambda value: f"{value.bit_length()} bits, {value > 0}")
def test_an_impossible_size(pool: millpond.Pool, value: int) -> None:
    for door in (pool.get, pool.try_get, pool.writer, lambda size: pool.get(size, timeout=0.01)):
        with pytest.raises((millpond.InvalidArgumentError, millpond.ExhaustedError, millpond.NoMemoryError)):
            door(value)
    assert (pool.stats().gets, pool.stats().created) == (0, 0)


def test_calls_with_wrong_arguments(pool: millpond.Pool) -> None:
    lease = pool.get(1)
    calls: list[Callable[[], object]] = [
        lambda: pool.get(),
        lambda: pool.get(1, 2),
        lambda: pool.get(size=1),
        lambda: pool.get(1, timeuot=1),
        lambda: pool.try_get(1, timeout=1),
        lambda: pool.put(),
        lambda: pool.put(lease, 1),
        lambda: pool.put(lease=lease),
        lambda: lease.put(1),
        lambda: lease.put(size=1),
        lambda: lease.release(1),
        lambda: lease.resize_used(),
        lambda: lease.__exit__(),
        lambda: lease.__exit__(None),
        lambda: millpond.get(),
        lambda: millpond.Pool("a", "b"),
        lambda: millpond.Pool(nmae="x"),
        lambda: millpond.FourPerDoubling(1),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    for value in (None, 1, "lease", b"x", bytearray(3), memoryview(b"x"), pool, object()):
        with pytest.raises(TypeError, match="must be a millpond.Lease"):
            pool.put(value)
    for method in (millpond.Pool.get, millpond.Pool.put, millpond.Lease.put, millpond.Lease.release):
        with pytest.raises(TypeError):
            method(object(), 1)
    lease.put()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf"), -(10**400)])
def test_an_impossible_timeout(pool: millpond.Pool, timeout: float) -> None:
    with pytest.raises(millpond.InvalidArgumentError, match="timeout"):
        pool.get(1, timeout=timeout)
    with pytest.raises(millpond.InvalidArgumentError, match="timeout"):
        millpond.Pool(on_limit="wait", timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 10**400, 1e300, 0, 0.0, True])
def test_a_strange_but_possible_timeout(pool: millpond.Pool, timeout: float) -> None:
    pool.get(1, timeout=timeout).put()


@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_a_timeout_of_a_wrong_type(pool: millpond.Pool, timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout"):
        pool.get(1, timeout=timeout)


NUMBERS = ["max_bytes", "max_retained_bytes", "alignment", "thread_cache_bytes"]


@pytest.mark.parametrize("option", NUMBERS)
def test_number_options_of_wrong_types_and_values(option: str) -> None:
    for wrong in ("100", 1.5, float("nan"), [], {}, object()):
        with pytest.raises(TypeError, match=option):
            millpond.Pool(**{option: wrong})
    for impossible in (-1, 2**64, 2**100):
        with pytest.raises(millpond.InvalidArgumentError, match=option):
            millpond.Pool(**{option: impossible})


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 4096, "max_retained_bytes": 8192}, "max_retained_bytes"),
        ({"alignment": 3}, "alignment"),
        ({"alignment": 2**22}, "alignment"),
        ({"on_limit": "explode"}, "on_limit"),
        ({"on_limit": "wait"}, "timeout"),
        ({"on_limit": "wait", "timeout": 0}, "on_limit"),
        ({"on_limit": "fail", "timeout": 1}, "timeout"),
        ({"timeout": 1}, "timeout"),
        ({"clear": "sometimes"}, "clear"),
        ({"classes": "many"}, "classes"),
        ({"classes": []}, "classes"),
        ({"classes": [100]}, "classes"),
        ({"classes": [512, 512]}, "classes"),
        ({"classes": [-64]}, "classes"),
        ({"classes": range(64, 64 * 2000, 64)}, "classes"),
        ({"classes": millpond.FourPerDoubling(4096, 1024)}, "classes"),
        ({"maintain_every": 0}, "maintain_every"),
        ({"maintain_every": -1}, "maintain_every"),
        ({"maintain_every": float("nan")}, "maintain_every"),
        ({"name": ""}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options: dict[str, Any], names: str) -> None:
    with pytest.raises(millpond.InvalidArgumentError, match=names):
        millpond.Pool(**options)


@pytest.mark.parametrize(
    "options",
    [{"name": 5}, {"name": b"x"}, {"on_limit": 1}, {"clear": True}, {"classes": 512}, {"classes": ["a"]}, {"timeout": "1"}],
    ids=str,
)
def test_options_of_a_wrong_type(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        millpond.Pool(**options)


def test_an_endless_list_of_classes_ends() -> None:
    def endless() -> Iterable[int]:
        size = 0
        while True:
            size += 64
            yield size

    with pytest.raises(millpond.InvalidArgumentError, match="classes"):
        millpond.Pool(classes=endless())


def test_classes_that_raise_pass_their_error_on() -> None:
    def broken() -> Iterable[int]:
        yield 512
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        millpond.Pool(classes=broken())


def test_options_that_work(make_pool: MakePool) -> None:
    assert make_pool(classes=[512, 1024]).class_sizes == (512, 1024)
    assert make_pool(classes=(512,)).class_sizes == (512,)
    assert make_pool(classes="default").class_sizes == make_pool().class_sizes
    doubling = millpond.FourPerDoubling(min=256, max=1024)
    assert make_pool(classes=doubling).class_sizes == (256, 320, 384, 448, 512, 640, 768, 896, 1024)
    assert (doubling.min, doubling.max, repr(doubling)) == (256, 1024, "FourPerDoubling(min=256, max=1024)")
    assert doubling == millpond.FourPerDoubling(256, 1024) and hash(doubling) == hash(millpond.FourPerDoubling(256, 1024))
    every = dict(
        classes=[4096], max_bytes=1 << 20, max_retained_bytes=1 << 16, on_limit="wait", timeout=0.5,
        clear="on_get", alignment=4096, thread_cache_bytes=0, maintain_every=60.0,
    )
    with make_pool("all of them", **every) as pool, pool.get(10) as lease:
        assert (pool.name, pool.stats().limit_bytes, lease.capacity) == ("all of them", 1 << 20, 4096)
    assert pool.closed
    assert make_pool(name=None, classes=None, max_bytes=None, on_limit=None, timeout=None).name.startswith("pool-")


def test_everything_after_close(make_pool: MakePool) -> None:
    pool = make_pool("closing")
    lease, live = pool.get(100), pool.get(100)
    lease.put()
    pool.close()
    pool.close()
    assert pool.closed and "closed" in repr(pool)
    for door in (pool.get, pool.try_get, pool.writer, lambda size: pool.get(size, timeout=5)):
        with pytest.raises(millpond.ClosedError, match="closing"):
            door(10)
    assert (pool.trim(), pool.maintain(), pool.name) == (0, 0, "closing")
    assert [record.len for record in pool.leaks()] == [100]
    live[:3] = b"abc"
    assert bytes(live[:3]) == b"abc"
    with pytest.raises(millpond.DoublePutError):
        lease.put()
    live.put()
    assert pool.stats().retained_buffers == 0
    with pytest.raises(millpond.ClosedError), pool:
        pool.get(1)


def test_limits_and_their_policies(make_pool: MakePool) -> None:
    limits = dict(classes=[4096], max_bytes=8192, max_retained_bytes=8192)
    pool = make_pool("fails", **limits)
    leases = [pool.get(4096), pool.get(1)]
    for door in (pool.get, pool.try_get, lambda size: pool.get(size, timeout=0)):
        with pytest.raises(millpond.ExhaustedError, match="fails"):
            door(1)
    start = time.monotonic()
    with pytest.raises(millpond.ExhaustedError):
        pool.get(1, timeout=0.05)
    assert 0.05 <= time.monotonic() - start < 5
    assert pool.stats().exhausted == 4
    threading.Timer(0.05, leases[0].put).start()
    pool.get(1, timeout=30).put()
    leases[1].put()

    pool = make_pool("waits", **limits, on_limit="wait", timeout=30)
    leases = [pool.get(4096), pool.get(4096)]
    threading.Timer(0.05, leases[0].put).start()
    pool.get(1).put()
    with pool.get(1), pytest.raises(millpond.ExhaustedError):
        pool.try_get(1)
    leases[1].put()

    pool = make_pool("unpooled", **limits, on_limit="unpooled")
    leases = [pool.get(4096) for _ in range(4)]
    with pytest.raises(millpond.ExhaustedError):
        pool.try_get(1)
    for lease in leases:
        lease.put()
    assert pool.stats().discarded == 2


def test_at_the_limit_the_error_tells_of_buffers_that_dead_leases_keep(make_pool: MakePool) -> None:
    pool = make_pool(classes=[4096], max_bytes=4096, max_retained_bytes=4096)
    lease = pool.get(1)
    with memoryview(lease):
        pass
    lease.put()
    for door in (pool.get, pool.try_get):
        with pytest.raises(millpond.ExhaustedError) as caught:
            door(1)
        assert caught.value.__notes__ == [
            "1 put leases that lent a view are still named and keep their buffers back; del the names"
        ]
    del lease
    with pool.get(1), pytest.raises(millpond.ExhaustedError) as caught:
        pool.get(1)
    assert not hasattr(caught.value, "__notes__")


def test_arguments_that_put_the_lease_while_they_are_converted(pool: millpond.Pool) -> None:
    class Putting:
        def __init__(self, lease: millpond.Lease) -> None:
            self.lease = lease

        def __index__(self) -> int:
            self.lease.put()
            return 1

    acts: list[Callable[[millpond.Lease, Any], object]] = [
        lambda lease, evil: lease.put(used=evil),
        lambda lease, evil: lease.resize_used(evil),
        lambda lease, evil: lease[evil],
        lambda lease, evil: lease[evil:],
        lambda lease, evil: lease.__setitem__(evil, 1),
        lambda lease, evil: lease.__setitem__(0, evil),
        lambda lease, evil: lease.__setitem__(slice(evil, 2), b"x"),
    ]
    for act in acts:
        lease = pool.get(100)
        with pytest.raises(millpond.OwnershipError):
            act(lease, Putting(lease))
        assert not lease.live


def test_a_source_that_puts_the_lease_while_it_is_asked_for_its_bytes(pool: millpond.Pool) -> None:
    import sys

    if sys.version_info < (3, 12):
        pytest.skip("__buffer__ of Python classes came with 3.12")

    class Putting:
        def __buffer__(self, flags: int) -> memoryview:
            lease.put()
            return memoryview(b"x")

    lease = pool.get(100)
    with pytest.raises(millpond.UseAfterPutError):
        lease[0:1] = Putting()
