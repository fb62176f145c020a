"""The plain mean: the baseline that one faulty row defeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rows.updates import Updates
from ..rule import Aggregate, Round, WeightRule


@dataclass(frozen=True)
class Mean(WeightRule):
    """The mean of all rows, ``F = (1/n) sum_i x_i``.

    Complexity O(n d). Needs n >= 1. No lambda exists for f > 0: one row moves it anywhere.

    Examples
    --------
    >>> import numpy as np
    >>> Mean()(np.array([[1.0, 2.0], [3.0, 6.0]]), f=0)
    array([2., 4.])
    """

    name: ClassVar[str] = "mean"
    need: ClassVar[str] = "n >= 1"

    def admits(self, n: int, f: int) -> bool:
        """Whatever f is: the baseline runs, and falls."""
        return n >= 1

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        weights = np.full(updates.n, 1.0 / updates.n)  # the same whatever the geometry is
        return Aggregate(updates.combine(weights), weights)

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1/n each."""
        return np.full(geometry.n, 1.0 / geometry.n)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: 0 without faults, else none exists."""
        return 0.0 if f == 0 else float("inf")
