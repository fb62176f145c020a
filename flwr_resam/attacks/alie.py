"""A Little Is Enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_finite, check_whole, requirement
from ..rows.sums import mean_and_deviation
from ..rule import Aggregator, Round
from .attack import Attack, MemorylessAttack


@dataclass(frozen=True)
class ALIE(MemorylessAttack):
    """Every Byzantine worker sends ``mu - z sigma``, per coordinate.

    mu and sigma are the mean and the sample standard deviation (h - 1 in the denominator) of
    the honest rows. Unless given, z is the published one: with n workers of which f Byzantine
    and s = floor(n / 2 + 1) - f supporters needed, ``z = Phi^-1((n - f - s) / (n - f))``, where
    that is above 0. For few Byzantine workers it is not, and z must be given.

    Needs two honest rows. Baruch et al., "A Little Is Enough: Circumventing Defenses For
    Distributed Learning", 2019.

    Parameters
    ----------
    z : float, optional
        How many standard deviations from the mean; the experiments of RESAM use 1.5.
    f : int, optional
        For the published z: how many workers are Byzantine, those with other attacks too. An
        experiment fills in its own; as many as there are rows to make unless given.

    Examples
    --------
    >>> import numpy as np
    >>> ALIE(z=1.0)(np.array([[1.0], [3.0]]), 1).round(4)
    array([[0.5858]])
    """

    z: float | None = None
    f: int | None = None
    name: ClassVar[str] = "alie"
    columnwise: ClassVar[bool] = True
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a factor that would make the rows NaN, which no rule has to withstand."""
        if self.z is not None:
            check_finite("z", self.z)
        if self.f is not None:
            check_whole("f", self.f, "Give the number of Byzantine workers, or leave it out")

    def against(self, aggregator: Aggregator, f: int) -> Attack:
        """Fill in the faults for the published z."""
        return self if self.z is not None or self.f is not None else replace(self, f=f)

    def check(self, honest: int, count: int) -> None:
        """Raise also where the published z has no value for so many workers."""
        super().check(honest, count)
        self._factor(honest, count)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """``mu - z sigma``, for all."""
        mean, deviation = mean_and_deviation(honest)
        return (mean - self._factor(len(honest), count) * deviation)[None]

    def _factor(self, honest: int, count: int) -> float:
        if self.z is not None or not count:
            return self.z or 0.0
        f = count if self.f is None else max(self.f, count)
        return alie_z(honest + f, f)


def alie_z(n: int, f: int) -> float:
    """The published z for n workers of which f are Byzantine.

    Examples
    --------
    >>> round(alie_z(50, 24), 4)
    1.4261
    """
    supporters = n // 2 + 1 - f
    share = (n - f - supporters) / (n - f)
    if not 0.5 < share < 1.0:  # at one half z is 0, and the attack the honest mean
        raise requirement(
            "z", "be given where the published formula has no value above 0",
            f"n = {n}, f = {f}", "Write alie(z=1.5)",
        )
    return NormalDist().inv_cdf(share)
