"""Bulyan: Krum again and again, then a mean around the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..rows.order import mean_around_median
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round


@dataclass(frozen=True)
class Bulyan(Aggregator):
    """Choose theta = n - 2f rows by Krum, then average theta - 2f values around the median.

    Rows are chosen one at a time: each choice is Krum's among the rows that are left, with
    r - f - 2 neighbours where r rows are left, and one where that is less than one. Then, in
    each coordinate, the mean of the theta - 2f chosen values nearest the median of the chosen.
    Complexity O(n^2 d + n^2 log n + d n log n). Needs n >= 4f + 3. No lambda is proven.

    El Mhamdi, Guerraoui and Rouault, "The hidden vulnerability of distributed learning in
    Byzantium", 2018, with scores taken anew after each choice as in its Algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [90.0], [5.0]])
    >>> Bulyan()(rows, f=1)
    array([2.])
    """

    name: ClassVar[str] = "bulyan"
    need: ClassVar[str] = "n >= 4f + 3"

    def admits(self, n: int, f: int) -> bool:
        """Whether enough rows are left for the second step."""
        return n >= 4 * f + 3

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        chosen = choose(updates.geometry().squared_distances, f)

        def columns(block: Array) -> Array:
            xp = array_namespace(block)
            rows = xp.stack([block[i, :] for i in chosen])
            return mean_around_median(rows, len(chosen) - 2 * f)

        return Aggregate(updates.map_coordinates(columns))


def choose(squared_distances: NDArray[np.float64], f: int) -> list[int]:
    """The n - 2f rows that Krum chooses one after the other, in ascending order.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 2.0, 90.0])
    >>> choose((points[:, None] - points[None, :]) ** 2, 1)
    [0, 1]
    """
    n = len(squared_distances)
    scores = _Scores(squared_distances, max(1, n - f - 2))
    for left in range(n - 1, 2 * f - 1, -1):
        scores.remove(scores.best(), max(1, left - f - 2))
    return np.flatnonzero(~scores.left).tolist()


class _Scores:
    """Krum's scores of the rows that are left, kept up to date as rows leave.

    A row's nearest others are the first of its order that are left, up to the one at ``last``.
    With a row that leaves the neighbours become one fewer: it goes itself, or the farthest does.
    Its distance is taken off the sum, in O(n) for all rows; a sum is taken anew once half of it is
    gone, before what was taken off leaves its rounding.
    """

    def __init__(self, squared: NDArray[np.float64], neighbours: int) -> None:
        n = len(squared)
        self._squared = squared
        self._rows = np.arange(n)
        self._order = np.empty((n, n), np.int32)
        for row in range(n):
            away = squared[row].copy()
            away[row] = -1.0  # itself is first, also before others at its place
            self._order[row] = np.argsort(away, kind="stable")
        self._place = np.empty((n, n), np.int32)
        np.put_along_axis(
            self._place, self._order, np.arange(n, dtype=np.int32)[None, :], axis=1
        )
        self.left = np.ones(n, dtype=bool)
        self._neighbours = neighbours
        self._last = np.zeros(n, np.int32)
        self._scores = np.zeros(n)
        self._fresh = np.zeros(n)
        self._sum_anew(self._rows)

    def best(self) -> int:
        """The row of least score, of equal ones the first."""
        return int(np.argmin(np.where(self.left, self._scores, np.inf)))

    def remove(self, row: int, neighbours: int) -> None:
        """Take one row out."""
        self.left[row] = False
        if neighbours == 1:  # two rows are often nearest to each other, and must tie
            self._neighbours = 1
            self._sum_anew(np.flatnonzero(self.left))
            return
        self._neighbours = neighbours
        far = self._order[self._rows, self._last]
        goes = np.where(self._place[:, row] <= self._last, row, far)
        self._scores -= self._squared[self._rows, goes]
        behind = np.flatnonzero((goes == far) & self.left)
        while len(behind):  # the last neighbour is the one before, of those that are left
            self._last[behind] -= 1
            gone = ~self.left[self._order[behind, self._last[behind]]]
            behind = behind[gone]
        self._sum_anew(np.flatnonzero(self.left & (self._scores < 0.5 * self._fresh)))

    def _sum_anew(self, rows: NDArray[np.intp]) -> None:
        for row in rows:
            order = self._order[row]
            places = np.flatnonzero(self.left[order] & (order != row))[: self._neighbours]
            self._last[row] = places[-1] if len(places) else 0
            self._scores[row] = self._fresh[row] = self._squared[row, order[places]].sum()
