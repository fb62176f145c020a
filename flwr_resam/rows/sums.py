"""Sums over rows: mean and deviation of each coordinate, and how far rows lie from a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import flat_rows, kernels_for
from .source import Row
from .threads import in_order, threads_for

_LARGEST = float(np.finfo(np.float64).max)
_COLUMNS = 1 << 13  # of a few rows: what float64 differences of them leave in a core's cache


def mean_of(rows: NDArray[Any]) -> NDArray[np.float64]:
    """The mean of each column in float64, also where the sum of a column leaves its range.

    Parameters
    ----------
    rows : (n, width) array

    Returns
    -------
    (width,) float64 array

    Examples
    --------
    >>> mean_of(np.array([[1e308, 1.0], [1.5e308, 3.0]]))
    array([1.25e+308, 2.00e+000])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.asarray(rows.mean(axis=0, dtype=np.float64))
    columns, unit = _overflown(rows, mean)
    if len(columns):
        mean[columns] = (rows[:, columns] / unit).mean(axis=0) * unit
    return mean


def mean_and_deviation(block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and the sample standard deviation (n - 1 in the denominator) of each column.

    Deviations are taken from the mean, so that rows which lie close together far from the origin
    lose no digits. A deviation beyond float64 is given as its largest number.

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
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = _moments(block)
    columns, unit = _overflown(block, deviation)
    if len(columns):
        small, spread = _moments(block[:, columns] / unit)
        mean[columns] = small * unit
        with np.errstate(over="ignore"):
            deviation[columns] = np.minimum(spread * unit, _LARGEST)
    return mean, deviation


def _moments(block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n, width = block.shape
    mean, squares = np.empty(width), np.empty(width)
    for start in range(0, width, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        mean[part] = block[:, part].mean(axis=0, dtype=np.float64)
        far = block[:, part] - mean[part]
        far *= far
        squares[part] = far.sum(axis=0)
    return mean, np.sqrt(squares / (n - 1))


def _overflown(
    rows: NDArray[Any], found: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The columns of finite numbers for which no finite one was found; the largest in each."""
    columns = np.flatnonzero(~np.isfinite(found))
    largest = np.abs(rows[:, columns]).max(axis=0)
    finite = np.isfinite(largest)
    return columns[finite], largest[finite]


_CHUNK = 1 << 16


def distances(rows: Sequence[Row], vector: NDArray[Any]) -> NDArray[np.float64]:
    """``||x_i - v||``, of float64 values in units of the largest entry of v.

    Their squares are in the range of float64 then, or are taken to be at its end.

    Parameters
    ----------
    rows : sequence of n Row
        Of the length of ``vector``, finite.
    vector : (d,) array
        Float32 or float64, finite.

    Returns
    -------
    (n,) float64 array
        In O(n d) time and a chunk of memory for each thread.
    """
    dtype = np.result_type(vector.dtype, *(row.dtype for row in rows), np.float32)
    single = dtype == np.float32
    unit = max(float(vector.max(initial=1.0)), -float(vector.min(initial=-1.0)))

    def squared(row: Row) -> float:
        total, buffer = 0.0, np.empty(min(_CHUNK, vector.size), dtype)
        for start in range(0, vector.size, _CHUNK):
            centre = vector[start : start + _CHUNK]
            part = buffer[: len(centre)]
            row.read(start, start + len(centre), part)
            if (kernels := kernels_for(part[None])) is not None:
                total += kernels.squared_distance(part, centre)
                continue
            with np.errstate(over="ignore"):
                far = part - centre.astype(np.float64)
                far = far if single else np.clip(far / unit, -1e140, 1e140)
            total += float(far @ far)
        return total

    squares = list(in_order(squared, rows, threads_for(len(rows) * vector.size)))
    return np.asarray(np.sqrt(squares))
