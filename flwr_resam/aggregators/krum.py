"""Krum, as published in 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rule import WeightRule


@dataclass(frozen=True)
class Krum(WeightRule):
    """The row of least sum of squared distances to its n - f - 2 nearest other rows.

    Complexity O(n^2 d + n^2 log n). Needs n >= 2f + 3; `KrumStar` needs n > 2f only and has a
    lambda, of which none is proven here. Of rows with equal scores the first wins.

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


def krum_scores(squared_distances: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """For each row the sum of squared distances to its nearest others.

    Examples
    --------
    >>> krum_scores(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), 1)
    array([1., 1., 4.])
    """
    ordered = np.sort(squared_distances, axis=1)  # the first entry is the row itself
    return np.asarray(ordered[:, 1 : neighbours + 1].sum(axis=1))
