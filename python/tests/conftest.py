"""Fixtures: pools that are checked when their test ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

import millpond


@pytest.fixture
def make_pool() -> Iterator[Callable[..., millpond.Pool]]:
    """Makes pools whose statistics must reconcile, with nothing out, at the end of the test."""
    pools: list[millpond.Pool] = []

    def make(*args: object, **options: object) -> millpond.Pool:
        pools.append(millpond.Pool(*args, **options))  # type: ignore[arg-type]
        return pools[-1]

    yield make
    gc.collect()
    for pool in pools:
        stats = pool.stats()
        assert stats.check() is None
        assert stats.in_use == 0, pool.leaks()
        pool.close()


@pytest.fixture
def pool(make_pool: Callable[..., millpond.Pool]) -> millpond.Pool:
    return make_pool("test")


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in an interpreter of its own, with every warning an error."""

    def run(program: str, *options: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        import os

        command = [sys.executable, *(options or ("-W", "error")), "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
