"""Centred clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import check_positive, check_whole
from ..rows.geometry import Geometry, clip_factors
from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round

_TABLE = 20  # rows for each step up to which a table costs less than a pass a step


@dataclass(frozen=True)
class CenteredClipping(Aggregator):
    """Steps from the last output towards the rows, each row's pull clipped to a radius.

    ``v <- v + (1/n) sum_i (x_i - v) min(1, radius / ||x_i - v||)``, ``steps`` times; v starts
    at the output of the round before, and at 0 in the first round. The steps run on the n + 1
    weights of v. Complexity O(n d) a step or, where that is less, O(n^2 d) once. Needs n > 2f. No
    lambda exists: rows that all lie at one point farther than ``steps * radius`` are not reached.

    Karimireddy, He and Jaggi, "Learning from history for Byzantine robust optimization", 2021.

    Parameters
    ----------
    radius : float
        tau: how far one row can pull, in the units of the rows.
    steps : int (default: 3)
        How many steps are taken in a round.

    Examples
    --------
    >>> import numpy as np
    >>> rule = CenteredClipping(radius=1.0, steps=1)
    >>> rows = np.array([[0.5], [0.5], [100.0], [0.6]])
    >>> first = rule.step(rows, f=1, state=rule.start())
    >>> first.vector, rule.step(rows, f=1, state=first.state).vector
    (array([0.65]), array([0.8125]))
    """

    radius: float
    steps: int = 3
    name: ClassVar[str] = "cc"

    def __post_init__(self) -> None:
        """Refuse a radius or a number of steps that moves nothing."""
        check_positive("radius", self.radius, "Use the length of a typical honest row")
        check_whole("steps", self.steps, "Use 3")

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        # One point more than the rows: the last output or, before there is one, the origin.
        around = updates if state is None else updates.with_vector(state["vector"])
        weights = self._weights(around.geometry(), n)
        vector = around.combine(weights)
        kept = array_namespace(vector).asarray(vector, copy=True)  # the other is the caller's own
        return Aggregate(vector, weights[:n], {"vector": kept})

    def _weights(self, geometry: Geometry, n: int) -> NDArray[np.float64]:
        """Weights of v on the points; what is missing to one lies on the origin.

        A point past the first n is where v starts.
        """
        if n <= _TABLE * self.steps:
            geometry = Geometry(geometry.gram)
        weights = np.zeros(geometry.n)
        weights[n:] = 1.0
        for _ in range(self.steps):
            lengths = np.sqrt(geometry.squared_distances_to(weights)[:n])
            share = clip_factors(lengths, self.radius) / n
            weights = weights * (1.0 - share.sum())
            weights[:n] += share
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")
