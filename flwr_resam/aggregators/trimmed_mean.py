"""Coordinate-wise trimmed mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..criteria import lambda_from_kappa
from ..rows.order import mean_between
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class TrimmedMean(CoordinateRule):
    """In each coordinate, drop the f lowest and the f highest values and average the rest.

    Complexity O(d n log n). Needs n > 2f.
    kappa = f / (n - 2f), which no rule beats.
    lambda = min(f / (n - f) sqrt(d), sqrt(kappa (n - f - 1) / (2 (n - f)))), optimal for d = 1; the
    paper's Table 1 has f / (n - f) min(sqrt(d), 2 sqrt(n - f)).

    Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", 2018;
    trimming exactly f on each side, as in the RESAM paper.

    Examples
    --------
    >>> import numpy as np
    >>> TrimmedMean()(np.array([[1.0], [2.0], [3.0], [1e30]]), f=1)
    array([2.5])
    """

    name: ClassVar[str] = "cwtm"

    def columns(self, block: Array, f: int) -> Array:
        """Mean of the sorted values f .. n - f - 1."""
        return mean_between(block, f, block.shape[0] - f)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: RESAM Table 1 for few coordinates, for many what kappa says."""
        return min(f / (n - f) * math.sqrt(d), lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``f / (n - 2f)``, the least there is."""
        return f / (n - 2 * f)
