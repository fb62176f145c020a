"""Replay: old vectors again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round
from .attack import Attack, in_turn


@dataclass(frozen=True)
class Replay(Attack):
    """A Byzantine worker sends what was honest ``rounds`` rounds ago; at first, its oldest.

    On a device that is its own vector; before a grid, worker i repeats the honest row i, from
    the first again when they run out. Remembers the honest rows of ``rounds`` rounds.

    Examples
    --------
    >>> import numpy as np
    >>> attack, state = Replay(rounds=2), None
    >>> for vector in (1.0, 2.0, 3.0, 4.0):
    ...     rows, state = attack.step(np.array([[vector]]), 1, state=state)
    ...     print(rows)
    [[1.]]
    [[1.]]
    [[1.]]
    [[2.]]
    """

    rounds: int = 10
    name: ClassVar[str] = "replay"
    knowledge: ClassVar[str] = "alone"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise requirement("rounds", "be at least 1", self.rounds, "Use 10, say")

    def start(self) -> tuple[NDArray[np.float64], ...]:
        """Nothing seen yet."""
        return ()

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
        past = tuple(rows for rows in state or () if rows.shape[1] == honest.shape[1])
        past = (*past, honest)[-(self.rounds + 1) :]
        return in_turn(past[0], count), past
