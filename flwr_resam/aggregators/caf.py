"""Covariance-bound-agnostic filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rule import WeightRule
from ._spectrum import Directions


@dataclass(frozen=True)
class CAF(WeightRule):
    """Weigh rows down along the direction in which they vary most; keep the tightest mean.

    All rows start with weight c_i = 1. While more than n - 2f of it is left, take the weighted
    mean, the top eigenvalue and direction v of the weighted covariance, and multiply each
    weight by ``1 - t_i / max_j t_j`` with ``t_i = <x_i - mean, v>^2``, the largest over the
    rows that still have weight. The result is the mean of least top eigenvalue. At least one
    row loses all weight in each step. Complexity O(n^2 d + 20 f n^2). Needs n > 2f.
    kappa = r (2 sqrt(1 + r) + sqrt(3))^2 with r = f / (n - 2f); the squared error is at most so
    much times the top eigenvalue of the honest covariance, too. lambda = sqrt(kappa) / 2. Both
    are proven in docs/theory.md.

    Allouah et al., "Towards trustworthy federated learning with untrusted participants", 2025,
    with eigenvectors that are solved for: see `_spectrum.Directions`.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1e9, 1e9]])
    >>> CAF()(rows, f=1).round(4)
    array([0.5, 0.5])
    """

    name: ClassVar[str] = "caf"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """The normalised weights of the best mean."""
        n = geometry.n
        share = np.ones(n)
        best, least = share / n, np.inf
        directions = Directions(geometry.rows)
        while share.sum() > n - 2 * f:
            value, projections = directions.top(share)
            value /= share.sum()
            if value < least:
                best, least = share / share.sum(), value
            scores = np.where(share > 0.0, projections**2, 0.0)
            if scores.max() == 0.0:
                break
            share = share * (1.0 - scores / scores.max())
        return best

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """``sqrt(kappa) / 2``: along any direction honest rows vary by at most D^2 / 4."""
        return math.sqrt(self.kappa(n, f, d)) / 2.0

    def kappa(self, n: int, f: int, d: int) -> float:
        """``r (2 sqrt(1 + r) + sqrt(3))^2``, r = f / (n - 2f)."""
        r = f / (n - 2 * f)
        return r * (2.0 * math.sqrt(1.0 + r) + math.sqrt(3.0)) ** 2
