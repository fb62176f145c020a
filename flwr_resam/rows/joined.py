"""Rows beside a vector that a rule remembers, measured together in one pass.

An inner product of a row with the last output, taken about the origin, loses every digit where
rows lie close together and far out. As one more row, the vector is measured about the same
reference as the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from .blocks import Matrix
from .updates import Array, Updates


class Joined(Updates):
    """The rows of ``updates`` and, after them, one vector as a further row.

    Parameters
    ----------
    updates : Updates
        n rows, mixed or not; read block by block as ever.
    vector : (d,) array
        Of any library; it is moved to where the rows lie.

    Examples
    --------
    >>> rows = Updates(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> joined = Joined(rows, np.array([10.0, 0.0]))
    >>> joined.n, joined.combine(np.array([0.0, 1.0, 1.0]))
    (3, array([13.,  4.]))
    """

    def __init__(self, updates: Updates, vector: Array) -> None:
        if tuple(vector.shape) != (updates.d,):
            raise requirement(
                "state", "come from rounds of the same model",
                f"a vector of shape {tuple(vector.shape)} for {updates.d} coordinates",
                "Begin anew with `start`",
            )
        self._source = _WithVector(updates._source, vector)
        self._mixing = None
        self._geometry = None
        if updates._mixing is not None:
            height, width = updates._mixing.shape
            self._mixing = np.zeros((height + 1, width + 1))
            self._mixing[:height, :width] = updates._mixing
            self._mixing[height, width] = 1.0
            plain = _unmixed(self._source)
            self._geometry = plain.geometry().mix(self._mixing)
            self._shrink = plain._shrink


class _WithVector(Matrix):
    """The blocks of a source, each with the same columns of the vector below."""

    def __init__(self, source: Matrix, vector: Array) -> None:
        self._base = source
        self.xp, self.like, self.dtype = source.xp, source.like, source.dtype
        self._vector = self.xp.asarray(vector, **self.like)
        self.n, self.d, self.single = source.n + 1, source.d, source.single

    def read(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Array:
        """The columns ``start:stop`` of all or of the chosen rows, the vector the last."""
        rows = None if chosen is None else chosen[chosen < self.n - 1]
        below = chosen is None or rows is None or len(rows) < len(chosen)
        parts = [] if rows is not None and not len(rows) else [self._base.read(start, stop, rows)]
        if below:
            parts.append(self._vector[None, start:stop])
        return self.xp.concat(parts, axis=0)


def _unmixed(source: Matrix) -> Updates:
    updates = object.__new__(Updates)
    updates._source = source
    updates._mixing = None
    updates._geometry = None
    return updates
