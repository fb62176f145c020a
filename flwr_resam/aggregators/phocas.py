"""Mean around the trimmed mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..criteria import lambda_from_kappa, near_centre
from ..rows.order import mean_around_trimmed_mean
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class Phocas(CoordinateRule):
    """In each coordinate, the mean of the n - f values nearest the trimmed mean.

    The trimmed mean drops the f lowest and the f highest values; of two values equally far
    from it the lower is taken. Complexity O(d n log n). Needs n > 2f.
    kappa = 4 f / (n - 2f).
    lambda = min(2 f / (n - f) sqrt(d), sqrt(kappa (n - f - 1) / (2 (n - f)))).
    Both are proven in docs/theory.md, not in the paper.

    Xie et al., "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018,
    with as many values trimmed on each side as there are faults (b = f).

    Examples
    --------
    >>> import numpy as np
    >>> Phocas()(np.array([[1.0], [2.0], [4.0], [1e30]]), f=1).round(6)
    array([2.333333])
    """

    name: ClassVar[str] = "phocas"

    def columns(self, block: Array, f: int) -> Array:
        """Mean of the n - f values nearest the trimmed mean."""
        return mean_around_trimmed_mean(block, f, block.shape[0] - f)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: coordinate by coordinate, or for many coordinates what kappa says."""
        return min(2.0 * f / (n - f) * math.sqrt(d), lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``4 f / (n - f) (1 + f / (n - 2f))``, which is ``4 f / (n - 2f)``."""
        return near_centre(f / (n - 2 * f), n, f)
