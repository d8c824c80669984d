"""Get, put, and reading and writing through the lease."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest

import millpond

MakePool = Callable[..., millpond.Pool]


def test_get_gives_zeroed_bytes_of_the_length_asked_for(pool: millpond.Pool) -> None:
    lease = pool.get(1000)
    assert (len(lease), lease.capacity, lease.live, lease.pool) == (1000, 1024, True, pool)
    assert bytes(lease) == bytes(1000)
    assert memoryview(lease).nbytes == 1000
    lease.put()
    assert not lease.live


def test_put_release_and_with_are_the_same_act(pool: millpond.Pool) -> None:
    pool.get(10).put()
    pool.get(10).release()
    pool.put(pool.get(10))
    with pool.get(10) as lease:
        assert lease.live
    assert pool.stats().puts == 4


def test_end_of_block_after_an_explicit_put_is_silent(pool: millpond.Pool) -> None:
    with pool.get(10) as lease:
        lease.put()
    assert pool.stats().double_puts == 0


def test_second_put_is_an_error_and_changes_nothing(pool: millpond.Pool) -> None:
    lease = pool.get(10)
    lease.put()
    for again in (lease.put, lease.release, lambda: pool.put(lease), lambda: lease.put(used=3)):
        with pytest.raises(millpond.DoublePutError, match="test"):
            again()
    assert (pool.stats().puts, pool.stats().double_puts) == (1, 4)


def test_errors_and_text_name_the_length_however_the_lease_ended(pool: millpond.Pool) -> None:
    fresh, shown, seen, resized = (pool.get(1234) for _ in range(4))
    assert "1234 bytes" in repr(shown)
    memoryview(seen).release()
    resized.resize_used(7)
    for lease in (fresh, shown, seen, resized):
        lease.put()
        for _ in range(2):
            with pytest.raises(millpond.DoublePutError, match="1234 bytes"):
                lease.put()
            with pytest.raises(millpond.UseAfterPutError, match="1234 bytes"):
                len(lease)
        assert "1234 bytes" in repr(lease) and "dead" in repr(lease)
    del fresh, shown, seen, resized, lease
    again = [pool.get(10) for _ in range(8)]
    assert all("10 bytes" in repr(lease) and len(lease) == 10 and bytes(lease) == bytes(10) for lease in again)
    for lease in again:
        lease.put()


def test_sizes_are_found_whatever_was_asked_before(pool: millpond.Pool) -> None:
    sizes = [5, 5, 5, True, 1000, 1000, 1000, 5, 1000, 999, 999, int("1000"), 0, 0, 0, 10**5, 10**5, 10**5, False, 8, 8, 8]
    own = int("123456")
    before = sys.getrefcount(own)
    for _ in range(3):
        pool.get(own).put()
    for _ in range(3):
        for size in sizes:
            with pool.get(size) as lease:
                assert len(lease) == size
            with pool.get(Index(size)) as lease:
                assert len(lease) == size
        for wrong in (-1, -1, -1, 2**70, 2**70, 2**70, "8", None, 8.0):
            with pytest.raises((TypeError, millpond.InvalidArgumentError)):
                pool.get(wrong)  # type: ignore[arg-type]
    assert sys.getrefcount(own) == before


class Index:
    """A size that is no int."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_every_use_after_put_is_an_error(pool: millpond.Pool) -> None:
    lease = pool.get(10)
    lease.put()
    uses: list[Callable[[], object]] = [
        lambda: len(lease),
        lambda: bytes(lease),
        lambda: lease[0],
        lambda: lease[:],
        lambda: lease.__setitem__(0, 1),
        lambda: lease.__setitem__(slice(0, 1), b"x"),
        lambda: memoryview(lease),
        lambda: lease.capacity,
        lambda: lease.resize_used(3),
        lambda: lease.detach(),
        lambda: lease.array(),
        lambda: lease.pin(),
        lambda: lease.unpin(),
        lambda: lease.__enter__(),
    ]
    for use in uses:
        with pytest.raises(millpond.UseAfterPutError):
            use()
    assert pool.stats().stale_uses == len(uses)
    assert lease.pool is pool
    assert "dead" in repr(lease)


def test_items_and_slices(pool: millpond.Pool) -> None:
    with pool.get(8) as lease:
        lease[0] = 1
        lease[-1] = 255
        lease[2:5] = b"abc"
        lease[5:5] = b""
        assert (lease[0], lease[-1], lease[7], lease[2:5]) == (1, 255, 255, b"abc")
        assert lease[:] == b"\x01\x00abc\x00\x00\xff"
        assert lease[6:2] == b""
        lease[0:4] = memoryview(lease)[2:6]
        assert lease[0:4] == b"abc\x00"
        lease[:] = lease
        for index in (8, -9, 2**70, -(2**70)):
            with pytest.raises(IndexError):
                lease[index]
            with pytest.raises(IndexError):
                lease[index] = 1
        for value in (256, -1, 2**80):
            with pytest.raises(millpond.InvalidArgumentError, match="a byte"):
                lease[0] = value
        with pytest.raises(millpond.InvalidArgumentError, match="step"):
            lease[::2]
        with pytest.raises(millpond.InvalidArgumentError, match="keeps its length"):
            lease[0:3] = b"long"
        for act in (lambda: lease["a"], lambda: lease[1.5], lambda: lease.__setitem__(0, "x"), lambda: lease.__delitem__(0)):
            with pytest.raises(TypeError):
                act()
        with pytest.raises(TypeError):
            lease[0:1] = "x"  # type: ignore[call-overload]


def test_length_zero(pool: millpond.Pool) -> None:
    with pool.get(0) as lease:
        assert (len(lease), bytes(lease), lease[:], bool(lease)) == (0, b"", b"", False)
        lease[:] = b""
        assert memoryview(lease).nbytes == 0


