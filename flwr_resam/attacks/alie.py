"""A Little Is Enough."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..checks import check_finite
from ..errors import requirement
from ..rows.moments import mean_and_deviation
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class ALIE(MemorylessAttack):
    """Every Byzantine worker sends ``mu - z sigma``, per coordinate.

    mu and sigma are the mean and the sample standard deviation (h - 1 in the denominator) of
    the honest rows. Unless given, z is the published one: with n workers of which f Byzantine
    and s = floor(n / 2 + 1) - f supporters needed, ``z = Phi^-1((n - f - s) / (n - f))``.

    Needs two honest rows. Baruch et al., "A Little Is Enough: Circumventing Defenses For
    Distributed Learning", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> ALIE(z=1.0)(np.array([[1.0], [3.0]]), 1).round(4)
    array([[0.5858]])
    """

    z: float | None = None
    name: ClassVar[str] = "alie"
    columnwise: ClassVar[bool] = True
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a factor that would make the rows NaN, which no rule has to withstand."""
        if self.z is not None:
            check_finite("z", self.z)

    def check(self, honest: int, count: int) -> None:
        """Raise also where the published z has no value for so many workers."""
        super().check(honest, count)
        if self.z is None and count:
            alie_z(honest + count, count)

    def rows(
        self, honest: NDArray[np.float64], count: int, round: Round  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """``mu - z sigma``, for all."""
        z = alie_z(len(honest) + count, count) if self.z is None else self.z
        mean, deviation = mean_and_deviation(honest)
        return (mean - z * deviation)[None]


def alie_z(n: int, f: int) -> float:
    """The published z for n workers of which f are Byzantine.

    Examples
    --------
    >>> round(alie_z(50, 24), 4)
    1.4261
    """
    supporters = n // 2 + 1 - f
    share = (n - f - supporters) / (n - f)
    if not 0.0 < share < 1.0:
        raise requirement(
            "z", "be given where the published formula has no value",
            f"n = {n}, f = {f}", "Write alie(z=1.5)",
        )
    return NormalDist().inv_cdf(share)
