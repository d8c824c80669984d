"""The `with` block: the bound `__enter__` and `__exit__`, which live in the lease's own memory."""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
import io
import pickle
import pydoc
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

import millpond

Lease: Any = millpond.Lease
# From 3.14 on the class has ordinary methods, which are what these stand for.
STAND_INS = sys.version_info < (3, 14)


def end(lease: millpond.Lease) -> None:
    lease.__exit__(None, None, None)


def test_a_stored_exit_keeps_the_lease_and_ends_it_once(pool: millpond.Pool) -> None:
    leave: Any = pool.get(100).__exit__
    assert pool.stats().in_use == 1
    leave(None, None, None)
    leave(None, None, None)
    assert (pool.stats().puts, pool.stats().leaked, pool.stats().double_puts) == (1, 0, 0)
    assert not leave.__self__.live


def test_a_stored_exit_does_not_end_the_lease_that_came_after(pool: millpond.Pool) -> None:
    with pool.get(100) as lease:
        leave = lease.__exit__
    del lease
    others = [pool.get(100) for _ in range(200)]
    leave(None, None, None)
    assert all(other.live for other in others) and pool.stats().in_use == 200
    for other in others:
        other.put()


def test_a_stored_enter_keeps_the_lease(pool: millpond.Pool) -> None:
    enter = pool.get(100).__enter__
    assert enter() is enter()
    end(enter())
    with pytest.raises(millpond.UseAfterPutError):
        enter()


def test_references_are_counted(pool: millpond.Pool) -> None:
    lease = pool.get(100)
    before = sys.getrefcount(lease)
    methods = [lease.__exit__ for _ in range(5)] + [lease.__enter__ for _ in range(5)]
    # All who refer to a stand-in have one reference to the lease together.
    assert sys.getrefcount(lease) - before == (2 if STAND_INS else 10)
    del methods
    assert sys.getrefcount(lease) == before
    for _ in range(1000):
        with lease:
            break
    assert sys.getrefcount(lease) == before


def test_a_lost_stand_in_loses_the_lease(pool: millpond.Pool) -> None:
    leave = pool.get(100).__exit__
    with pytest.warns(ResourceWarning, match="100 bytes"):
        del leave
    assert pool.stats().leaked == 1


def test_nested_and_repeated_blocks(pool: millpond.Pool) -> None:
    with pool.get(10) as outer, pool.get(10) as inner:
        with outer:
            assert outer.live and inner.live
        assert not outer.live and inner.live
    with pytest.raises(millpond.UseAfterPutError):
        with outer:
            pass
    assert (pool.stats().puts, pool.stats().in_use) == (2, 0)


def test_the_block_returns_no_truth(pool: millpond.Pool) -> None:
    with pytest.raises(KeyError):
        with pool.get(10):
            raise KeyError
    with pytest.raises(KeyError):
        with pool.get(10) as lease:
            view = memoryview(lease)
            raise KeyError
    assert pool.stats().in_use == 1 and not lease.live
    view.release()
    assert pool.stats().in_use == 0


