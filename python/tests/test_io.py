"""What fills leases: sockets, files, asyncio, and the standard library's other consumers of buffers."""

from __future__ import annotations

import array
import asyncio
import hashlib
import io
import os
import re
import socket
import struct
import zlib
from pathlib import Path

import pytest

import millpond


def test_recv_into(pool: millpond.Pool) -> None:
    left, right = socket.socketpair()
    with left, right, pool.get(4096) as lease:
        left.sendall(b"hello")
        lease.resize_used(right.recv_into(lease))
        assert bytes(lease) == b"hello"
    assert pool.stats().in_use == 0


def test_recv_into_then_put_used_leaves_nothing(pool: millpond.Pool) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"secret")
        lease = pool.get(4096)
        pool.put(lease, used=right.recv_into(lease))
        del lease
    with pool.get(4096) as lease:
        assert bytes(lease) == bytes(4096)


def test_recvmsg_into_and_preadv(pool: millpond.Pool, tmp_path: Path) -> None:
    left, right = socket.socketpair()
    with left, right, pool.get(4) as first, pool.get(4) as second:
        left.sendall(b"abcdefgh")
        assert right.recvmsg_into([first, second])[0] == 8
        assert bytes(first) + bytes(second) == b"abcdefgh"
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    with pool.get(4) as first, pool.get(4) as second:
        assert os.preadv(descriptor, [first, second], 1) == 8
        assert bytes(first) + bytes(second) == b"12345678"
    os.close(descriptor)


def test_readinto_of_every_kind_of_file(pool: millpond.Pool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    for opened in (path.open("rb"), path.open("rb", buffering=0), io.BytesIO(bytes(range(200)))):
        with opened as file, pool.get(256) as lease:
            lease.resize_used(file.readinto(lease))
            assert bytes(lease) == bytes(range(200))
    with pool.get(200) as lease:
        lease[:] = bytes(range(200))
        with path.open("wb") as file:
            assert file.write(lease) == 200
    assert path.read_bytes() == bytes(range(200))


def test_writer_reads_until_it_is_full(pool: millpond.Pool) -> None:
    left, right = socket.socketpair()
    with left, right, pool.writer(12) as writer:
        left.sendall(b"0123456789")
        assert writer.recv_from(right, 4) == 4
        assert writer.recv_from(right) == 6
        assert writer.read_from(io.BytesIO(b"abcdef")) == 2
        assert writer.recv_from(right) == 0
        lease = writer.finish()
    assert bytes(lease) == b"0123456789ab"
    lease.put()
    right.close()
    with pool.writer(10) as writer, pytest.raises(OSError):
        writer.recv_from(right)


def test_asyncio_buffered_protocol(pool: millpond.Pool) -> None:
    """The event loop still names the view while it calls buffer_updated: release it there, then the lease may be put."""

    class Receiver(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.lease, self.filled, self.messages = pool.get(16), 0, list[bytes]()
            self.view = memoryview(b"")
            self.done = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> memoryview:
            self.view = memoryview(self.lease)[self.filled :]
            return self.view

        def buffer_updated(self, nbytes: int) -> None:
            self.view.release()
            self.filled += nbytes
            if self.filled == len(self.lease):
                self.messages.append(bytes(self.lease))
                self.lease.put()
                self.lease, self.filled = pool.get(16), 0

        def connection_lost(self, error: Exception | None) -> None:
            self.view.release()
            self.lease.put(used=self.filled)
            self.done.set_result(None)

    async def serve() -> list[bytes]:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        _, receiver = await loop.create_connection(Receiver, sock=right)
        left.setblocking(False)
        for piece in (b"0123456789", b"abcdef0123", b"456789abcdef", b"rest"):
            await loop.sock_sendall(left, piece)
            await asyncio.sleep(0.01)
        left.close()
        await asyncio.wait_for(receiver.done, 10)
        return receiver.messages

    assert asyncio.run(serve()) == [b"0123456789abcdef"] * 2
    assert (pool.stats().in_use, pool.stats().leaked) == (0, 0)


def test_asyncio_put_in_the_middle_of_a_receive_is_refused(pool: millpond.Pool) -> None:
    """loop.sock_recv_into waits with the buffer exported: that is the pin of asynchronous I/O in Python."""

    async def receive() -> bytes:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with left, right:
            right.setblocking(False)
            lease = pool.get(100)
            view = memoryview(lease)
            receiving = asyncio.ensure_future(loop.sock_recv_into(right, view))
            await asyncio.sleep(0)
            with pytest.raises(millpond.BusyError):
                lease.put()
            left.sendall(b"late")
            count = await receiving
            view.release()
            received = lease[:count]
            lease.put()
            return received

    assert asyncio.run(receive()) == b"late"


def test_other_consumers_of_buffers(pool: millpond.Pool) -> None:
    with pool.get(8) as lease:
        struct.pack_into("<II", lease, 0, 1, 2)
        assert struct.unpack("<II", lease) == (1, 2)
        data = bytes(lease)
        assert hashlib.sha256(lease).digest() == hashlib.sha256(data).digest()
        assert zlib.decompress(zlib.compress(lease)) == data and zlib.crc32(lease) == zlib.crc32(data)
        assert re.match(rb"\x01", lease)
        assert int.from_bytes(lease, "little") == int.from_bytes(data, "little")
        assert b"".join([lease, b"x"]) == data + b"x"
        numbers = array.array("I")
        numbers.frombytes(lease)
        assert list(numbers) == [1, 2]
        assert bytearray(lease) == data
    assert pool.stats().in_use == 0
