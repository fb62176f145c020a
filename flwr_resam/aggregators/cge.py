"""Comparative gradient elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry
from ..rule import WeightRule

_ROUNDING = 1e-11


@dataclass(frozen=True)
class CGE(WeightRule):
    """The mean of the n - f rows of least norm.

    Complexity O(n d + n log n). Needs n > 2f. Of rows of equal norm the first ones are kept, for
    `ARC` and `Clipping` make rows of equal norm; squared norms are equal that differ by at most
    one part in 1e11, for rounding.
    No lambda exists for f > 0: rows of a small norm are kept wherever the others lie.

    Gupta and Vaidya, "Byzantine fault-tolerance in decentralized optimization under 2f-redundancy",
    2021; Gupta et al., "Byzantine fault-tolerance in peer-to-peer distributed gradient-descent",
    2021. The mean is taken where the papers sum.

    Examples
    --------
    >>> import numpy as np
    >>> CGE()(np.array([[1.0], [-2.0], [4.0], [90.0]]), f=1)
    array([1.])
    """

    name: ClassVar[str] = "cge"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / (n - f) on the rows of least norm."""
        squared = geometry.squared_norms
        largest = np.sort(squared)[geometry.n - f - 1]
        ties = np.abs(squared - largest) <= _ROUNDING * largest
        kept = np.argsort(np.where(ties, largest, squared), kind="stable")[: geometry.n - f]
        weights = np.zeros(geometry.n)
        weights[kept] = 1.0 / len(kept)
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: 0 without faults, else none exists."""
        return 0.0 if f == 0 else float("inf")
