"""ByzantineSGD: drop for good whoever's sums leave the range that honest noise allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..errors import check_positive, check_whole, requirement
from ..rows.geometry import Geometry
from ..rows.updates import Array, Updates
from ..rule import Aggregate, Aggregator, Round
from ._memory import add_rows, majority_distances, row_nodes, settle


@dataclass(frozen=True)
class ByzantineSGD(Aggregator):
    """The mean of the rows of nodes that have stayed within what honest noise allows.

    With x_i the rows of round t, for each node ``A_i = sum_t <x_i, theta_t - theta_1>`` and
    ``B_i = sum_t x_i``. A node stays good as long as ``|A_i - median(A)| <= T_A``,
    ``||B_i - B_med|| <= T_B`` and ``||x_i - x_med|| <= 4 V``, where B_med and x_med are the
    points that have more than half of the others nearest, ``T_B = 4 V sqrt(T C)``,
    ``T_A = D T_B`` and ``C = log(16 n T / delta)``. Where no good node has sent a row, the
    result is zero. Complexity O(2 n^2 d + 3 n d); memory a vector a node and theta_1. Needs
    n > 2f. No lambda exists for f > 0: rows may stray by a fixed length.

    Alistarh, Allen-Zhu and Li, "Byzantine stochastic gradient descent", 2018, Algorithm 1. As
    there, the nodes of a round are tested before they are averaged. Ours, not the paper's, are:

    * the mean over the good nodes. The paper divides their sum by all m.
    * the median points. The paper takes any point with more than half of all m nodes within T_B,
      or of this round's rows within 2 V; here it is the one of the smallest ball that holds more
      than half of the rows that came. So there is always one; wherever the paper's condition can be
      met among these rows, this one meets it.
    * n, and the median of the A_i, over the rows that came.
    * that the model is not projected onto the ball of diameter D about theta_1.
    * the sums of a node that is silent or new: they stand where the aggregate stands.

    Parameters
    ----------
    deviation : float
        V: how far an honest row may lie from the expected one.
    diameter : float
        D: how far the model may go from where it started.
    rounds : int
        T: how many rounds the training lasts.
    delta : float (default: 0.1)
        The probability with which an honest node may be dropped.

    Examples
    --------
    >>> import numpy as np
    >>> rule = ByzantineSGD(deviation=1.0, diameter=10.0, rounds=100)
    >>> first = rule.step(np.array([[1.0], [2.0], [3.0], [90.0]]), f=1, state=rule.start())
    >>> first.vector, first.state["dropped"]
    (array([2.]), (3,))
    """

    deviation: float
    diameter: float
    rounds: int
    delta: float = 0.1
    name: ClassVar[str] = "byzantine-sgd"
    follows_nodes: ClassVar[bool] = True
    keeps_vectors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse bounds that nothing can meet."""
        for name in ("deviation", "diameter"):
            check_positive(name, getattr(self, name), "Give the bound that the training keeps")
        check_whole("rounds", self.rounds, "Give the number of rounds of the training")
        check_positive("delta", self.delta, "Use 0.1")
        if self.delta >= 1.0:
            raise requirement("delta", "lie between 0 and 1", f"delta = {self.delta}", "Use 0.1")

    def start(self) -> Any:
        """Nothing remembered, nobody dropped."""
        return {"rounds": 0, "nodes": (), "sums": None, "along": (), "origin": None, "dropped": ()}

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        state = state or self.start()
        nodes = row_nodes(at, updates.n)
        model = None if at.model is None else at.model()
        distances, products = _along(updates, model, state)
        before: dict[int, float] = dict(zip(state["nodes"], state["along"], strict=True))
        along = products + np.array([before.get(node, 0.0) for node in nodes])
        totals = add_rows(state["nodes"], state["sums"], nodes, updates)
        dropped = set(state["dropped"])
        good = self._near(distances, along, totals)
        good &= np.array([node not in dropped for node in nodes])
        weights = good / max(1, good.sum())
        vector = updates.combine(weights)
        dropped |= {node for node, stays in zip(nodes, good, strict=True) if not stays}
        known, sums = settle(
            state["nodes"], state["sums"], nodes, totals, vector, 1.0, frozenset(dropped)
        )
        now = before | dict(
            zip(nodes, along - weights @ np.where(good, products, 0.0), strict=True)
        )
        return Aggregate(vector, weights, {
            "rounds": state["rounds"] + 1,
            "nodes": known,
            "sums": sums,
            "along": tuple(float(now[node]) for node in known),
            "origin": _kept(model) if state["rounds"] == 0 else state["origin"],
            "dropped": tuple(sorted(dropped)),
        })

    def _near(
        self, distances: NDArray[np.float64], along: NDArray[np.float64], totals: Array
    ) -> NDArray[np.bool_]:
        """Which rows pass the three tests of this round."""
        confidence = math.log(16.0 * len(along) * self.rounds / self.delta)
        limit = 4.0 * self.deviation * math.sqrt(self.rounds * confidence)
        drift, _ = majority_distances(Updates(totals).geometry())
        near = (distances <= 4.0 * self.deviation) & (drift <= limit)
        return near & (abs(along - np.median(along)) <= self.diameter * limit)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists for f > 0."""
        return float("inf") if f > 0 else None


def _along(
    updates: Updates, model: Array | None, state: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances from the majority's row, and ``<x_i - c, theta_t - theta_1>`` for a row c."""
    n = updates.n
    if state["rounds"] == 0:
        return majority_distances(updates.geometry())[0], np.zeros(n)
    if model is None or state["origin"] is None:
        raise requirement(
            "at", "hold the model from the first round on", "no model",
            "Give `Round(model=lambda: theta)`, as `Resam` does",
        )
    xp = array_namespace(model)
    moved = xp.astype(model, xp.float64) - xp.astype(xp.asarray(state["origin"]), xp.float64)
    joined = updates.with_vector(moved)
    gram = joined.geometry().gram
    # From the origin, the last point, to the displacement, the one before it.
    products = gram[:n, n] - gram[:n, n + 1]
    rows = np.delete(np.arange(n + 2), n)
    return majority_distances(Geometry(gram[np.ix_(rows, rows)]))[0], products


def _kept(model: Array | None) -> Array | None:
    """A copy, since whoever trains may change the model in place."""
    return None if model is None else array_namespace(model).asarray(model, copy=True)
