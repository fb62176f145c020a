"""FoolsGold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round
from ._cosines import cosine_distances
from ._memory import add_rows, row_nodes, settle

_ALMOST = 0.99  # what a weight of 1 is taken for, so that its logit is finite


@dataclass(frozen=True)
class FoolsGold(Aggregator):
    """Rows count the less, the more their node's history points the way of another node's.

    For each node the sum H_i of all that it sent. ``c_ij = cos(H_i, H_j)`` for i != j and
    ``v_i = max(0, max_j c_ij)``; honest nodes are pardoned by ``c_ij <- c_ij v_i / v_j`` where
    v_j > v_i. Then ``a_i = min(1, 1 - max(0, max_j c_ij))``, divided by its maximum, and at last
    ``min(1, max(0, log(a_i / (1 - a_i)) + 1/2))``, with a_i = 0.99 for 1. The result is the mean of
    the rows with these weights, where the paper sums; zero, with a note, where all are 0, as when
    all histories point one way.

    Made for sybils that send alike while honest nodes hold different data: a liar on its own
    has full weight, and honest nodes with like data have none. Complexity O(n^2 d); memory a
    vector a node in the rows' dtype. Needs n > 2f. No lambda exists.

    Fung, Yoon, Beschastnikh, "The limitations of federated learning in sybil settings", 2020,
    Algorithm 1 with confidence 1 and without weights of features, as in the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> FoolsGold()(np.array([[1.0, 0.0], [0.0, 1.0], [-5.0, -5.0], [-5.0, -5.0]]), f=1)
    array([0.5, 0.5])
    """

    name: ClassVar[str] = "foolsgold"
    follows_nodes: ClassVar[bool] = True
    keeps_vectors: ClassVar[bool] = True

    def start(self) -> Any:
        """Nothing remembered."""
        return {"nodes": (), "sums": None}

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        state = state or self.start()
        nodes = row_nodes(at, n)
        totals = add_rows(state["nodes"], state["sums"], nodes, updates)
        weights = _weights(1.0 - cosine_distances(Updates(totals).geometry()))
        total = weights.sum()
        note = None
        if total > 0.0:
            weights = weights / total
        else:
            note = "All nodes' histories point one way: the result is zero"
        vector = updates.combine(weights)
        # Of plain sums: nothing is taken off them.
        known, sums = settle(
            state["nodes"], state["sums"], nodes, totals, vector, 0.0, frozenset()
        )
        return Aggregate(vector, weights, {"nodes": known, "sums": sums}, note)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")


def _weights(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights, between 0 and 1, from the cosines of the histories."""
    likeness = cosines.copy()
    np.fill_diagonal(likeness, 0.0)
    most = np.maximum(likeness.max(axis=1), 0.0)
    pardoned = most[:, None] < most[None, :]
    share = np.divide(most[:, None], most[None, :], out=np.ones_like(likeness), where=pardoned)
    likeness *= share
    weights = np.asarray(np.clip(1.0 - likeness.max(axis=1), 0.0, 1.0))
    if weights.max() == 0.0:
        return weights
    weights = weights / weights.max()
    weights[weights == 1.0] = _ALMOST
    kept = weights > 0.0
    logit = np.full(len(weights), -np.inf)
    logit[kept] = np.log(weights[kept] / (1.0 - weights[kept])) + 0.5
    return np.asarray(np.clip(logit, 0.0, 1.0))
