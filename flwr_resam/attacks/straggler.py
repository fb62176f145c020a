"""Straggler: a worker that is too slow to take part in every round, and answers all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round
from .attack import Attack, in_turn


@dataclass(frozen=True)
class Straggler(Attack):
    """A Byzantine worker finishes a vector every ``every`` rounds and sends it until the next.

    In rounds 1, 1 + every, 1 + 2 every, ... what it sends is fresh, in the others it is of
    another round. On a device that is its own vector; before a grid, worker i stands for
    honest row i, from the first again when they run out.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.rule import Round
    >>> attack, state = Straggler(every=2), None
    >>> for number in (1, 2, 3):
    ...     honest = np.array([[float(number)]])
    ...     rows, state = attack.step(honest, 1, state=state, at=Round(number))
    ...     print(rows)
    [[1.]]
    [[1.]]
    [[3.]]
    """

    every: int = 5
    name: ClassVar[str] = "straggler"
    knowledge: ClassVar[str] = "alone"

    def __post_init__(self) -> None:
        if self.every < 2:
            raise requirement(
                "every", "be at least 2", self.every, "A worker of 1 is not late; use 5, say"
            )

    def start(self) -> tuple[NDArray[np.float64], ...]:
        """Nothing finished yet."""
        return ()

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
        fresh = (at.number - 1) % self.every == 0
        late = not fresh and state and state[0].shape[1] == honest.shape[1]
        finished = state[0] if late else honest
        return in_turn(finished, count), (finished,)
