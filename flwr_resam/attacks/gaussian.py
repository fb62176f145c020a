"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class Gaussian(MemorylessAttack):
    """Every Byzantine worker sends noise of its own: each coordinate ``N(0, std^2)``.

    The paper's standard deviation is 200. Drawn from the round's generator.

    Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    2017, experiments.

    Examples
    --------
    >>> import numpy as np
    >>> Gaussian(std=0.5)(np.zeros((2, 100_000)), 1).std().round(2)
    np.float64(0.5)
    """

    std: float = 200.0
    name: ClassVar[str] = "gaussian"
    knowledge: ClassVar[str] = "alone"

    def __post_init__(self) -> None:
        if not 0.0 < self.std < np.inf:
            raise requirement("std", "be above 0 and finite", self.std, "Use 200, as the paper")

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """Count rows of noise."""
        return at.random().normal(0.0, self.std, (count, honest.shape[1]))
