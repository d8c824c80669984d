"""Views that are counted, views that are not, and leaving a block while one lives."""

from __future__ import annotations

import ctypes
import gc
import pickle
import sys
from collections.abc import Callable

import pytest

import millpond

MakePool = Callable[..., millpond.Pool]


def test_put_while_a_view_lives_is_refused(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    view = memoryview(lease)
    part = view[10:20]
    view.release()
    for put in (lease.put, lambda: pool.put(lease), lambda: lease.__exit__(None, None, None), lease.detach):
        with pytest.raises(millpond.BusyError) as caught:
            put()
        assert isinstance(caught.value, BufferError)
    part[0] = 5
    assert lease[10] == 5 and lease.live
    part.release()
    lease.put()


def test_clean_end_of_block_with_a_view_is_refused(pool: millpond.Pool) -> None:
    with pytest.raises(millpond.BusyError):
        with pool.get(10) as lease:
            view = memoryview(lease)
    view.release()
    lease.put()


def test_an_exception_is_not_replaced_and_the_return_waits_for_the_view(pool: millpond.Pool) -> None:
    with pytest.raises(KeyError, match="mine"):
        with pool.get(100) as lease:
            view = memoryview(lease)
            raise KeyError("mine")
    assert not lease.live and pool.stats().in_use == 1
    assert "views" in repr(lease)
    view[0] = 9
    with pytest.raises(millpond.DoublePutError):
        lease.put()
    with pytest.raises(millpond.UseAfterPutError):
        memoryview(lease)
    view.release()
    assert (pool.stats().in_use, pool.stats().puts) == (0, 1)
    del lease
    with pool.get(100) as lease:
        assert lease[0] == 0


def test_an_exception_with_a_view_in_its_traceback(pool: millpond.Pool) -> None:
    def fail() -> None:
        with pool.get(100) as lease:
            view = memoryview(lease)
            view[0] = 1
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    gc.collect()
    assert (pool.stats().in_use, pool.stats().leaked) == (0, 0)


@pytest.mark.parametrize("consumer", ["ndarray", "ndarray of a memoryview", "ctypes address"])
def test_a_stale_uncounted_view_never_meets_another_tenant(pool: millpond.Pool, consumer: str) -> None:
    lease = pool.get(4096)
    if consumer == "ctypes address":
        array = (ctypes.c_ubyte * 4096).from_address(ctypes.addressof(ctypes.c_char.from_buffer(lease)))
        array._keep = lease  # type: ignore[attr-defined]
    else:
        np = pytest.importorskip("numpy")
        array = np.ndarray(4096, "B", buffer=lease if consumer == "ndarray" else memoryview(lease))
        assert array.base is lease
    array[0] = 1
    gc.collect()
    lease.put()
    assert pool.stats().in_use == 0
    with pool.get(4096) as tenant:
        tenant[:] = b"\xab" * 4096
        assert 0xAB not in bytes(array)
        array[1] = 0xCD
        assert 0xCD not in bytes(tenant)
    del lease, array
    gc.collect()
    with pool.get(4096) as first, pool.get(4096) as second:
        assert bytes(first) == bytes(second) == bytes(4096)


def test_a_put_whose_argument_holds_the_last_name_is_safe_too(pool: millpond.Pool) -> None:
    """Tuples of arguments hold no reference of their own for the callee: a queued put must not recycle under an array."""
    np = pytest.importorskip("numpy")
    import functools

    lease = pool.get(4096)
    array = np.ndarray(4096, "B", buffer=lease)
    later = functools.partial(pool.put, lease)
    del lease
    later()
    with pool.get(4096) as tenant:
        tenant[:] = b"\xab" * 4096
        assert 0xAB not in bytes(array)
    lease = pool.get(4096)
    array = np.ndarray(4096, "B", buffer=lease)
    del lease
    pool.put(array.base)
    with pool.get(4096) as tenant:
        tenant[:] = b"\xab" * 4096
        assert 0xAB not in bytes(array)


def test_a_detached_buffer_outlives_a_stale_view(pool: millpond.Pool) -> None:
    np = pytest.importorskip("numpy")
    for size in (4096, 1 << 20):
        lease = pool.get(size)
        array = np.ndarray(size, "B", buffer=lease)
        array[:] = 7
        lease.detach().release()
        with pool.get(size) as tenant:
            tenant[:] = b"\xab" * size
            assert array[0] == 7 and array[-1] == 7


def test_memory_is_reused_at_once_when_no_view_was_lent(pool: millpond.Pool) -> None:
    named = [pool.get(1000) for _ in range(10)]
    for lease in named:
        lease[0] = 1
        lease.put()
    again = [pool.get(1000) for _ in range(10)]
    assert pool.stats().allocations == 10
    for lease in again:
        lease.put()


def test_memory_is_reused_when_the_object_of_a_viewed_lease_goes(pool: millpond.Pool) -> None:
    for _ in range(10):
        lease = pool.get(1000)
        memoryview(lease)[0] = 1
        lease.put()
    assert pool.stats().allocations <= 2
    assert pool.stats().retained_buffers == pool.stats().allocations


def test_numpy_consumers_that_count(pool: millpond.Pool) -> None:
    np = pytest.importorskip("numpy")
    makers: list[Callable[[millpond.Lease], object]] = [
        lambda lease: np.frombuffer(lease, "u4"),
        np.asarray,
        lambda lease: np.asarray(lease)[::2],
        lambda lease: np.from_dlpack(np.asarray(lease)),
        lambda lease: lease.array(),
        lambda lease: lease.array("f8", (4, 4)),
        lambda lease: memoryview(lease).cast("I"),
        lambda lease: (ctypes.c_char * 128).from_buffer(lease),
        pickle.PickleBuffer,
    ]
    for make in makers:
        lease = pool.get(128)
        made = make(lease)
        gc.collect()
        with pytest.raises(millpond.BusyError):
            lease.put()
        del made
        gc.collect()
        lease.put()


def test_array(pool: millpond.Pool) -> None:
    np = pytest.importorskip("numpy")
    lease = pool.get(100)
    array = lease.array("<i4", (5, 5))
    array[:] = 3
    assert array.flags.writeable and lease[96:100] == b"\x03\0\0\0"
    assert lease.array().shape == (100,) and lease.array("f8").shape == (12,) and lease.array("B", 7).shape == (7,)
    assert lease.array("B", shape=[2, 3]).shape == (2, 3) and lease.array(dtype="f4", shape=(0, 9)).shape == (0, 9)
    assert lease.array(np.dtype([("a", "i4"), ("b", "f8")]), 2).dtype.itemsize == 12
    for dtype, shape in (("B", 101), ("i4", (5, 6)), ("B", -1), ("O", 1), ("V0", 1), ("B", (2**40, 2**40))):
        with pytest.raises(millpond.InvalidArgumentError):
            lease.array(dtype, shape)
    for arguments in (("no such type",), ("B", "x"), ("B", 1.5), ("B", 1, 2)):
        with pytest.raises(TypeError):
            lease.array(*arguments)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        lease.array(size=1)  # type: ignore[call-overload]
    del array
    lease.put()


def test_array_without_numpy_says_so(run_python: Callable[..., object]) -> None:
    run_python("""
        import sys
        sys.modules["numpy"] = None
        import millpond
        with millpond.get(10) as lease:
            try:
                lease.array()
            except ImportError:
                pass
            else:
                raise SystemExit("no ImportError")
    """)


def test_pyarrow_counts_and_shares(pool: millpond.Pool) -> None:
    pa = pytest.importorskip("pyarrow")
    lease = pool.get(80)
    buffer = pa.py_buffer(lease)
    array = pa.Array.from_buffers(pa.int64(), 10, [None, buffer])
    lease[0] = 5
    assert array[0].as_py() == 5
    with pytest.raises(millpond.BusyError):
        lease.put()
    del array, buffer
    lease.put()
    with pool.get(1000) as lease:
        stream = pa.BufferReader(lease)
        assert stream.read(3) == b"\0\0\0"
        stream.close()
        del stream
        gc.collect()


def test_pickle(pool: millpond.Pool) -> None:
    import copy

    lease = pool.get(100)
    lease[:3] = b"abc"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="PickleBuffer"):
            pickle.dumps(lease, protocol)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(lease)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps({"payload": pickle.PickleBuffer(lease)}, protocol=5, buffer_callback=buffers.append)
    assert len(data) < 100
    again = pickle.loads(data, buffers=[memoryview(buffer) for buffer in buffers])
    assert bytes(again["payload"][:3]) == b"abc"
    lease[0] = 0x7A
    assert bytes(again["payload"][:3]) == b"zbc"
    with pytest.raises(millpond.BusyError):
        lease.put()
    again["payload"].release()
    for buffer in buffers:
        buffer.release()
    del again, buffers, buffer
    gc.collect()
    assert pickle.loads(pickle.dumps(bytes(lease)))[:3] == b"zbc"
    lease.put()
    with pytest.raises(TypeError):
        pickle.dumps(pool)


