"""Sever: drop what stands out along the top singular direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_whole
from ..rows.geometry import Geometry
from ..rule import WeightRule
from ._spectrum import centred, top_direction


@dataclass(frozen=True)
class Sever(WeightRule):
    """Drop f rows in a few passes, each time those that stand out most, and average the rest.

    A row's score is its squared projection on the top right singular vector of the centred
    rows. Each pass scores what is left and drops the rows of the highest scores: f in all, in
    equal parts, the first passes one more where f does not divide. Complexity
    O(n^2 d + rounds n^3). Needs n > 2f. No lambda is proven. Of equal scores the first row
    goes. With rounds >= f a pass drops one row, always the one that stands out most; where
    several go at once, faulty rows in several directions can make a pass drop honest ones.

    Diakonikolas et al., "Sever: a robust meta-algorithm for stochastic optimization", 2019,
    applied to the gradients of one step, dropping a fixed number a pass as its experiments do.

    Parameters
    ----------
    rounds : int (default: 4)
        How many passes, as in the paper's experiments.

    Examples
    --------
    >>> import numpy as np
    >>> Sever()(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [90.0, 80.0], [1.0, 1.0]]), f=1)
    array([0.5, 0.5])
    """

    rounds: int = 4
    name: ClassVar[str] = "sever"

    def __post_init__(self) -> None:
        """Refuse a number of passes that drops nothing."""
        check_whole("rounds", self.rounds, "Use 4")

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / (n - f) on the rows that no pass drops."""
        left = np.arange(geometry.n)
        for step in range(self.rounds):
            drop = f // self.rounds + (step < f % self.rounds)
            if drop:
                gram = centred(geometry.rows[np.ix_(left, left)])
                _, projections = top_direction(gram)
                order = np.argsort(-(projections**2), kind="stable")
                left = np.sort(left[order[drop:]])
        weights = np.zeros(geometry.n)
        weights[left] = 1.0 / len(left)
        return weights
