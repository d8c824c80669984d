"""How closely a pool looks at its leases, what it does wrong on purpose, and whose lines its reports name."""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

import millpond

MakePool = Callable[..., millpond.Pool]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
MODES = ("off", "on", "sites", "sample:1", "sample:1000", "full")
CHOICE = "use off, on, sites, sample:N with N from 1 to 4294967295, or full"
HERE = r"\S*test_check\.py:\d+ in "


def exercise(pool: millpond.Pool) -> None:
    for size in (0, 1, 100, 5000, 70_000, 1 << 20, 17 << 20):
        with pool.get(size) as lease:
            assert lease[:] == bytes(size)
            lease[:] = b"\xee" * size
            memoryview(lease).release()
            assert pool.stats().in_use == 1
        with pytest.raises(millpond.DoublePutError, match="test"):
            lease.put()


def address(lease: millpond.Lease) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(lease))


def take(pool: millpond.Pool, size: int = 100) -> millpond.Lease:
    return pool.get(size)


def give(lease: millpond.Lease) -> None:
    lease.put()


def test_wrong_values_are_refused_by_name(pool: millpond.Pool) -> None:
    for value in (1, True, b"on", ["on"], {}):
        with pytest.raises(TypeError, match="check must be a str"):
            millpond.Pool(check=value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="check must be a str"):
            pool.set_check(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="what must be a str"):
            pool.inject(value)  # type: ignore[arg-type]
    for text in ("", "ON", " on", "loud", "sample", "sample:", "sample:0", "sample:-1", "sample:+1", "sample:4294967296", "on\0", "\ud800"):
        for refuse in (lambda: millpond.Pool(check=text), lambda: pool.set_check(text)):
            with pytest.raises(millpond.InvalidArgumentError) as error:
                refuse()
            assert CHOICE in str(error.value)
    for text in ("get", "get=", "get=-1", "p=2", "puts=1", ",", " get=1", "\ud800"):
        with pytest.raises(millpond.InvalidArgumentError, match="get=N, alloc=N, p=0.0 to 1.0, seed=N and delay=N"):
            pool.inject(text)
    with pytest.raises(millpond.InvalidArgumentError, match='"off"'):
        pool.set_check("off")
    with pytest.raises(millpond.InvalidArgumentError, match='"off"'):
        millpond.Pool(check="off").set_check("on")
    with pytest.raises(AttributeError):
        pool.check = "on"  # type: ignore[misc]
    exercise(pool)


@pytest.mark.parametrize("clear", ["on_put", "on_get"])
@pytest.mark.parametrize("check", MODES)
def test_in_every_mode_leases_work(make_pool: MakePool, check: str, clear: str) -> None:
    pool = make_pool("test", check=check, clear=clear)
    assert pool.check == check
    for _ in range(3):
        exercise(pool)
    stats = pool.stats()
    assert (stats.gets, stats.puts, stats.double_puts) == (21, 21, 21)
    pool.close()
    assert pool.stats().retained_buffers == 0


def test_the_mode_changes_while_leases_are_out(make_pool: MakePool) -> None:
    pool = make_pool("test")
    exercise(pool)
    for check in ("sites", "full", "sample:2", "on", "full", "on"):
        fresh, used, viewed = pool.get(100), pool.get(5000), pool.get(5000)
        used[:3] = b"abc"
        view = memoryview(viewed)
        pool.set_check(check)
        assert pool.check == check
        assert bytes(used[:3]) == b"abc"
        fresh.put()
        used.put()
        view.release()
        viewed.put()
        for lease in (fresh, used, viewed):
            with pytest.raises(millpond.DoublePutError):
                lease.put()
        del view, viewed
        exercise(pool)
        assert pool.stats().check() is None


