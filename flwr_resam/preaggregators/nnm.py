"""Nearest-neighbour mixing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rule import PreAggregator, Round


@dataclass(frozen=True)
class NNM(PreAggregator):
    """Replace each row by the mean of the n - f rows nearest to it, itself included.

    Complexity O(n^2 d). Needs n > 2f. Of rows equally far the first in row order are taken.
    Put before a rule it makes honest rows that differ (heterogeneous data) less different.
    ``nnm | F`` has lambda = 2 f / (n - f) (1 + lambda of F) and kappa = 8 f / (n - f) (1 + kappa
    of F), the latter by the paper, and the lambda that kappa implies where that is less;
    docs/theory.md has both proofs.

    Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
    2023.

    Examples
    --------
    >>> import numpy as np
    >>> NNM()(np.array([[0.0], [1.0], [3.0]]), f=1)
    array([[0.5],
           [0.5],
           [2. ]])
    """

    name: ClassVar[str] = "nnm"

    def mixing(self, geometry: Geometry, f: int, at: Round) -> NDArray[np.float64]:
        """1 / (n - f) on each row's nearest ones."""
        n = geometry.n
        nearest = np.argsort(geometry.squared_distances, axis=1, kind="stable")[:, : n - f]
        mixing = np.zeros((n, n))
        np.put_along_axis(mixing, nearest, 1.0 / (n - f), axis=1)
        return mixing

    def coefficient(self, inner: float, n: int, f: int) -> float | None:
        """``2 f / (n - f) (1 + inner)``."""
        return 2.0 * f / (n - f) * (1.0 + inner)

    def kappa(self, inner: float, n: int, f: int) -> float | None:
        """``8 f / (n - f) (1 + inner)``."""
        return 8.0 * f / (n - f) * (1.0 + inner)