def test_another_thread_ends_it(pool: millpond.Pool) -> None:
    leaves = [pool.get(100).__exit__ for _ in range(100)]
    threads = [threading.Thread(target=lambda: [leave(None, None, None) for leave in leaves]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del leaves
    assert (pool.stats().puts, pool.stats().in_use, pool.stats().double_puts) == (100, 0, 0)


def test_the_stack_of_contextlib(pool: millpond.Pool) -> None:
    with contextlib.ExitStack() as stack:
        leases = [stack.enter_context(pool.get(10)) for _ in range(3)]
        leases[1].put()
        later = pool.get(10)
        stack.push(later)
        stack.callback(pool.get(10).__exit__, None, None, None)
        assert pool.stats().in_use == 4
    assert pool.stats().in_use == 0 and not later.live
    assert isinstance(later, contextlib.AbstractContextManager)
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(pool.get(10))
        stack.pop_all()
    assert kept.live
    kept.put()


def test_wrong_arguments_are_refused_as_ever(pool: millpond.Pool) -> None:
    lease: Any = pool.get(10)
    acts: list[Callable[[], object]] = [
        lambda: lease.__exit__(),
        lambda: lease.__exit__(None, None),
        lambda: lease.__exit__(None, None, None, None),
        lambda: lease.__exit__(None, None, traceback=None),
        lambda: lease.__exit__(*[None] * 3, **{"x": 1}),
        lambda: lease.__enter__(1),
        lambda: lease.__enter__(x=1),
        lambda: lease.__enter__(*[1]),
        lambda: Lease.__enter__(),
        lambda: Lease.__enter__(3),
        lambda: Lease.__exit__(lease),
        lambda: Lease.__dict__["__exit__"].__get__(3),
        lambda: Lease.__dict__["__exit__"](3, None, None, None),
    ]
    for act in acts:
        with pytest.raises(TypeError):
            act()
    assert lease.live
    assert lease.__exit__(*[None] * 3, **{}) is None
    assert pool.stats().in_use == 0


def test_through_the_class(pool: millpond.Pool) -> None:
    lease = pool.get(10)
    assert Lease.__enter__(lease) is lease
    assert Lease.__dict__["__enter__"](lease) is lease
    assert Lease.__dict__["__enter__"].__get__(None, Lease) is Lease.__enter__
    Lease.__exit__(lease, None, None, None)
    assert not lease.live and pool.stats().puts == 1

    class Other:
        enter = Lease.__dict__["__enter__"]

    with pytest.raises(TypeError, match="Lease"):
        Other().enter


def test_they_look_like_methods(pool: millpond.Pool) -> None:
    with pool.get(10) as lease:
        for name, signature in (("__enter__", "()"), ("__exit__", "(exc_type, exc_value, traceback, /)")):
            bound: Any = getattr(lease, name)
            assert callable(bound) and isinstance(bound, types.BuiltinMethodType) and inspect.isroutine(bound)
            assert (bound.__name__, bound.__qualname__, bound.__self__) == (name, f"Lease.{name}", lease)
            assert bound.__doc__ == getattr(Lease, name).__doc__ and "Raises" in str(bound.__doc__)
            assert str(inspect.signature(bound)) == signature
            assert repr(bound).startswith(f"<built-in method {name} of millpond.Lease object at")
            assert bound == getattr(lease, name) and hash(bound) == hash(getattr(lease, name))
            assert bound != getattr(lease, "release")
            assert copy.copy(bound) == bound
            assert "__self__" in dir(bound)
            assert pydoc.render_doc(bound)
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(bound)
            with pytest.raises(AttributeError, match="nothing"):
                getattr(bound, "nothing")
            with pytest.raises(AttributeError):
                bound.__doc__ = "x"
            with pytest.raises(TypeError):
                type(bound)()
            with pytest.raises(TypeError):
                object.__new__(type(bound))
            method = getattr(Lease, name)
            assert inspect.ismethoddescriptor(method) and method.__objclass__ is Lease
            assert repr(method) == f"<method '{name}' of 'millpond.Lease' objects>"
            del bound
    text = io.StringIO()
    pydoc.Helper(output=text).help(Lease)
    assert "__exit__(self, exc_type, exc_value, traceback, /)" in text.getvalue()
    assert "Puts the lease, unless it was put before." in text.getvalue()


def test_the_class_is_as_immutable_as_ever() -> None:
    for name in ("__enter__", "__exit__", "put", "new"):
        with pytest.raises(TypeError, match="immutable"):
            setattr(Lease, name, None)
    with pytest.raises(TypeError):
        type("Sub", (Lease,), {})


def test_memory_of_leases_is_used_again_with_stand_ins_about(pool: millpond.Pool) -> None:
    # More than the free list holds, so that memory is freed and allocated anew with its stand-ins.
    for _ in range(3):
        leaves: list[Any] = [pool.get(8).__exit__ for _ in range(500)]
        gc.collect()
        for leave in leaves[::2]:
            leave(None, None, None)
        for leave in leaves:
            assert leave.__self__.live == (leave in leaves[1::2])
        for leave in leaves[1::2]:
            leave(None, None, None)
        del leaves, leave
    assert (pool.stats().puts, pool.stats().in_use, pool.stats().leaked) == (1500, 0, 0)
