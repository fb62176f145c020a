"""FLTrust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import check_whole, requirement
from ..rows.updates import Updates
from ..rule import Aggregate, Aggregator, Round
from ._cosines import cosine_distances
from ._memory import row_nodes, trusted_node


@dataclass(frozen=True)
class FLTrust(Aggregator):
    """The mean of the rows at the length of a trusted one, each weighted by its cosine to that.

    With g_0 the trusted row and ``t_i = max(0, cos(x_i, g_0))``, it is
    ``sum_i t_i (||g_0|| / ||x_i||) x_i / sum_i t_i``: rows that point away count nothing, and none
    counts for its length. g_0 is the server's own, computed on data of its own:
    ``Resam(root=...)``. Or it is that of a node, such as one beside the server, given by its number
    as for `MoNNA`; that row is averaged with the others, and a round without it gives zero, with
    a note. Where no row points its way the result is zero, with a note.

    Complexity O(n^2 d). Needs n > 2f, though the paper asks for no majority. No lambda exists: the
    result has the length of g_0 at most, wherever the rows lie.

    Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust federated learning via trust bootstrapping",
    2021.

    Parameters
    ----------
    trusted : int or None (default: None)
        The number of the trusted row, from 0; None takes the server's own.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0, 0.0], [0.0, 7.0], [6.0, 8.0], [-90.0, 1.0]])
    >>> FLTrust(trusted=0)(rows, f=1).round(3)
    array([0.85, 0.3 ])
    >>> at = Round(root=np.array([0.0, 2.0]))
    >>> FLTrust().step(rows, f=1, at=at).vector.round(3)
    array([0.518, 1.811])
    """

    trusted: int | None = None
    name: ClassVar[str] = "fltrust"
    follows_nodes: ClassVar[bool] = True
    need: ClassVar[str] = "n > 2f, and a row of the server's own or a trusted one"

    def __post_init__(self) -> None:
        """Refuse what is no row's number."""
        if self.trusted is not None:
            check_whole("trusted", self.trusted, "Rows are numbered from 0", least=0)

    @property
    def needs_root(self) -> bool:
        """Where no row is trusted."""
        return self.trusted is None

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        n = updates.n
        if self.trusted is None:
            if at.root is None:
                raise requirement(
                    "root", f"be given for `{self}`, the server's own row", "none",
                    "Write Resam(root=...), Round(root=...), or trust a node: fltrust(trusted=0)",
                )
            rows, own = updates.with_vector(at.root), n
        else:
            nodes = row_nodes(at, n)
            if state is None:
                state = {"trusted": trusted_node(self.trusted, at, n)}
            trusted = state["trusted"]
            if trusted not in nodes:
                weights = np.zeros(n)
                note = f"No row of the trusted node {trusted}: the result is zero"
                return Aggregate(updates.combine(weights), weights, state, note)
            rows, own = updates, nodes.index(trusted)
        geometry = rows.geometry()
        norms = np.sqrt(geometry.squared_norms)
        trust = np.maximum(1.0 - cosine_distances(geometry)[own], 0.0)[:n]
        trust[norms[:n] == 0.0] = 0.0
        total = trust.sum()
        if total == 0.0:
            weights = np.zeros(n)
            note = "No row points the way of the trusted one: the result is zero"
            return Aggregate(updates.combine(weights), weights, state, note)
        weights = np.zeros(n)
        np.divide(trust / total * norms[own], norms[:n], out=weights, where=trust > 0.0)
        return Aggregate(updates.combine(weights), weights, state)

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")
