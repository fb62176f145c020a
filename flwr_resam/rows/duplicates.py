"""Which rows are the same, number for number: honest nodes never send what another sends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .source import Row

_CHUNK = 1 << 16


def duplicates(rows: Sequence[Row], lengths: Sequence[float]) -> list[int | None]:
    """For each row, the first other row that equals it; None where there is none.

    Parameters
    ----------
    rows : sequence of n Row
        Of one length and dtype.
    lengths : sequence of n float
        Some function of each row, such as its distance from a vector: only rows that have it in
        common are compared.
    """
    first: list[int | None] = [None] * len(rows)
    groups: dict[float, list[int]] = {}
    for index, length in enumerate(lengths):
        for other in groups.setdefault(float(length), []):
            if _equal(rows[index], rows[other]):
                first[index] = other
                if first[other] is None:
                    first[other] = index
                break
        else:
            groups[float(length)].append(index)
    return first


def _equal(one: Row, other: Row) -> bool:
    if one.size != other.size:
        return False
    a, b = (np.empty(min(_CHUNK, row.size), row.dtype) for row in (one, other))
    for start in range(0, one.size, _CHUNK):
        stop = min(one.size, start + _CHUNK)
        one.read(start, stop, a[: stop - start])
        other.read(start, stop, b[: stop - start])
        if not np.array_equal(a[: stop - start], b[: stop - start]):
            return False
    return True
