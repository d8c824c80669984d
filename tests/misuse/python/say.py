"""What the seeded programs in Python print; ../c/say.h lists the words. And what they have in common."""

import ctypes
import os
import signal
import socket
import sys
import threading

LEN = 1000
FAR = 4096
ROUNDS = 100
CHILD_SECONDS = 20


def say(*words):
    """Prints one line."""
    print(*words, flush=True)


def bug():
    """Says that the next thing done is the bug."""
    say("bug")


def address_of(buffer):
    """Returns where a buffer's memory is, as native code keeps it that holds no view."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def children():
    """Returns how many children the fork under load takes."""
    return int(os.environ.get("MISUSE_CHILDREN", "20"))


def child_works(child):
    """Waits for a forked child and says how it ended unless well."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        say("saw a child that hangs" if os.WTERMSIG(status) == signal.SIGALRM else "saw a child that crashes")
    elif status != 0:
        say("saw a child that fails")
    return status == 0


def fork(work):
    """Runs work in a child that ends by itself if it hangs."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(1)
    return child


def under_load(load, forks):
    """Calls forks while two threads repeat load."""
    stop = threading.Event()

    def work():
        while not stop.is_set():
            load()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        return forks()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def race(put, things):
    """Puts each of some things in two threads at once."""
    barrier = threading.Barrier(2)

    def work():
        for thing in things:
            barrier.wait()
            put(thing)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def receive_into(buffer, meanwhile):
    """Lets a thread wait in recv_into, calls meanwhile, and sends what the thread waits for."""
    here, there = socket.socketpair()
    waiting = threading.Event()

    def receive():
        waiting.set()
        here.recv_into(buffer)

    thread = threading.Thread(target=receive)
    thread.start()
    waiting.wait()
    # Most likely it waits in recv_into now.
    thread.join(0.05)
    try:
        meanwhile()
    finally:
        there.sendall(bytes([1]) * LEN)
        thread.join()
        here.close()
        there.close()


def main(bugs, go_on):
    """Commits the bug that the argument names, and goes on."""
    commit = bugs.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if commit is None:
        raise SystemExit(f"usage: {sys.argv[0]} BUG")
    commit()
    go_on()
    say("done")
