"""A flat row as it lies in one message: in several arrays, read where they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rows.updates import Row


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
