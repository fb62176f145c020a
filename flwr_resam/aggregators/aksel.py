"""Aksel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..rows.order import median
from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round


@dataclass(frozen=True)
class Aksel(Aggregator):
    """The mean of the half of the rows that lies nearest to their coordinate-wise median.

    Of the n rows the floor((n + 1) / 2) of least distance to the median are averaged; of equal
    distances the first row is taken. Complexity O(n d log n). Needs n > 2f. No lambda is proven.

    Boussetta, El-Mhamdi, Guerraoui, Maurer, Rouault, "AKSEL: Fast Byzantine SGD", 2020: the rows
    within the median of the distances. (The authors' code has a variant that takes n - f.)

    Examples
    --------
    >>> import numpy as np
    >>> Aksel()(np.array([[1.0], [2.0], [4.0], [4.5], [90.0]]), f=1)
    array([3.5])
    """

    name: ClassVar[str] = "aksel"

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        around = updates.with_vector(updates.map_coordinates(median))
        kept = np.argsort(around.geometry().squared_distances[n, :n], kind="stable")[: (n + 1) // 2]
        weights = np.zeros(n)
        weights[kept] = 1.0 / len(kept)
        return Aggregate(updates.combine(weights), weights)
