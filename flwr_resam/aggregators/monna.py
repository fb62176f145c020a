"""MoNNA: the mean of the rows nearest a trusted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_whole
from ..rows.geometry import Geometry
from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round
from ._memory import row_nodes, trusted_node


@dataclass(frozen=True)
class MoNNA(Aggregator):
    """The mean of the n - f rows nearest a trusted row, itself included.

    The trusted row is given by its number among the nodes asked in the first round, whether
    they answer or not; that node is the trusted one from then on. A round without a row of it
    gives zero, with a note. Without nodes it is the number of the row. Complexity O(n d).
    Needs n > 2f. Of rows equally far the first ones are taken.

    No lambda exists for every S. For sets S that hold the trusted row it is 2 f / (n - f): each
    of the at most f rows from outside S lies within diam(S) of the trusted row, so within
    2 diam(S) of the row of S whose place it takes.

    Farhadkhani et al., "Robust collaborative learning with linear gradient overhead", 2023: the
    step of one worker, whose own vector is the one that it trusts.

    Parameters
    ----------
    trusted : int
        The number of the trusted row, from 0.

    Examples
    --------
    >>> import numpy as np
    >>> MoNNA(trusted=1)(np.array([[0.0], [1.0], [2.0], [90.0]]), f=1)
    array([1.])
    """

    trusted: int
    name: ClassVar[str] = "monna"
    follows_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what is no row's number."""
        check_whole("trusted", self.trusted, "Rows are numbered from 0", least=0)

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        nodes = row_nodes(at, n)
        if state is None:
            state = {"trusted": trusted_node(self.trusted, at, n)}
        trusted = state["trusted"]
        if trusted not in nodes:
            weights = np.zeros(n)
            note = f"No row of the trusted node {trusted}: the result is zero"
            return Aggregate(updates.combine(weights), weights, state, note)
        weights = _nearest(updates.geometry(), nodes.index(trusted), n - f)
        return Aggregate(updates.combine(weights), weights, state)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: 0 without faults, else none exists for sets without the trusted row."""
        return 0.0 if f == 0 else float("inf")


def _nearest(geometry: Geometry, row: int, k: int) -> NDArray[np.float64]:
    squared = geometry.squared_distances_to(np.eye(1, geometry.n, row)[0])
    squared[row] = -1.0  # itself, before rows that lie on it
    weights = np.zeros(geometry.n)
    weights[np.argsort(squared, kind="stable")[:k]] = 1.0 / k
    return weights
