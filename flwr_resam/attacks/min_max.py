"""Min-Max: as far out as the largest distance between honest rows allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from ._directions import check_direction, way
from .attack import MemorylessAttack


@dataclass(frozen=True)
class MinMax(MemorylessAttack):
    """Every Byzantine worker sends ``mu - gamma v``, gamma the largest that hides by distance.

    ``max_i ||mu - gamma v - x_i|| <= max_{i, j} ||x_i - x_j||`` over the honest rows: no
    Byzantine row lies farther from any honest one than these lie apart. The condition is a
    quadratic in gamma for each i, so gamma is the least of the larger roots, exactly, where
    the paper bisects.

    Needs two honest rows. Complexity O(h^2 d). Shejwalkar, Houmansadr, "Manipulating the
    Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated Learning", 2021.

    Parameters
    ----------
    direction : str (default: "std")
        v: "std" is sigma, the honest rows' sample standard deviation per coordinate, "sign" the
        signs of mu, and "unit" mu at length one; the three of the paper.

    Examples
    --------
    >>> import numpy as np
    >>> MinMax()(np.array([[1.0], [3.0]]), 1).round(6)
    array([[1.]])
    """

    direction: str = "std"
    name: ClassVar[str] = "min-max"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a direction that there is not."""
        check_direction(self.direction)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """``mu - gamma v``, for all."""
        return shifted(honest, self.direction, _min_max_factor)[None]


def shifted(
    honest: NDArray[np.float64],
    direction: str,
    factor: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
) -> NDArray[np.float64]:
    """``mu - gamma v``, with gamma by ``factor`` from the rows about mu and v."""
    mean = honest.mean(axis=0)
    centred = honest - mean
    scale = np.abs(centred).max(initial=0.0)
    if scale == 0.0:
        return np.asarray(mean)
    centred = centred / scale  # the condition on gamma is of the fourth degree in the rows
    sigma = np.sqrt((centred**2).sum(axis=0) / (len(honest) - 1))
    off = way(direction, mean, sigma)
    if not off.any():
        return np.asarray(mean)
    return np.asarray(mean - scale * factor(centred, off) * off)


def _min_max_factor(centred: NDArray[np.float64], off: NDArray[np.float64]) -> float:
    """The largest gamma with ``||c_i + gamma v|| <= D`` for all rows c_i about the mean."""
    inner = centred @ centred.T
    norms = np.diagonal(inner)
    widest = float((norms[:, None] + norms[None, :] - 2.0 * inner).max())
    slope, square = centred @ off, float(off @ off)
    roots = (-slope + np.sqrt(slope**2 + square * np.maximum(widest - norms, 0.0))) / square
    return float(roots.min())
