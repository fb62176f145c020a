"""In each coordinate, the mean of the values nearest a centre: what three rules share."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from ..updates import Array


def mean_of_nearest(ordered: Array, centre: Array, k: int) -> Array:
    """Mean of the k values of each column that are nearest to that column's centre.

    Parameters
    ----------
    ordered : (n, width) float64
        Columns in ascending order, in which the k nearest lie side by side.
    centre : (width,) float64
        Within the range of each column.
    k : int
        1 <= k <= n.

    Returns
    -------
    (width,) float64
        Of two values equally far on both sides the lower one is taken, so that the result
        does not depend on the order of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> mean_of_nearest(np.array([[0.0], [4.0], [5.0], [9.0]]), np.array([4.5]), 3)
    array([3.])
    """
    xp = array_namespace(ordered)
    n = ordered.shape[0]
    if k == n:
        return xp.mean(ordered, axis=0)
    # The window of k values moves up by one as long as the value that enters is nearer than
    # the one that leaves. Differences of values this large only need their order.
    limit = 1e307
    tame = xp.clip(ordered, -limit, limit)
    middle = xp.clip(centre, -limit, limit)
    leaves, enters = tame[: n - k, :], tame[k:, :]
    first = xp.sum(xp.astype(enters - middle < middle - leaves, xp.int64), axis=0)
    rank = xp.reshape(xp.arange(n, device=device(ordered)), (n, 1))
    inside = (rank >= first) & (rank < first + k)
    return xp.sum(xp.where(inside, ordered, xp.zeros_like(ordered)), axis=0) / k


def middle_of(ordered: Array) -> Array:
    """The median of columns in ascending order; for even n the mean of the middle two."""
    n = ordered.shape[0]
    return array_namespace(ordered).mean(ordered[(n - 1) // 2 : n // 2 + 1, :], axis=0)
