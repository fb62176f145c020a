"""The attack on comparative gradient elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.sums import mean_of
from ..rule import Round
from .attack import MemorylessAttack

_BELOW = 1.0 - 1e-4
_SMALL = 2.0**-64


@dataclass(frozen=True)
class AntiCGE(MemorylessAttack):
    """Every Byzantine worker sends ``-mu``, scaled to just below the norm that CGE drops.

    CGE keeps the n - f rows of least norm. All f Byzantine rows are kept while they are
    shorter than the (h - f + 1)-th shortest honest row, so that is the norm they take, less
    one part in 10,000; with as many Byzantine rows as honest ones, that of the shortest.

    Complexity O(h d). The rule is that of Gupta, Liu, Vaidya, "Byzantine Fault-Tolerant
    Distributed Machine Learning Using Stochastic Gradient Descent (SGD) and Norm-Based
    Comparative Gradient Elimination (CGE)", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> AntiCGE()(np.array([[1.0], [2.0], [6.0]]), 1)
    array([[-5.9994]])
    """

    name: ClassVar[str] = "anti-cge"

    def rows(
        self, honest: NDArray[np.float64], count: int, round: Round  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """The scaled ``-mu``, for all."""
        mean = mean_of(honest)
        length = np.linalg.norm(mean)
        if length == 0.0:
            return np.zeros((1, honest.shape[1]))
        norms = np.linalg.norm(honest, axis=1)
        place = min(len(norms) - 1, max(0, len(norms) - count))
        with np.errstate(over="ignore", invalid="ignore"):
            factor = _BELOW * np.sort(norms)[place] / length
        if np.isfinite(length) and np.isfinite(factor):
            return np.asarray(-mean[None] * factor)
        direction = mean / np.abs(mean).max()
        direction /= np.linalg.norm(direction)
        target = _BELOW * np.sort(_small_norms(honest))[place]
        return np.asarray(-direction[None] * target / _SMALL)


def _small_norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Norms whose squares leave the range of float64, times a factor that makes them fit."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    unit = np.where(largest > 0.0, largest, 1.0)
    return np.asarray(largest[:, 0] * _SMALL * np.linalg.norm(rows / unit, axis=1))
