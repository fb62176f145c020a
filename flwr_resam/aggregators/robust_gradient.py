"""The gradient estimator of Prasad et al. for Huber contamination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry, squared_distances, symmetric
from ..rule import WeightRule
from ._spectrum import centred

_FEW = 1 << 16  # products of points and coordinates whose differences are taken all at once


@dataclass(frozen=True)
class RobustGradientEstimator(WeightRule):
    """Truncate, average along the lower half of the spectrum, recurse on the upper half.

    ``estimate(S) = P_W mean(T) + estimate(P_V T)``, where T is S without its outliers, V the
    span of the upper half of the principal directions of T and W that of the rest. Outliers
    are what is outside the smallest ball about one of the points that holds a share of
    1 - f/n of the points, rounded up. A single direction that is left gives the mean of the
    smallest interval that holds this share, of equal choices that of the first rows. Directions in
    which the rows of the first ball do not vary don't count, so at most n - f - 1 are halved.
    Complexity O(n^2 d + n^3). Needs n > 2f. No lambda is proven.

    Prasad et al., "Robust estimation via robust gradient estimation", 2020, Algorithms 2 and
    3, without the slack terms that grow with the dimension. The paper's ball is centred on
    estimates of the single coordinates; a ball about a point makes the rule independent of
    the axes.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0], [4.0, 1.0], [2.0, 0.5], [99.0, 9.0]])
    >>> RobustGradientEstimator()(rows, f=1)
    array([2. , 0.5])
    """

    name: ClassVar[str] = "rge"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """Barycentric weights of the estimate on the rows that the first truncation keeps."""
        n = geometry.n
        kept = _ball(geometry.squared_distances, n - f)
        values, vectors = np.linalg.eigh(centred(geometry.rows[np.ix_(kept, kept)]))
        varies = values > 1e-12 * max(float(values[-1]), 0.0)
        lengths = np.sqrt(values[varies])[::-1]
        axes = vectors[:, varies][:, ::-1]
        # Points in principal coordinates about their mean; the first truncation is done.
        estimate = _halve(axes * lengths, n, f) if len(lengths) else np.zeros(0)
        weights = np.zeros(n)
        weights[kept] = 1.0 / len(kept) + axes @ (estimate / lengths)
        return weights


def _estimate(points: NDArray[np.float64], n: int, f: int) -> NDArray[np.float64]:
    """The paper's Algorithm 2 for (m, p) points."""
    keep = -(-len(points) * (n - f) // n)
    if points.shape[1] == 1:
        return np.asarray(_interval(points, keep).mean(axis=0))
    kept = points[_ball(_squared(points), keep)]
    mean = kept.mean(axis=0)
    _, _, directions = np.linalg.svd(kept - mean, full_matrices=len(kept) < points.shape[1])
    return np.asarray(mean + directions.T @ _halve((kept - mean) @ directions.T, n, f))


def _halve(points: NDArray[np.float64], n: int, f: int) -> NDArray[np.float64]:
    """Recurse on the first half of the columns, take the mean of the others, which is zero."""
    p = points.shape[1]
    half = (p + 1) // 2
    return np.concatenate([_estimate(points[:, :half], n, f), np.zeros(p - half)])


def _squared(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances; of many points by inner products, and no (m, m, p) array for any."""
    m, p = points.shape
    if m * m * p > _FEW:
        about = points - points[int(np.argmin((points**2).sum(axis=1)))]
        gram = about @ about.T
        return np.maximum(squared_distances(symmetric(gram)), 0.0)
    return np.asarray(((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1))


def _ball(squared: NDArray[np.float64], keep: int) -> NDArray[np.intp]:
    """The points in the smallest ball about one of them that holds ``keep`` points."""
    centre = int(np.argmin(np.sort(squared, axis=1)[:, keep - 1]))
    return np.sort(np.argsort(squared[centre], kind="stable")[:keep])


def _interval(points: NDArray[np.float64], keep: int) -> NDArray[np.float64]:
    """The values in the smallest interval that holds ``keep`` of (m, 1) values.

    Which of two equally small ones is the left one says nothing, for no axis has a direction,
    and neither does on which side of one that holds more values some are left out: the first
    rows are taken. Coordinates come from a decomposition, whose rounding must not decide either.
    """
    values = points[:, 0]
    ordered = np.sort(values)
    room = 1e-12 * (ordered[-1] - ordered[0])
    low, high = ordered[: len(ordered) - keep + 1], ordered[keep - 1 :]
    equal = np.flatnonzero(high - low <= (high - low).min() + room)
    inside = (values >= low[equal, None] - room) & (values <= high[equal, None] + room)
    rows: list[int] = min(np.flatnonzero(row)[:keep].tolist() for row in inside)
    return points[rows]
