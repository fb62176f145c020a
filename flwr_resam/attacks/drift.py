"""Drift: a little, the same way in every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_finite
from ..rows.sums import mean_and_deviation
from ..rule import Round
from .attack import Attack


@dataclass(frozen=True)
class Drift(Attack):
    """Every Byzantine worker sends ``mu - z sigma s``, s the signs of mu in the first round, kept.

    In one round that is within what honest rows vary, and no rule without memory can tell. Over
    the rounds the shifts add up, for they never change their way, while noise averages out. That
    is what momentum at the workers, or clipping about the last output, is to prevent.

    Needs two honest rows. Complexity O(h d); memory one vector. Karimireddy, He, Jaggi, "Learning
    from history for Byzantine robust optimization", 2021, on attacks that are coupled over time;
    there the bias of their lower bound, here in the size of `ALIE`.

    Parameters
    ----------
    z : float (default: 1.0)
        How many standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> attack, state = Drift(), None
    >>> for honest in ([[1.0], [3.0]], [[-3.0], [-1.0]]):
    ...     rows, state = attack.step(np.array(honest), 1, state=state)
    ...     print(rows.round(3))
    [[0.586]]
    [[-3.414]]
    """

    z: float = 1.0
    name: ClassVar[str] = "drift"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a factor that would make the rows NaN, which no rule has to withstand."""
        check_finite("z", self.z)

    def start(self) -> tuple[NDArray[np.float64], ...]:
        """No way chosen yet."""
        return ()

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
        mean, sigma = mean_and_deviation(honest)
        known = bool(state) and len(state[0]) == len(mean)
        signs = state[0] if known else np.sign(mean)
        return (mean - self.z * sigma * signs)[None], (signs,)
