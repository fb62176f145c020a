"""The geometric median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry
from ..rule import WeightRule

_TOLERANCE = 1e-10
_STEPS = 10_000


@dataclass(frozen=True)
class GeometricMedian(WeightRule):
    """The point of least summed distance to the rows, ``argmin_y sum_i ||y - x_i||``.

    Weiszfeld's iteration, in the form of Vardi and Zhang that a start on a row can't stall,
    runs on the n weights of the point until these move by less than 1e-10 of their size: no
    iteration touches the d coordinates. Complexity O(n^2 d) once and O(n^2) a step.

    Needs n > 2f. lambda = 1 + sqrt((n - f)^2 / (n (n - 2f))).

    Chen et al., 2017; Xie et al., 2018; Feng et al., 2015. Vardi and Zhang, "The multivariate
    L1-median and associated data depth", 2000.

    Examples
    --------
    >>> import numpy as np
    >>> corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> print(np.round(GeometricMedian()(corners, f=1), 9))
    [1. 1.]
    """

    name: ClassVar[str] = "gm"

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:  # noqa: ARG002
        """The barycentric weights of the median."""
        return weiszfeld(geometry)

    def coefficient(self, n: int, f: int, d: int) -> float | None:  # noqa: ARG002
        """Lambda, RESAM Table 1."""
        return 1.0 + math.sqrt((n - f) ** 2 / (n * (n - 2 * f)))


def weiszfeld(geometry: Geometry) -> NDArray[np.float64]:
    """Weights of the geometric median of the rows.

    With ``y = sum_j w_j x_j`` and G the Gram matrix about the reference,
    ``||y - x_i||^2 = w G w - 2 (G w)_i + G_ii``.
    """
    gram = geometry.rows
    n = len(gram)
    diagonal = np.diagonal(gram)
    start = int(np.argmin(np.sqrt(geometry.squared_distances).sum(axis=1)))
    if _is_median(geometry, start):
        return np.asarray(np.eye(n)[start])
    # Far rows would drown the first steps, so the start leans on the rows near the best one.
    spread = _spread(geometry, start)
    reach = np.sqrt(diagonal) + spread
    near = 1.0 / (np.sqrt(geometry.squared_distances[start]) + spread)
    weights: NDArray[np.float64] = near / near.sum()
    for _ in range(_STEPS):
        inner = gram @ weights
        squared = weights @ inner - 2.0 * inner + diagonal
        distances = np.sqrt(np.maximum(squared, (1e-9 * reach) ** 2))
        pull = 1.0 / distances
        following = pull / pull.sum()
        moved = np.abs(following - weights) @ reach  # a far row's weight is small and matters
        weights = following
        if moved < _TOLERANCE * spread:
            break
    return weights


def _spread(geometry: Geometry, row: int) -> float:
    """The distance from ``row`` that holds half of the rows; 1 where that is none."""
    reach = float(np.sqrt(np.sort(geometry.squared_distances[row])[geometry.n // 2]))
    return reach or 1.0


def _is_median(geometry: Geometry, row: int) -> bool:
    """Whether the pulls of the other rows on ``row`` are balanced by the rows that lie on it."""
    gram, squared = geometry.rows, geometry.squared_distances[row]
    here = squared <= 0.0
    pull = np.where(here, 0.0, 1.0 / np.sqrt(np.where(here, 1.0, squared)))
    # sum_i (x_i - x_row) / ||x_i - x_row||, measured through inner products about x_row
    inner = gram - gram[row][None, :] - gram[:, row][:, None] + gram[row, row]
    return bool(np.sqrt(max(pull @ inner @ pull, 0.0)) <= here.sum())
