"""Multi-Krum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..criteria import lambda_from_kappa
from ..errors import check_whole, checked_f, requirement
from ..rows.geometry import Geometry
from ..rule import WeightRule
from ._krum_bounds import krum_kappa, krum_lambda
from .krum import krum_scores


@dataclass(frozen=True)
class MultiKrum(WeightRule):
    """The mean of the m rows of best Krum score.

    Complexity O(n^2 d + n^2 log n). Needs n >= 2f + 3 and m <= n - f - 2. Of rows with
    equal scores the first ones are taken.
    lambda and kappa are at most those of `krum`, and less where m is large, as `krum_lambda` and
    `krum_kappa` have them with n - f - 2 others. Both are proven in docs/theory.md.

    Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    2017; scores count the n - f - 2 nearest other rows and are taken once.

    Parameters
    ----------
    m : int or None (default: None)
        How many rows to average; None is n - f - 2, the most that the paper allows.

    Examples
    --------
    >>> import numpy as np
    >>> MultiKrum()(np.array([[0.0], [1.0], [2.0], [4.0], [90.0]]), f=1)
    array([0.5])
    """

    m: int | None = None
    name: ClassVar[str] = "multikrum"
    need: ClassVar[str] = "n >= 2f + 3 and m <= n - f - 2"

    def __post_init__(self) -> None:
        """Refuse an m that averages nothing."""
        if self.m is not None:
            check_whole("m", self.m, "Leave it out to average n - f - 2 rows")

    def admits(self, n: int, f: int) -> bool:
        """Whether every score counts a majority of honest rows and m rows can be trusted."""
        return n >= 2 * f + 3 and (self.m or 1) <= n - f - 2

    def check(self, n: int, f: int) -> None:
        """As for every rule; an m that is too large gets an error of its own."""
        f = checked_f(f)
        if self.m is not None and self.m > n - f - 2:
            raise requirement(
                "m", f"satisfy {self.need} for `{self}`", f"m = {self.m}, n = {n}, f = {f}",
                "Lower `m`, leave it out, or ask more nodes",
            )
        super().check(n, f)

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / m for the m best rows, zero for the rest."""
        m = self.m or geometry.n - f - 2
        scores = krum_scores(geometry.squared_distances, geometry.n - f - 2)
        weights = np.zeros(geometry.n)
        weights[np.argsort(scores, kind="stable")[:m]] = 1.0 / m
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: that of m rows, or what kappa says."""
        own = krum_lambda(n, f, self.m or n - f - 2, n - f - 2)
        return min(own, lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """That of m rows with n - f - 2 others."""
        return krum_kappa(n, f, self.m or n - f - 2, n - f - 2)
