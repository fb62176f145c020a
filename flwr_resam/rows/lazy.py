"""The geometry of rows that are measured when a rule asks, and only for what it asks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry
from .lengths import squared_lengths
from .measure import measure
from .source import Matrix


class OfRows(Geometry):
    """The geometry of the rows of a source.

    Each answer is computed in one way, whatever was asked before it.
    """

    def __init__(self, source: Matrix) -> None:
        self._source = source

    @property
    def n(self) -> int:
        """The number of rows, at no cost."""
        return self._source.n

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """The table: O(n^2 d)."""
        return measure(self._source).gram

    @cached_property
    def squared_norms(self) -> NDArray[np.float64]:
        """``||x_i||**2``: O(n d)."""
        return squared_lengths(self._source)

    def squared_distances_to(self, row: int) -> NDArray[np.float64]:
        """``||x_i - x_row||**2``: O(n d)."""
        return squared_lengths(self._source, row)

    def mix(self, mixing: NDArray[np.float64]) -> Geometry:
        """The geometry of ``mixing @ rows``, measured when asked."""
        return OfMixed(self, mixing)


class OfMixed(Geometry):
    """The geometry of ``mixing @ rows``, from that of the rows."""

    def __init__(self, base: Geometry, mixing: NDArray[np.float64]) -> None:
        self._base, self._mixing = base, mixing

    @property
    def n(self) -> int:
        """The number of mixed rows, at no cost."""
        return len(self._mixing)

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """The table, from that of the rows."""
        return Geometry(self._base.gram).mix(self._mixing).gram

    @cached_property
    def squared_norms(self) -> NDArray[np.float64]:
        """Without the table where rows are scaled only."""
        mixing = self._mixing
        if mixing.shape[0] == mixing.shape[1]:
            factors = np.diagonal(mixing)
            if np.count_nonzero(mixing) == np.count_nonzero(factors):
                return np.asarray(factors * factors * self._base.squared_norms)
        return np.asarray(super().squared_norms)

    def mix(self, mixing: NDArray[np.float64]) -> Geometry:
        """The geometry of ``mixing @ rows``, measured when asked."""
        return OfMixed(self, mixing)
