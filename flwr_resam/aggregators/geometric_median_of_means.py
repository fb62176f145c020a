"""The geometric median of means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_whole, checked_f, requirement
from ..rows.geometry import Geometry
from ..rule import WeightRule
from .geometric_median import GeometricMedian


@dataclass(frozen=True)
class GeometricMedianOfMeans(WeightRule):
    """The geometric median of the means of k groups of rows.

    The groups are runs of neighbouring rows whose sizes differ by at most one, so the result
    depends on the order of the rows. Complexity O(n^2 d + n^3). Needs n > 2f and 2f < k <= n. No
    lambda is proven.

    Chen et al., "Distributed statistical machine learning in adversarial settings: Byzantine
    gradient descent", 2017; for heavy-tailed gradients Prasad et al., "Robust estimation via
    robust gradient estimation", 2020. The median is the exact one.

    Parameters
    ----------
    k : int or None (default: None)
        The number of groups; None is 2f + 1, the least of which a majority is free of faults.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0], [3.0], [2.0], [4.0], [1e30], [0.0]])
    >>> GeometricMedianOfMeans()(rows, f=1)
    array([3.])
    """

    k: int | None = None
    name: ClassVar[str] = "gmom"
    need: ClassVar[str] = "n > 2f and 2f < k <= n"

    def __post_init__(self) -> None:
        """Refuse what is no number of groups."""
        if self.k is not None:
            check_whole("k", self.k, "Leave it out to have 2f + 1 groups")

    def admits(self, n: int, f: int) -> bool:
        """Whether a majority of the groups is free of faults."""
        return 2 * f < (self.k or 2 * f + 1) <= n

    def check(self, n: int, f: int) -> None:
        """As for every rule; a k that does not fit gets an error of its own."""
        f = checked_f(f)
        if self.k is not None and not 2 * f < self.k <= n:
            raise requirement(
                "k", f"satisfy {self.need} for `{self}`", f"k = {self.k}, n = {n}, f = {f}",
                "Lower `k`, leave it out, or ask more nodes" if self.k > n
                else "Raise `k`, leave it out, or lower `num_malicious_nodes`",
            )
        super().check(n, f)

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """The barycentric weights of the median, spread over each group's rows."""
        n, k = geometry.n, self.k or 2 * f + 1
        means = np.zeros((k, n))
        for group, rows in enumerate(np.array_split(np.arange(n), k)):
            means[group, rows] = 1.0 / len(rows)
        return GeometricMedian().weights(geometry.mix(means), f) @ means
