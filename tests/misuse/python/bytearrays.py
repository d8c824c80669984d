"""Commits the same bugs with a free list of bytearrays, for comparison (say.py)."""

import ctypes

from say import FAR, LEN, ROUNDS, address_of, bug, child_works, children, fork, main, race, receive_into, say, under_load


class FreeList:
    """What many programs have: a list of buffers of one size. list.pop and list.append are atomic."""

    def __init__(self):
        self.idle = []

    def get(self):
        """Takes a buffer."""
        try:
            return self.idle.pop()
        except IndexError:
            return bytearray(LEN)

    def put(self, buffer):
        """Gives it back."""
        self.idle.append(buffer)

    def close(self):
        """Lets go of what is idle."""
        self.idle.clear()


pool = FreeList()
other = FreeList()


def go_on():
    """Does what every program does next: takes a few more buffers."""
    try:
        for number in range(3):
            buffer = pool.get()
            buffer[:] = bytes([number + 1]) * LEN
            pool.put(buffer)
    except TypeError:
        say("saw TypeError in other code")
    pool.close()


def none():
    bug()
    pool.put(pool.get())


def double_put():
    buffer = pool.get()
    pool.put(buffer)
    bug()
    pool.put(buffer)


def read_after_put():
    buffer = pool.get()
    pool.put(buffer)
    bug()
    buffer[100]


def write_after_put():
    buffer = pool.get()
    pool.put(buffer)
    bug()
    buffer[100] = ord("x")


def past_by_one():
    buffer = pool.get()
    data = address_of(buffer)
    bug()
    ctypes.memset(data + LEN, ord("x"), 1)
    pool.put(buffer)


def past_by_far():
    # So that most likely the neighbours are such buffers too, and not something of the interpreter.
    buffers = [pool.get() for _ in range(100)]
    data = address_of(buffers[50])
    bug()
    ctypes.memset(data + LEN + FAR, ord("x"), 1)
    for buffer in buffers:
        pool.put(buffer)


def foreign_put():
    buffer = pool.get()
    bug()
    other.put(buffer)


def racing_puts():
    buffers = [pool.get() for _ in range(ROUNDS)]
    bug()
    race(pool.put, buffers)


def leak():
    bug()
    pool.get()[0] = 1


def use_after_close():
    other.close()
    bug()
    other.get()


def forged_handle():
    bug()
    pool.put(bytes(LEN))


def viewed_put():
    buffer = pool.get()
    view = memoryview(buffer)[100:200]
    bug()
    pool.put(buffer)
    view[0]


def forked_use():
    buffer = pool.get()
    buffer[:] = b"\7" * LEN

    def load():
        buffers = [pool.get() for _ in range(8)]
        for each in buffers:
            pool.put(each)

    def in_child():
        for _ in range(20):
            pool.put(pool.get())
        pool.put(buffer)
        return True

    bug()
    if under_load(load, lambda: all(child_works(fork(in_child)) for _ in range(children()))):
        say("saw works")
    pool.put(buffer)


def frozen_write():
    buffer = pool.get()
    bug()
    try:
        memoryview(buffer).toreadonly()[100] = ord("x")
    except TypeError:
        say("saw TypeError")
    pool.put(buffer)


def late_write():
    buffer = pool.get()
    bug()
    receive_into(buffer, lambda: pool.put(buffer))


main(
    {
        "none": none,
        "double-put": double_put,
        "read-after-put": read_after_put,
        "write-after-put": write_after_put,
        "past-by-one": past_by_one,
        "past-by-far": past_by_far,
        "foreign-put": foreign_put,
        "racing-puts": racing_puts,
        "leak": leak,
        "use-after-close": use_after_close,
        "forged-handle": forged_handle,
        "viewed-put": viewed_put,
        "forked-use": forked_use,
        "frozen-write": frozen_write,
        "late-write": late_write,
    },
    go_on,
)
