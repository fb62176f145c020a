"""The n rows of one round, seen block by block: a pass that measures and a pass that combines.

Nothing here builds the (n, d) matrix a second time: rows are read where they lie, in blocks of
columns that fit in the cache, so the memory above the rows is one block and one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import requirement
from .geometry import Geometry
from .jit import flat_rows, kernels_for
from .measure import measure
from .source import Array, Matrix, Row, Rows, WithVector

__all__ = ["Array", "Row", "Updates"]


class Updates:
    """The updates of one round, n rows of d coordinates.

    Parameters
    ----------
    rows : (n, d) array, sequence of Row, or Matrix
        An array of NumPy, torch or another array-API library, the rows of a round as
        the strategy reads them from messages, or a source of blocks. Not modified.

    Raises
    ------
    ValueError, TypeError
        If the input is not 2-d, not numeric, has no row or holds a NaN, an infinity or, in
        float64, a number beyond 1e140.

    Examples
    --------
    >>> import numpy as np
    >>> updates = Updates(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> updates.n, updates.d
    (2, 2)
    >>> updates.combine(np.array([0.5, 0.5]))
    array([1., 2.])
    """

    def __init__(self, rows: Array | Sequence[Row] | Matrix) -> None:
        self._source = _source_of(rows)
        self._mixing: NDArray[np.float64] | None = None  # in front of the source's rows
        self._geometry: Geometry | None = None

    @property
    def n(self) -> int:
        """The number of rows, after mixing."""
        return self._source.n if self._mixing is None else len(self._mixing)

    @property
    def d(self) -> int:
        """The number of coordinates."""
        return self._source.d

    def mix(self, mixing: NDArray[np.float64]) -> Updates:
        """Return the rows ``mixing @ self`` without computing them; the geometry comes along.

        Where a row of the (n', n) float64 ``mixing`` does not sum to one, the rest of its
        weight lies on the origin, so plain scaling is a mixing too.
        """
        mixed = Updates(self._source)
        mixed._mixing = mixing if self._mixing is None else mixing @ self._mixing
        mixed._geometry = self.geometry().mix(mixing)
        return mixed

    def with_vector(self, vector: Array) -> Updates:
        """Return these rows and, after them, one vector as a further row.

        Parameters
        ----------
        vector : (d,) array
            Of any library; it is moved to where the rows lie.

        Examples
        --------
        >>> joined = Updates(np.array([[1.0, 2.0], [3.0, 4.0]])).with_vector(np.array([10.0, 0.0]))
        >>> joined.n, joined.combine(np.array([0.0, 1.0, 1.0]))
        (3, array([13.,  4.]))
        """
        if tuple(vector.shape) != (self.d,):
            raise requirement(
                "state", "come from rounds of the same model",
                f"a vector of shape {tuple(vector.shape)} for {self.d} coordinates",
                "Begin anew with `start`",
            )
        joined = Updates(WithVector(self._source, vector))
        if self._mixing is None:
            return joined
        height, width = self._mixing.shape
        mixing = np.zeros((height + 1, width + 1))
        mixing[:height, :width] = self._mixing
        mixing[height, width] = 1.0
        return joined.mix(mixing)

    def geometry(self) -> Geometry:
        """Measure the rows: inner products, hence norms and distances (one pass, kept)."""
        if self._geometry is None:
            self._geometry = measure(self._source)
        return self._geometry

    def combine(self, weights: NDArray[np.float64]) -> Array:
        """Return the vector ``weights @ rows``, shape (d,), in the rows' dtype and library."""
        weights = weights if self._mixing is None else weights @ self._mixing
        chosen = np.flatnonzero(weights)
        source = self._source

        def weigh(block: Array) -> Array:
            return _product(source, weights[chosen], block)

        return source.map_blocks(weigh, chosen)

    def visit(self, function: Callable[[int, int, Array], None]) -> None:
        """Call ``function(start, stop, block)`` with the rows of each block of columns."""
        source, mixing = self._source, self._mixing

        def call(start: int, stop: int, block: Array) -> None:
            rows = block if mixing is None else _rounded(source, mixing, block)
            function(start, stop, rows)

        for _ in source.blocks(call):
            pass

    def zeros(self, height: int) -> Array:
        """A (height, d) array of zeros where the rows lie, of their dtype."""
        source = self._source
        return source.xp.zeros((height, self.d), dtype=source.dtype, **source.like)

    def map_coordinates(self, rule: Callable[[Array], Array]) -> Array:
        """Apply ``rule``, an (n, width) block to its (width,) result, to every column."""
        source, mixing = self._source, self._mixing

        def mixed(block: Array) -> Array:
            return rule(block if mixing is None else _rounded(source, mixing, block))

        return source.map_blocks(mixed)


def _source_of(rows: Array | Sequence[Row] | Matrix) -> Matrix:
    if isinstance(rows, Matrix):
        return rows
    if isinstance(rows, list | tuple) and rows and hasattr(rows[0], "read"):
        return Rows(rows)
    return Matrix(rows)


def _product(source: Matrix, weights: NDArray[np.float64], block: Array) -> Array:
    """``weights @ block`` in float64, where the block lies."""
    if weights.ndim == 1 and (kernels := kernels_for(block)) is not None:
        out = np.empty(block.shape[1])
        kernels.weighted_sum(weights, *flat_rows(block), out)
        return out
    xp = array_namespace(block)
    return xp.matmul(source.asarray(weights), xp.astype(block, xp.float64, copy=False))


def _rounded(source: Matrix, mixing: NDArray[np.float64], block: Array) -> Array:
    """``mixing @ block``, computed in float64, in the dtype of the rows."""
    mixed = _product(source, mixing, block)
    if source.single and (np.abs(mixing).sum(axis=1) > 1.0 + 1e-9).any():
        limit = source.xp.finfo(source.dtype).max
        mixed = source.xp.clip(mixed, -limit, limit)
    return source.xp.astype(mixed, source.dtype, copy=False)