@pytest.mark.parametrize("check", ["sites", "full"])
def test_errors_name_places_threads_and_ages(make_pool: MakePool, check: str) -> None:
    pool = make_pool("test", check=check)
    thread = r'by thread ".*?" \(\d+\)'
    age = r" \d+\.\d\d s ago"
    lease = take(pool)
    assert re.search(HERE + "take$", pool.leaks()[0].site or "")
    give(lease)
    places = f"got at {HERE}take {thread}{age}, first put at {HERE}give {thread}{age}, now at {HERE}"
    with pytest.raises(millpond.DoublePutError, match=f"100 bytes of pool \"test\".*{places}give {thread}"):
        give(lease)
    with pytest.raises(millpond.UseAfterPutError, match=places + f"test_errors_name_places_threads_and_ages {thread}"):
        lease[0]

    lease = take(pool)
    with memoryview(lease), pytest.raises(millpond.BusyError, match=f"got at {HERE}take {thread}{age}, now at {HERE}give"):
        give(lease)
    with pytest.raises(millpond.ForeignLeaseError, match=f"100 bytes of pool \"test\", got at {HERE}take {thread}.*, was put .* at {HERE}"):
        make_pool("other", check=check).put(lease)
    ctypes.memset(address(lease) + 100, 1, 3)
    with pytest.raises(millpond.OverrunError, match=f"bytes 1 to 3 behind.*got at {HERE}take {thread}.*, put at {HERE}give"):
        give(lease)


def test_without_records_only_this_place_is_certain(make_pool: MakePool) -> None:
    """And never a line of the package itself, in Rust or in Python."""
    pool, other = make_pool("test", check="on"), make_pool("other", check="on")
    messages = []
    for _ in range(3000):
        lease = take(pool)
        give(lease)
        with pytest.raises(millpond.DoublePutError, match=f"now at {HERE}give"):
            give(lease)
    for _ in range(100):
        lease = take(pool)
        with pytest.raises(millpond.ForeignLeaseError, match=f"got at (unknown|{HERE}take), was put .* at {HERE}") as foreign:
            other.put(lease)
        ctypes.memset(address(lease) + 100, 1, 1)
        with pytest.raises(millpond.OverrunError, match=f"got at (unknown|{HERE}take), put at {HERE}give") as overrun:
            give(lease)
        messages += [str(foreign.value), str(overrun.value)]
    leases = [take(pool) for _ in range(2000)]
    sites = [record.site for record in pool.leaks()]
    for lease in leases:
        lease.put()
    assert not any(".rs:" in text or "/millpond/" in text for text in [*messages, *map(str, sites)])
    # Those that no idle buffer serves are sampled more often.
    assert 10 < sum(site is not None for site in sites) < 200
    assert {site for site in sites if site} == {next(site for site in sites if site)}


def test_a_writers_place_is_its_users(make_pool: MakePool) -> None:
    pool = make_pool("test", check="sites")
    writer = pool.writer(100)
    writer.write(b"abc")
    assert re.search(HERE + "test_a_writers_place_is_its_users", pool.leaks()[0].site or "")
    lease = writer.finish()
    lease.put()
    with pytest.raises(millpond.DoublePutError, match=f"got at {HERE}test_a_w.*, first put at {HERE}test_a_w"):
        lease.put()


def test_the_put_that_waits_for_a_view_is_named(make_pool: MakePool) -> None:
    pool = make_pool("test", check="sites")
    with pytest.raises(KeyError), take(pool) as lease:
        view = memoryview(lease)
        raise KeyError("mine")
    with pytest.raises(millpond.UseAfterPutError, match=f"got at {HERE}take.*first put at {HERE}test_the_put"):
        len(lease)
    view.release()
    assert pool.stats().puts == 1


def test_code_that_is_gone_is_not_mistaken(make_pool: MakePool) -> None:
    pool = make_pool("test", check="sites")
    for number in range(2000):
        scope = {"pool": pool}
        exec(compile("\n" * (number % 7) + "lease = pool.get(10)", f"made-{number}.py", "exec"), scope)
        lease = scope["lease"]
        assert isinstance(lease, millpond.Lease)
        assert pool.leaks()[0].site == f"made-{number}.py:{number % 7 + 1} in <module>"
        lease.put()
        del lease, scope


