"""How n rows lie to each other: the n x n table of inner products that weight rules decide on.

The table is taken about a centre among the majority, in float64. Two things go wrong otherwise:
||x||^2 + ||y||^2 - 2<x, y> about the origin loses every digit when rows lie close together and
far out, and the mean as the centre is wherever one giant row wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .exact import ordered_product
from .threads import in_order, threads_for

_STRIP = 64  # rows of a table
_ROWS = 256  # of a product that a thread computes at a time


class Geometry:
    """Inner products of n rows and the origin about a centre.

    Rows within the range of `Updates` have squares far within float64. Float64 rows less than
    about 1e-150 apart do not: their distance may come out as 0, as that of equal rows does.

    Parameters
    ----------
    gram : (n + 1, n + 1) float64
        ``<p_i - c, p_j - c>`` for the rows p_0 .. p_{n-1}, the origin p_n and the centre c.

    Examples
    --------
    >>> geometry = Geometry(np.array([[0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 9.0]]))
    >>> geometry.n, geometry.squared_norms, geometry.squared_distances_to(np.array([0.5, 0.5]))
    (2, array([ 9., 13.]), array([1., 1.]))
    """

    reproducible = False
    """Whether what is computed of the table is added up in one order on every processor."""

    def __init__(self, gram: NDArray[np.float64], *, reproducible: bool = False) -> None:
        self._gram: NDArray[np.float64] | None = _fixed(gram.view())
        self.reproducible = reproducible

    @property
    def gram(self) -> NDArray[np.float64]:
        """``<p_i - c, p_j - c>`` for the rows, the origin and the centre, (n + 1, n + 1)."""
        if self._gram is None:
            self._gram = _fixed(self._table())
        return self._gram

    def _table(self) -> NDArray[np.float64]:
        raise NotImplementedError

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
        squared = squared_distances(self.gram)
        return _fixed(np.maximum(squared, 0.0, out=squared))

    @property
    def squared_distances(self) -> NDArray[np.float64]:
        """``||x_i - x_j||**2``, shape (n, n)."""
        return self._squared[:-1, :-1]

    @property
    def squared_norms(self) -> NDArray[np.float64]:
        """``||x_i||**2``, shape (n,)."""
        return self._squared[:-1, -1]

    def squared_distances_to(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``||x_i - sum_j w_j x_j||**2``, shape (n,).

        Parameters
        ----------
        weights : (n,) float64
        """
        point = np.append(weights, 1.0 - weights.sum())
        inner = np.zeros(self.n + 1)
        for index in np.flatnonzero(point):
            inner += point[index] * self.gram[index]
        squared = dot(point, inner) - 2.0 * inner + np.diagonal(self.gram)
        return np.maximum(squared, 0.0)[: self.n]

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
        times = ordered_product if self.reproducible else product
        rough = squared_distances(times(times(affine, self.gram), affine.T))[:-1, :-1]
        affine -= affine[int(np.argmin(majority_reach(rough)))]
        gram = symmetric(times(times(affine, self.gram), affine.T))
        return Geometry(gram, reproducible=self.reproducible)


def _fixed(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table that is kept for the next rule too, so that nobody may write to it."""
    table.setflags(write=False)
    return table


def product(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """``left @ right`` of two matrices, large ones by threads with some rows each.

    Examples
    --------
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    out = np.empty((left.shape[0], right.shape[1]))

    def rows_from(start: int) -> None:
        np.matmul(left[start : start + _ROWS], right, out=out[start : start + _ROWS])

    for _ in in_order(rows_from, range(0, len(left), _ROWS), threads_for(left.size)):
        pass
    return out


def dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """``<left, right>``, added up in an order that no processor changes."""
    return float(np.cumsum(left * right)[-1])


def strips(height: int) -> Iterator[slice]:
    """The rows of a table, a few at a time: what is computed of a strip stays in the cache."""
    for start in range(0, height, _STRIP):
        yield slice(start, start + _STRIP)


def symmetric(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table with both triangles equal to the bit: the mean of the two, in place."""
    for rows in strips(len(gram)):
        mean = 0.5 * gram[rows, rows.start :] + 0.5 * gram[rows.start :, rows].T
        gram[rows, rows.start :] = mean
        gram[rows.start :, rows] = mean.T
    return gram


def squared_distances(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """``||p_i - p_j||**2`` from the inner products; rounding may leave it below zero."""
    diagonal = np.diagonal(gram)
    squared = np.add.outer(diagonal, diagonal)
    for rows in strips(len(gram)):
        squared[rows] -= 2.0 * gram[rows]
    np.fill_diagonal(squared, 0.0)
    return np.asarray(squared)


def majority_reach(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared radius around each row that holds more than half of the rows, itself included."""
    middle = len(squared) // 2
    return np.concatenate([
        np.partition(squared[rows], middle, axis=1)[:, middle] for rows in strips(len(squared))
    ])


def clip_factors(lengths: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """``min(1, limit / length)`` for each length.

    Examples
    --------
    >>> clip_factors(np.array([0.0, 1.0, 4.0]), 2.0)
    array([1. , 1. , 0.5])
    """
    factors = np.ones(len(lengths))
    longer = lengths > limit
    factors[longer] = limit / lengths[longer]
    return factors
