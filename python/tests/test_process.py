"""Threads, forks, signals, other interpreters, and the GIL."""

from __future__ import annotations

import multiprocessing
import multiprocessing.reduction
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import pytest

import millpond

MakePool = Callable[..., millpond.Pool]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_threads_share_a_pool(pool: millpond.Pool) -> None:
    seed = 20261121
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            choice = random.Random(seed + number)
            held: list[millpond.Lease] = []
            for _ in range(2000):
                size = choice.choice((0, 1, 100, 512, 513, 4096, 70_000))
                lease = pool.get(size)
                assert bytes(lease[:64]) == bytes(min(size, 64))
                lease[:64] = b"\xff" * min(size, 64)
                held.append(lease)
                if len(held) > 8:
                    held.pop(choice.randrange(len(held))).put()
            for lease in held:
                lease.put()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, f"seed {seed}: {failures}"
    assert pool.stats().gets == pool.stats().puts == 8000


def test_of_racing_puts_exactly_one_succeeds(pool: millpond.Pool) -> None:
    for _ in range(100):
        lease, outcomes, barrier = pool.get(100), list[str](), threading.Barrier(4)

        def put() -> None:
            barrier.wait()
            try:
                pool.put(lease)
                outcomes.append("put")
            except millpond.DoublePutError:
                outcomes.append("refused")

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["put", "refused", "refused", "refused"]


def others_run_during(act: Callable[[], object]) -> bool:
    """Tells whether another Python thread gets to run while `act` does, by the GIL being let go of."""
    lock, ran = threading.Lock(), threading.Event()
    lock.acquire()

    def wait() -> None:
        with lock:
            ran.set()

    thread = threading.Thread(target=wait)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread.start()
        time.sleep(0.05)
        lock.release()
        act()
        return ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_large_clearing_lets_other_threads_run(make_pool: MakePool) -> None:
    pool = make_pool(classes=[4096, 256 << 20], max_bytes=1 << 30)
    chunk = b"\xff" * (1 << 20)

    def filled(size: int) -> millpond.Lease:
        lease = pool.get(size)
        for at in range(0, size, 1 << 20):
            lease[at : at + (1 << 20)] = chunk[: min(size, 1 << 20)]
        return lease

    assert others_run_during(filled(200 << 20).put)
    assert not others_run_during(filled(4096).put)

    lease = filled(200 << 20)
    memoryview(lease).release()
    lease.put(used=200 << 20)
    held = [lease]
    del lease
    assert others_run_during(held.clear)


def test_waiting_lets_other_threads_run_and_ends_with_a_signal(make_pool: MakePool) -> None:
    pool = make_pool(classes=[4096], max_bytes=4096, max_retained_bytes=4096)

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pool.get(1):
            assert others_run_during(lambda: pytest.raises(millpond.ExhaustedError, pool.get, 1, timeout=0.2))
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                pool.get(1, timeout=60)
            assert time.monotonic() - start < 10
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_fork(run_python: Run) -> None:
    """In an interpreter of its own: it forks beside threads, which newer Pythons warn about."""
    run_python("""
        import os, threading, time, warnings
        import millpond
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = millpond.Pool("forked")
        inherited = pool.get(5000)
        inherited[0] = 42
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                with pool.get(100), pool.get(70000):
                    pass
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                try:
                    assert inherited[0] == 42
                    inherited[0] = 43
                    inherited.put()
                    for size in (10, 5000, 70000, 1 << 20):
                        with pool.get(size) as lease:
                            assert bytes(lease[:100]) == bytes(min(100, size))
                        millpond.get(size).put()
                    pool.trim()
                    pool.close()
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            end = time.monotonic() + 30
            while (waited := os.waitpid(child, os.WNOHANG)) == (0, 0):
                if time.monotonic() > end:
                    os.kill(child, 9)
                    raise SystemExit("the child hangs")
                time.sleep(0.002)
            assert waited[1] == 0, waited
        stop.set()
        for thread in threads:
            thread.join()
        assert inherited[0] == 42
        inherited.put()
        assert pool.stats().check() is None and pool.stats().in_use == 0
    """)


def in_worker(size: int) -> tuple[int, int]:
    with millpond.get(size) as lease:
        lease[:] = b"\x01" * size
        return os.getpid(), sum(bytes(lease))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer: fork beside threads
        with millpond.get(10) as lease, multiprocessing.get_context(method).Pool(2) as workers:
            results = workers.map(in_worker, [10, 5000, 100_000])
            with pytest.raises(TypeError, match="pickle"):
                multiprocessing.reduction.ForkingPickler.dumps(lease)
    assert [total for _, total in results] == [10, 5000, 100_000]
    assert os.getpid() not in {process for process, _ in results}


def test_sub_interpreters_are_refused(run_python: Run) -> None:
    done = run_python("""
        import millpond, sys
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters
        for isolated in (True, False):
            if sys.version_info >= (3, 13):
                other = interpreters.create("isolated" if isolated else "legacy")
            else:
                other = interpreters.create(isolated=isolated)
            try:
                if sys.version_info >= (3, 13):
                    print(interpreters.exec(other, "import millpond").formatted)
                else:
                    interpreters.run_string(other, "import millpond")
            except Exception as error:
                print(error)
            interpreters.destroy(other)
        with millpond.get(10) as lease:
            lease[0] = 1
    """, "-W", "ignore")
    refusals = [line for line in done.stdout.splitlines() if "does not support loading in subinterpreters" in line]
    assert len(refusals) == 2, done.stdout + done.stderr


def test_sub_interpreters_before_the_main_one_are_refused_too(run_python: Run) -> None:
    run_python("""
        import sys
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
            other = interpreters.create("legacy")
            assert "subinterpreters" in interpreters.exec(other, "import millpond").formatted
        else:
            import _xxsubinterpreters as interpreters
            other = interpreters.create(isolated=False)
            try:
                interpreters.run_string(other, "import millpond")
            except Exception as error:
                assert "subinterpreters" in str(error), error
            else:
                raise SystemExit("it was imported")
        import millpond
        millpond.get(10).put()
        interpreters.destroy(other)
    """, "-W", "ignore")


def test_loading_the_native_module_anew_is_refused(run_python: Run) -> None:
    run_python("""
        import importlib, sys, millpond
        lease = millpond.get(10)
        native = sys.modules.pop("millpond._millpond")
        try:
            importlib.import_module("millpond._millpond")
        except ImportError as error:
            assert "once per process" in str(error)
        else:
            raise SystemExit("it was loaded twice")
        sys.modules["millpond._millpond"] = native
        del sys.modules["millpond"]
        import millpond
        lease.put()
        assert millpond.default_pool().stats().puts == 1
    """)