def test_in_mode_full_a_late_write_is_attributed(run_python: Run) -> None:
    program = """
        import ctypes, sys, millpond
        pool = millpond.Pool("late", check="full")
        def take():
            return pool.get(1000)                # line 5
        lease = take()
        place = ctypes.addressof(ctypes.c_char.from_buffer(lease))
        if sys.argv[1:] == ["named"]:
            kept = lease
        if sys.argv[1:] == ["deferred"]:
            try:
                with lease:                      # line 12
                    view = memoryview(lease)
                    raise KeyError
            except KeyError as error:
                view.release()
        else:
            lease.put()                          # line 18
        lease = kept = error = None
        if sys.argv[1:] != ["none"]:
            ctypes.memset(place + 17, 1, 2)
        pool.trim()
        print(pool.stats().stale_uses)
    """
    report = (
        'millpond: USE_AFTER_PUT: pool "late": bytes 17 to 18 of a buffer were written after its put (byte 17 is 0x01); the '
        "buffer is discarded; its lease of 1000 bytes was got at <string>:5 in take by thread "
    )
    for how, line in (("plain", 18), ("named", 18), ("deferred", 12)):
        done = run_python(program.replace("sys.argv[1:]", f"['{how}']"), PYTHONFAULTHANDLER="1")
        assert done.stdout == "1\n" and done.stderr.startswith(report), done.stderr
        assert re.search(rf"put at <string>:{line} in <module> by thread ", done.stderr)
    done = run_python(program.replace("sys.argv[1:]", "['none']"))
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_buffer_of_mode_full_is_used_again_late(make_pool: MakePool) -> None:
    def created(check: str) -> int:
        pool = make_pool("test", check=check, classes=[512])
        for _ in range(4):
            pool.get(10).put()
        return pool.stats().allocations

    assert (created("on"), created("sites"), created("full")) == (1, 1, 4)


FAULT = """
    import ctypes, faulthandler, threading, millpond
    {before}
    pool = millpond.Pool("guarded", check="sample:1")
    def take():
        return pool.get(1000)
    def give(lease):
        lease.put()
    def access():
        ctypes.string_at(place, 1)
    lease = take()
    place = ctypes.addressof(ctypes.c_char.from_buffer(lease)) + {offset}
    if {offset} < 1000:
        give(lease)
        del lease
    print("now", flush=True)
    {access}
"""
THREAD = "thread = threading.Thread(target=access); thread.start(); thread.join()"
ORDERS = {
    "reports alone": "millpond.report_faults(); millpond.report_faults()",
    "faulthandler before": "faulthandler.enable(); millpond.report_faults()",
    "faulthandler after": "millpond.report_faults(); faulthandler.enable()",
    "faulthandler alone": "faulthandler.enable()",
}


@pytest.mark.parametrize("access", ["access()", THREAD], ids=["main", "thread"])
@pytest.mark.parametrize("order", ORDERS)
def test_faults_are_reported_beside_faulthandler(run_python: Run, order: str, access: str) -> None:
    done = run_python(FAULT.format(before=ORDERS[order], offset=10, access=access), check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "now\n"), done.stderr
    report = re.search(
        r'^millpond: USE_AFTER_PUT: the access to 0x[0-9a-f]+ is at byte 10 of a lease of 1000 bytes of pool "guarded", got at '
        r"<string>:6 in take by thread \d+, put at <string>:8 in give by thread \d+, now in thread \d+$",
        done.stderr,
        re.MULTILINE,
    )
    assert bool(report) == (order != "faulthandler alone"), done.stderr
    assert ("in access" in done.stderr) == (order != "reports alone"), done.stderr


