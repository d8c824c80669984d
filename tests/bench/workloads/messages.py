"""A server of asyncio and of uvloop that receives messages, in five ways of taking memory for them.

A client process sends messages over four TCP connections, each message its length and so many bytes. The server keeps
up to eight received ones in a queue, looks at one byte of each page, and lets go of them. CPU time, page faults and
memory are the server's.

    messages.py PEER WORK SIZE[,SIZE...] [--ms N]
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import socket
import subprocess
import sys
import zlib
from typing import Any

import harness
import millpond

CONNECTIONS, EACH, QUEUE, HEADER = 4, 8, 8, 8


class Sink:
    """Where complete messages go: looked at in order of arrival, by one task."""

    def __init__(self, give: Any, room: int) -> None:
        self.give = give
        self.queue: asyncio.Queue[Any] = asyncio.Queue(room)
        self.seen = self.sum = self.expected = 0
        self.batch: asyncio.Future[None] | None = None

    async def run(self) -> None:
        while True:
            self.look(await self.queue.get())

    def look(self, message: Any) -> None:
        view = memoryview(message)
        # Whatever the order of arrival, the sum is the same.
        self.sum = (self.sum + zlib.crc32(bytes(view[::4096]), len(view))) & 0xFFFFFFFF
        view.release()
        self.give(message)
        self.seen += 1
        if self.batch is not None and self.seen == self.expected:
            self.batch.set_result(None)

    def receive(self, message: Any) -> bool:
        """Takes a message from a protocol, which cannot wait. Returns whether there is room for the next one."""
        self.queue.put_nowait(message)
        return self.queue.qsize() < QUEUE - CONNECTIONS


class Paused:
    """Lets a protocol stop reading while the queue is full."""

    transport: Any
    sink: Sink

    def hand_over(self, message: Any) -> None:
        if not self.sink.receive(message):
            self.transport.pause_reading()
            asyncio.ensure_future(self.resume())

    async def resume(self) -> None:
        while self.sink.queue.qsize() >= QUEUE - CONNECTIONS:
            await asyncio.sleep(0)
        self.transport.resume_reading()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and self.sink.batch is not None and not self.sink.batch.done():
            self.sink.batch.set_exception(error)

    def eof_received(self) -> None:
        pass


class Appending(Paused, asyncio.Protocol):
    """What a tutorial has: appends what arrives to a bytearray."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.message = bytearray()

    def data_received(self, data: bytes) -> None:
        self.message += data
        while len(self.message) >= HEADER:
            size = int.from_bytes(self.message[:HEADER])
            if len(self.message) < HEADER + size:
                return
            rest = self.message[HEADER + size :]
            del self.message[HEADER + size :]
            del self.message[:HEADER]
            self.hand_over(self.message)
            self.message = rest


class Filling(Paused, asyncio.BufferedProtocol):
    """Receives straight into a buffer of the message's size, which `take` makes."""

    def __init__(self, sink: Sink, take: Any) -> None:
        self.sink, self.take = sink, take
        self.header = bytearray(HEADER)
        self.message: Any = None
        self.filled = 0
        self.view: memoryview | None = None

    def get_buffer(self, hint: int) -> memoryview:
        self.view = memoryview(self.header if self.message is None else self.message)[self.filled :]
        return self.view

    def buffer_updated(self, count: int) -> None:
        assert self.view is not None
        left = len(self.view) - count
        # Not released: uvloop still exports it here. Both loops have let go of it when the sink's task puts the lease.
        self.view = None
        self.filled += count
        if left:
            return
        self.filled = 0
        if self.message is None:
            self.message = self.take(int.from_bytes(self.header))
        else:
            message, self.message = self.message, None
            self.hand_over(message)


def kept() -> tuple[Any, Any]:
    free: dict[int, list[bytearray]] = {}

    def take(size: int) -> bytearray:
        known = free.setdefault(size, [])
        return known.pop() if known else bytearray(size)

    return take, lambda message: free[len(message)].append(message)


