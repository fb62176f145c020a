"""The pass over the rows that fills their geometry: in float64, about a centre among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from .geometry import Geometry, majority_reach, squared_distances, symmetric
from .jit import flat_rows, kernels_for
from .order import lower_median
from .source import Array, Matrix

_SAMPLE_COLUMNS = 2048
_GOOD_ENOUGH = 64.0  # how much farther from its majority the centre may lie than the best row
_FARTHEST = 2.0**465  # a difference in units of `unit` whose square still adds up in float64
_LARGEST = float(np.finfo(np.float64).max)


def measure(source: Matrix) -> tuple[Geometry, NDArray[np.float64] | None]:
    """Measure the rows of ``source``: one pass, and a second where the first guess was bad.

    Returns the geometry and, where float64 rows lie too far out for it, the factor by which
    each row has to be shrunk to be the one that was measured.

    The first pass is about a row, chosen on a sample of the columns. It is kept when no row
    turns out to lie far closer to its majority. Else the second pass is about the
    coordinate-wise median, which no minority can move out of the range of the others.
    Byzantine rows can cost that pass so, never a digit of the honest differences. Only for
    float64 rows that need a ``unit`` there is a pass more, which finds it.
    """
    sample = source.sample(_SAMPLE_COLUMNS)
    sampled = _inner_products(source, sample, _middle(sample), 1.0)[:-1, :-1]
    row = int(np.argmin(majority_reach(squared_distances(sampled))))
    gram = _gram_about(source, lambda block: block[row : row + 1, :], 1.0)
    if _is_resolved(gram, row, source.single):
        return Geometry(gram), None
    unit, shrink = (1.0, None) if source.single else _unit(source)
    return Geometry(_gram_about(source, _middle, unit, shrink), unit), shrink


def _is_resolved(gram: NDArray[np.float64], centre: int, single: bool) -> bool:
    """Whether the table about this row holds every digit that matters of the majority."""
    if not np.abs(gram).max() < 1e280:  # or NaN: squares have left the range, or are about to
        return False
    gram = gram[:-1, :-1]
    # What is left of a difference of large numbers is noise; here it counts as that much.
    diagonal = np.diagonal(gram)
    noise = 1e-13 * (diagonal[:, None] + diagonal[None, :])
    np.fill_diagonal(noise, 0.0)
    reach = majority_reach(np.maximum(squared_distances(gram), noise))
    if not single and reach.min() < 1e-270:  # squares may have vanished
        return False
    return bool(reach[centre] <= _GOOD_ENOUGH**2 * reach.min())


def _unit(source: Matrix) -> tuple[float, NDArray[np.float64] | None]:
    """A power of two such that the majority's differences have squares, and the largest too.

    Differences are taken about the coordinate-wise median, the origin's among them. Rows more
    than 2**925 (1e278) times as far as the majority have no room and are to be shrunk so far;
    only rows that no honest one resembles are.
    """
    largest = np.zeros(source.n + 1)

    def reach(start: int, stop: int, block: Array) -> NDArray[np.float64]:  # noqa: ARG001
        with np.errstate(all="ignore"):
            points = about(block, _middle(block))
            return np.asarray(source.to_numpy(abs(points)).max(axis=1))

    for found in source.blocks(reach):
        largest = np.maximum(largest, found)
    largest = np.minimum(largest, _LARGEST)
    ordered = np.sort(largest[:-1])
    majority = ordered[source.n // 2 :]
    majority = majority[majority > 0]
    if not len(majority):  # all rows are the same: only the origin has a distance
        majority = largest[-1:]
    if majority[0] == 0.0:
        return 1.0, None
    exponent = int(np.floor(np.log2(majority[0])))
    if np.log2(largest.max()) - exponent > 460:
        exponent += 460
    exponent = min(max(exponent, -1000), 1000)
    excess = np.log2(np.maximum(largest[:-1], 2.0**-1000)) - (exponent + 464)
    shrink = 2.0 ** -np.ceil(np.maximum(excess, 0.0))
    return 2.0**exponent, shrink if (excess > 0).any() else None


def _gram_about(
    source: Matrix,
    centre: Callable[[Any], Any],
    unit: float,
    shrink: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    def products(start: int, stop: int, block: Array) -> NDArray[np.float64]:  # noqa: ARG001
        if shrink is not None:
            block = block * source.asarray(shrink[:, None])
        return _inner_products(source, block, centre(block), unit)

    total = np.zeros((source.n + 1, source.n + 1))
    with np.errstate(all="ignore"):  # what leaves the range is seen in the table
        for found in source.blocks(products):
            total += found
    return symmetric(total)


def _inner_products(
    source: Matrix, block: Array, centre: Array, unit: float
) -> NDArray[np.float64]:
    xp = array_namespace(block)
    with np.errstate(all="ignore"):
        if unit == 1.0:
            return source.to_numpy(inner_products(block, centre))
        if unit > 2.0**900:  # the differences themselves could overflow
            block, centre, unit = block * 2.0**-64, centre * 2.0**-64, unit * 2.0**-64
        limit = min(_FARTHEST * unit, _LARGEST)
        points = xp.clip(about(block, centre), -limit, limit) / unit
        return source.to_numpy(points @ points.T)


def _middle(block: Array) -> Array:
    """The lower median of every column, shape (1, width)."""
    return lower_median(block)[None, :]


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
