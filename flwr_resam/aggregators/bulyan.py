"""Bulyan: Krum again and again, then a mean around the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..rows.order import mean_around_median
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round
from .krum import krum_scores


@dataclass(frozen=True)
class Bulyan(Aggregator):
    """Choose theta = n - 2f rows by Krum, then average theta - 2f values around the median.

    Rows are chosen one at a time: each choice is Krum's among the rows that are left, with
    r - f - 2 neighbours where r rows are left, and one where that is less than one. Then, in
    each coordinate, the mean of the theta - 2f chosen values nearest the median of the chosen.
    Complexity O(n^2 d + n^3 log n + d n log n). Needs n >= 4f + 3. No lambda is proven.

    El Mhamdi, Guerraoui and Rouault, "The hidden vulnerability of distributed learning in
    Byzantium", 2018, with scores taken anew after each choice as in its Algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [90.0], [5.0]])
    >>> Bulyan()(rows, f=1)
    array([2.])
    """

    name: ClassVar[str] = "bulyan"
    need: ClassVar[str] = "n >= 4f + 3"

    def admits(self, n: int, f: int) -> bool:
        """Whether enough rows are left for the second step."""
        return n >= 4 * f + 3

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        chosen = choose(updates.geometry().squared_distances, f)

        def columns(block: Array) -> Array:
            xp = array_namespace(block)
            rows = xp.stack([block[i, :] for i in chosen])
            return mean_around_median(rows, len(chosen) - 2 * f)

        return Aggregate(updates.map_coordinates(columns))


def choose(squared_distances: NDArray[np.float64], f: int) -> list[int]:
    """The n - 2f rows that Krum chooses one after the other, in ascending order.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 2.0, 90.0])
    >>> choose((points[:, None] - points[None, :]) ** 2, 1)
    [0, 1]
    """
    left = np.arange(len(squared_distances))
    chosen: list[int] = []
    for _ in range(len(squared_distances) - 2 * f):
        scores = krum_scores(squared_distances[np.ix_(left, left)], max(1, len(left) - f - 2))
        best = int(np.argmin(scores))
        chosen.append(int(left[best]))
        left = np.delete(left, best)
    return sorted(chosen)
