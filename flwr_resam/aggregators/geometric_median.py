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
from ._arithmetic import Arithmetic, InOrder

_STEPS = 200
_NOISE = 1e-12
_FEW = 64  # rows whose sums are taken one by one, and coordinates of a direct solution
_ROWS = 256  # whose differences are held at a time
_CLOSE = 1e-3  # of the distance from the origin: closer rows' distances lose digits
_LOST = 1e-7  # the most that such a distance is wrong by, of the distance from the origin
_SOLVED = 1e-9  # what is left over of the equations of a step


@dataclass(frozen=True)
class GeometricMedian(WeightRule):
    """The point of least summed distance to the rows, ``argmin_y sum_i ||y - x_i||``.

    Newton's method on the n weights of the point, safeguarded by Weiszfeld's steps, to
    relative 1e-10: no iteration touches the d coordinates. A median that is a row is found
    as such. Where several points are medians (rows on a line, n even), the mean of the rows
    among them is taken. Complexity O(n^2 d + n^3) once and O(n^2) for each of about a hundred
    products.

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
    how = InOrder() if geometry.reproducible else Arithmetic()
    points = _coordinates(geometry.rows, how)
    n = len(points)
    best, tied = _best_rows(points, how)
    start, pull, here = _leave(points, best, how)
    if pull <= here * (1.0 + _NOISE) or points.shape[1] == 1:
        return np.asarray(tied / tied.sum())
    distances = _distances(points, _descend(points, start, how), how)
    if distances.min() == 0.0:
        return np.asarray(np.eye(n)[int(np.argmin(distances))])
    weights = distances.min() / distances
    return np.asarray(weights / how.total(weights))


def _coordinates(gram: NDArray[np.float64], how: Arithmetic) -> NDArray[np.float64]:
    """Points with these inner products; each row keeps its own relative precision."""
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    inverse = 1.0 / np.where(scale > 0, scale, 1.0)
    scaled = gram * inverse[:, None]
    scaled *= inverse[None, :]
    points = how.points(scaled)
    points *= scale[:, None]
    return points


def _parts(n: int) -> list[slice]:
    """Few rows at a time, so that what is computed of them in between is small."""
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]


def _distances(
    points: NDArray[np.float64], y: NDArray[np.float64], how: Arithmetic
) -> NDArray[np.float64]:
    return np.concatenate([how.lengths(points[part] - y) for part in _parts(len(points))])


def _gain(
    points: NDArray[np.float64], y: NDArray[np.float64], step: NDArray[np.float64],
    how: Arithmetic,
) -> float:
    """How much less the summed distance is at ``y + step``, whatever far rows add to both.

    ``||a|| - ||b|| = <a - b, a + b> / (||a|| + ||b||)``
    """
    terms = np.empty(len(points))
    for part in _parts(len(points)):
        before, after = points[part] - y, points[part] - (y + step)
        lengths = how.lengths(before) + how.lengths(after)
        terms[part] = how.times(before + after, step) / np.where(lengths > 0, lengths, 1.0)
    return how.total(terms)


def _best_rows(
    points: NDArray[np.float64], how: Arithmetic
) -> tuple[int, NDArray[np.float64]]:
    """The row of least summed distance, and 1.0 for each row that has no more than it."""
    first = int(np.argmin(_row_sums(points, 0, how)))
    losses = _row_sums(points, first, how)  # once more, from where the differences are small
    best = int(np.argmin(losses))
    noise = 1e-14 * len(points) * _distances(points, points[best], how)
    return best, (losses <= losses[best] + noise).astype(np.float64)


def _row_sums(
    points: NDArray[np.float64], origin: int, how: Arithmetic
) -> NDArray[np.float64]:
    """The summed distance at each row less that at ``origin``; inf where others have less.

    Of many rows the sums are first taken from inner products about the origin, in whose rounding
    a distance is lost that is far less than the two rows' from there. What rows may have the
    least sum after that is summed as it is for few.
    """
    rows = np.arange(len(points))
    sums = np.full(len(points), np.inf)
    if len(points) > _FEW:
        about = points - points[origin]
        squares = how.rows(about * about)
        lengths = np.sqrt(squares)
        rough, error = np.empty_like(sums), np.empty_like(sums)
        for part in _parts(len(points)):
            terms = 2.0 * how.times(about[part], about.T) - squares[part, None]
            apart = np.sqrt(np.maximum(squares - terms, 0.0))
            close = (apart < _CLOSE * lengths[part, None]).sum(axis=1)
            apart += lengths
            rough[part] = -how.rows(terms / np.where(apart > 0.0, apart, 1.0))
            error[part] = _LOST * lengths[part] * close
        rows = np.flatnonzero(rough - error <= (rough + error).min())
    start = points[origin]
    # Behind `nnm` many rows are one point.
    apart, place = np.unique(points[rows], axis=0, return_inverse=True)
    sums[rows] = np.array([-_gain(points, start, each - start, how) for each in apart])[place]
    return sums


def _leave(
    points: NDArray[np.float64], row: int, how: Arithmetic
) -> tuple[NDArray[np.float64], float, float]:
    """Vardi and Zhang's step away from a row; the pull of the others; the rows that lie on it.

    The row is a median where the pull is at most as large as the number of rows on it.
    """
    distances = _distances(points, points[row], how)
    on = distances <= _NOISE * how.lengths(points)
    here = float(on.sum())
    inverse = np.where(on, 0.0, 1.0 / np.where(on, 1.0, distances))
    force = how.times(inverse, points - points[row])
    pull = how.length(force)
    if pull <= here:
        return points[row], pull, here
    return points[row] + (1.0 - here / pull) * force / how.total(inverse), pull, here


def _descend(
    points: NDArray[np.float64], y: NDArray[np.float64], how: Arithmetic
) -> NDArray[np.float64]:
    """Follow Newton's steps, or Weiszfeld's where these gain more, until nothing is gained."""
    for _ in range(_STEPS):
        distances = _distances(points, y, how)
        if distances.min() == 0.0:
            return y
        inverse = 1.0 / distances
        units = points - y
        units *= inverse[:, None]
        force, whole = how.columns(units), how.total(inverse)
        weiszfeld = force / whole
        newton = _newton(units, inverse / whole, weiszfeld, how)
        # Beside a row that is no median the curvature is what makes the step short.
        done = min(_NOISE * np.sort(distances)[len(points) // 2], 1e-3 * distances.min())
        if how.length(newton) <= done:
            return np.asarray(y + newton)
        steps = [newton, weiszfeld]
        gains = [_gain(points, y, step, how) for step in steps]
        if gains[0] <= gains[1]:  # too far for Newton: search along both ways
            steps += [newton * 4.0**-k for k in range(1, 12)]
            steps += [weiszfeld * 4.0**k for k in range(1, 4)]
            gains += [_gain(points, y, step, how) for step in steps[2:]]
        best = int(np.argmax(gains))
        if gains[best] <= 0.0:  # what is left to gain is less than rounding
            return np.asarray(y + min(newton, weiszfeld, key=how.length))
        y = y + steps[best]
    return y


def _newton(
    units: NDArray[np.float64], share: NDArray[np.float64], weiszfeld: NDArray[np.float64],
    how: Arithmetic,
) -> NDArray[np.float64]:
    """Newton's step: ``(I - sum_i share_i u_i u_i^T) step = weiszfeld``.

    In many dimensions by conjugate gradients, which take some ten products with the units where
    these point all ways; the loop around corrects what is left over.
    """
    size = units.shape[1]
    if size <= _FEW:
        curvature = np.eye(size) - how.times((units * share[:, None]).T, units)
        return how.solve(curvature, weiszfeld)
    step, rest = np.zeros(size), weiszfeld.copy()
    way, squared = rest.copy(), float(how.times(rest, rest))
    enough = _SOLVED**2 * squared
    for _ in range(size):
        bent = way - how.times(share * how.times(units, way), units)
        curved = float(how.times(way, bent))
        if squared <= enough or curved <= 0.0:
            break
        step += squared / curved * way
        rest -= squared / curved * bent
        before, squared = squared, float(how.times(rest, rest))
        way = rest + squared / before * way
    return step if step.any() else weiszfeld
