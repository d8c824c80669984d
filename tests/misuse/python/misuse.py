"""Commits the seeded bug that its argument names and prints what the library says (say.py)."""

import ctypes

import millpond

from say import FAR, LEN, ROUNDS, address_of, bug, child_works, children, fork, main, race, receive_into, say, under_load

millpond.report_faults()
pool = millpond.Pool("misuse")
other = millpond.Pool("other")
# The place of the first get of a program is always found; what most of them meet is to be shown here.
pool.get(1).put()


def told(error):
    """Prints an error of the library."""
    say("error", error.kind, str(error).replace("\n", " "))


def go_on():
    """Does what every program does next: takes a few more leases and closes the pools."""
    for number in range(3):
        with pool.get(LEN) as lease:
            lease[:] = bytes([number + 1]) * LEN
    pool.close()
    other.close()


def none():
    bug()
    for size in range(0, 3 * LEN, 7):
        with pool.get(size) as lease:
            assert bytes(lease) == bytes(size)
            lease[:] = b"\1" * size
            view = memoryview(lease)[size // 2 :]
            assert bytes(view) == b"\1" * len(view)
            view.release()


def double_put():
    lease = pool.get(LEN)  # GET
    lease.put()  # PUT
    bug()
    lease.put()  # HERE


def lease_after_put():
    lease = pool.get(LEN)  # GET
    lease.put()  # PUT
    bug()
    lease[100]  # HERE


def read_after_put():
    lease = pool.get(LEN)  # GET
    kept = address_of(lease)
    lease.put()  # PUT
    # As long as somebody refers to a lease that lent a view, its memory is nobody else's.
    del lease
    bug()
    ctypes.string_at(kept + 100, 64)  # HERE


def write_after_put():
    lease = pool.get(LEN)  # GET
    kept = address_of(lease)
    lease.put()  # PUT
    del lease
    bug()
    ctypes.memset(kept + 100, ord("x"), 1)  # HERE


def past_by_one():
    lease = pool.get(LEN)  # GET
    data = address_of(lease)
    bug()
    ctypes.memset(data + LEN, ord("x"), 1)  # HERE
    lease.put()  # PUT


def past_by_far():
    lease = pool.get(LEN)  # GET
    data = address_of(lease)
    bug()
    ctypes.memset(data + LEN + FAR, ord("x"), 1)  # HERE
    lease.put()  # PUT


def foreign_put():
    lease = pool.get(LEN)  # GET
    bug()
    try:
        other.put(lease)  # HERE
    finally:
        lease.put()


def racing_puts():
    leases = [pool.get(LEN) for _ in range(ROUNDS)]  # GET
    refused = []

    def put(lease):
        try:
            lease.put()  # PUT HERE
        except millpond.DoublePutError as error:
            refused.append(error)

    bug()
    race(put, leases)
    if len(refused) != ROUNDS:
        say("saw not one of two puts")
    told(refused[0])


def leak():
    bug()
    lease = pool.get(LEN)  # GET HERE
    lease[0] = 1
    del lease


def use_after_close():
    other.close()
    bug()
    other.get(LEN)  # HERE


def forged_handle():
    bug()
    try:
        pool.put(bytearray(LEN))  # HERE
    except TypeError:
        say("saw TypeError")


def viewed_put():
    lease = pool.get(LEN)  # GET
    view = memoryview(lease)[100:200]
    bug()
    try:
        lease.put()  # HERE
    finally:
        view.release()
        lease.put()


def forked_use():
    lease = pool.get(LEN)  # GET
    lease[:] = b"\7" * LEN

    def load():
        leases = [pool.get((each + 1) * 700) for each in range(8)]
        for each in leases:
            each.put()

    def in_child():
        same = bytes(lease) == b"\7" * LEN
        lease[:] = b"\10" * LEN
        for _ in range(20):
            pool.get(5000).put()
        lease.put()
        return same

    bug()
    if under_load(load, lambda: all(child_works(fork(in_child)) for _ in range(children()))):
        if bytes(lease) == b"\7" * LEN:
            say("saw works")
    lease.put()


def frozen_write():
    with pool.get(LEN) as lease, memoryview(lease).toreadonly() as view:  # GET
        bug()
        try:
            view[100] = ord("x")  # HERE
        except TypeError:
            say("saw TypeError")


def late_write():
    lease = pool.get(LEN)  # GET
    bug()
    try:
        receive_into(lease, lambda: lease.put())  # HERE
    finally:
        lease.put()


BUGS = {
    "none": none,
    "double-put": double_put,
    "lease-after-put": lease_after_put,
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
}


def naming_errors(commit):
    """Wraps a bug: what the library says of it is printed."""

    def run():
        try:
            commit()
        except millpond.Error as error:
            told(error)

    return run


main({name: naming_errors(commit) for name, commit in BUGS.items()}, go_on)
