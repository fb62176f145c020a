"""NaN and infinities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class NonFinite(MemorylessAttack):
    """A Byzantine row holds NaN, infinity and minus infinity, one coordinate after the other.

    Examples
    --------
    >>> import numpy as np
    >>> NonFinite()(np.zeros((1, 4)), 1)
    array([[ nan,  inf, -inf,  nan]])
    """

    name: ClassVar[str] = "non-finite"
    knowledge: ClassVar[str] = "alone"
    finite: ClassVar[bool] = False

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """A row of the three in turn, for all."""
        return np.resize(np.array([np.nan, np.inf, -np.inf]), (1, honest.shape[1]))
