"""The geometric median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..criteria import lambda_from_kappa
from ..rows.geometry import Geometry
from ..rule import WeightRule

_STEPS = 200
_NOISE = 1e-12


@dataclass(frozen=True)
class GeometricMedian(WeightRule):
    """The point of least summed distance to the rows, ``argmin_y sum_i ||y - x_i||``.

    Newton's method on the n weights of the point, safeguarded by Weiszfeld's steps, to
    relative 1e-10: no iteration touches the d coordinates. A median that is a row is found
    as such. Where several points are medians (rows on a line, n even), the mean of the rows
    among them is taken. Complexity O(n^2 d) once and O(n^3) a step, of which there are about
    ten.

    Needs n > 2f. kappa = n / (n - 2f). lambda = sqrt(kappa (n - f - 1) / (2 (n - f))), or
    RESAM's 1 + sqrt((n - f)^2 / (n (n - 2f))) where that is less;
    docs/theory.md has the proofs.

    Chen et al., 2017; Xie et al., 2018; Feng et al., 2015. Vardi and Zhang, "The multivariate
    L1-median and associated data depth", 2000, for the steps at a row.

    Examples
    --------
    >>> import numpy as np
    >>> corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> print(np.round(GeometricMedian()(corners, f=1), 9))
    [1. 1.]
    """

    name: ClassVar[str] = "gm"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """The barycentric weights of the median."""
        return median_weights(geometry)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: what kappa says, or RESAM Table 1."""
        table = 1.0 + math.sqrt((n - f) ** 2 / (n * (n - 2 * f)))
        return min(table, lambda_from_kappa(self.kappa(n, f, d), n, f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``n / (n - 2f)``."""
        return n / (n - 2 * f)


def median_weights(geometry: Geometry) -> NDArray[np.float64]:
    """Weights of the geometric median of the rows.

    The rows are taken to coordinates in at most n dimensions, in which distances are exact to
    the last digits. At the median y the weights ``1 / ||y - x_i||``, scaled to one, give y.
    """
    points = _coordinates(geometry.rows)
    n = len(points)
    best, tied = _best_rows(points)
    start, pull, here = _leave(points, best)
    if pull <= here * (1.0 + _NOISE) or points.shape[1] == 1:
        return np.asarray(tied / tied.sum())
    distances = _distances(points, _descend(points, start))
    if distances.min() == 0.0:
        return np.asarray(np.eye(n)[int(np.argmin(distances))])
    weights = distances.min() / distances
    return np.asarray(weights / weights.sum())


def _coordinates(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points with these inner products; each row keeps its own relative precision."""
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    inverse = 1.0 / np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram * inverse[:, None] * inverse[None, :])
    large = values > 1e-14 * len(gram) * max(values[-1], 0.0)
    if not large.any():
        return np.zeros((len(gram), 1))
    return np.asarray(scale[:, None] * vectors[:, large] * np.sqrt(values[large]))


def _distances(points: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points - y, axis=1))


def _gain(
    points: NDArray[np.float64], y: NDArray[np.float64], step: NDArray[np.float64]
) -> float:
    """How much less the summed distance is at ``y + step``, whatever far rows add to both.

    ``||a|| - ||b|| = <a - b, a + b> / (||a|| + ||b||)``
    """
    before, after = points - y, points - (y + step)
    lengths = np.linalg.norm(before, axis=1) + np.linalg.norm(after, axis=1)
    terms = (before + after) @ step
    return float(np.sum(terms / np.where(lengths > 0, lengths, 1.0)))


def _best_rows(points: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """The row of least summed distance, and 1.0 for each row that has no more than it."""
    first = int(np.argmin(_row_sums(points, 0)))
    losses = _row_sums(points, first)  # once more, from where the differences are small
    best = int(np.argmin(losses))
    noise = 1e-14 * len(points) * _distances(points, points[best])
    return best, (losses <= losses[best] + noise).astype(np.float64)


def _row_sums(points: NDArray[np.float64], origin: int) -> NDArray[np.float64]:
    """The summed distance at each row less that at ``origin``."""
    return np.array([-_gain(points, points[origin], row - points[origin]) for row in points])


def _leave(
    points: NDArray[np.float64], row: int
) -> tuple[NDArray[np.float64], float, float]:
    """Vardi and Zhang's step away from a row; the pull of the others; the rows that lie on it.

    The row is a median where the pull is at most as large as the number of rows on it.
    """
    distances = _distances(points, points[row])
    on = distances <= _NOISE * np.linalg.norm(points, axis=1)
    here = float(on.sum())
    inverse = np.where(on, 0.0, 1.0 / np.where(on, 1.0, distances))
    force = inverse @ (points - points[row])
    pull = float(np.linalg.norm(force))
    if pull <= here:
        return points[row], pull, here
    return points[row] + (1.0 - here / pull) * force / inverse.sum(), pull, here


def _descend(points: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Follow Newton's steps, or Weiszfeld's where these gain more, until nothing is gained."""
    for _ in range(_STEPS):
        distances = _distances(points, y)
        if distances.min() == 0.0:
            return y
        inverse = 1.0 / distances
        units = (points - y) * inverse[:, None]
        force = units.sum(axis=0)
        weiszfeld = force / inverse.sum()
        curvature = inverse.sum() * np.eye(len(y)) - (units * inverse[:, None]).T @ units
        newton = np.linalg.lstsq(curvature / inverse.sum(), weiszfeld, rcond=1e-15)[0]
        # Beside a row that is no median the curvature is what makes the step short.
        done = min(_NOISE * np.sort(distances)[len(points) // 2], 1e-3 * distances.min())
        if np.linalg.norm(newton) <= done:
            return np.asarray(y + newton)
        steps = [newton, weiszfeld]
        gains = [_gain(points, y, step) for step in steps]
        if gains[0] <= gains[1]:  # too far for Newton: search along both ways
            steps += [newton * 4.0**-k for k in range(1, 12)]
            steps += [weiszfeld * 4.0**k for k in range(1, 4)]
            gains += [_gain(points, y, step) for step in steps[2:]]
        best = int(np.argmax(gains))
        if gains[best] <= 0.0:  # what is left to gain is less than rounding
            return np.asarray(y + min(newton, weiszfeld, key=np.linalg.norm))
        y = y + steps[best]
    return y
