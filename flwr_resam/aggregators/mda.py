"""Minimum diameter averaging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rows.updates import Updates
from ..rule import Aggregate, Round, WeightRule
from ._diameter import Subset, smallest_diameter

_NOTE = (
    "`mda`: the search for the least diameter was cut short; the rows averaged have at most "
    "{:.3g} times that diameter, and lambda is {:.3g}"
)


@dataclass(frozen=True)
class MDA(WeightRule):
    """The mean of the n - f rows of smallest diameter, found exactly.

    ``F = mean(x_S), S = argmin over |S| = n - f of max_{i, j in S} ||x_i - x_j||``

    Rows S have diameter at most D exactly when the graph that joins rows farther apart than D
    has a vertex cover within the other f rows, so the search bisects on D and decides each
    graph by branch and bound instead of listing subsets. Of several subsets of least diameter
    the one of least sum of squared distances is taken where it is cheap to find, else the
    first in row order. Complexity O(n^2 d + n^2 log n) and the search.

    Needs n > 2f. lambda = 2 f / (n - f), within a factor two of the least that any rule has.
    kappa = (f sqrt(2 / (n - f)) + sqrt(f / (n - 2f)))^2, proven in docs/theory.md.

    The search is exponential in the worst case, so it has a budget of nodes. Past it the best
    subset that was found stands in. Its diameter is proven to be at most c <= 2 times the
    least, lambda is (1 + c) f / (n - f) then, and the `note` of the `Aggregate` gives both.

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
        return _equal(self.subset(geometry, f), geometry.n)

    def subset(self, geometry: Geometry, f: int) -> Subset:
        """The rows that are averaged, and whether their diameter is the least."""
        return smallest_diameter(geometry.squared_distances, geometry.n - f)

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        subset = self.subset(updates.geometry(), f)
        weights = _equal(subset, updates.n)
        found = 1.0 + subset.factor
        note = None if found == 2.0 else _NOTE.format(found - 1.0, found * f / (updates.n - f))
        return Aggregate(updates.combine(weights), weights, note=note)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda, RESAM Table 1."""
        return 2.0 * f / (n - f)

    def kappa(self, n: int, f: int, d: int) -> float:
        """``(f sqrt(2 / (n - f)) + sqrt(f / (n - 2f)))^2``."""
        return (f * math.sqrt(2.0 / (n - f)) + math.sqrt(f / (n - 2 * f))) ** 2


def _equal(subset: Subset, n: int) -> NDArray[np.float64]:
    weights = np.zeros(n)
    weights[subset.rows] = 1.0 / len(subset.rows)
    return weights
