"""Krum, as published in 2017."""

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
class Krum(WeightRule):
    """The row of least sum of squared distances to its n - f - 2 nearest other rows.

    Complexity O(n^2 d + n^2 log n). Needs n >= 2f + 3; `KrumStar` needs n > 2f only. Of rows
    with equal scores the first wins.
    lambda = 1 - 1 / (n - f) + sqrt((n - f - 2) / (n - 2f - 1)), or what kappa says where that is
    less; kappa as `krum_kappa` has it, with n - f - 2 others. Both are proven in docs/theory.md.

    Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    2017.

    Examples
    --------
    >>> import numpy as np
    >>> Krum()(np.array([[0.0], [1.0], [1.5], [4.0], [90.0]]), f=1)
    array([1.])
    """

    name: ClassVar[str] = "krum"
    need: ClassVar[str] = "n >= 2f + 3"

    def admits(self, n: int, f: int) -> bool:
        """Whether every score counts a majority of honest rows."""
        return n >= 2 * f + 3

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """One for the chosen row, zero for the rest."""
        scores = krum_scores(geometry.squared_distances, geometry.n - f - 2)
        weights = np.zeros(geometry.n)
        weights[int(np.argmin(scores))] = 1.0
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: the row's own, or what kappa says."""
        own = krum_lambda(n, f, 1, n - f - 2)
        return min(own, lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """That of one row with n - f - 2 others."""
        return krum_kappa(n, f, 1, n - f - 2)


def krum_scores(squared_distances: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """For each row the sum of squared distances to its nearest others.

    Examples
    --------
    >>> krum_scores(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), 1)
    array([1., 1., 4.])
    """
    ordered = np.sort(squared_distances, axis=1)  # the first entry is the row itself
    return np.asarray(ordered[:, 1 : neighbours + 1].sum(axis=1))