def test_pins_hold_for_writers_without_a_view(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    with pytest.raises(millpond.InvalidArgumentError, match="unpin"):
        lease.unpin()
    lease.pin()
    lease.pin()
    for refused in (lease.put, lease.detach, lambda: lease.resize_used(1), lambda: lease.__exit__(None, None, None)):
        with pytest.raises(millpond.BusyError):
            refused()
    lease.unpin()
    with pytest.raises(millpond.BusyError):
        lease.put()
    lease.unpin()
    lease.put()


def test_a_pinned_lease_is_not_freed_and_is_put_by_its_last_unpin_after_an_exception(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    before = sys.getrefcount(lease)
    lease.pin()
    assert sys.getrefcount(lease) == before + 1
    with pytest.raises(KeyError):
        with lease:
            raise KeyError
    assert pool.stats().in_use == 1
    lease.unpin()
    assert pool.stats().in_use == 0 and sys.getrefcount(lease) == before
    with pytest.raises(millpond.UseAfterPutError):
        lease.unpin()


def test_overrun_by_native_code_is_found(pool: millpond.Pool) -> None:
    def overrun(lease: millpond.Lease) -> None:
        address = ctypes.addressof(ctypes.c_char.from_buffer(lease))
        ctypes.memset(address + len(lease), 0xA5, 4)

    lease = pool.get(100)
    overrun(lease)
    with pytest.raises(millpond.OverrunError, match="100"):
        lease.put()
    assert not lease.live
    lease = pool.get(100)
    overrun(lease)
    with pytest.raises(millpond.OverrunError):
        lease.detach()
    with pytest.raises(millpond.OverrunError):
        with pool.get(100) as lease:
            overrun(lease)
    assert pool.stats().overruns == 3 and pool.stats().discarded == 3
