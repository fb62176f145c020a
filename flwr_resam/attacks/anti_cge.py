"""The attack on comparative gradient elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from .attack import MemorylessAttack

_BELOW = 1.0 - 1e-4


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
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """The scaled ``-mu``, for all."""
        mean = honest.mean(axis=0)
        length = np.linalg.norm(mean)
        if length == 0.0:
            return np.zeros((1, honest.shape[1]))
        norms = np.linalg.norm(honest, axis=1)
        place = min(len(norms) - 1, max(0, len(norms) - count))
        return np.asarray(-mean[None] * (_BELOW * np.sort(norms)[place] / length))
