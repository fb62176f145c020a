"""Norms of rows and distances to one of them: one pass, with the same bits on every machine.

Squares are added in 64 lanes over 1,024 columns, the lanes in order, then the pieces in order, by
additions that no compiler or BLAS may reorder.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from .jit import flat_rows, kernels_for
from .source import Array, Matrix

_PIECE = 1024
_LANES = 64
_ELEMENTS = 1 << 18


def squared_lengths(source: Matrix, row: int | None = None) -> NDArray[np.float64]:
    """``||x_i||**2``, or ``||x_i - x_row||**2`` where a row is given, in float64.

    Examples
    --------
    >>> squared_lengths(Matrix(np.array([[3.0, 4.0], [3.0, 5.0]])))
    array([25., 34.])
    >>> squared_lengths(Matrix(np.array([[3.0, 4.0], [3.0, 5.0]])), row=1)
    array([1., 0.])
    """

    def pieces(start: int, stop: int, block: Array) -> NDArray[np.float64]:  # noqa: ARG001
        if is_numpy_array(block):
            return _pieces(block, row)
        xp = array_namespace(block)
        far = xp.astype(block, xp.float64)
        far = far if row is None else far - far[row : row + 1, :]
        return source.to_numpy(xp.sum(far * far, axis=1))[None, :]

    total = np.zeros(source.n)
    width = _PIECE * max(1, _ELEMENTS // (_PIECE * source.n))
    for found in source.blocks(pieces, width=width):
        for part in found:
            total += part
    return total


def _pieces(block: NDArray[np.floating], row: int | None) -> NDArray[np.float64]:
    """The squared length of each row in each piece of a block, shape (pieces, n)."""
    n, width = block.shape
    out = np.empty((-(-width // _PIECE), n))
    if (kernels := kernels_for(block, double=True)) is not None:
        centre = np.zeros(width) if row is None else block[row].astype(np.float64)
        kernels.squared_lengths(*flat_rows(block), n, centre, out)
        return out
    for index, start in enumerate(range(0, width, _PIECE)):
        far = np.zeros((n, _PIECE))
        part = block[:, start : start + _PIECE]
        far[:, : part.shape[1]] = part
        if row is not None:
            far -= far[row].copy()
        far *= far
        lanes = far[:, :_LANES].copy()
        for first in range(_LANES, _PIECE, _LANES):
            lanes += far[:, first : first + _LANES]
        out[index] = np.add.accumulate(lanes, axis=1)[:, -1]  # one after the other
    return out
