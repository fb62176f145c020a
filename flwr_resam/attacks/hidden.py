"""One coordinate, far out: what distances do not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rows.sums import mean_and_deviation
from ._directions import spread
from ._optimised import Optimised


@dataclass(frozen=True)
class HiddenVulnerability(Optimised):
    """Every Byzantine worker sends the honest mean with one coordinate moved: ``mu + t v e_j``.

    In d coordinates honest rows lie about sqrt(d) standard deviations apart, so that a row may be
    as far off in a single one and pass every test of distances. The coordinate is the same in
    all rounds, and moves against its mean; v is ``||sigma||``, t as in `Optimised`.

    Needs two honest rows and a rule that admits all rows. Complexity 22 times the rule's.
    El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in
    Byzantium", 2018; there, too, the factor is found by a search against the rule.

    Parameters
    ----------
    coordinate : int (default: -1)
        j, from 0; negative ones count from the end, where most models have their last bias.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Median
    >>> honest = np.array([[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]])
    >>> HiddenVulnerability(Median())(honest, 1)
    array([[1., 0.]])
    """

    coordinate: int = -1
    name: ClassVar[str] = "hidden"
    honest_needed: ClassVar[int] = 2

    def direction(self, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """``-sign(mu_j) ||sigma|| e_j``, plus where mu_j is 0."""
        width = honest.shape[1]
        found = np.zeros(width)
        if width == 0:
            return found
        if not -width <= self.coordinate < width:
            raise requirement(
                "coordinate", f"be in {-width} .. {width - 1}, of the rows", self.coordinate,
                "Leave it out for the last one",
            )
        mean, sigma = mean_and_deviation(honest)
        off = spread(sigma)
        found[self.coordinate] = -off if mean[self.coordinate] > 0.0 else off
        return found
