"""Mean around the median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..criteria import lambda_from_kappa, near_centre
from ..rows.order import mean_around_median
from ..rows.updates import Array
from ..rule import CoordinateRule
from .median import median_kappa


@dataclass(frozen=True)
class MeaMed(CoordinateRule):
    """In each coordinate, the mean of the n - f values nearest the median.

    For even n the median is the mean of the middle two values; of two values equally far from
    it the lower is taken. Complexity O(d n log n). Needs n > 2f.
    kappa = 4 f / (n - f) (1 + kappa of the median).
    lambda = min(2 f / (n - f) sqrt(d), sqrt(kappa (n - f - 1) / (2 (n - f)))); RESAM's Table 1 has
    2 f / (n - f) min(sqrt(d), 2 sqrt(n - f)).

    Xie et al., "Generalized Byzantine-tolerant SGD", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> MeaMed()(np.array([[1.0], [2.0], [3.0], [1e30]]), f=1)
    array([2.])
    """

    name: ClassVar[str] = "meamed"

    def columns(self, block: Array, f: int) -> Array:
        """Mean of the n - f values nearest the median."""
        return mean_around_median(block, block.shape[0] - f)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: RESAM Table 1 for few coordinates, for many what kappa says."""
        return min(2.0 * f / (n - f) * math.sqrt(d), lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``4 f / (n - f) (1 + kappa of the median)``."""
        return near_centre(median_kappa(n, f), n, f)
