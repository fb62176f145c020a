"""How n rows lie to each other: the n x n table of inner products that weight rules decide on.

The table is taken about a reference point that is one of the rows, in float64. Two things go
wrong otherwise: ||x||^2 + ||y||^2 - 2<x, y> about the origin loses every digit when rows lie
close together and far out, and the mean as the centre is wherever one giant row wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

_SAMPLE_COLUMNS = 4096
_GOOD_ENOUGH = 64.0  # how much farther from its neighbours the reference may lie than the best
_PASSES = 6


class Blocks(Protocol):
    """What the measuring pass needs of its input."""

    n: int
    d: int
    single: bool

    def blocks(self) -> Iterator[tuple[int, int, Any]]:
        """Yield (start, stop, float64 block of all rows)."""

    @staticmethod
    def to_numpy(array: Any) -> NDArray[np.float64]:
        """Bring a small array to the host."""


@dataclass(frozen=True)
class Geometry:
    """Inner products of n rows and the origin about a reference row, in units of ``unit``.

    Attributes
    ----------
    gram : (n + 1, n + 1) float64
        ``<p_i - c, p_j - c> / unit**2`` for the rows p_0 .. p_{n-1}, the origin p_n and the
        reference c. Rules that only compare need not know the unit.
    unit : float
        The length that counts as one. It is 1 for float32 rows, whose squares fit in float64,
        and a power of two of the rows' own size for float64 rows, whose squares may not.
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
        diagonal = np.diagonal(self.gram)
        squared = diagonal[:, None] + diagonal[None, :] - 2.0 * self.gram
        np.fill_diagonal(squared, 0.0)
        return np.maximum(squared, 0.0)

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
        return Geometry(affine @ self.gram @ affine.T, self.unit)


def measure(source: Blocks) -> Geometry:
    """Measure the rows of ``source`` about a row in the middle of the majority.

    A first guess of the reference comes from a sample of the columns. A guess is kept when no
    other row turns out to lie far closer to its majority; else that row is the next guess.
    The Byzantine rows can cost a further pass so, never a digit of the honest differences.
    """
    n = source.n
    unit = _unit(source)
    reference = _central(_squared_distances(_sample_gram(source, unit)))
    gram = np.zeros((n + 1, n + 1))
    tried: set[int] = set()
    for _ in range(_PASSES):
        gram = _gram_about(source, reference, unit)
        tried.add(reference)
        squared = _squared_distances(gram[:n, :n])
        reach = _majority_reach(squared)
        best = int(np.argmin(reach))
        if best in tried or reach[reference] <= _GOOD_ENOUGH**2 * reach[best]:
            break
        reference = best
    return Geometry(gram, unit)


def _unit(source: Blocks) -> float:
    """A power of two near the median row's largest entry; 1 where squares can't overflow."""
    if source.single or source.d == 0:
        return 1.0
    largest = np.zeros(source.n)
    for _, _, block in source.blocks():
        top = source.to_numpy(abs(block)).max(axis=1) if block.shape[1] else 0.0
        largest = np.maximum(largest, top)
    if largest[largest > 0].min(initial=1.0) > 1e-100 and largest.max() < 1e100:
        return 1.0
    median = float(np.sort(largest)[(source.n - 1) // 2])
    return float(2.0 ** np.floor(np.log2(median))) if median > 0 else 1.0


def _sample_gram(source: Blocks, unit: float) -> NDArray[np.float64]:
    """Centred inner products over the first columns, enough to guess a reference from."""
    for _, _, block in source.blocks():
        sample = block[:, :_SAMPLE_COLUMNS]
        return source.to_numpy(_block_gram(sample, sample[:1, :], unit))[:-1, :-1]
    return np.zeros((source.n, source.n))


def _gram_about(source: Blocks, reference: int, unit: float) -> NDArray[np.float64]:
    n = source.n
    total: Any = np.zeros((n + 1, n + 1))
    for _, _, block in source.blocks():
        centre = block[reference : reference + 1, :]
        total = total + source.to_numpy(_block_gram(block, centre, unit))
    return np.asarray(total)


def _block_gram(block: Any, centre: Any, unit: float) -> Any:
    xp = array_namespace(block)
    if unit != 1.0:
        # Rows that are 1e140 times the median row count as that, so that squares stay finite.
        block = xp.clip(block, -1e140 * unit, 1e140 * unit) / unit
        centre = xp.clip(centre, -1e140 * unit, 1e140 * unit) / unit
    points = xp.concat([block - centre, -centre], axis=0)
    return xp.matmul(points, points.T)


def _squared_distances(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    diagonal = np.diagonal(gram)
    squared = diagonal[:, None] + diagonal[None, :] - 2.0 * gram
    # What is left of a difference of large numbers is noise below this; it counts as the noise.
    floor = 1e-13 * (diagonal[:, None] + diagonal[None, :])
    squared = np.maximum(squared, floor)
    np.fill_diagonal(squared, 0.0)
    return np.asarray(squared)


def _majority_reach(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared radius around each row that holds half of the rows, itself included."""
    return np.asarray(np.sort(squared, axis=1)[:, (len(squared)) // 2])


def _central(squared: NDArray[np.float64]) -> int:
    return int(np.argmin(_majority_reach(squared)))