def test_an_overrun_that_faults_is_reported(run_python: Run) -> None:
    done = run_python(FAULT.format(before=ORDERS["reports alone"], offset=5000, access="access()"), check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "OVERRUN" in done.stderr and "4001 bytes behind the end" in done.stderr and "<string>:6 in take" in done.stderr


@pytest.mark.parametrize("order", ORDERS)
def test_a_signal_that_was_sent_ends_the_program(run_python: Run, order: str) -> None:
    program = f"""
        import faulthandler, os, signal, millpond
        {ORDERS[order]}
        os.kill(os.getpid(), signal.SIGSEGV)
        print("alive")
    """
    done = run_python(program, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, ""), done.stderr
    assert "millpond" not in done.stderr


def test_no_addresses_left_for_guard_pages(run_python: Run) -> None:
    """Falls back, and counts it."""
    run_python(
        """
        import resource, millpond
        pool = millpond.Pool("guarded", check="sample:1")
        pool.get(100).put()
        assert pool.stats().unguarded == 0
        # Each guarded lease takes a place in a table of 1024.
        leases = [pool.get(100) for _ in range(1500)]
        stats = pool.stats()
        assert 400 < stats.unguarded < 600 and stats.in_use == 1500, stats
        for lease in leases:
            lease.put()
        assert pool.stats().check() is None
        """
    )


def test_injected_failures_are_errors(make_pool: MakePool) -> None:
    pool = make_pool("unlucky")
    # Idle buffers would serve a get that is to fail.
    for _ in range(3):
        pool.get(100).put()
    pool.inject("get=1")
    with pytest.raises(millpond.ExhaustedError, match="unlucky"):
        pool.get(100)
    pool.get(100).put()
    pool.inject("get=3")
    pool.get(100).put()
    pool.try_get(100).put()
    with pytest.raises(millpond.ExhaustedError):
        pool.try_get(100)
    pool.inject("alloc=1")
    with pytest.raises(millpond.NoMemoryError, match="unlucky"):
        pool.get(5000)
    pool.get(5000).put()
    pool.inject("p=1")
    for _ in range(5):
        with pytest.raises(millpond.ExhaustedError, match="inject"):
            pool.get(100)
    with pytest.raises(millpond.ExhaustedError):
        pool.get(100, timeout=0.01)
    pool.inject("p=0.5,seed=7")
    outcomes = []
    for _ in range(2):
        pool.inject("p=0.5,seed=7")
        outcomes.append([fails(pool) for _ in range(200)])
    assert outcomes[0] == outcomes[1] and 60 < sum(outcomes[0]) < 140
    pool.inject("")
    exercise(make_pool("test"))
    assert not any(fails(pool) for _ in range(200))


def fails(pool: millpond.Pool) -> bool:
    try:
        pool.get(100).put()
    except millpond.ExhaustedError:
        return True
    return False


@pytest.mark.parametrize("act", ["fresh", "written", "viewed", "named", "with"])
def test_a_put_that_dawdles_lets_other_threads_run(make_pool: MakePool, act: str) -> None:
    pool = make_pool("slow")
    pool.inject("delay=300")
    lease = pool.get(100)
    named = lease if act == "named" else None
    if act == "written":
        lease[0] = 1
    if act in ("viewed", "named"):
        memoryview(lease).release()
    turns = 0
    done = threading.Event()

    def turn() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0.001)

    thread = threading.Thread(target=turn)
    thread.start()
    before = turns
    if act == "with":
        with lease:
            pass
    else:
        lease.put()
    turned = turns - before
    done.set()
    thread.join()
    assert turned > 3
    pool.inject("")
    del lease, named


