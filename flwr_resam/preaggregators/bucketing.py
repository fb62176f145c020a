"""Bucketing: means of a few random rows each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_whole
from ..rows.geometry import Geometry
from ..rule import PreAggregator, Round


@dataclass(frozen=True)
class Bucketing(PreAggregator):
    """Shuffle the rows and replace each run of s rows by its mean; the last may be shorter.

    n rows become n' = ceil(n / s), of which up to f are still faulty, so the rule behind it must
    admit n' and f. Complexity O(n d). Needs n >= 1. What it draws comes from the round's
    generator.

    Karimireddy, He and Jaggi, "Byzantine-robust learning on heterogeneous datasets via
    bucketing", 2022.

    Parameters
    ----------
    s : int or None (default: None)
        Rows in a bucket. None is the largest s that leaves n' > 2f: floor((n - 1) / (2f)), at
        least 1, and all rows for f = 0. That is the paper's floor(n / (2f)), but where 2f
        divides n, since exactly 2f buckets would be too few for any rule.

    Examples
    --------
    >>> import numpy as np
    >>> Bucketing(s=2)(np.array([[1.0], [3.0], [8.0]]), f=0).round(2)
    array([[2.],
           [8.]])
    """

    s: int | None = None
    name: ClassVar[str] = "bucketing"
    need: ClassVar[str] = "n >= 1"
    keeps_nodes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse buckets without rows."""
        if self.s is not None:
            check_whole("s", self.s, "Leave it out for the largest that the faults allow")

    def admits(self, n: int, f: int) -> bool:
        """Any rows can be shuffled; the next stage's need counts."""
        return n >= 1

    def rows_out(self, n: int, f: int) -> int:
        """ceil(n / s)."""
        return -(-n // self._size(n, f))

    def mixing(self, geometry: Geometry, f: int, at: Round) -> NDArray[np.float64]:
        """One over the bucket's size, on its rows."""
        n = geometry.n
        size = self._size(n, f)
        order = at.random().permutation(n)
        mixing = np.zeros((self.rows_out(n, f), n))
        for bucket in range(len(mixing)):
            rows = order[bucket * size : (bucket + 1) * size]
            mixing[bucket, rows] = 1.0 / len(rows)
        return mixing

    def _size(self, n: int, f: int) -> int:
        if self.s is not None:
            return self.s
        return n if f == 0 else max(1, (n - 1) // (2 * f))
