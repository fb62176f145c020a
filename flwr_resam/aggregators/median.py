"""Coordinate-wise median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..criteria import lambda_from_kappa
from ..rows.order import median
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class Median(CoordinateRule):
    """The median of each coordinate; for even n the mean of the middle two values.

    Complexity O(d n log n). Needs n > 2f.
    kappa = (ceil(n/2) - 1) / (floor(n/2) + 1 - f), the exact value.
    lambda = min((ceil(n/2) - 1) / (n - f) sqrt(d), sqrt(kappa (n - f - 1) / (2 (n - f)))), for
    d = 1 the exact value; RESAM's Table 1 has n / (2 (n - f)) min(sqrt(d), 2 sqrt(n - f)).

    Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", 2018;
    Xie et al., "Generalized Byzantine-tolerant SGD", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> Median()(np.array([[1.0], [2.0], [3.0], [1e30]]), f=1)
    array([2.5])
    """

    name: ClassVar[str] = "cwmed"

    def columns(self, block: Array, f: int) -> Array:
        """Mean of the one or two middle values."""
        return median(block)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: coordinate by coordinate, or for many coordinates what kappa says."""
        one = (-(-n // 2) - 1) / (n - f)
        return min(one * math.sqrt(d), lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``(ceil(n/2) - 1) / (floor(n/2) + 1 - f)``."""
        return median_kappa(n, f)


def median_kappa(n: int, f: int) -> float:
    """Kappa of the median of n values of which f are arbitrary.

    Examples
    --------
    >>> median_kappa(15, 7), median_kappa(8, 3)
    (7.0, 1.5)
    """
    return (-(-n // 2) - 1) / (n // 2 + 1 - f)
