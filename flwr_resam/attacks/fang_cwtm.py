"""Fang's attack on the trimmed mean and the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class FangTrimmedMean(MemorylessAttack):
    """Byzantine workers send, in each coordinate, values just beyond the honest ones, against mu.

    Where the honest mean is positive, values between the least honest one, m, and ``b m``, or
    ``m / b`` for a positive m. Elsewhere between the largest, M, and ``b M``, or ``M / b`` for a
    negative M. Each value is drawn evenly, from the round's generator, so that no two workers
    send the same.

    Complexity O((h + f) d). Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to
    Byzantine-Robust Federated Learning", 2020: the attack with full knowledge, for updates in
    place of models.

    Parameters
    ----------
    b : float (default: 2.0)
        How far beyond, as in the paper; above 1.

    Examples
    --------
    >>> import numpy as np
    >>> rows = FangTrimmedMean()(np.array([[1.0, -5.0], [3.0, -4.0]]), 50)
    >>> bool(((0.5 <= rows[:, 0]) & (rows[:, 0] <= 1.0)).all())
    True
    >>> bool(((-4.0 <= rows[:, 1]) & (rows[:, 1] <= -2.0)).all())
    True
    """

    b: float = 2.0
    name: ClassVar[str] = "fang-cwtm"

    def __post_init__(self) -> None:
        """Refuse what does not reach beyond."""
        if not 1.0 < self.b < np.inf:
            raise requirement("b", "be above 1 and finite", self.b, "Use 2, as the paper")

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """Count rows of draws."""
        low, high = honest.min(axis=0), honest.max(axis=0)
        edge = np.where(honest.mean(axis=0) > 0.0, low, -high)  # mirrored, to go down in both cases
        beyond = np.where(edge > 0.0, edge / self.b, edge * self.b)
        drawn = at.random().random((count, honest.shape[1]))
        drawn *= beyond - edge
        drawn += edge
        return np.where(honest.mean(axis=0) > 0.0, drawn, -drawn)