def pooled(**options: Any) -> tuple[Any, Any]:
    pool = millpond.Pool("messages", **options)
    return pool.get, pool.put


def forget(message: Any) -> None:
    pass


WAYS: dict[str, Any] = {
    "millpond": lambda: (Filling, *pooled()),
    "millpond-noclear": lambda: (Filling, *pooled(clear="never")),
    "StreamReader": lambda: (None, None, forget),
    "Protocol, bytearray": lambda: (Appending, None, forget),
    "BufferedProtocol, bytearray": lambda: (Filling, bytearray, forget),
    "BufferedProtocol, bytearray, glibc-tuned": lambda: (Filling, bytearray, forget),
    "BufferedProtocol, bytearray list": lambda: (Filling, *kept()),
}


async def server(way: Any, size: int, ms: float, loop_batches: Any) -> dict[str, Any]:
    protocol, take, give = way
    # A protocol cannot wait for room: it stops reading.
    sink = Sink(give, QUEUE if protocol is None else 0)
    looking = asyncio.ensure_future(sink.run())
    loop = asyncio.get_running_loop()
    if protocol is None:

        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    header = await reader.readexactly(HEADER)
                    await sink.queue.put(await reader.readexactly(int.from_bytes(header)))
            except asyncio.IncompleteReadError:
                writer.close()

        listening = await asyncio.start_server(read, "127.0.0.1", 0, limit=2 * size)
    elif take is None:
        listening = await loop.create_server(lambda: protocol(sink), "127.0.0.1", 0)
    else:
        listening = await loop.create_server(lambda: protocol(sink, take), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--client", str(port), str(size), stdin=subprocess.PIPE
    )
    assert client.stdin is not None

    async def batch() -> tuple[int, int]:
        sink.seen, sink.sum, sink.expected = 0, 0, CONNECTIONS * EACH
        sink.batch = loop.create_future()
        client.stdin.write(b"g")
        await sink.batch
        return sink.seen, sink.sum

    figures = await loop_batches(batch, ms)
    client.stdin.close()
    await client.wait()
    looking.cancel()
    listening.close()
    return figures


async def batches(batch: Any, ms: float) -> dict[str, Any]:
    """As harness.repeat, which cannot wait."""
    loop = asyncio.get_running_loop()

    def blocking() -> dict[str, Any]:
        return harness.repeat(lambda: asyncio.run_coroutine_threadsafe(batch(), loop).result(), ms)

    return await asyncio.to_thread(blocking)


def send(port: int, size: int) -> None:
    """The client: for each byte on stdin a batch of messages."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    message = bytearray(size.to_bytes(HEADER) + bytes(size))
    while sys.stdin.buffer.read(1):
        for number in range(EACH):
            for index, connection in enumerate(connections):
                pattern = bytes((number * 31 + index * 7 + page * 13) & 0xFF for page in range(-(-size // 4096)))
                message[HEADER::4096] = pattern[: len(message[HEADER::4096])]
                connection.sendall(message)
    for connection in connections:
        connection.close()


def row(peer: str, work: str, size: int, ms: float) -> dict[str, Any]:
    start = server(WAYS[peer](), size, ms, batches)
    if work == "uvloop":
        import uvloop

        return uvloop.run(start)
    return asyncio.run(start)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        send(int(sys.argv[2]), int(sys.argv[3]))
        sys.exit()
    described = {
        "peers": list(WAYS),
        "works": {"asyncio": [1 << 20, 1 << 16], "uvloop": [1 << 20, 1 << 16]},
        "versions": harness.versions() | {"uvloop": importlib.metadata.version("uvloop")},
        "settings": {"StreamReader": "readexactly, with a limit of two messages"},
    }
    sys.exit(harness.main(described, {"BufferedProtocol, bytearray, glibc-tuned": harness.KEEP}, row))
