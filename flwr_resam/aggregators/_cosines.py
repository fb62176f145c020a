"""Angles between rows about the origin, from their geometry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry, strips

_ROUNDING = 16.0 * np.finfo(np.float64).eps
_ROUNDING_OF_PIECES = 2.0**-39  # of reproducible products, which have 43 bits


def cosine_distances(geometry: Geometry) -> NDArray[np.float64]:
    """``1 - <x_i, x_j> / (||x_i|| ||x_j||)``, shape (n, n), between 0 and 2.

    Of rows of about one length by
    ``(||x_i - x_j||^2 - (||x_i|| - ||x_j||)^2) / (2 ||x_i|| ||x_j||)``, which keeps the digits of
    rows that lie close together far from the origin; of others by the inner product. What is
    less than its rounding is 0. A row of zeros is at 1 from the others.

    Examples
    --------
    >>> from flwr_resam.rows.updates import Updates
    >>> rows = np.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    >>> cosine_distances(Updates(rows).geometry())[0]
    array([0., 0., 1., 2., 1.])
    """
    squared, gram, n = geometry.squared_distances, geometry.gram, geometry.n
    rounding = _ROUNDING_OF_PIECES if geometry.reproducible else _ROUNDING
    norms = np.sqrt(geometry.squared_norms)
    found = np.ones_like(squared)
    for rows in strips(n):
        some = norms[rows, None]
        product, longer = some * norms[None, :], np.maximum(some, norms[None, :])
        difference = np.abs(some - norms[None, :])
        apart = squared[rows] - difference**2
        apart[apart <= rounding * (squared[rows] + np.sqrt(squared[rows]) * longer)] = 0.0
        there = product > 0.0
        near = there & (difference <= 0.5 * longer)
        far = there & ~near
        inner = gram[:n][rows, :n] - gram[:n][rows, n:] - gram[n:, :n] + gram[n, n]
        of_rows = found[rows]
        of_rows[near] = apart[near] / (2.0 * product[near])
        of_rows[far] = 1.0 - inner[far] / product[far]
        of_rows[far & (of_rows <= 4.0 * rounding)] = 0.0
    np.fill_diagonal(found, 0.0)
    return np.minimum(found, 2.0, out=found)
