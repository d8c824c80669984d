"""Leases that nobody put, finalizers, and what is said about them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable

import pytest

import millpond


def test_a_lost_lease_is_reclaimed_counted_and_warned_about(pool: millpond.Pool) -> None:
    lease = pool.get(1000)
    lease[:3] = b"abc"
    with pytest.warns(ResourceWarning, match="lease of 1000 bytes from pool 'test'.* was never put"):
        del lease
    assert (pool.stats().leaked, pool.stats().in_use, pool.stats().puts) == (1, 0, 0)
    with pool.get(1000) as lease:
        assert bytes(lease) == bytes(1000)
    assert pool.stats().allocations == 1


def test_a_lost_lease_that_lent_views_is_cleared(pool: millpond.Pool) -> None:
    view = memoryview(pool.get(1000))
    view[999] = 7
    with pytest.warns(ResourceWarning):
        view.release()
        del view
    with pool.get(1000) as lease:
        assert bytes(lease) == bytes(1000)


def test_a_lost_lease_in_a_cycle(pool: millpond.Pool) -> None:
    cycle: list[object] = [pool.get(10)]
    cycle.append(cycle)
    del cycle
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert pool.stats().leaked == 1


def test_an_exception_on_its_way_survives_the_warning(pool: millpond.Pool) -> None:
    def lose() -> None:
        pool.get(10)
        raise KeyError("mine")

    with warnings.catch_warnings(record=True) as caught, pytest.raises(KeyError, match="mine"):
        warnings.simplefilter("always")
        lose()
    assert len(caught) == 1


def test_a_warning_that_is_an_error_does_not_break_the_reclaim(
    pool: millpond.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.get(10)
    assert seen == [ResourceWarning] and pool.stats().leaked == 1


def test_a_warning_hook_may_use_the_pool(pool: millpond.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def show(*_: object, **__: object) -> None:
        with pool.get(20) as lease:
            sizes.append(len(lease))

    monkeypatch.setattr(warnings, "showwarning", show)
    monkeypatch.setattr(warnings, "_showwarnmsg_impl", show)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        pool.get(10)
    assert sizes == [20]


def test_puts_from_finalizers(pool: millpond.Pool) -> None:
    class Owner:
        def __init__(self) -> None:
            self.lease = pool.get(100)

        def __del__(self) -> None:
            self.lease.put()

    for _ in range(10):
        owner: object = Owner()
        del owner
    cycle = Owner()
    cycle.itself = cycle  # type: ignore[attr-defined]
    del cycle
    gc.collect()

    class Thing:
        pass

    thing, lease = Thing(), pool.get(100)
    weakref.finalize(thing, pool.put, lease)
    del lease, thing
    gc.collect()
    assert (pool.stats().puts, pool.stats().leaked, pool.stats().in_use) == (12, 0, 0)


def test_leaks_lists_what_is_out(pool: millpond.Pool) -> None:
    leases = [pool.get(100), pool.get(200)]
    records = pool.leaks()
    assert sorted((record.pool, record.len, record.capacity) for record in records) == [("test", 100, 512), ("test", 200, 512)]
    recorded = sys.flags.dev_mode or os.environ.get("MILLPOND_CHECK") in ("sites", "full")
    for record in records:
        assert record.age >= 0 and "pool 'test'" in repr(record)
        # Where places are not recorded one is sampled now and then.
        assert "test_lost.py" in (record.site or ("nowhere" if recorded else "test_lost.py"))
    for lease in leases:
        lease.put()
    assert pool.leaks() == []


SITES = """
    import millpond, warnings
    pool = millpond.Pool("sites")
    def take():
        return pool.get(33)                      # line 5
    lease = take()
    site = pool.leaks()[0].site
    assert site == "<string>:5 in take", site
    lease.put()                                  # line 9
    try:
        lease.put()                              # line 11
    except millpond.DoublePutError as error:
        for place in ("<string>:5 in take", "<string>:9 in <module>", "<string>:11 in <module>"):
            assert place in str(error), error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        take()
    assert "taken at <string>:5 in take" in str(caught[0].message), caught[0].message
"""


@pytest.mark.parametrize("how", ["development mode", "MILLPOND_CHECK"])
def test_sites_are_named_when_they_are_recorded(run_python: Callable[..., object], how: str) -> None:
    if how == "development mode":
        run_python(SITES, "-X", "dev")
    else:
        run_python(SITES, MILLPOND_CHECK="sites")


def test_leases_in_globals_at_exit(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    program = """
        import millpond
        lease = millpond.get(1000)
        kept = [millpond.get(10) for _ in range(100)]
        view = memoryview(kept[3])
        class Late:
            def __init__(self):
                self.lease = millpond.get(50)
            def __del__(self):
                self.lease.put()
        late = Late()
    """
    assert "ResourceWarning" in run_python(program, "-X", "dev").stderr
    assert run_python(program, "-W", "ignore").stderr == ""
