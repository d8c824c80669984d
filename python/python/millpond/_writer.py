"""A lease that is filled from its beginning and knows how far."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from millpond._millpond import InvalidArgumentError, UseAfterPutError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Buffer

    from millpond._millpond import Lease


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Writer:
    """An empty buffer that grows up to its capacity; `Pool.writer` makes it.

    Put clears only what was written: this class knows how much that is, because it lends
    its memory to nobody for longer than one call.

    A context manager: what was not finished is put at its end.

    Thread-compatible: one thread at a time. Fork: valid in the child, for its copy.
    """

    __slots__ = ("_lease", "_capacity", "_written")

    def __init__(self, lease: Lease) -> None:
        """Wraps a fresh lease, which belongs to the writer from now on."""
        self._lease: Lease | None = lease
        self._capacity = len(lease)
        self._written = 0

    @property
    def capacity(self) -> int:
        """How many bytes fit in all."""
        return self._capacity

    @property
    def remaining(self) -> int:
        """How many bytes still fit."""
        return self._capacity - self._written

    def __len__(self) -> int:
        """How many bytes were written."""
        return self._written

    def _open(self) -> Lease:
        if self._lease is None:
            raise UseAfterPutError("the writer is used after finish() or put(); take another one")
        return self._lease

    def write(self, data: Buffer, /) -> int:
        """Appends all of `data`.

        Returns:
            The number of bytes.

        Raises:
            InvalidArgumentError: They do not fit. Nothing was written.
            UseAfterPutError: The writer was finished or put.
        """
        lease = self._open()
        with memoryview(data) as view:
            count = view.nbytes
            if count > self.remaining:
                raise InvalidArgumentError(
                    f"{count} bytes do not fit: the writer has room for {self.remaining} of {self._capacity}"
                )
            lease[self._written : self._written + count] = view
        self._written += count
        return count

    def recv_from(self, sock: socket.socket, limit: int | None = None) -> int:
        """Appends what one `sock.recv_into` gives.

        Args:
            sock: A connected socket.
            limit: At most so many bytes; the whole room if left out.

        Returns:
            The number of bytes, 0 at the end of the stream or when there is no room.

        Raises:
            OSError: As recv_into does, BlockingIOError among them.
            InvalidArgumentError: limit is negative.
            UseAfterPutError: The writer was finished or put.
        """
        return self._fill(sock.recv_into, limit)

    def read_from(self, file: _Readable, limit: int | None = None) -> int:
        """Appends what one `file.readinto` gives.

        Args:
            file: A binary file.
            limit: At most so many bytes; the whole room if left out.

        Returns:
            The number of bytes, 0 at the end of the file or when there is no room.

        Raises:
            OSError: As readinto does.
            BlockingIOError: The file is non-blocking and has nothing.
            InvalidArgumentError: limit is negative.
            UseAfterPutError: The writer was finished or put.
        """
        return self._fill(file.readinto, limit)

    def _fill(self, read: Callable[[memoryview], int | None], limit: int | None) -> int:
        lease = self._open()
        if limit is not None and limit < 0:
            raise InvalidArgumentError(f"limit is {limit}; use 0 or more")
        room = self.remaining if limit is None else min(limit, self.remaining)
        if room == 0:
            return 0
        with memoryview(lease) as whole, whole[self._written : self._written + room] as part:
            count = read(part)
        if count is None:
            raise BlockingIOError(errno.EAGAIN, "the file is non-blocking and has nothing")
        if not 0 <= count <= room:
            raise InvalidArgumentError(f"the reader says it wrote {count} bytes into {room}")
        # Not reached after an error: the reader may have written anything then, and put clears the whole length.
        self._written += count
        lease._settle(self._written)
        return count

    def finish(self) -> Lease:
        """Returns the lease of what was written; its length is `len(writer)`.

        You own it. The writer is over.

        Raises:
            UseAfterPutError: The writer was finished or put.
        """
        lease = self._open()
        self._lease = None
        lease._narrow(self._written)
        return lease

    def put(self) -> None:
        """Gives the buffer back without finishing.

        Raises:
            UseAfterPutError: The writer was finished or put.
        """
        lease = self._open()
        self._lease = None
        lease.put()

    def __enter__(self) -> Writer:
        """Returns the writer."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Puts the buffer unless the writer was finished or put."""
        if self._lease is not None:
            self.put()
