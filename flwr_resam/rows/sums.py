"""Sums over rows: mean and deviation of each coordinate, and how far rows lie from a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import flat_rows, kernels_for
from .source import Row
from .threads import in_order, threads_for

_COLUMNS = 1 << 13  # of a few rows: what float64 differences of them leave in a core's cache
_CHUNK = 1 << 16


def mean_and_deviation(block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and the sample standard deviation (n - 1 in the denominator) of each column.

    Deviations are taken from the mean, so that rows which lie close together far from the origin
    lose no digits.

    Parameters
    ----------
    block : (n, width) array of float32 or float64
        At least two rows.

    Returns
    -------
    (width,) float64 arrays

    Examples
    --------
    >>> mean_and_deviation(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1.41421356, 0.        ]))
    """
    n, width = block.shape
    if (kernels := kernels_for(block, double=True)) is not None:
        mean, deviation = np.empty(width), np.empty(width)
        kernels.moments(*flat_rows(block), n, mean, deviation)
        return mean, deviation
    mean, squares = np.empty(width), np.empty(width)
    for start in range(0, width, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        mean[part] = block[:, part].mean(axis=0, dtype=np.float64)
        far = block[:, part] - mean[part]
        far *= far
        squares[part] = far.sum(axis=0)
    return mean, np.sqrt(squares / (n - 1))


def distances(rows: Sequence[Row], vector: NDArray[Any]) -> NDArray[np.float64]:
    """``||x_i - v||``, in float64.

    Parameters
    ----------
    rows : sequence of n Row
        Of the length of ``vector``, in range.
    vector : (d,) array
        Float32 or float64, in range.

    Returns
    -------
    (n,) float64 array
        In O(n d) time and a chunk of memory for each thread.
    """
    dtype = np.result_type(vector.dtype, *(row.dtype for row in rows), np.float32)

    def squared(row: Row) -> float:
        total, buffer = 0.0, np.empty(min(_CHUNK, vector.size), dtype)
        for start in range(0, vector.size, _CHUNK):
            centre = vector[start : start + _CHUNK]
            part = buffer[: len(centre)]
            row.read(start, start + len(centre), part)
            if (kernels := kernels_for(part[None])) is not None:
                total += kernels.squared_distance(part, centre)
                continue
            far = part - centre.astype(np.float64)
            total += float(far @ far)
        return total

    squares = list(in_order(squared, rows, threads_for(len(rows) * vector.size)))
    return np.asarray(np.sqrt(squares))
