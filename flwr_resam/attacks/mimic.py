"""Mimic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class Mimic(MemorylessAttack):
    """Every Byzantine worker sends a copy of one honest row.

    Where data differ from worker to worker, one worker's view so counts f + 1 times, and no
    rule can tell the copies from honest rows. Unless ``row`` is given, it is the row that
    lies farthest from the mean along the top direction of the honest rows' covariance; of
    several the first. The paper looks for that worker over the first rounds and keeps it
    then; here it is found anew in each round, and ``row`` keeps one.

    Needs two honest rows. Complexity O(h^2 d). Karimireddy, He, Jaggi, "Byzantine-Robust
    Learning on Heterogeneous Datasets via Bucketing", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> Mimic()(np.array([[0.0, 0.1], [1.0, 0.0], [9.0, 0.2]]), 1)
    array([[9. , 0.2]])
    """

    row: int | None = None
    name: ClassVar[str] = "mimic"
    honest_needed: ClassVar[int] = 2

    def check(self, honest: int, count: int) -> None:
        """Raise also where the row to copy does not exist."""
        super().check(honest, count)
        if self.row is not None and not 0 <= self.row < honest:
            raise requirement(
                "row", f"be in 0 .. {honest - 1}, one of the honest rows", self.row,
                "Leave it out to copy the row that stands out most",
            )

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """The chosen row, for all."""
        row = _extreme_row(honest) if self.row is None else self.row
        return honest[row : row + 1]


def _extreme_row(honest: NDArray[np.float64]) -> int:
    """The row with the largest share in the top direction of variance.

    With the rows C about their mean and C C^T = V L V^T, row i's coordinate along the k-th
    direction is sqrt(L_k) V_ik, so the (h, h) product is enough.
    """
    centred = honest - honest.mean(axis=0)
    if not centred.any():
        return 0
    top = np.abs(np.linalg.eigh(centred @ centred.T)[1][:, -1])
    return int(np.flatnonzero(top >= top.max() * (1.0 - 1e-9))[0])
