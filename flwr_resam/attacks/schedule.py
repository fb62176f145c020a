"""When an attack is on: from a round, every so many rounds, with a probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import check_whole, real, requirement
from ..registry import Registry
from ..spelling import Named


@dataclass(frozen=True)
class Schedule(Named):
    """The rounds in which Byzantine nodes misbehave; in the others they are honest.

    Parameters
    ----------
    start : int (default: 1)
        The first round.
    every : int (default: 1)
        On in the rounds start, start + every, start + 2 every, ...
    probability : float (default: 1.0)
        On in each of these only with this probability, all its nodes together.

    Examples
    --------
    >>> schedule = Schedule(start=3, every=2)
    >>> [number for number in range(1, 9) if schedule.active(number, np.random.default_rng(0))]
    [3, 5, 7]
    """

    start: int = 1
    every: int = 1
    probability: float = 1.0
    name: ClassVar[str] = "when"

    def __post_init__(self) -> None:
        check_whole("start", self.start, "Use 1, the first round")
        check_whole("every", self.every, "Use 1 for every round")
        if not 0.0 < real(self.probability) <= 1.0:
            raise requirement(
                "probability", "be above 0 and at most 1", self.probability, "Use 1.0, or no attack"
            )

    def active(self, number: int, generator: np.random.Generator) -> bool:
        """Whether the attack is on in this round."""
        if number < self.start or (number - self.start) % self.every:
            return False
        return self.probability == 1.0 or bool(generator.random() < self.probability)


SCHEDULES: Registry[Schedule] = Registry("schedule", Schedule, [Schedule])
ALWAYS = Schedule()
