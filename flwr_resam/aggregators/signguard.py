"""SignGuard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import requirement
from ..rows.geometry import clip_factors
from ..rows.source import Matrix
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round


@dataclass(frozen=True)
class SignGuard(Aggregator):
    """The clipped mean of rows of a usual length in the largest cluster of their sign counts.

    With M the median of the norms: rows of norms between ``low M`` and ``high M``; among these the
    largest cluster that mean shift finds of the shares of positive, zero and negative values in a
    part of the coordinates, a run of them that is drawn anew in each round. The result is the
    mean of the rows that pass both, each shortened to M; zero, with a note, where none does.

    The bandwidth of mean shift is the mean distance of a point to its floor(n / 2)-th nearest,
    itself included, and points outside of every kernel belong to no cluster; of equally large
    clusters the first counts. Complexity O(n^2 d). Needs n > 2f and scikit-learn. No lambda
    exists: signs say nothing of size.

    Xu, Huang, Song, Lan, "Byzantine-robust federated learning through collaborative malicious
    gradient filtering", 2022: the plain form, without similarities; the run of coordinates and the
    bandwidth are those of the authors' code.

    Parameters
    ----------
    low, high : float (default: 0.1, 3.0)
        Which norms are usual, in units of their median.
    share : float (default: 0.1)
        The part of the coordinates whose signs are counted; one at least.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0, 2.0], [1.0, 3.0], [2.0, 1.0], [-1.0, -2.0], [90.0, 90.0]])
    >>> SignGuard(share=1.0)(rows, f=2).round(3)
    array([1.236, 1.707])
    """

    low: float = 0.1
    high: float = 3.0
    share: float = 0.1
    name: ClassVar[str] = "signguard"

    def __post_init__(self) -> None:
        """Refuse bounds and a share that no row can meet."""
        if not 0.0 <= self.low <= 1.0 <= self.high:
            raise requirement(
                "low", "be between 0 and 1, and `high` above", f"low = {self.low}, "
                f"high = {self.high}", "Use 0.1 and 3.0",
            )
        if not 0.0 < self.share <= 1.0:
            raise requirement("share", "be above 0 and at most 1", self.share, "Use 0.1")

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        norms = np.sqrt(updates.geometry().squared_norms)
        typical = float(np.median(norms))
        usual = (norms >= self.low * typical) & (norms <= self.high * typical)
        kept = usual & _largest_cluster(self._sign_shares(updates, at))
        weights = np.where(kept, clip_factors(norms, typical), 0.0) / max(1, kept.sum())
        note = None if kept.any() else "No row passes both filters: the result is zero"
        return Aggregate(updates.combine(weights), weights, None, note)

    def _sign_shares(self, updates: Updates, at: Round) -> NDArray[np.float64]:
        """The shares of positive, zero and negative values in the coordinates drawn, (n, 3)."""
        size = min(updates.d, max(1, int(self.share * updates.d)))
        first = int(at.random().integers(updates.d - size + 1))
        counts: list[NDArray[np.float64]] = []

        def count(start: int, stop: int, block: Array) -> None:  # noqa: ARG001
            part = block[:, max(first - start, 0) : max(first + size - start, 0)]
            if part.shape[1]:
                xp = array_namespace(part)
                found = [xp.sum(part > 0, axis=1), xp.sum(part == 0, axis=1)]
                counts.append(np.stack([Matrix.to_numpy(each) for each in found], axis=1))

        updates.visit(count)
        shares = sum(counts, np.zeros((updates.n, 2))) / max(1, size)
        return np.column_stack([shares, 1.0 - shares.sum(axis=1)])

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")


def _largest_cluster(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    try:
        from sklearn.cluster import MeanShift, estimate_bandwidth
    except ImportError as error:
        raise requirement(
            "aggregator", "have scikit-learn for `signguard`, which clusters with it", "none",
            "pip install scikit-learn", error=ImportError,
        ) from error
    bandwidth = max(estimate_bandwidth(points, quantile=0.5), 1e-9)  # 0 where all have a twin
    labels = MeanShift(bandwidth=bandwidth, cluster_all=False).fit(points).labels_
    return np.asarray(labels == np.bincount(labels[labels >= 0]).argmax())
