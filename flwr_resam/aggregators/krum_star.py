"""Krum in the form of the RESAM paper, which is resilient averaging for every f < n/2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..criteria import lambda_from_kappa
from ..rows.geometry import Geometry
from ..rule import WeightRule
from ._krum_bounds import krum_kappa, krum_lambda


@dataclass(frozen=True)
class KrumStar(WeightRule):
    """The row of least sum of squared distances to its n - f nearest rows, itself included.

    Complexity O(n^2 d + n^2 log n). Needs n > 2f (Krum of 2017, with n - f - 2 neighbours, needs
    n >= 2f + 3). Of rows with equal scores the first wins.
    lambda = 1 - 1 / (n - f) + sqrt((n - f - 1) / (n - 2f)), or what kappa says where that is less;
    RESAM's Table 1 has 1 + sqrt((n - f) / (n - 2f)).
    kappa = (sqrt(2 + 2r) + sqrt(r))^2 with r = f / (n - 2f). Both are proven in docs/theory.md.

    Farhadkhani et al., "Byzantine Machine Learning Made Easy by Resilient Averaging of
    Momentums", 2022, after Blanchard et al., 2017.

    Examples
    --------
    >>> import numpy as np
    >>> KrumStar()(np.array([[0.0], [1.0], [1.5], [9.0]]), f=1)
    array([1.])
    """

    name: ClassVar[str] = "krum*"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """One for the chosen row, zero for the rest."""
        n = geometry.n
        scores = np.sort(geometry.squared_distances, axis=1)[:, : n - f].sum(axis=1)
        weights = np.zeros(n)
        weights[int(np.argmin(scores))] = 1.0
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: the row's own, or what kappa says."""
        own = krum_lambda(n, f, 1, n - f - 1)
        return min(own, lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``(sqrt(2 + 2r) + sqrt(r))^2``, r = f / (n - 2f)."""
        return krum_kappa(n, f, 1, n - f - 1)
