"""The mean and the standard deviation of each coordinate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import flat_rows, kernels_for

_COLUMNS = 1 << 13  # of a few rows: what float64 differences of them leave in a core's cache


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
