"""The NumPy part of `Lease.array`, imported at its first use only."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond._millpond import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from millpond._millpond import Lease


def array(
    lease: Lease,
    dtype: npt.DTypeLike = "B",
    shape: int | Sequence[int] | None = None,
) -> npt.NDArray[Any]:
    """Makes the array that `Lease.array` returns.

    It is made over a memoryview and not over the lease, so that the lease counts it:
    numpy.frombuffer keeps the memoryview, and the memoryview keeps the export.

    Raises:
        InvalidArgumentError: The array does not fit, or dtype holds Python objects.
        TypeError: dtype or shape is of no use at all.
    """
    kind = np.dtype(dtype)
    if kind.hasobject or kind.itemsize == 0:
        raise InvalidArgumentError(f"dtype is {kind}; a lease holds items of a fixed size and no Python objects")
    if shape is None:
        sides: tuple[int, ...] = (len(lease) // kind.itemsize,)
    elif isinstance(shape, (tuple, list)):
        sides = tuple(operator.index(side) for side in shape)
    else:
        sides = (operator.index(shape),)  # type: ignore[arg-type]
    if any(side < 0 for side in sides):
        raise InvalidArgumentError(f"shape is {sides}; no side may be negative")
    count = math.prod(sides)
    if count * kind.itemsize > len(lease):
        raise InvalidArgumentError(
            f"shape {sides} of {kind} needs {count * kind.itemsize} bytes, but the lease has {len(lease)}"
        )
    if count == 0:
        return np.empty(sides, kind)
    return np.frombuffer(memoryview(lease), kind, count).reshape(sides)
