"""Zeros: the free rider who computes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class Zero(MemorylessAttack):
    """Every Byzantine worker sends zeros; where replies hold weights, the model that it got.

    It costs nothing, and slows a rule that takes it for an honest row near convergence.

    Examples
    --------
    >>> import numpy as np
    >>> Zero()(np.array([[1.0, 2.0]]), 2)
    array([[0., 0.],
           [0., 0.]])
    """

    name: ClassVar[str] = "zero"
    columnwise: ClassVar[bool] = True
    knowledge: ClassVar[str] = "alone"

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """A row of zeros, for all."""
        return np.zeros((1, honest.shape[1]))
