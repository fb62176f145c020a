"""The m rows of smallest diameter: what MDA averages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._vertex_cover import CoverSearch, SearchExhausted, cover_bound, node_cost

NODES = 1000
TIE_NODES = 150
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Subset:
    """Rows and what is known of them.

    Attributes
    ----------
    rows : list of int
        Ascending.
    factor : float
        The diameter is proven to be at most this times the least: 1 where the search came to
        its end, never above 2.
    """

    rows: list[int]
    factor: float = 1.0


def smallest_diameter(
    squared: NDArray[np.float64], m: int, *, nodes: int = NODES, tie_nodes: int = TIE_NODES
) -> Subset:
    """Return m rows whose largest pairwise distance is least.

    Rows have diameter at most D exactly when the other n - m are a vertex cover of the graph
    that joins rows farther apart than D, so D is bisected. The best ball, the m rows nearest
    one row, brackets D within a factor of two before the search begins. A graph that takes
    more than ``nodes`` is left undecided, and the smallest D that could be decided is taken.

    Parameters
    ----------
    squared : (n, n) float64
        Symmetric squared distances.
    m : int
        How many rows to keep, 1 <= m <= n.
    nodes, tie_nodes : int
        How many nodes of branch and bound to visit for each graph, and for each of the two
        ways to choose among subsets of the same diameter; from 500 rows on fewer, which take
        the same time (`node_cost`).

    Returns
    -------
    Subset
        Of several subsets of least diameter the one of least sum of squared distances, if
        ``tie_nodes`` suffice to list them; else the first in row order, if they suffice for
        that; else the first found.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 5.0, 6.0, 6.5])
    >>> smallest_diameter((points[:, None] - points[None, :]) ** 2, 3)
    Subset(rows=[2, 3, 4], factor=1.0)
    """
    n = len(squared)
    everyone, budget = (1 << n) - 1, n - m
    kept, radius = _best_ball(squared, m)
    levels = np.unique(squared[~np.tri(n, dtype=bool)])
    # No subset has the diameter levels[proven], none is known with levels[low], `kept` has
    # levels[high].
    proven = low = int(np.searchsorted(levels, radius)) - 1
    high = int(np.searchsorted(levels, _diameter(squared, kept)))
    while high - low > 1:
        middle = (low + high) // 2
        graph = _farther_than(squared, levels[middle])
        try:
            cover = CoverSearch(nodes).cover(graph, everyone, budget)
        except (SearchExhausted, RecursionError):
            low = middle
            continue
        if cover is None:
            proven = low = middle
        else:
            kept = _kept(cover, n, m)
            high = int(np.searchsorted(levels, _diameter(squared, kept)))
    if low > proven:
        return Subset(kept, min(2.0, math.sqrt(levels[high] / max(levels[proven + 1], _TINY))))
    if m in (1, n):
        return Subset(list(range(m)))
    graph = _farther_than(squared, levels[high])
    return Subset(
        _least_sum(squared, graph, budget, tie_nodes // node_cost(n))
        or _first_in_order(graph, kept, budget, tie_nodes)
    )


def _best_ball(squared: NDArray[np.float64], m: int) -> tuple[list[int], float]:
    """The m rows nearest one row, of least diameter over all rows, and the least radius."""
    n = len(squared)
    inside, radii = np.zeros((n, n), np.float32), np.empty(n)
    for row in range(n):
        inside[row, np.argsort(squared[row], kind="stable")[:m]] = 1.0
        radii[row] = np.partition(squared[row], m - 1)[m - 1]
    best, closer = int(np.argmin(radii)), np.arange(n)
    while len(closer):
        diameter = _diameter(squared, np.flatnonzero(inside[best]).tolist())
        closer = closer[_clear(squared >= diameter, inside[closer])]
        if len(closer):
            best = int(closer[np.argmin(radii[closer])])
    first = int(np.argmax(_clear(squared > diameter, inside)))
    return np.flatnonzero(inside[first]).tolist(), float(radii.min())


def _clear(far: NDArray[np.bool_], inside: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which sets, given by ones, have no pair that is far: counted, which is exact."""
    ends = np.flatnonzero(far.any(axis=1))
    among = inside[:, ends]
    pairs = among @ far[np.ix_(ends, ends)].astype(np.float32)
    return np.asarray(~(pairs * among).any(axis=1))


