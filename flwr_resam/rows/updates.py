"""The n rows of one round, seen block by block: a pass that measures and a pass that combines.

Nothing here builds the (n, d) matrix a second time: rows are read where they lie, in blocks of
columns that fit in the cache, so the memory above the rows is one block and one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import requirement
from .jit import compiled
from .lengths import RUN
from .measure import Measured
from .mixing import Mixing, weigh
from .shaped import shaped
from .source import Array, Matrix, Row, Rows, WithVector

__all__ = ["Array", "Row", "Updates"]


class Updates:
    """The updates of one round, n rows of d coordinates.

    Parameters
    ----------
    rows : (n, d) array, sequence of Row, or Matrix
        An array of NumPy, torch or another array-API library, the rows of a round as
        the strategy reads them from messages, or a source of blocks. Not modified.
    reproducible : bool (default: False)
        Take every sum over coordinates and rows in such a way that all processors give the same
        bits, on NumPy's arrays. Inner products are then to 2^-43 of a row's largest value in 2,048
        columns, and a table of them takes several times as long.

    Raises
    ------
    ValueError, TypeError
        If the input is not 2-d, not numeric or has no row; and, once the rows are read, if they
        hold a NaN, an infinity or, in float64, a number beyond 1e140.

    Examples
    --------
    >>> import numpy as np
    >>> updates = Updates(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> updates.n, updates.d
    (2, 2)
    >>> updates.combine(np.array([0.5, 0.5]))
    array([1., 2.])
    """

    def __init__(
        self, rows: Array | Sequence[Row] | Matrix, *, reproducible: bool = False
    ) -> None:
        self._source = _source_of(rows)
        if reproducible:
            self._source = copy(self._source)  # a Matrix of the caller's stays as it is
            self._source.reproducible = True
        self._mixing: Mixing | None = None  # in front of the source's rows
        self._geometry: Measured | None = None

    @property
    def n(self) -> int:
        """The number of rows, after mixing."""
        return self._source.n if self._mixing is None else self._mixing.height

    @property
    def d(self) -> int:
        """The number of coordinates."""
        return self._source.d

    def mix(self, mixing: NDArray[np.float64]) -> Updates:
        """Return the rows ``mixing @ self`` without computing them, nor what a table would cost.

        Where a row of the (n', n) float64 ``mixing`` does not sum to one, the rest of its
        weight lies on the origin, so plain scaling is a mixing too.
        """
        mixing = shaped(
            "mixing", mixing, (len(mixing), self.n), cure="Give each mixed row n weights"
        ).astype(np.float64, copy=False)
        mixed = Updates(self._source)
        mixed._mixing = Mixing(mixing) if self._mixing is None else self._mixing.then(
            mixing, ordered=self._source.reproducible
        )
        mixed._geometry = self.geometry().mixed(mixing, mixed._mixing)
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
        height, width = self._mixing.matrix.shape
        mixing = np.zeros((height + 1, width + 1))
        mixing[:height, :width] = self._mixing.matrix
        mixing[height, width] = 1.0
        return joined.mix(mixing)

    def geometry(self) -> Measured:
        """How the rows lie to each other: measured when it is asked for, and kept.

        Norms and distances to one point take O(n d), the table O(n^2 d), and n nothing.
        """
        if self._geometry is None:
            self._geometry = Measured(self._source)
        return self._geometry

    def combine(self, weights: NDArray[np.float64]) -> Array:
        """Return the vector ``weights @ rows``, shape (d,), in the rows' dtype and library."""
        weights = shaped(
            "weights", weights, (self.n,), cure="Give one weight a row"
        ).astype(np.float64, copy=False)
        mixing = self._mixing
        weights = weights if mixing is None else weigh(weights, mixing.matrix)
        chosen = np.flatnonzero(weights)
        # A sum of float32 rows that is finite says that all of them are.
        source, whole = self._source, self._source.single and len(chosen) == self._source.n
        if not whole:
            source.check()

        def sum_of(block: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):  # of rows that are yet to be checked
                return weigh(weights[chosen], block)

        interpreted = not (source.single and compiled())
        vector = source.map_blocks(sum_of, chosen, RUN, calls=interpreted)
        if whole:
            source.check(seen=bool(source.xp.all(source.xp.isfinite(vector))))
        return vector

    def visit(self, function: Callable[[int, int, Array], None]) -> None:
        """Call ``function(start, stop, block)`` with the rows of each block of columns."""
        source, mixing = self._source, self._mixing

        def call(start: int, stop: int, block: Array) -> None:
            rows = block if mixing is None else _rounded(source, mixing, block)
            function(start, stop, rows)

        source.check()
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

        source.check()
        return source.map_blocks(mixed)


def _source_of(rows: Array | Sequence[Row] | Matrix) -> Matrix:
    if isinstance(rows, Matrix):
        return rows
    if isinstance(rows, list | tuple) and rows and hasattr(rows[0], "read"):
        return Rows(rows)
    return Matrix(rows)


def _rounded(source: Matrix, mixing: Mixing, block: Array) -> Array:
    """The mixed rows of a block, computed in float64, in the dtype of the rows."""
    if mixing.is_light or source.reproducible:
        mixed = mixing.rows(block)
    else:
        xp = array_namespace(block)
        wide = xp.astype(block, xp.float64, copy=False)
        mixed = xp.matmul(source.asarray(mixing.matrix), wide)
    if source.single and mixing.enlarges:
        limit = source.xp.finfo(source.dtype).max
        mixed = source.xp.clip(mixed, -limit, limit)
    return source.xp.astype(mixed, source.dtype, copy=False)
