"""A Little Is Enough, with the factor that hurts the defender's rule most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.sums import mean_and_deviation
from ._optimised import Optimised


@dataclass(frozen=True)
class OptimisedALIE(Optimised):
    """`ALIE` with the factor that hurts most: ``mu - t sigma``, t as in `Optimised`.

    Needs two honest rows and a rule that admits all rows. Complexity 22 times the rule's.
    Shejwalkar, Houmansadr, 2021; the experiments of Farhadkhani et al., 2022, and Allouah et
    al., 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Median
    >>> honest = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> Median()(np.vstack([honest, OptimisedALIE(Median())(honest, 2)]), f=2)
    array([0.5])
    """

    name: ClassVar[str] = "alie-opt"
    honest_needed: ClassVar[int] = 2

    def direction(self, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """``-sigma``."""
        return -mean_and_deviation(honest)[1]
