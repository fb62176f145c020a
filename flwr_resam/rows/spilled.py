"""A row that lies in a file: written once, as it is admitted, and read back piece by piece."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scratch import SLOT, Scratch, Stored
from .source import Row


class SpilledRow:
    """A copy of a row in a scratch file, in the dtype in which rows are aggregated.

    Parameters
    ----------
    row : Row
        May be forgotten afterwards.
    scratch : Scratch

    Raises
    ------
    ScratchError
        Where the file can't take it, or give it back.

    Examples
    --------
    >>> import tempfile; from pathlib import Path; from flwr_resam.rows.source import Segments
    >>> with tempfile.TemporaryDirectory() as folder, Scratch(Path(folder)) as scratch:
    ...     row = SpilledRow(Segments([np.arange(3.0), np.arange(2.0)]), scratch)
    ...     row.read(1, 4, out := np.empty(3))
    >>> out
    array([1., 2., 0.])
    """

    def __init__(self, row: Row, scratch: Scratch) -> None:
        self.size = row.size
        self.dtype: np.dtype[Any] = np.result_type(np.float32, row.dtype)
        self._stored = Stored(scratch)
        width = SLOT // self.dtype.itemsize
        buffer = np.empty(min(width, row.size), self.dtype)
        for start in range(0, row.size, width):
            stop = min(start + width, row.size)
            row.read(start, stop, buffer[: stop - start])
            self._stored.append(buffer[: stop - start])

    def read(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write the coordinates ``start:stop`` into ``out``."""
        straight = out.dtype == self.dtype and out.flags.c_contiguous
        target: NDArray[Any] = out if straight else np.empty(stop - start, self.dtype)
        self._stored.fill(start * self.dtype.itemsize, target.view(np.uint8).data)
        if not straight:
            out[...] = target
