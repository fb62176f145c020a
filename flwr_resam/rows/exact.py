"""Inner products without rounding, so that the order of additions does not matter.

Each row is cut, for a run of 2,048 columns, to two integers of 21 bits and a sign for a
coordinate, with one exponent for the run. A product has 42 bits then, the sum of a run 53, and
float64 holds that: whatever adds them up, BLAS on any processor, gives the same bits.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from .lengths import RUN

Array: TypeAlias = Any

_BITS = 21
_SHIFT = 2.0 ** -(_BITS + 1)  # from the first integer to the second: what rint leaves is a half
_LEAST = -900  # exponents below are rounded up to it: squares of such numbers vanish


def exact_products(points: Array) -> NDArray[np.float64]:
    """``<p_i, p_j>`` of the rows of a (m, width) float64 array, to 2^-43 of each row's largest.

    Equal rows have equal products.

    Examples
    --------
    >>> exact_products(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([[25.,  3.],
           [ 3.,  1.]])
    """
    height, width = points.shape
    total = np.zeros((height, height))
    for start in range(0, width, RUN):
        total += _of_a_run(points[:, start : start + RUN])
    return total


def _of_a_run(points: Array) -> NDArray[np.float64]:
    xp = array_namespace(points)
    height = points.shape[0]
    largest = _host(xp.max(xp.abs(points), axis=1))
    exponent = np.maximum(np.frexp(largest)[1], _LEAST)
    scale = xp.asarray(np.ldexp(1.0, _BITS - exponent), device=points.device)
    pieces = xp.empty((2 * height, points.shape[1]), dtype=xp.float64, device=points.device)
    first, second = pieces[:height, :], pieces[height:, :]
    second[...] = points * scale[:, None]  # by a power of two: exact
    first[...] = xp.round(second)
    second -= first  # at most a half, exact
    second *= 1.0 / _SHIFT
    second[...] = xp.round(second)
    products = _host(pieces @ pieces.T)
    high, low = products[:height, :height], products[height:, height:]
    across = products[:height, height:]
    found = (low * _SHIFT + (across + across.T)) * _SHIFT + high
    back = np.ldexp(1.0, exponent - _BITS)
    return np.asarray(found * back[:, None] * back[None, :])


def _host(array: Array) -> NDArray[np.float64]:
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array, dtype=np.float64)


def ordered_product(
    left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``left @ right``, added up in the order of what is summed over.

    Examples
    --------
    >>> ordered_product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    total = np.zeros((len(left), right.shape[1]))
    for column, row in zip(left.T, right, strict=True):
        total += column[:, None] * row[None, :]
    return total
