"""Min-Sum: as far out as the sums of distances between honest rows allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from ._directions import check_direction
from .attack import MemorylessAttack
from .min_max import shifted


@dataclass(frozen=True)
class MinSum(MemorylessAttack):
    """Every Byzantine worker sends ``mu - gamma v``, gamma the largest that hides by sums.

    ``sum_i ||mu - gamma v - x_i||^2 <= max_i sum_j ||x_i - x_j||^2`` over the honest rows.
    Since the rows sum to h mu, that is ``gamma = max_i ||x_i - mu|| / ||v||``.

    Needs two honest rows. Complexity O(h d). Shejwalkar, Houmansadr, 2021, as `MinMax`.

    Parameters
    ----------
    direction : str (default: "std")
        v, as for `MinMax`.

    Examples
    --------
    >>> import numpy as np
    >>> MinSum()(np.array([[1.0], [3.0]]), 1).round(6)
    array([[1.]])
    """

    direction: str = "std"
    name: ClassVar[str] = "min-sum"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a direction that there is not."""
        check_direction(self.direction)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """``mu - gamma v``, for all."""
        return shifted(honest, self.direction, _min_sum_factor)[None]


def _min_sum_factor(centred: NDArray[np.float64], off: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(centred, axis=1).max() / np.linalg.norm(off))
