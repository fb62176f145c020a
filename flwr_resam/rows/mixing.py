"""Weighted sums of rows, each added up in row order: one result on every processor.

What an array library's matrix product gives depends, in the last digits, on how many numbers the
processor adds at a time. Products and sums taken element by element have one result each.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from .jit import flat_rows, kernels_for

Array: TypeAlias = Any

_COLUMNS = 1 << 15  # of which a product and a sum stay in a core's cache
_NARROW = 1 << 10  # columns below which calls cost more than what they compute
_LIGHT = 2  # entries for each row, up to which single rows are added


class Mixing:
    """An (n', n) matrix in front of the rows, and the sums that it stands for.

    Parameters
    ----------
    matrix : (n', n) float64

    Examples
    --------
    >>> pairs = Mixing(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]))
    >>> pairs.is_light, pairs.rows(np.array([[1.0], [2.0], [4.0]])).tolist()
    (True, [[1.5], [8.0]])
    """

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self.matrix = matrix
        self.height, self.width = matrix.shape

    @cached_property
    def is_light(self) -> bool:
        """Whether all rows together take O(n) single rows: scaled rows, means of buckets."""
        return bool(np.count_nonzero(self.matrix) <= _LIGHT * self.width)

    def then(self, stage: NDArray[np.float64], *, ordered: bool) -> Mixing:
        """``stage @ self``: what a further stage makes of the mixed rows."""
        after = Mixing(stage)
        in_order = ordered or after.is_light
        return Mixing(after.rows(self.matrix) if in_order else stage @ self.matrix)

    @cached_property
    def enlarges(self) -> bool:
        """Whether a mixed row can be longer than the longest row."""
        return bool((np.abs(self.matrix).sum(axis=1) > 1.0 + 1e-9).any())

    @cached_property
    def factors(self) -> NDArray[np.float64] | None:
        """The diagonal where there is nothing beside it, else None."""
        if self.height != self.width:
            return None
        diagonal = np.diagonal(self.matrix)
        alone = np.count_nonzero(self.matrix) == np.count_nonzero(diagonal)
        return diagonal.copy() if alone else None  # a view can't be written to

    @cached_property
    def _entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Where each mixed row's entries begin, the rows that they weigh, and the weights."""
        into, places = np.nonzero(self.matrix)
        starts = np.searchsorted(into, np.arange(self.height + 1))
        return starts.astype(np.intp), places, self.matrix[into, places]

    def rows(self, block: Array) -> Array:
        """The (n', width) float64 mixed rows of an (n, width) block; NumPy's in row order."""
        starts, places, values = self._entries
        if (kernels := kernels_for(block)) is not None:
            out = np.empty((self.height, block.shape[1]))
            kernels.mix(*flat_rows(block), self.width, starts, places, values, out)
            return out
        if not is_numpy_array(block):
            xp = array_namespace(block)
            wide = xp.astype(block, xp.float64, copy=False)
            if self.factors is not None:
                return wide * xp.asarray(self.factors, device=block.device)[:, None]
            return xp.matmul(xp.asarray(self.matrix, device=block.device), wide)
        return np.stack([
            weigh(values[first:end], block, places[first:end])
            for first, end in pairwise(starts)
        ])


def weigh(
    weights: NDArray[np.float64], block: Array, places: NDArray[np.intp] | None = None
) -> Array:
    """``sum_i w_i x_i`` of a block's rows, in float64 and, of NumPy's, in row order.

    Parameters
    ----------
    weights : (k,) float64
    block : (n, width) array
    places : (k,) int, optional
        Which rows; all n if left out.

    Returns
    -------
    (width,) float64 array

    Examples
    --------
    >>> weigh(np.array([0.5, 0.25]), np.array([[2.0, 4.0], [4.0, 8.0]]))
    array([2., 4.])
    """
    if places is None and (kernels := kernels_for(block)) is not None:
        out = np.empty(block.shape[1])
        kernels.weighted_sum(weights, *flat_rows(block), out)
        return out
    width = block.shape[1]
    if not is_numpy_array(block):
        xp = array_namespace(block)
        every = np.zeros(block.shape[0])
        every[slice(None) if places is None else places] = weights
        wide = xp.astype(block, xp.float64, copy=False)
        return xp.matmul(xp.asarray(every, device=block.device), wide)
    rows = range(len(weights)) if places is None else places
    if width <= _NARROW and len(weights):
        chosen = block if places is None else block[places]
        # A prefix sum has an order, which a sum has not; and 0.0 is no -0.0.
        return np.add.accumulate(weights[:, None] * chosen, axis=0)[-1] + 0.0
    total = np.zeros(width)
    term = np.empty(min(_COLUMNS, width))
    for start in range(0, width, _COLUMNS):
        part = total[start : start + _COLUMNS]
        for weight, row in zip(weights, rows, strict=True):
            piece = block[row, start : start + _COLUMNS]
            np.multiply(piece, weight, out=term[: len(part)], dtype=np.float64)
            part += term[: len(part)]
    return total
