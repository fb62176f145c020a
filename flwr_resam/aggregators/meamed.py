"""Mean around the median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..rows.order import mean_around_median
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class MeaMed(CoordinateRule):
    """In each coordinate, the mean of the n - f values nearest the median.

    For even n the median is the mean of the middle two values; of two values equally far from
    it the lower is taken. Complexity O(d n log n). Needs n > 2f.
    lambda = 2 f / (n - f) * min(sqrt(d), 2 sqrt(n - f)).

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
        """Lambda, RESAM Table 1."""
        return 2.0 * f / (n - f) * min(math.sqrt(d), 2.0 * math.sqrt(n - f))
