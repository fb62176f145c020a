"""Fall of Empires, with the factor that hurts the defender's rule most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ._optimised import Optimised


@dataclass(frozen=True)
class OptimisedFOE(Optimised):
    """`FOE` with the factor that hurts most: ``(1 - t) mu``, t as in `Optimised`.

    That is ``foe(epsilon = t - 1)``; t below 1 shrinks the mean instead of turning it round.
    Needs a rule that admits all rows. Complexity 22 times the rule's. Sources as for
    `OptimisedALIE`.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Mean
    >>> OptimisedFOE(Mean())(np.array([[1.0], [3.0]]), 1)
    array([[-254.]])
    """

    name: ClassVar[str] = "foe-opt"

    def direction(self, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """``-mu``."""
        return np.asarray(-honest.mean(axis=0))
