"""Sever: drop what stands out along the top singular direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_whole
from ..rows.geometry import Geometry
from ..rule import WeightRule
from ._spectrum import Directions


@dataclass(frozen=True)
class Sever(WeightRule):
    """Drop f rows, one a pass, each time the one that stands out most, and average the rest.

    A row's score is its squared projection on the top right singular vector of the centred
    rows. Each pass scores what is left and drops the row of the highest score, of equal ones the
    first. Complexity O(n^2 d + 20 f n^2). Needs n > 2f. With h = n - f,
    kappa = 2 f / h + 2 n f^2 (h - 1) / (h (n - 2f)^2) and
    lambda = sqrt(f / (2 h) + 2 n f^2 (h - 1)^2 / (h^3 (n - 2f)^2)), proven in docs/theory.md.

    With `rounds` below f a pass drops several rows, f in all: no lambda exists then. One faulty row
    far out moves the mean past the other faulty ones, and honest rows stand out more than these.

    Diakonikolas et al., "Sever: a robust meta-algorithm for stochastic optimization", 2019,
    applied to the gradients of one step. Their code drops a share of eps / 2 in each of four
    passes, 2f rows in all; f rows in all, one a pass, is our choice.

    Parameters
    ----------
    rounds : int or None (default: None)
        How many passes, in equal parts, the first ones one row more where f does not divide.
        None is f passes.

    Examples
    --------
    >>> import numpy as np
    >>> Sever()(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [90.0, 80.0], [1.0, 1.0]]), f=1)
    array([0.5, 0.5])
    """

    rounds: int | None = None
    name: ClassVar[str] = "sever"

    def __post_init__(self) -> None:
        """Refuse a number of passes that drops nothing."""
        if self.rounds is not None:
            check_whole("rounds", self.rounds, "Leave it out to drop one row a pass")

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / (n - f) on the rows that no pass drops."""
        left = np.ones(geometry.n)
        directions = Directions(geometry.rows)
        passes = min(self.rounds or f, f)
        for step in range(passes):
            drop = f // passes + (step < f % passes)
            _, projections = directions.top(left)
            scores = np.where(left > 0.0, projections**2, -1.0)
            left[np.argsort(-scores, kind="stable")[:drop]] = 0.0
        return np.asarray(left / left.sum())

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda; none exists where a pass drops several rows."""
        if self._several(f):
            return math.inf
        h = n - f
        return math.sqrt(f / (2 * h) + 2 * n * (f * (h - 1)) ** 2 / (h**3 * (h - f) ** 2))

    def kappa(self, n: int, f: int, d: int) -> float:
        """Kappa; none exists where a pass drops several rows."""
        if self._several(f):
            return math.inf
        h = n - f
        return 2 * f / h + 2 * n * f**2 * (h - 1) / (h * (h - f) ** 2)

    def _several(self, f: int) -> bool:
        return self.rounds is not None and self.rounds < f