def test_used_clears_only_what_was_written_and_a_write_through_the_lease_is_known(pool: millpond.Pool) -> None:
    lease = pool.get(4096)
    lease[4000:4004] = b"abcd"
    memoryview(lease)[0] = 7
    lease.put(used=1)
    del lease
    with pool.get(4096) as lease:
        assert bytes(lease) == bytes(4096)


def test_used_must_fit_and_a_refusal_leaves_the_lease_live(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    for used in (101, -1, 2**64, 2**100):
        with pytest.raises(millpond.InvalidArgumentError, match="used"):
            lease.put(used=used)
        with pytest.raises(millpond.InvalidArgumentError, match="used"):
            lease.resize_used(used)
    for wrong in ("3", 1.5, [], float("nan")):
        with pytest.raises(TypeError, match="used"):
            lease.put(used=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="used"):
            pool.put(lease, used=wrong)  # type: ignore[arg-type]
    assert lease.live
    pool.put(lease, used=None)


def test_resize_used_shows_what_was_written(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    with memoryview(lease) as view:
        view[:5] = b"hello"
        with pytest.raises(millpond.BusyError):
            lease.resize_used(5)
    lease.resize_used(5)
    assert (len(lease), bytes(lease), memoryview(lease).nbytes) == (5, b"hello", 5)
    lease.resize_used(100)
    assert len(lease) == 100
    lease.put()


def test_detach_hands_the_memory_over(pool: millpond.Pool) -> None:
    for size in (100, 70_000, 20 << 20):
        lease = pool.get(size)
        lease[:3] = b"abc"
        view = lease.detach()
        assert isinstance(view, memoryview) and not view.readonly
        assert (view.nbytes, bytes(view[:4])) == (size, b"abc\0")
        view[size - 1] = 9
        with pytest.raises(millpond.DoublePutError):
            lease.put()
        with pytest.raises(millpond.UseAfterPutError):
            lease.detach()
    lease = pool.get(100)
    lease.resize_used(10)
    assert lease.detach().nbytes == 10
    assert pool.stats().detached == 4
    pool.close()
    view[0] = 1


def test_foreign_put_is_refused_and_the_lease_stays_live(make_pool: MakePool) -> None:
    here, there = make_pool("here"), make_pool("there")
    lease = here.get(10)
    with pytest.raises(millpond.ForeignLeaseError, match="there") as caught:
        there.put(lease)
    assert "here" in str(caught.value)
    assert lease.live and there.stats().foreign_puts == 1
    here.put(lease)
    with pytest.raises(millpond.DoublePutError):
        there.put(lease)


def test_a_lease_cannot_be_made_or_derived_from() -> None:
    with pytest.raises(TypeError):
        millpond.Lease()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        type("Mine", (millpond.Lease,), {})
    with pytest.raises(TypeError):
        type("Mine", (millpond.Pool,), {})
    with pytest.raises(TypeError):
        millpond.Lease.put = None  # type: ignore[method-assign, assignment]


def test_writer_grows_to_its_capacity(pool: millpond.Pool) -> None:
    with pool.writer(10) as writer:
        assert (writer.capacity, writer.remaining, len(writer)) == (10, 10, 0)
        assert writer.write(b"hello") == 5
        assert writer.write(bytearray(b" abc")) == 4
        with pytest.raises(millpond.InvalidArgumentError, match="room for 1 of 10"):
            writer.write(b"de")
        with pytest.raises(TypeError):
            writer.write("text")  # type: ignore[arg-type]
        lease = writer.finish()
        for use in (lambda: writer.write(b""), writer.finish, writer.put):
            with pytest.raises(millpond.UseAfterPutError):
                use()
    assert bytes(lease) == b"hello abc"
    lease.put()
    pool.writer(5).put()
    with pool.writer(5) as writer:
        writer.write(b"x")
    assert pool.stats().in_use == 0


def test_writer_clears_what_a_failing_reader_may_have_left(pool: millpond.Pool) -> None:
    class Reader:
        def __init__(self, says: object) -> None:
            self.says = says

        def readinto(self, buffer: memoryview) -> int | None:
            buffer[-1] = 7
            if isinstance(self.says, Exception):
                raise self.says
            return self.says  # type: ignore[return-value]

    for says, error in ((OSError("gone"), OSError), (None, BlockingIOError), (-1, ValueError), (513, ValueError)):
        writer = pool.writer(512)
        with pytest.raises(error):
            writer.read_from(Reader(says))
        assert len(writer) == 0
        writer.write(b"ab")
        writer.finish().put()
        del writer
        with pool.get(512) as lease:
            assert bytes(lease) == bytes(512)
    with pool.writer(10) as writer:
        assert writer.read_from(Reader(3), limit=0) == 0
        with pytest.raises(millpond.InvalidArgumentError, match="limit"):
            writer.read_from(Reader(3), limit=-1)


def test_default_pool_is_one_and_never_closed() -> None:
    pool = millpond.default_pool()
    assert pool is millpond.default_pool() and pool.name == "default"
    lease = millpond.get(100)
    assert lease.pool is pool
    lease.put()
    millpond.get(size_with_index(), timeout=1).put()
    with pytest.raises(millpond.InvalidArgumentError):
        pool.close()
    assert not pool.closed


def size_with_index() -> object:
    class Size:
        def __index__(self) -> int:
            return 77

    return Size()


def test_a_lease_may_be_put_by_another_thread(pool: millpond.Pool) -> None:
    leases = [pool.get(5000) for _ in range(50)]
    threads = [threading.Thread(target=pool.put, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.stats().puts == 50
