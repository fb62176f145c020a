"""Finite numbers that are far too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_finite
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class Huge(MemorylessAttack):
    """Every entry of a Byzantine row is ``value``, or the largest that the dtype has.

    Squares of 1e30 overflow in float32, and one such row next to honest ones takes every digit
    of these from sums that are not careful. A float64 row of more than 1e140 is out of range: the
    server rejects it and knows that its node is faulty.

    Examples
    --------
    >>> import numpy as np
    >>> Huge()(np.ones((2, 2)), 1)
    array([[1.e+30, 1.e+30]])
    """

    value: float = 1e30
    name: ClassVar[str] = "huge"
    knowledge: ClassVar[str] = "alone"

    def __post_init__(self) -> None:
        check_finite("value", self.value)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """A constant row, for all."""
        return np.full((1, honest.shape[1]), float(self.value))
