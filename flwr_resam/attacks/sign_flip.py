"""Sign flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_finite
from ..rule import Round
from .attack import MemorylessAttack, in_turn


@dataclass(frozen=True)
class SignFlip(MemorylessAttack):
    """A Byzantine worker sends minus an honest vector: ``-factor x``.

    On a device x is its own; before a grid, where Byzantine workers compute nothing, worker i
    turns the honest row i round, from the first again when they run out.

    Farhadkhani et al., "Byzantine Machine Learning Made Easy by Resilient Averaging of
    Momentums", 2022, experiments, where the factor is 1.

    Examples
    --------
    >>> import numpy as np
    >>> SignFlip()(np.array([[1.0, -2.0]]), 1)
    array([[-1.,  2.]])
    """

    factor: float = 1.0
    name: ClassVar[str] = "sign-flip"
    columnwise: ClassVar[bool] = True
    knowledge: ClassVar[str] = "alone"

    def __post_init__(self) -> None:
        """Refuse a factor that would make the rows NaN, which no rule has to withstand."""
        check_finite("factor", self.factor)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """Minus the honest rows, in turn, times the factor."""
        return -self.factor * in_turn(honest, count)
