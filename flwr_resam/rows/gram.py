"""Inner products of the rows of one block and the origin, about a centre, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from .compiled import flat_rows, kernels_for


def inner_products(block: Any, centre: Any) -> Any:
    """``<p_i - c, p_j - c>`` of the n rows and the origin, the last point.

    Parameters
    ----------
    block : (n, width) array
    centre : (1, width) array

    Returns
    -------
    (n + 1, n + 1) float64 array
    """
    if (kernels := kernels_for(block, double=True)) is not None:
        count = len(block) + 1
        table = np.empty((kernels.padded(count), kernels.padded(count)))
        line, step = flat_rows(block)
        middle = np.ascontiguousarray(centre[0])
        kernels.inner_products(line, step, len(block), middle, table)
        lower = np.tril(table[:count, :count])
        return lower + np.tril(lower, -1).T
    points = about(block, centre)
    return points @ points.T


def about(block: Any, centre: Any) -> Any:
    """The rows and the origin, seen from the centre, in float64."""
    xp = array_namespace(block)
    centre = xp.astype(centre, xp.float64)
    if not is_numpy_array(block):
        return xp.concat([xp.astype(block, xp.float64) - centre, -centre], axis=0)
    points = np.empty((len(block) + 1, block.shape[1]))
    points[:-1] = block
    points[:-1] -= centre
    np.negative(centre, out=points[-1:])
    return points
