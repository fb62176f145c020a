"""Clipping to a given norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_positive
from ..rows.geometry import Geometry, clip_factors
from ..rule import PreAggregator, Round


@dataclass(frozen=True)
class Clipping(PreAggregator):
    """Shorten each row that is longer than the radius to it: ``x min(1, radius / ||x||)``.

    Complexity O(n d). Needs n >= 1.

    Parameters
    ----------
    radius : float
        The largest norm that a row keeps.

    Examples
    --------
    >>> import numpy as np
    >>> Clipping(radius=5.0)(np.array([[3.0, 4.0], [30.0, 40.0]]), f=0)
    array([[3., 4.],
           [3., 4.]])
    """

    radius: float
    name: ClassVar[str] = "clipping"
    need: ClassVar[str] = "n >= 1"

    def __post_init__(self) -> None:
        """Refuse what is no length."""
        check_positive("radius", self.radius, "Use the length of a typical honest row")

    def admits(self, n: int, f: int) -> bool:
        """Whatever f is."""
        return n >= 1

    def mixing(self, geometry: Geometry, f: int, at: Round) -> NDArray[np.float64]:
        """The factor of each row, on the diagonal."""
        return np.diag(clip_factors(np.sqrt(geometry.squared_norms), self.radius))
