"""Minimum diameter averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry
from ..rule import WeightRule
from .vertex_cover import smallest_diameter


@dataclass(frozen=True)
class MDA(WeightRule):
    """The mean of the n - f rows of smallest diameter, found exactly.

    ``F = mean(x_S), S = argmin over |S| = n - f of max_{i, j in S} ||x_i - x_j||``

    Rows S have diameter at most D exactly when the graph that joins rows farther apart than D
    has a vertex cover within the other f rows, so the search bisects on D and decides each
    graph by branch and bound instead of listing subsets. Of several subsets of least diameter
    the first in row order is taken. Complexity O(n^2 d) and the search.

    Needs n > 2f. lambda = 2 f / (n - f), within a factor two of the least that any rule has.

    El Mhamdi et al., "Genuinely distributed Byzantine machine learning", 2020; Farhadkhani et
    al., 2022.

    Examples
    --------
    >>> import numpy as np
    >>> MDA()(np.array([[0.0], [1.0], [2.0], [-100.0]]), f=1)
    array([1.])
    """

    name: ClassVar[str] = "mda"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / (n - f) on the chosen rows."""
        chosen = smallest_diameter(geometry.squared_distances, geometry.n - f)
        weights = np.zeros(geometry.n)
        weights[chosen] = 1.0 / len(chosen)
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:  # noqa: ARG002
        """Lambda, RESAM Table 1."""
        return 2.0 * f / (n - f)
