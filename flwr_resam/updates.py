"""The n rows of one round, seen block by block: a pass that measures and a pass that combines.

Nothing here builds the (n, d) matrix a second time: rows are read where they lie, in blocks of
columns that fit in the cache, so the memory above the rows is one block and one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array
from numpy.typing import NDArray

from .errors import requirement
from .geometry import Geometry, measure
from .in_range import in_range

Array: TypeAlias = Any
"""An array of any library that follows the Python array API standard."""

_BLOCK_BYTES = 1 << 20  # of float64 values; about half of one core's second-level cache


class Row(Protocol):
    """One worker's update as the strategy holds it: parts of message bytes, never copied."""

    size: int
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write the coordinates ``start:stop`` into ``out``, converted to its dtype."""


class Updates:
    """The updates of one round, n rows of d coordinates.

    Parameters
    ----------
    rows : (n, d) array or sequence of Row
        An array of NumPy, torch or another array-API library, or the rows of a round as
        the strategy reads them from messages. Not modified.
    mixing : (n', n) float64 array, optional
        Row weights put in front: the instance then stands for ``mixing @ rows``, computed
        block by block. Where a row of ``mixing`` does not sum to one, the rest of its
        weight lies on the origin, so plain scaling is a mixing too.

    Raises
    ------
    ValueError, TypeError
        If the input is not 2-d, not numeric, has no row or holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> updates = Updates(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> updates.n, updates.d
    (2, 2)
    >>> updates.combine(np.array([0.5, 0.5]))
    array([1., 2.])
    """

    _shrink: NDArray[np.float64] | None = None

    def __init__(
        self, rows: Array | Sequence[Row], *, mixing: NDArray[np.float64] | None = None
    ) -> None:
        self._source: _Matrix | _Rows = (
            _Rows(rows)
            if isinstance(rows, list | tuple) and rows and hasattr(rows[0], "read")
            else _Matrix(rows)
        )
        self._mixing = mixing
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
        """Return the rows ``mixing @ self`` without computing them; the geometry comes along."""
        mixed = object.__new__(Updates)
        mixed._source = self._source
        mixed._mixing = mixing if self._mixing is None else mixing @ self._mixing
        mixed._geometry = self.geometry().mix(mixing)
        mixed._shrink = self._shrink
        return mixed

    def geometry(self) -> Geometry:
        """Measure the rows: inner products, hence norms and distances (one pass, kept).

        Float64 rows more than 1e278 times as far out as the majority are taken to be that far
        out, here and in what is combined afterwards.
        """
        if self._geometry is None:
            self._geometry, self._shrink = measure(self._source)
            if self._mixing is not None:
                self._geometry = self._geometry.mix(self._mixing)
        return self._geometry

    def combine(self, weights: NDArray[np.float64]) -> Array:
        """Return the vector ``weights @ rows``, shape (d,), in the rows' dtype and library."""
        weights = weights if self._mixing is None else weights @ self._mixing
        weights = weights if self._shrink is None else weights * self._shrink
        chosen = np.flatnonzero(weights)
        source = self._source

        def weigh(block: Array) -> Array:
            return source.matmul(weights[chosen], block)

        return source.map_blocks(weigh if source.single else in_range(weigh), chosen)

    def map_coordinates(self, rule: Callable[[Array], Array], *, scales: bool = True) -> Array:
        """Apply ``rule``, an (n, width) block to its (width,) result, to every column.

        ``scales`` says that a multiple of a column gives that multiple of its result, which
        lets columns be scaled whose sums would leave the range of float64.
        """
        source, mixing = self._source, self._mixing
        if mixing is not None and self._shrink is not None:
            mixing = mixing * self._shrink

        def mixed(block: Array) -> Array:
            return rule(block if mixing is None else source.matmul(mixing, block))

        return source.map_blocks(mixed if source.single or not scales else in_range(mixed))


class _Matrix:
    """Blocks of an (n, d) array of any array-API library, cast to float64 a block at a time."""

    def __init__(self, rows: Array) -> None:
        self._matrix = _as_matrix(rows)
        self._xp = array_namespace(self._matrix)
        self._like = {} if is_numpy_array(self._matrix) else {"device": self._matrix.device}
        self.n, self.d = (int(size) for size in self._matrix.shape)
        self.single = self._xp.finfo(self._matrix.dtype).bits <= 32
        self._out = self._xp.float32 if self.single else self._xp.float64
        self._refuse_non_finite()

    def blocks(self, chosen: NDArray[np.intp] | None = None) -> Iterator[tuple[int, int, Array]]:
        """Yield (start, stop, float64 block) over the columns of all or of the chosen rows."""
        height = self.n if chosen is None else len(chosen)
        width = _width(height)
        for start in range(0, self.d, width):
            stop = min(start + width, self.d)
            yield start, stop, self._read(start, stop, chosen)

    def sample(self, count: int) -> Array:
        """At most ``count`` columns in 16 runs from the first to the last, float64."""
        if self.d <= count:
            return self._read(0, self.d)
        run = count // 16
        starts = [(self.d - run) * i // 15 for i in range(16)]
        return self._xp.concat([self._read(start, start + run) for start in starts], axis=1)

    def _read(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Array:
        xp, matrix = self._xp, self._matrix
        if chosen is not None and len(chosen) < self.n:
            block = xp.stack([matrix[int(i), start:stop] for i in chosen])
        else:
            block = matrix[:, start:stop]
        return xp.astype(block, xp.float64, copy=False)

    def matmul(self, weights: NDArray[np.float64], block: Array) -> Array:
        """``weights @ block`` in float64, where the block lies."""
        return self._xp.matmul(self._xp.asarray(weights, **self._like), block)

    def scale(self, block: Array, factors: NDArray[np.float64]) -> Array:
        """Multiply each row of a block by its factor."""
        return block * self._xp.asarray(factors[:, None], **self._like)

    def map_blocks(
        self, function: Callable[[Array], Array], chosen: NDArray[np.intp] | None = None
    ) -> Array:
        """Apply ``function``, a block to its (width,) result, over all columns."""
        out = self._xp.zeros(self.d, dtype=self._out, **self._like)
        if chosen is None or len(chosen):
            for start, stop, block in self.blocks(chosen):
                out[start:stop] = self._xp.astype(function(block), self._out)
        return out

    @staticmethod
    def to_numpy(array: Array) -> NDArray[np.float64]:
        """Bring a small array to the host."""
        return np.asarray(array.cpu() if hasattr(array, "cpu") else array, dtype=np.float64)

    def _refuse_non_finite(self) -> None:
        xp = self._xp
        bad = np.zeros(self.n, dtype=bool)
        width = _width(self.n)
        for start in range(0, self.d, width):
            finite = xp.isfinite(self._matrix[:, start : start + width])
            if not bool(xp.all(finite)):
                bad |= ~self.to_numpy(xp.all(finite, axis=1)).astype(bool)
        if bad.any():
            raise requirement(
                "updates", "be finite",
                f"a NaN or an infinity in row {np.flatnonzero(bad)[0]}"
                + (f" and {bad.sum() - 1} more" if bad.sum() > 1 else ""),
                "Leave such rows out: their senders are faulty",
            )


class _Rows(_Matrix):
    """Blocks of rows that lie in separate messages: each block is read into one buffer.

    The rows come through the strategy's gate, which has refused what is not finite.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._xp = array_namespace(np.empty(0))
        self._like = {}
        self.n, self.d = len(rows), rows[0].size
        self._out = np.result_type(np.float32, *(row.dtype for row in rows))
        self.single = self._out == np.float32

    def blocks(
        self, chosen: NDArray[np.intp] | None = None
    ) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """Yield (start, stop, float64 block); the block is overwritten by the next one."""
        rows = self._rows if chosen is None else [self._rows[i] for i in chosen]
        width = _width(len(rows))
        buffer = np.empty((len(rows), min(width, self.d)))
        for start in range(0, self.d, width):
            stop = min(start + width, self.d)
            block = buffer[:, : stop - start]
            for row, out in zip(rows, block, strict=True):
                row.read(start, stop, out)
            yield start, stop, block

    def _read(
        self, start: int, stop: int, chosen: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        rows = self._rows if chosen is None else [self._rows[i] for i in chosen]
        block = np.empty((len(rows), stop - start))
        for row, out in zip(rows, block, strict=True):
            row.read(start, stop, out)
        return block


def _width(height: int) -> int:
    """How many columns a block has."""
    return max(256, _BLOCK_BYTES // (8 * max(1, height)))


def _as_matrix(rows: Array) -> Array:
    """Return the rows as a 2-d floating-point array, or say what is wrong with them."""
    if not is_array_api_obj(rows):
        try:
            rows = np.asarray(rows)
        except ValueError as error:
            raise requirement(
                "updates", "be n rows of one length", f"rows of several lengths ({error})",
                "Give every worker's update the same number of coordinates",
            ) from error
    rows = rows.detach() if hasattr(rows, "detach") else rows
    xp = array_namespace(rows)
    if rows.ndim != 2:
        raise requirement(
            "updates", "be a 2-d array, one row a worker", f"{rows.ndim} dimension(s)",
            "Stack the flattened updates: np.stack(list_of_vectors)",
        )
    if rows.shape[0] == 0:
        raise requirement("updates", "have at least one row", "no row", "Give n >= 1 updates")
    if (is_numpy_array(rows) and rows.dtype == object) or not xp.isdtype(rows.dtype, "numeric"):
        raise requirement(
            "updates", "hold real numbers", f"dtype {rows.dtype}",
            "Convert with np.asarray(updates, dtype=np.float32)", error=TypeError,
        )
    if xp.isdtype(rows.dtype, "complex floating"):
        raise requirement(
            "updates", "hold real numbers", f"dtype {rows.dtype}",
            "Stack real and imaginary parts as coordinates", error=TypeError,
        )
    return rows if xp.isdtype(rows.dtype, "real floating") else xp.astype(rows, xp.float64)
