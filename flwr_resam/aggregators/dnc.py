"""Divide-and-conquer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import check_positive, check_whole
from ..rows.geometry import Geometry
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round
from ._spectrum import centred, top_direction


@dataclass(frozen=True)
class DnC(Aggregator):
    """Drop what stands out along the top singular direction of a sample of the coordinates.

    Each iteration draws ``coordinates`` of the d coordinates, centres the rows there, scores each
    by its squared projection on the top right singular vector, and drops the ``ceil(filter f)`` of
    highest score; of equal scores the first goes. The result is the mean of the rows that no
    iteration dropped. Complexity O(n d + iterations n^2 d + iterations n^3). Needs n > 2f and
    ``n > iterations ceil(filter f)``, so that a row is left.

    No lambda exists for f > 1: of two liars, one M^2 and one M from the honest rows, the far one
    brings the mean to M^2 / n, from where the near one looks nearer than the honest rows, and it
    stays. Nor for d > ``coordinates``, where a liar may stand out in what is not drawn. None is
    proven for f = 1.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and
    Defenses for Federated Learning", 2021, Algorithm 2.

    Parameters
    ----------
    iterations : int (default: 1)
        How many samples of coordinates.
    coordinates : int (default: 10_000)
        The size of one; all where there are no more.
    filter : float (default: 1.0)
        c, how many rows an iteration drops for each faulty one.

    Examples
    --------
    >>> import numpy as np
    >>> DnC()(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [90.0, 80.0], [0.0, 0.0]]), f=1)
    array([0.5, 0.5])
    """

    iterations: int = 1
    coordinates: int = 10_000
    filter: float = 1.0
    name: ClassVar[str] = "dnc"
    need: ClassVar[str] = "n > 2f and n > iterations ceil(filter f)"

    def __post_init__(self) -> None:
        """Refuse what drops or looks at nothing."""
        check_whole("iterations", self.iterations, "Use 1")
        check_whole("coordinates", self.coordinates, "Use 10000")
        check_positive("filter", self.filter, "Use 1.0")

    def admits(self, n: int, f: int) -> bool:
        """Whether a majority is honest and a row is left."""
        return n > 2 * f and n > self.iterations * self._dropped(f)

    def _dropped(self, f: int) -> int:
        return math.ceil(self.filter * f)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: 0 without faults, none proven for one, else none exists."""
        if f == 0:
            return 0.0
        return float("inf") if f > 1 or d > self.coordinates else None

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n, dropped = updates.n, self._dropped(f)
        good = np.ones(n, dtype=bool)
        for _ in range(self.iterations if dropped else 0):
            gram = centred(self._sampled(updates, at).rows)
            scores = top_direction(gram)[1] ** 2
            good[np.argsort(-scores, kind="stable")[:dropped]] = False
        weights = good / good.sum()
        return Aggregate(updates.combine(weights), weights)

    def _sampled(self, updates: Updates, at: Round) -> Geometry:
        """The geometry of the rows in the coordinates drawn."""
        if self.coordinates >= updates.d:
            return updates.geometry()
        chosen = np.sort(at.random().choice(updates.d, self.coordinates, replace=False))
        return Updates(_columns(updates, chosen)).geometry()


def _columns(updates: Updates, chosen: NDArray[np.intp]) -> Array:
    """The chosen columns of all rows, in the rows' dtype and library; in ascending order."""
    parts: dict[int, Array] = {}

    def take(start: int, stop: int, block: Array) -> None:
        inside = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, stop)] - start
        if len(inside):
            parts[start] = block[:, inside]

    updates.visit(take)
    first = next(iter(parts.values()))
    return array_namespace(first).concat([parts[start] for start in sorted(parts)], axis=1)
