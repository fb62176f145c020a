"""How n rows lie to each other: the n x n table of inner products that weight rules decide on.

The table is taken about a centre among the majority, in float64. Two things go wrong otherwise:
||x||^2 + ||y||^2 - 2<x, y> about the origin loses every digit when rows lie close together and
far out, and the mean as the centre is wherever one giant row wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from .blocks import Array, Matrix
from .gram import about, inner_products
from .order import lower_median

_SAMPLE_COLUMNS = 2048
_GOOD_ENOUGH = 64.0  # how much farther from its majority the centre may lie than the best row
_FARTHEST = 2.0**465  # a difference in units of `unit` whose square still adds up in float64
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Geometry:
    """Inner products of n rows and the origin about a centre, in units of ``unit``.

    Attributes
    ----------
    gram : (n + 1, n + 1) float64
        ``<p_i - c, p_j - c> / unit**2`` for the rows p_0 .. p_{n-1}, the origin p_n and the
        centre c. Rules that only compare need not know the unit.
    unit : float
        The length that counts as one. It is 1 unless float64 rows differ by so much or so
        little that squares would leave the range of float64.
    """

    gram: NDArray[np.float64]
    unit: float = 1.0

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.gram) - 1

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """The (n, n) part of ``gram`` that belongs to the rows."""
        return self.gram[:-1, :-1]

    @cached_property
    def _squared(self) -> NDArray[np.float64]:
        return np.maximum(_squared_distances(self.gram), 0.0)

    @property
    def squared_distances(self) -> NDArray[np.float64]:
        """``||x_i - x_j||**2``, shape (n, n), in units of ``unit**2``."""
        return self._squared[:-1, :-1]

    @property
    def squared_norms(self) -> NDArray[np.float64]:
        """``||x_i||**2``, shape (n,), in units of ``unit**2``."""
        return self._squared[:-1, -1]

    def mix(self, mixing: NDArray[np.float64]) -> Geometry:
        """The geometry of ``mixing @ rows``: M G M^T, with the weight that is left on the origin.

        Mixed rows lie closer together than the rows they come from, so the table is taken
        about a mixed row of the majority: M less that row's weights on both sides of G.

        Parameters
        ----------
        mixing : (n', n) float64
        """
        height = len(mixing)
        affine = np.zeros((height + 1, self.n + 1))
        affine[:height, :-1] = mixing
        affine[:height, -1] = 1.0 - mixing.sum(axis=1)
        affine[height, -1] = 1.0
        # Rows that sum to one must not feel the rounding of their own sum through a far origin.
        affine[:height, -1][np.abs(affine[:height, -1]) < 1e-12] = 0.0
        rough = _squared_distances(affine @ self.gram @ affine.T)[:-1, :-1]
        affine -= affine[int(np.argmin(_majority_reach(rough)))]
        return Geometry(_symmetric(affine @ self.gram @ affine.T), self.unit)


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
    row = int(np.argmin(_majority_reach(_squared_distances(sampled))))
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
    reach = _majority_reach(np.maximum(_squared_distances(gram), noise))
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
    return _symmetric(total)


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


def _symmetric(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * gram + 0.5 * gram.T)


def _squared_distances(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    diagonal = np.diagonal(gram)
    with np.errstate(all="ignore"):
        squared = diagonal[:, None] + diagonal[None, :] - 2.0 * gram
    np.fill_diagonal(squared, 0.0)
    return np.asarray(squared)


def _majority_reach(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared radius around each row that holds more than half of the rows, itself included."""
    return np.asarray(np.sort(squared, axis=1)[:, len(squared) // 2])
