"""The m rows of smallest diameter, by vertex covers: the search behind MDA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smallest_diameter(distances: NDArray[np.float64], m: int) -> list[int]:
    """Return m rows, ascending, whose largest pairwise distance is least.

    Parameters
    ----------
    distances : (n, n) float64
        Symmetric, any monotone function of the distances.
    m : int
        How many rows to keep, 1 <= m <= n.

    Returns
    -------
    list of int
        Of several such subsets the first in row order: the one that keeps the earliest rows.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 5.0, 6.0, 6.5])
    >>> smallest_diameter(abs(points[:, None] - points[None, :]), 3)
    [2, 3, 4]
    """
    n = len(distances)
    budget = n - m
    levels = np.unique(distances[np.triu_indices(n, 1)])
    low, high = -1, len(levels) - 1  # levels[high] is always wide enough
    while high - low > 1:
        middle = (low + high) // 2
        if has_cover(_farther_than(distances, levels[middle]), (1 << n) - 1, budget):
            high = middle
        else:
            low = middle
    if len(levels) == 0:
        return list(range(m))
    if low == -1 and has_cover(_farther_than(distances, levels[0]), (1 << n) - 1, budget):
        high = 0
    return _first_kept(_farther_than(distances, levels[high]), n, budget)


def _farther_than(distances: NDArray[np.float64], limit: float) -> list[int]:
    """Neighbours of each row in the graph of the pairs farther apart than ``limit``, as bits."""
    packed = np.packbits(distances > limit, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _first_kept(graph: list[int], n: int, budget: int) -> list[int]:
    """Keep rows from the first on, each as long as a cover of the rest remains possible."""
    kept: list[int] = []
    alive = (1 << n) - 1
    for row in range(n):
        bit = 1 << row
        if not alive & bit:
            continue
        dropped = graph[row] & alive
        spent = dropped.bit_count()
        if spent <= budget and has_cover(graph, alive & ~bit & ~dropped, budget - spent):
            kept.append(row)
            alive &= ~bit & ~dropped
            budget -= spent
        else:
            alive &= ~bit
            budget -= 1
    return kept[: len(kept) - budget] if budget else kept


def has_cover(graph: list[int], alive: int, budget: int) -> bool:
    """Whether ``budget`` vertices meet every edge among the ``alive`` ones.

    Branch and bound: a vertex of more neighbours than the budget must be in the cover, a
    vertex of one neighbour need not be, cycles are covered by every other vertex, and a
    matching larger than the budget ends a branch.
    """
    while True:
        if budget < 0:
            return False
        top, top_degree, edges = -1, 0, 0
        forced = False
        rest = alive
        while rest:
            bit = rest & -rest
            rest ^= bit
            vertex = bit.bit_length() - 1
            neighbours = graph[vertex] & alive
            degree = neighbours.bit_count()
            if degree == 0:
                alive ^= bit
            elif degree == 1:
                alive &= ~(bit | neighbours)
                budget -= 1
                forced = True
                break
            elif degree > budget:
                alive ^= bit
                budget -= 1
                forced = True
                break
            else:
                edges += degree
                if degree > top_degree:
                    top, top_degree = vertex, degree
        if forced:
            continue
        if top < 0:
            return True
        if edges > 2 * budget * top_degree or _matching(graph, alive) > budget:
            return False
        if top_degree == 2:  # only cycles are left: any vertex of one is in some best cover
            alive ^= 1 << top
            budget -= 1
            continue
        neighbours = graph[top] & alive
        if has_cover(graph, alive & ~(1 << top), budget - 1):
            return True
        alive &= ~(neighbours | 1 << top)
        budget -= top_degree


def _matching(graph: list[int], alive: int) -> int:
    """The size of a maximal matching: every cover holds one end of each of its edges."""
    size = 0
    while alive:
        bit = alive & -alive
        alive ^= bit
        neighbours = graph[bit.bit_length() - 1] & alive
        if neighbours:
            alive ^= neighbours & -neighbours
            size += 1
    return size
