"""Safeguard: drop for good whoever drifts away over many rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import check_positive, check_whole, requirement
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round
from ._memory import add_rows, majority_distances, row_nodes, settle

_ROUNDING = 1e-6  # of float32, with room


@dataclass(frozen=True)
class Safeguard(Aggregator):
    """The mean of the rows of nodes whose sums over two windows never strayed.

    For each node, ``A_i = sum_t x_i / |good_t|`` over a long window and B_i over a short one,
    both emptied when their window is full. The median point of the A_i is the one that has more
    than half of them nearest. A node whose A_i or B_i is farther than twice the threshold from
    the median point is dropped for good, before the rows of the round are averaged. Where no
    good node has sent a row, the result is zero.

    A threshold that is not given is 1.5 times the distance from the median point that holds
    more than half of the points, and at least ``1e-6 / |good_t|`` times the lower median of the
    rows' norms for each round of the window, so that nobody is dropped for rounding. With
    n = 2f + 1, f copies of one honest row are a majority at one point together with it, and
    everyone else is dropped for good: give thresholds then, or have n > 2f + 1.
    Complexity O(2 n^2 d + 6 n d); memory two vectors a node. Needs n > 2f. No lambda is proven;
    none exists for given thresholds, which let rows stray by a fixed length.

    Allen-Zhu, Ebrahimianghazani, Li and Alistarh, "Byzantine-resilient non-convex stochastic
    gradient descent", 2021, Algorithm 1 with two windows. Ours, not the paper's, are:

    * the order. The paper averages the nodes that were good before the test of the round, so that
      the round that gives a node away still counts it; here it is dropped first.
    * the median point. The paper takes any point with more than half of all m nodes within the
      threshold; here it is the one of the smallest ball that holds more than half of the good nodes
      that sent a row. So there is always one, and nodes that are dropped or silent do not count.
    * the thresholds that are taken from the data of each round. The paper's theorem gives them as
      formulas in the noise, its experiments as constants from a run beforehand.
    * the windows of 100 and 600 rounds. The paper's last one epoch and six.
    * that no noise is added to the step, which the paper needs to leave saddle points.
    * the sums of a node that is silent or new: they stand where the aggregate stands.

    Parameters
    ----------
    short, long : int (default: 100, 600)
        How many rounds the windows last.
    short_threshold, long_threshold : float or None (default: None)
        T_0 and T_1, in the units of the rows; None takes them from the data.

    Examples
    --------
    >>> import numpy as np
    >>> rule = Safeguard()
    >>> first = rule.step(np.array([[1.0], [2.0], [3.0], [90.0]]), f=1, state=rule.start())
    >>> first.vector, first.state["dropped"]
    (array([2.]), (3,))
    >>> rule.step(np.array([[1.0], [2.0], [3.0], [2.0]]), f=1, state=first.state).weights.round(2)
    array([0.33, 0.33, 0.33, 0.  ])
    """

    short: int = 100
    long: int = 600
    short_threshold: float | None = None
    long_threshold: float | None = None
    name: ClassVar[str] = "safeguard"
    follows_nodes: ClassVar[bool] = True
    keeps_vectors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse windows and thresholds that can't be."""
        check_whole("short", self.short, "Use 100")
        check_whole("long", self.long, "Use 600")
        if self.short >= self.long:
            raise requirement(
                "short", "be less than `long`", f"short = {self.short}, long = {self.long}",
                "Use 100 and 600",
            )
        for name in ("short_threshold", "long_threshold"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), "Leave it out to take it from the data")

    def start(self) -> Any:
        """Nothing remembered, nobody dropped."""
        nothing = {"nodes": (), "sums": None}
        return {"rounds": 0, "short": nothing, "long": nothing, "dropped": ()}

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        state = state or self.start()
        nodes = row_nodes(at, n)
        dropped = set(state["dropped"])
        good = [row for row, node in enumerate(nodes) if node not in dropped]
        if not good:
            return Aggregate(updates.combine(np.zeros(n)), np.zeros(n), state)
        share = 1.0 / len(good)
        followed = tuple(nodes[row] for row in good)
        kept = np.ones(len(good), dtype=bool)
        totals: dict[str, Array] = {}
        for key, window, threshold in (
            ("short", self.short, self.short_threshold),
            ("long", self.long, self.long_threshold),
        ):
            if state["rounds"] % window == 0:
                state = {**state, key: {"nodes": (), "sums": None}}
            known, sums = state[key]["nodes"], state[key]["sums"]
            totals[key] = add_rows(known, sums, followed, updates, share, good)
            distances, reach = majority_distances(Updates(totals[key]).geometry())
            near = distances <= 2.0 * (1.5 * reach if threshold is None else threshold)
            if threshold is None and not near.all():  # else the floor says nothing
                typical = _typical_norm(updates, good)
                floor = _ROUNDING * share * (state["rounds"] % window + 1) * typical
                near = distances <= 2.0 * max(1.5 * reach, floor)
            kept &= near
        weights = np.zeros(n)
        weights[np.array(good)[kept]] = 1.0 / max(1, kept.sum())
        vector = updates.combine(weights)
        dropped |= {node for node, keep in zip(followed, kept, strict=True) if not keep}
        following: dict[str, Any] = {
            "rounds": state["rounds"] + 1, "dropped": tuple(sorted(dropped))
        }
        for key, total in totals.items():
            old = state[key]
            known, sums = settle(
                old["nodes"], old["sums"], followed, total, vector, share, frozenset(dropped)
            )
            following[key] = {"nodes": known, "sums": sums}
        return Aggregate(vector, weights, following)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Unknown with thresholds from the data; none exists with given ones."""
        given = self.short_threshold is not None or self.long_threshold is not None
        return float("inf") if given and f > 0 else None


def _typical_norm(updates: Updates, rows: list[int]) -> float:
    """The lower median of the rows' norms."""
    return float(np.sqrt(np.sort(updates.geometry().squared_norms[rows])[(len(rows) - 1) // 2]))
