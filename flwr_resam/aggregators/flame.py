"""FLAME."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from ..errors import real, requirement
from ..rows.geometry import clip_factors
from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round
from ._cosines import cosine_distances


@dataclass(frozen=True)
class FLAME(Aggregator):
    """The mean of the rows in the majority's cluster by angle, clipped to the median norm; noise.

    Rows are clustered by cosine distance with HDBSCAN, whose clusters have more than half of the
    rows, so that there is one at most: the first component of so many rows that forms as rows are
    linked from the nearest to the farthest, found here by that definition. Each row in it is
    shortened to S, the median of all norms, and they are averaged; then each coordinate gets
    noise of the standard deviation ``noise S``, from the round's generator.

    Complexity O(n^2 d). Needs n > 2f. No lambda exists: what is clipped, and noise, have nothing to
    do with how far rows lie apart.

    Nguyen et al., "FLAME: Taming backdoors in federated learning", 2022. Clusters are of updates,
    as in the public code, where the text has models.

    Parameters
    ----------
    noise : float (default: 0.001)
        lambda of the paper, as in its experiments on images; 0 adds none.

    Examples
    --------
    >>> import numpy as np
    >>> FLAME(noise=0.0)(np.array([[1.0, 0.0], [2.0, 0.1], [8.0, 0.2], [-1.0, 2.0]]), f=1).round(3)
    array([1.706, 0.051])
    """

    noise: float = 0.001
    name: ClassVar[str] = "flame"

    def __post_init__(self) -> None:
        """Refuse a noise that there is not."""
        if not 0.0 <= real(self.noise) < np.inf:
            raise requirement("noise", "be at least 0 and finite", self.noise, "Use 0.001")

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        geometry = updates.geometry()
        cluster = majority_cluster(cosine_distances(geometry))
        norms = np.sqrt(geometry.squared_norms)
        typical = float(np.median(norms))
        weights = np.where(cluster, clip_factors(norms, typical), 0.0) / cluster.sum()
        vector = updates.combine(weights)
        if self.noise:
            xp = array_namespace(vector)
            drawn = at.random().normal(0.0, self.noise * typical, len(vector))
            wide = xp.astype(vector, xp.float64)
            noisy = wide + xp.asarray(drawn, dtype=xp.float64, device=device(vector))
            limit = float(xp.finfo(vector.dtype).max)
            vector = xp.astype(xp.clip(noisy, -limit, limit), vector.dtype)
        return Aggregate(vector, weights)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")


def majority_cluster(distances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The first component of more than half of the points, as points are linked, nearest first.

    Where links are equally long, all of them count at once; of one point alone it is that point.

    Parameters
    ----------
    distances : (n, n) float64
        Symmetric.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 1.5, 9.0, 9.1])
    >>> majority_cluster(abs(points[:, None] - points[None, :]))
    array([ True,  True,  True, False, False])
    """
    n = len(distances)
    group = np.arange(n)  # of each point, the number of one point in its component
    links = _tree(distances)
    for length in sorted({length for length, _, _ in links}):
        for other, i, j in links:
            if other == length:
                group[group == group[j]] = group[i]
        sizes = np.bincount(group, minlength=n)
        if 2 * sizes.max() > n:
            return np.asarray(group == sizes.argmax())
    return np.asarray(group == group[0])


def _tree(distances: NDArray[np.float64]) -> list[tuple[float, int, int]]:
    """The n - 1 links of a minimum spanning tree, by Prim, in O(n^2): (length, from, to)."""
    n = len(distances)
    left = np.ones(n, dtype=bool)
    left[0] = False
    nearest, reach = np.zeros(n, dtype=np.intp), distances[0].copy()
    links = []
    for _ in range(n - 1):
        new = int(np.argmin(np.where(left, reach, np.inf)))
        links.append((float(reach[new]), int(nearest[new]), new))
        left[new] = False
        closer = distances[new] < reach
        reach[closer], nearest[closer] = distances[new][closer], new
    return links