def test_the_environment_decides_for_pools_that_are_not_told(run_python: Run) -> None:
    program = """
        import millpond
        for options in ({}, {"check": "on"}):
            pool, out = millpond.Pool(**options), []
            for _ in range(3):
                try:
                    pool.get(100).put()
                except millpond.Error as error:
                    out.append(error.kind)
            stats = pool.stats()
            print(pool.check, stats.gets, stats.puts, stats.retained_buffers, *out)
    """
    assert run_python(program, MILLPOND_CHECK="full").stdout == "full 3 3 3\non 3 3 1\n"
    assert run_python(program, MILLPOND_INJECT="get=2").stdout == "on 2 2 1 EXHAUSTED\n" * 2
    assert run_python(program, MILLPOND_POOL="off").stdout == "on 3 3 0\n" * 2
    for name, value in (("CHECK", "loud"), ("POOL", "maybe"), ("INJECT", "gets=1"), ("LEAKS", "yes")):
        done = run_python(program, check=False, **{f"MILLPOND_{name}": value})
        assert done.returncode == 1 and f"MILLPOND_{name} is" in done.stderr and "use " in done.stderr, done.stderr


@pytest.mark.parametrize("check", ["sites", "on"])
@pytest.mark.parametrize("when", ["close", "exit"])
def test_leak_reports_name_python_lines(run_python: Run, when: str, check: str) -> None:
    program = f"""
        import ctypes, json, sys, millpond
        pool = millpond.Pool("careless", check="{check}")
        kept = []
        def take():
            kept.append(pool.get(100))
        for _ in range(3):
            take()
        # Kept beyond the interpreter's end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
        if "{when}" == "close":
            pool.close()
    """
    done = run_python(program, MILLPOND_LEAKS="json")
    reports = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    report = next(report for report in reports if report["when"] == when)
    assert (report["pool"], report["leases"], report["bytes"]) == ("careless", 3, 300)
    sites = {group["site"] for group in report["groups"]}
    if check == "sites":
        assert sites == {"<string>:6 in take"}
    # The first get of a program is sampled.
    assert sites <= {"<string>:6 in take", "unknown"}
    text = run_python(program, MILLPOND_LEAKS="report").stderr
    assert f'pool "careless" at {when}: 3 leases of 300 bytes are out' in text and ".rs" not in text


def test_memory_stays_the_same_in_modes_that_record(make_pool: MakePool) -> None:
    pool = make_pool("test", check="sites")

    def resident() -> int:
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def turn() -> None:
        for _ in range(20_000):
            with take(pool, 10) as lease:
                lease[0] = 1

    turn()
    before = resident()
    for _ in range(4):
        turn()
    assert resident() - before < 1 << 20, sys.version


def test_code_that_runs_while_a_place_is_looked_for_finds_no_living_lease(make_pool: MakePool) -> None:
    """Looking makes a frame object, at which the collector starts up to 3.11, and with it any finalizer."""
    pool, other = make_pool("test", check="sites"), make_pool("other", check="sites")
    met: list[str] = []
    views: list[memoryview] = []

    class Meddler:
        def __init__(self, lease: millpond.Lease) -> None:
            self.itself, self.lease = self, lease

        def __del__(self) -> None:
            try:
                views.append(memoryview(self.lease))
                met.append("live")
            except millpond.UseAfterPutError:
                met.append("dead")

    def in_a_new_frame(call: Callable[[], object]) -> None:
        gc.enable()
        call()

    def end(act: Callable[[millpond.Lease], Callable[[], object]]) -> set[str]:
        met.clear()
        for _ in range(50):
            lease = pool.get(100)
            call = act(lease)
            gc.disable()
            Meddler(lease)
            try:
                in_a_new_frame(call)
            except (millpond.OwnershipError, BufferError):
                pass
            gc.disable()
            for view in views:
                view[:] = bytes(len(view))
                view.release()
            views.clear()
            if lease.live:
                lease.put()
        return set(met)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        assert end(lambda lease: lease.put) <= {"dead"}
        # A put that is refused, and a detach, meet views that were made before.
        assert end(lambda lease: functools.partial(other.put, lease)) <= {"live", "dead"}
        assert end(lambda lease: lease.detach) <= {"live", "dead"}
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
    gc.collect()
    assert sys.version_info >= (3, 12) or met
    stats = pool.stats()
    assert stats.gets == 150 == stats.puts + stats.detached and other.stats().foreign_puts == 50
