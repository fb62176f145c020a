"""The linear algebra of rules that solve equations: of BLAS and LAPACK, or in one order everywhere.

What a library adds up in the order that suits a processor has other last digits on another. In
order, every step is one operation an element, or a running sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rows.exact import ordered_product

_FEW = 64  # rows that are decomposed by eigenvectors, which need no care with dependent ones
_SPAN = 1e-4  # how far a row must lie from the span of others, of its length
_RANK = 1e-14  # of a table of n unit vectors, times n: what is below is rounding

Vector = NDArray[np.float64]
Table = NDArray[np.float64]


class Arithmetic:
    """As NumPy and its libraries do it."""

    def times(self, left: Any, right: Any) -> Any:
        """``left @ right``, of vectors and matrices."""
        return left @ right

    def total(self, values: Vector) -> float:
        """The sum of a vector."""
        return float(np.sum(values))

    def columns(self, values: Table) -> Vector:
        """The sum of each column."""
        return np.asarray(values.sum(axis=0))

    def rows(self, values: Table) -> Vector:
        """The sum of each row."""
        return np.asarray(values.sum(axis=1))

    def length(self, vector: Vector) -> float:
        """The Euclidean norm of a vector."""
        return float(np.linalg.norm(vector))

    def lengths(self, rows: Table) -> Vector:
        """The Euclidean norm of each row."""
        return np.asarray(np.linalg.norm(rows, axis=1))

    def solve(self, matrix: Table, right: Vector) -> Vector:
        """The least solution of a small symmetric system, which may be singular."""
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-15)[0])

    def points(self, scaled: Table) -> Table:
        """Points with these inner products; each is of length one, or zero."""
        if len(scaled) > _FEW and (found := _triangular(scaled)) is not None:
            return found
        values, vectors = np.linalg.eigh(scaled)
        large = values > _RANK * len(scaled) * max(values[-1], 0.0)
        if not large.any():
            return np.zeros((len(scaled), 1))
        return np.asarray(vectors[:, large] * np.sqrt(values[large]))


class InOrder(Arithmetic):
    """The same to the last digits but some, and the same bits on every processor."""

    def times(self, left: Any, right: Any) -> Any:
        """``left @ right``, added up from the first to the last."""
        if left.ndim == 1:
            products = left * right if right.ndim == 1 else left[:, None] * right
            return np.cumsum(products, axis=0)[-1]
        if right.ndim == 1:
            return np.cumsum(left * right, axis=1)[:, -1]
        return ordered_product(left, right)

    def total(self, values: Vector) -> float:
        """The sum, from the first to the last."""
        return float(np.cumsum(values)[-1])

    def columns(self, values: Table) -> Vector:
        """The sum of each column, from the first row to the last."""
        return np.asarray(np.cumsum(values, axis=0)[-1])

    def rows(self, values: Table) -> Vector:
        """The sum of each row, from the first column to the last."""
        return np.asarray(np.cumsum(values, axis=1)[:, -1])

    def length(self, vector: Vector) -> float:
        """The root of the sum of squares."""
        return float(np.sqrt(self.total(vector * vector)))

    def lengths(self, rows: Table) -> Vector:
        """The root of the sum of squares of each row."""
        return np.asarray(np.sqrt(self.rows(rows * rows)))

    def solve(self, matrix: Table, right: Vector) -> Vector:
        """By Gauss, with the largest pivot; what no equation says is 0."""
        size = len(right)
        rest, order = np.column_stack([matrix, right]), np.arange(size)
        tiny = 1e-15 * float(np.abs(matrix).max())
        rank = 0
        while rank < size:
            sizes = np.abs(rest[rank:, rank:size])
            row, column = divmod(int(np.argmax(sizes)), size - rank)
            if sizes[row, column] <= tiny:
                break
            row, column = row + rank, column + rank
            rest[[rank, row]] = rest[[row, rank]]
            rest[:, [rank, column]] = rest[:, [column, rank]]
            order[[rank, column]] = order[[column, rank]]
            factors = rest[rank + 1 :, rank] / rest[rank, rank]
            rest[rank + 1 :] -= factors[:, None] * rest[rank]
            rank += 1
        found = np.zeros(size)
        for index in range(rank - 1, -1, -1):
            later = slice(index + 1, rank)
            known = self.total(np.append(0.0, rest[index, later] * found[later]))
            found[index] = (rest[index, size] - known) / rest[index, index]
        solution = np.zeros(size)
        solution[order] = found
        return solution

    def points(self, scaled: Table) -> Table:
        """By Cholesky, the row that lies farthest from the span of those before it next."""
        rest = scaled.copy()
        columns = []
        for _ in range(len(scaled)):
            left = np.diagonal(rest)
            pivot = int(np.argmax(left))
            if left[pivot] <= _RANK * len(scaled):
                break
            column = rest[:, pivot] / np.sqrt(left[pivot])
            columns.append(column)
            rest -= column[:, None] * column[None, :]
            rest[pivot] = rest[:, pivot] = 0.0
        return np.column_stack(columns) if columns else np.zeros((len(scaled), 1))


def _triangular(scaled: Table) -> Table | None:
    """Points by Cholesky's decomposition, where no row lies in the span of those before it."""
    zero = np.flatnonzero(np.diagonal(scaled) == 0.0)
    scaled = scaled.copy()
    scaled[zero, zero] = 1.0  # a dimension of its own, in which it is put back to zero
    try:
        points = np.asarray(np.linalg.cholesky(scaled), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    if np.diagonal(points).min() < _SPAN:
        return None
    points[zero, zero] = 0.0
    return points