def _diameter(squared: NDArray[np.float64], rows: list[int]) -> float:
    return float(squared[np.ix_(rows, rows)].max())


def _farther_than(squared: NDArray[np.float64], limit: float) -> list[int]:
    """Neighbours of each row in the graph of the pairs farther apart than ``limit``, as bits."""
    packed = np.packbits(squared > limit, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _kept(cover: int, n: int, m: int) -> list[int]:
    return [row for row in range(n) if not cover >> row & 1][:m]


def _least_sum(
    squared: NDArray[np.float64], graph: list[int], budget: int, nodes: int
) -> list[int] | None:
    """Of all the subsets without an edge the one of least sum, or None past ``nodes``.

    Covers of exactly ``budget`` rows are listed. Smaller ones leave rows to be dropped
    freely, and are given up on unless that is at most one row.
    """
    n = len(graph)
    best: list[int] = []
    least = np.inf
    stack = [((1 << n) - 1, (1 << n) - 1, budget)]  # undecided, not dropped, still to drop
    while stack:
        nodes -= 1
        if nodes < 0:
            return None
        alive, kept, left = stack.pop()
        degrees = {v: (graph[v] & alive).bit_count() for v in range(n) if alive >> v & 1}
        while forced := [v for v in degrees if degrees[v] > left]:
            if len(forced) > left:
                break
            for v in forced:  # its neighbours are too many to be dropped in its place
                alive, kept, left = alive & ~(1 << v), kept & ~(1 << v), left - 1
                del degrees[v]
            degrees = {v: (graph[v] & alive).bit_count() for v in degrees}
        if forced:
            continue
        top = max(degrees, key=degrees.__getitem__, default=-1)
        if top >= 0 and degrees[top] > 0:
            if cover_bound(graph, alive) > left:
                continue
            bit, around = 1 << top, graph[top] & alive
            if degrees[top] <= left:
                stack.append((alive & ~(around | bit), kept & ~around, left - degrees[top]))
            if left:
                stack.append((alive & ~bit, kept & ~bit, left - 1))
            continue
        if left > 1:
            return None
        rows = [row for row in range(n) if kept >> row & 1]
        table = squared[np.ix_(rows, rows)]
        if left:
            worst = int(np.argmax(table.sum(axis=1)))
            del rows[worst]
            table = squared[np.ix_(rows, rows)]
        total = float(table.sum())
        close = abs(total - least) <= 1e-12 * total
        if (close and rows < best) or (not close and total < least):
            best, least = rows, total
    return best


def _first_in_order(graph: list[int], kept: list[int], budget: int, nodes: int) -> list[int]:
    """Keep rows from the first on, each as long as a cover of the rest remains possible."""
    n, m = len(graph), len(kept)
    search = CoverSearch(nodes)
    witness, chosen, alive = set(kept), [], (1 << n) - 1
    try:
        for row in range(n):
            if not alive >> row & 1:
                continue
            dropped, rest = graph[row] & alive, alive & ~(1 << row)
            if row not in witness:
                left = budget - dropped.bit_count()
                cover = search.cover(graph, rest & ~dropped, left) if left >= 0 else None
                if cover is None:
                    alive, budget = rest, budget - 1
                    continue
                witness = {r for r in range(n) if (rest & ~dropped & ~cover) >> r & 1}
            chosen.append(row)
            alive, budget = rest & ~dropped, budget - dropped.bit_count()
    except (SearchExhausted, RecursionError):
        return kept
    return chosen[:m]
