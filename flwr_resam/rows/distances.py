"""How far the rows of a round lie from one vector, such as their aggregate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Row
from .compiled import kernels_for
from .threads import in_order, threads_for

_CHUNK = 1 << 16


def distances(rows: Sequence[Row], vector: NDArray[Any]) -> NDArray[np.float64]:
    """``||x_i - v||``, of float64 values in units of the largest entry of v.

    Their squares are in the range of float64 then, or are taken to be at its end.

    Parameters
    ----------
    rows : sequence of n Row
        Of the length of ``vector``, finite.
    vector : (d,) array
        Float32 or float64, finite.

    Returns
    -------
    (n,) float64 array
        In O(n d) time and a chunk of memory for each thread.
    """
    dtype = np.result_type(vector.dtype, *(row.dtype for row in rows), np.float32)
    single = dtype == np.float32
    unit = max(float(vector.max(initial=1.0)), -float(vector.min(initial=-1.0)))

    def squared(row: Row) -> float:
        total, buffer = 0.0, np.empty(min(_CHUNK, vector.size), dtype)
        for start in range(0, vector.size, _CHUNK):
            centre = vector[start : start + _CHUNK]
            part = buffer[: len(centre)]
            row.read(start, start + len(centre), part)
            if (kernels := kernels_for(part[None])) is not None:
                total += kernels.squared_distance(part, centre)
                continue
            with np.errstate(over="ignore"):
                far = part - centre.astype(np.float64)
                far = far if single else np.clip(far / unit, -1e140, 1e140)
            total += float(far @ far)
        return total

    squares = list(in_order(squared, rows, threads_for(len(rows) * vector.size)))
    return np.asarray(np.sqrt(squares))
