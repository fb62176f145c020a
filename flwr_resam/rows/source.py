"""Where the n rows lie, and how they are read: block by block, in their own dtype."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array
from numpy.typing import NDArray

from ..errors import IN_RANGE, LARGEST, NOT_FINITE, requirement
from .jit import compiled
from .threads import MANY, cores, in_order

Array: TypeAlias = Any
"""An array of any library that follows the Python array API standard."""

_ELEMENTS = 1 << 17  # of a block; in float64 about what one core's second-level cache holds
_COMPILED = 1 << 20  # the same for compiled loops, and what a thread takes at a time
_INTERPRETED = 1 << 19  # the same where each row is a call of NumPy's, which is to be worth it

Result = TypeVar("Result")


class Row(Protocol):
    """One worker's update as the strategy holds it: parts of message bytes, never copied."""

    size: int
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write the coordinates ``start:stop`` into ``out``, converted to its dtype."""


class Matrix:
    """Blocks of an (n, d) array of any array-API library.

    Attributes
    ----------
    n, d : int
        Rows and coordinates.
    single : bool
        Whether the values are float32 or less.
    dtype : dtype
        Of blocks and results: float32 or float64.
    xp, like
        The library, and where new arrays go.
    reproducible : bool
        Whether every sum is to have the same bits on every processor.
    """

    reproducible = False

    def __init__(self, rows: Array) -> None:
        self._matrix = _as_matrix(rows)
        self.xp = array_namespace(self._matrix)
        self.like = {} if is_numpy_array(self._matrix) else {"device": self._matrix.device}
        self.n, self.d = (int(size) for size in self._matrix.shape)
        self.single = self.xp.finfo(self._matrix.dtype).bits <= 32
        self.dtype = self.xp.float32 if self.single else self.xp.float64
        self._checked = False

    def check(self, *, seen: bool = False) -> None:
        """Raise for a NaN, an infinity or a float64 number beyond the range: one pass, once.

        ``seen`` says that some other pass has shown all values to be in range.
        """
        if not self._checked:
            if not seen:
                self._refuse_out_of_range()
            self._checked = True

    def read(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Array:
        """The columns ``start:stop`` of all or of the chosen rows; not to be written to."""
        xp, matrix = self.xp, self._matrix
        if chosen is not None and len(chosen) < self.n:
            block = xp.stack([matrix[int(i), start:stop] for i in chosen])
        else:
            block = matrix[:, start:stop]
            if is_numpy_array(block):
                block.flags.writeable = False  # a view of the caller's own rows
        return xp.astype(block, self.dtype, copy=False)

    def blocks(
        self,
        visit: Callable[[int, int, Array], Result],
        chosen: NDArray[np.intp] | None = None,
        run: int = 1,
        *,
        calls: bool = False,
    ) -> Iterator[Result]:
        """Yield ``visit(start, stop, block)`` over the columns: one pass, in order.

        NumPy blocks are visited by several threads; by one where a visit is many short ``calls``
        of NumPy, which wait for each other. Each block but the last has a multiple of ``run``
        columns.
        """
        height = self.n if chosen is None else len(chosen)
        many = not self.like and height * self.d >= MANY and not calls
        # Compiled loops go through a block in tiles of their own. What is to be the same bits
        # without them is added up in the same blocks.
        tiled = many and self.single and not self.reproducible and compiled()
        elements = _COMPILED if tiled else _ELEMENTS
        elements = _INTERPRETED if calls and not self.like else elements
        width = -(-max(256, elements // max(1, height)) // run) * run
        piece = max(1, _COMPILED // max(1, width * height)) * width  # what a thread takes

        def at(first: int) -> list[Result]:
            results = []
            for start in range(first, min(first + piece, self.d), width):
                stop = min(start + width, self.d)
                results.append(visit(start, stop, self.read(start, stop, chosen)))
            return results

        for results in in_order(at, range(0, self.d, piece), cores() if many else 1):
            yield from results

    def map_blocks(
        self,
        function: Callable[[Array], Array],
        chosen: NDArray[np.intp] | None = None,
        run: int = 1,
        *,
        calls: bool = False,
    ) -> Array:
        """Apply ``function``, a block to its (width,) result, over all columns."""
        out = self.xp.zeros(self.d, dtype=self.dtype, **self.like)

        def write(start: int, stop: int, block: Array) -> None:
            out[start:stop] = self.xp.astype(function(block), self.dtype, copy=False)

        if chosen is None or len(chosen):
            for _ in self.blocks(write, chosen, run, calls=calls):
                pass
        return out

    def sample(self, count: int) -> Array:
        """At most ``count`` columns in 16 runs from the first to the last."""
        if self.d <= count:
            return self.read(0, self.d)
        run = count // 16
        starts = [(self.d - run) * i // 15 for i in range(16)]
        return self.xp.concat([self.read(start, start + run) for start in starts], axis=1)

    def asarray(self, values: NDArray[np.float64]) -> Array:
        """A small array, brought to where the rows lie."""
        return self.xp.asarray(values, **self.like)

    @staticmethod
    def to_numpy(array: Array) -> NDArray[np.float64]:
        """Bring a small array to the host."""
        return np.asarray(array.cpu() if hasattr(array, "cpu") else array, dtype=np.float64)

    def _refuse_out_of_range(self) -> None:
        """Raise for a NaN, an infinity or a float64 number beyond the range: one pass."""
        xp, top = self.xp, np.zeros(self.n)

        def visit(start: int, stop: int, block: Array) -> NDArray[Any] | None:  # noqa: ARG001
            good = xp.isfinite(block) if self.single else xp.abs(block) <= LARGEST
            return None if bool(xp.all(good)) else self.to_numpy(xp.max(xp.abs(block), axis=1))

        for largest in self.blocks(visit):
            if largest is not None:
                top = np.maximum(top, largest)  # a NaN stays one
        bad = np.flatnonzero(~(top <= LARGEST))
        if len(bad):
            found = f"{top[bad[0]]:.3g}" if np.isfinite(top[bad[0]]) else NOT_FINITE
            raise requirement(
                "updates", IN_RANGE,
                f"{found} in row {bad[0]}" + (f" and {len(bad) - 1} more" * (len(bad) > 1)),
                "Leave such rows out: their senders are faulty",
            )


class Rows(Matrix):
    """Blocks of rows that lie in separate messages, each block read into a buffer.

    The rows come through the strategy's gate, which has refused what is out of range.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.xp = array_namespace(np.empty(0))
        self.like = {}
        self.n, self.d = len(rows), rows[0].size
        self.dtype = np.result_type(np.float32, *(row.dtype for row in rows))
        self.single = self.dtype == np.float32
        self._checked = True

    def read(
        self, start: int, stop: int, chosen: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """The columns ``start:stop`` of all or of the chosen rows."""
        rows = self._rows if chosen is None else [self._rows[i] for i in chosen]
        block = np.empty((len(rows), stop - start), self.dtype)
        for row, out in zip(rows, block, strict=True):
            row.read(start, stop, out)
        return block


class WithVector(Matrix):
    """The blocks of a source, each with the same columns of a (d,) vector below."""

    def __init__(self, source: Matrix, vector: Array) -> None:
        self._base = source
        self.xp, self.like, self.dtype = source.xp, source.like, source.dtype
        self.reproducible = source.reproducible
        self._vector = self.xp.asarray(vector, **self.like)
        self.n, self.d, self.single = source.n + 1, source.d, source.single

    def check(self, *, seen: bool = False) -> None:
        """Check the rows; the vector is the library's own."""
        self._base.check(seen=seen)

    def read(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Array:
        """The columns ``start:stop`` of all or of the chosen rows, the vector the last."""
        rows = None if chosen is None else chosen[chosen < self.n - 1]
        below = chosen is None or rows is None or len(rows) < len(chosen)
        parts = [] if rows is not None and not len(rows) else [self._base.read(start, stop, rows)]
        if below:
            parts.append(self._vector[None, start:stop])
        return self.xp.concat(parts, axis=0)


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
    if isinstance(rows, np.ma.MaskedArray):
        raise requirement(
            "updates", "have a value in every place", "a masked array",
            "Leave out the rows that lack one, or fill them: updates.filled(0.0)",
        )
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


class Segments:
    """A flat row that lies in several arrays, such as the parts of one message.

    Parameters
    ----------
    parts : sequence of 1-d arrays
        In the order of the layout.
    minus_from : sequence of 1-d arrays, optional
        Where given, the row is ``minus_from - parts``, computed as it is read: the update of a
        worker that sent weights.
    """

    def __init__(
        self, parts: Sequence[NDArray[Any]], minus_from: Sequence[NDArray[Any]] | None = None
    ) -> None:
        self._parts = parts
        self._base = minus_from
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        self.size = int(self._starts[-1])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    @property
    def is_given(self) -> bool:
        """Whether the row is what lies in the arrays, and not computed from it."""
        return self._base is None

    def read(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write the coordinates ``start:stop`` into ``out``."""
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            first = self._starts[index]
            end = min(stop, self._starts[index + 1])
            target = out[len(out) - (stop - start) : len(out) - (stop - end)]
            part = self._parts[index][start - first : end - first]
            if self._base is None:
                target[...] = part
            else:
                base = self._base[index][start - first : end - first]
                np.subtract(base, part, out=target, dtype=target.dtype)
            start, index = end, index + 1


class Columns:
    """Some columns of a row: those from ``start`` up to ``stop``.

    Parameters
    ----------
    row : Row
        Read where it lies.
    start, stop : int
        In its coordinates.
    """

    def __init__(self, row: Row, start: int, stop: int) -> None:
        self._row, self._start = row, start
        self.size, self.dtype = stop - start, row.dtype

    def read(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write the coordinates ``start:stop`` into ``out``."""
        self._row.read(self._start + start, self._start + stop, out)
