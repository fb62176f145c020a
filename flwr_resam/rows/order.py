"""Order statistics of the columns of a block: what coordinate rules are made of.

Values are compared in the dtype of the block, which is exact, and summed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from .jit import flat_rows, kernels_for
from .network import comparator_table, order_rows

Array: TypeAlias = Any

_NARROW = 1024  # columns below which a sort costs less than the calls of a network
_TALL = 64  # rows above which sorting each column does
_NETWORK = 4096  # rows above which the list of a network's comparators costs more than it saves


def mean_between(block: Array, first: int, stop: int) -> Array:
    """The mean of the sorted values ``first .. stop - 1`` of each column.

    Parameters
    ----------
    block : (n, width) array
    first, stop : int
        0 <= first < stop <= n.

    Returns
    -------
    (width,) float64 array

    Examples
    --------
    >>> mean_between(np.array([[3.0, 5.0], [1.0, 7.0], [2.0, 0.0]]), 1, 3)
    array([2.5, 6. ])
    """
    if (kernels := _network_for(block)) is not None:
        out = np.empty(block.shape[1])
        table = comparator_table(len(block), tuple(range(first, stop)))
        line, step = flat_rows(block)
        kernels.mean_between(line.view(np.int32), step, len(block), table, first, stop, out)
        return out
    row = _ordered(block, range(first, stop))
    return _sum([row(rank) for rank in range(first, stop)]) / (stop - first)


def median(block: Array) -> Array:
    """The median of each column; for even n the mean of the middle two values.

    Examples
    --------
    >>> median(np.array([[3.0], [1.0], [2.0], [9.0]]))
    array([2.5])
    """
    return mean_between(block, *_middle(block.shape[0]))


def lower_median(block: Array) -> Array:
    """The median of each column, for even n the lower of the middle two: one of the values."""
    rank = (block.shape[0] - 1) // 2
    return mean_between(block, rank, rank + 1)


def mean_around_median(block: Array, k: int) -> Array:
    """The mean of the k values of each column that are nearest to its median.

    Of two values equally far on both sides the lower one is taken, so that the result does not
    depend on the order of the rows.

    Examples
    --------
    >>> mean_around_median(np.array([[0.0], [4.0], [5.0], [9.0]]), 3)
    array([3.])
    """
    return _mean_around(block, *_middle(block.shape[0]), k)


def mean_around_trimmed_mean(block: Array, trim: int, k: int) -> Array:
    """The mean of the k values of each column nearest to the mean without the ``trim`` extremes.

    Ties as in `mean_around_median`.

    Examples
    --------
    >>> mean_around_trimmed_mean(np.array([[1.0], [2.0], [6.0], [90.0]]), 1, 2)
    array([4.])
    """
    return _mean_around(block, trim, block.shape[0] - trim, k)


def _mean_around(block: Array, first: int, stop: int, k: int) -> Array:
    """The mean of the k values nearest to the mean of the ranks ``first .. stop - 1``."""
    n = block.shape[0]
    if (kernels := _network_for(block)) is not None:
        out = np.empty(block.shape[1])
        table = comparator_table(n, tuple(range(n)))
        line, step = flat_rows(block)
        kernels.mean_around(line.view(np.int32), step, n, table, first, stop, k, out)
        return out
    row = _ordered(block, range(n))
    centre = _sum([row(rank) for rank in range(first, stop)]) / (stop - first)
    return _mean_of_nearest(row, n, centre, k)


def _network_for(block: Array) -> Any:
    """The compiled loops, where there are some and the rows are not too many for them."""
    return kernels_for(block) if block.shape[0] <= _NETWORK else None


def _mean_of_nearest(row: Callable[[int], Array], n: int, centre: Array, k: int) -> Array:
    """The k nearest values lie side by side; start from the k lowest.

    As long as the value that would enter above is nearer than the one that would leave below,
    the window moves up by one: the value ``k + i`` takes the place of the value ``i``.
    """
    window = [row(rank) for rank in range(k)]
    for i in range(n - k):
        leaves, enters = row(i), row(k + i)
        moves = _enters(leaves, enters, centre)
        window[i % k] = array_namespace(centre).where(moves, enters, window[i % k])
    return _sum(window) / k


def _enters(leaves: Array, enters: Array, centre: Array) -> Array:
    """Whether the upper value is nearer to the centre than the lower one."""
    xp = array_namespace(centre)
    single = xp.finfo(leaves.dtype).bits <= 32
    leaves, enters = xp.astype(leaves, xp.float64), xp.astype(enters, xp.float64)
    if single:  # the sum loses nothing that counts, and is one pass less than two differences
        return leaves + enters < 2.0 * centre
    return enters - centre < centre - leaves


def _middle(n: int) -> tuple[int, int]:
    return (n - 1) // 2, n // 2 + 1


def _ordered(block: Array, wanted: range) -> Callable[[int], Array]:
    """A function from a wanted rank to the row of the values of this rank."""
    if is_numpy_array(block):
        n, width = block.shape
        if n <= _TALL and width >= _NARROW:
            return order_rows(block, tuple(wanted))
        if n > _TALL:
            columns = block.T.copy(order="C")  # a view of the rows it must not be: it is sorted
            columns.sort(axis=1)
            ordered = np.ascontiguousarray(columns.T)
        else:
            ordered = np.sort(block, axis=0)
        return ordered.__getitem__
    ordered = array_namespace(block).sort(block, axis=0)
    return lambda rank: ordered[rank, :]


def _sum(rows: list[Array]) -> Array:
    """The sum of rows in float64, in the order given."""
    xp = array_namespace(rows[0])
    total = xp.astype(rows[0], xp.float64)
    for row in rows[1:]:
        total += row
    return total
