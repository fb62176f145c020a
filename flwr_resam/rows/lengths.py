"""How far all rows lie from one point: O(n d), and the same bits however it is computed.

Squares are added up in runs of a fixed number of columns, halves upon halves, and the runs in
their order. Each step is one addition an element, so that no processor, compiler or number of
threads has a say in the order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import LARGEST
from .jit import compiled, flat_rows, kernels_for
from .mixing import Mixing, weigh
from .source import Matrix

Array: TypeAlias = Any

RUN = 2048  # columns; a power of two
_ROWS = 32  # whose differences stay in a core's cache


def squared_lengths(
    source: Matrix, weights: NDArray[np.float64], mixing: Mixing | None = None
) -> NDArray[np.float64]:
    """``||y_i - sum_j w_j y_j||**2`` for the rows y, mixed or as they lie: one pass.

    Parameters
    ----------
    source : Matrix
    weights : (n',) float64
        Of the mixed rows where there is a mixing; all zero for the norms.
    mixing : Mixing, optional

    Returns
    -------
    (n',) float64 array
    """
    chosen = np.flatnonzero(weights)
    factors = None if mixing is None else mixing.factors

    def squares(start: int, stop: int, block: Array) -> NDArray[np.float64]:  # noqa: ARG001
        with np.errstate(over="ignore", invalid="ignore"):  # what is out of range is found below
            scale = factors
            if mixing is not None and factors is None:
                block = mixing.rows(block)
            point = None
            if chosen.size:
                # A factor is within the range of a row's; the point's weights are of mixed rows.
                own = weights[chosen] if scale is None else weights[chosen] * scale[chosen]
                point = weigh(own, block, chosen)
            return source.to_numpy(_runs(block, scale, point))

    # Finite norms say that all float32 values are; of float64 that they are in range.
    shown = mixing is None and (source.single or not chosen.size)
    if not shown:
        source.check()
    height = source.n if mixing is None else mixing.height
    total = np.zeros(height)
    for found in source.blocks(squares, None, RUN, calls=not compiled()):
        for run in found:
            total += run
    source.check(seen=shown and float(total.max(initial=0.0)) <= LARGEST**2)
    return total


def _runs(block: Array, factors: NDArray[np.float64] | None, point: Array | None) -> Array:
    """The sum of ``(factor_i x_i - v)**2`` over each run of columns, (runs, height).

    Without factors they are 1, and without a point v it is 0.
    """
    height, width = block.shape
    if (kernels := kernels_for(block, double=True)) is not None:
        out = np.empty((-(-width // RUN), height))
        factors = np.ones(height) if factors is None else factors
        point = np.zeros(width) if point is None else point
        kernels.squared_lengths(*flat_rows(block), factors, point, out)
        return out
    xp = array_namespace(block)
    scale = None if factors is None else xp.asarray(factors, device=block.device)[:, None]

    def squares(rows: slice, columns: slice) -> Array:
        values = xp.astype(block[rows, columns], xp.float64)
        if scale is not None:
            values *= scale[rows]
        if point is not None:
            values -= point[None, columns]
        values *= values
        return _folded(values)

    return xp.stack([
        xp.concat([
            squares(slice(i, i + _ROWS), slice(start, start + RUN))
            for i in range(0, height, _ROWS)
        ])
        for start in range(0, width, RUN)
    ])


def _folded(values: Array) -> Array:
    """The sum of each row of at most `RUN` columns, the second half added to the first."""
    half = RUN // 2
    width = values.shape[1]
    while half:
        if width > half:
            values[:, : width - half] += values[:, half:width]
            width = half
        half //= 2
    return values[:, 0]
