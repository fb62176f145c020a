"""What a rule may know of a round besides the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .rows.updates import Array


@dataclass(frozen=True)
class Round:
    """What a rule may know of the round besides the rows.

    Attributes
    ----------
    number : int
        The server round, from 1.
    nodes : tuple of int
        The node behind each row; empty where unknown. Rules that remember single workers
        keep their memory under these.
    generator : numpy Generator
        Every random choice of the round is drawn from it.
    model : callable or None
        Returns the (d,) model that the rows were computed at. Only a rule that compares rows
        with the way that the model went calls it.
    asked : tuple of int
        The nodes that were to send a row, in the order asked; empty where unknown.
    """

    number: int = 1
    nodes: tuple[int, ...] = ()
    generator: np.random.Generator | None = None
    model: Callable[[], Array] | None = None
    asked: tuple[int, ...] = ()

    def random(self) -> np.random.Generator:
        """The round's generator; without one, a fixed one for each round number."""
        return self.generator or np.random.default_rng(self.number)
