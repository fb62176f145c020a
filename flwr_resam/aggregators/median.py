"""Coordinate-wise median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..rows.order import median
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class Median(CoordinateRule):
    """The median of each coordinate; for even n the mean of the middle two values.

    Complexity O(d n log n). Needs n > 2f.
    lambda = n / (2 (n - f)) * min(sqrt(d), 2 sqrt(n - f)).

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
        """Lambda, RESAM Table 1."""
        return n / (2 * (n - f)) * min(math.sqrt(d), 2.0 * math.sqrt(n - f))
