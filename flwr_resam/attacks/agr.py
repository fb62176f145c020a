"""The AGR-tailored attack: the perturbation that hurts the defender's rule most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.sums import mean_and_deviation
from ._directions import UNIT, check_direction, spread, unit, way
from ._optimised import Optimised


@dataclass(frozen=True)
class AGRTailored(Optimised):
    """Every Byzantine worker sends ``mu - t v``, t as in `Optimised`, v one of three ways.

    v has the length ``||sigma||``, about that of an honest row from the mean, so that t means the
    same whichever way. With "std" it is `OptimisedALIE`, with "unit" `OptimisedFOE` at another
    scale: in units of the honest spread, not of the mean.

    Needs two honest rows and a rule that admits all rows. Complexity 22 times the rule's.
    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and
    Defenses for Federated Learning", 2021: the general form of their attack on a known rule, with
    the three perturbations of the paper.

    Parameters
    ----------
    perturbation : str (default: "unit")
        "std" is sigma, "sign" the signs of mu, and "unit" mu, each at the length of sigma.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Median
    >>> honest = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> attack = AGRTailored(Median(), perturbation="sign")
    >>> Median()(np.vstack([honest, attack(honest, 2)]), f=2)
    array([0.5])
    """

    perturbation: str = UNIT
    name: ClassVar[str] = "agr"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a perturbation that there is not."""
        check_direction(self.perturbation)

    def direction(self, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """``-v``."""
        mean, sigma = mean_and_deviation(honest)
        return np.asarray(-spread(sigma) * unit(way(self.perturbation, mean, sigma)))
