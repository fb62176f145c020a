"""Fall of Empires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_finite
from ..rule import Round
from .attack import MemorylessAttack


@dataclass(frozen=True)
class FOE(MemorylessAttack):
    """Every Byzantine worker sends ``-epsilon mu``, mu the mean of the honest rows.

    A small epsilon hides from rules that look at distances and still turns the inner product
    with the true gradient; an epsilon above (n - f) / f turns the plain mean round.

    Xie et al., "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
    Manipulation", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> FOE(epsilon=0.5)(np.array([[1.0], [3.0]]), 2)
    array([[-1.],
           [-1.]])
    """

    epsilon: float = 0.1
    name: ClassVar[str] = "foe"
    columnwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a factor that would make the rows NaN, which no rule has to withstand."""
        check_finite("epsilon", self.epsilon)

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """``-epsilon mu``, for all."""
        return np.asarray(-self.epsilon * honest.mean(axis=0, dtype=np.float64)[None])
