"""Vertex covers of small graphs, decided by branch and bound: the search behind MDA.

Graphs are lists of neighbours as bits of an int, sets of vertices are ints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SMALL = 500  # vertices


class SearchExhausted(Exception):
    """The search has visited as many nodes as it may."""


@dataclass
class CoverSearch:
    """Finds covers; ``nodes`` is how many nodes it may still visit, over all its calls.

    A node of a large graph counts as several: see `node_cost`.
    """

    nodes: int

    def cover(self, graph: list[int], alive: int, budget: int) -> int | None:
        """At most ``budget`` vertices that meet every edge among the ``alive`` ones, or None.

        A vertex of one neighbour, a triangle's tip and a vertex of two neighbours are reduced
        away; vertices that the linear relaxation puts wholly in or out follow it (Nemhauser
        and Trotter, 1975); parts that do not touch are solved one by one; and a branch ends
        where disjoint odd cycles, edges or cliques need more than the budget.

        Raises
        ------
        SearchExhausted
            When the nodes are used up.

        Examples
        --------
        >>> path = [0b010, 0b101, 0b010]
        >>> CoverSearch(nodes=100).cover(path, 0b111, 1)
        2
        """
        self.nodes -= node_cost(alive.bit_count())
        if self.nodes < 0:
            raise SearchExhausted
        reduced = _reduce(graph, alive, budget)
        if reduced is None:
            return None
        graph, alive, budget, taken, folds = reduced
        if alive:
            rest = self._solve(graph, alive, budget)
            if rest is None:
                return None
            taken |= rest
        for vertex, ends in reversed(folds):
            taken = taken & ~(1 << vertex) | ends if taken >> vertex & 1 else taken | 1 << vertex
        return taken

    def _solve(self, graph: list[int], alive: int, budget: int) -> int | None:
        partner = _double_matching(graph, alive)
        if len(partner) > 2 * budget:
            return None
        if len(partner) < alive.bit_count():
            inside, outside = _half_integral(graph, alive, partner)
            if inside | outside:
                rest = self.cover(graph, alive & ~(inside | outside), budget - inside.bit_count())
                return None if rest is None else rest | inside
        if _cycle_bound(partner) > budget or _clique_bound(graph, alive) > budget:
            return None
        parts = list(_components(graph, alive))
        if len(parts) > 1:
            return self._parts(graph, parts, partner, budget)
        top = max(_bits(alive), key=lambda vertex: (graph[vertex] & alive).bit_count())
        rest = self.cover(graph, alive & ~(1 << top), budget - 1)
        if rest is not None:
            return rest | 1 << top
        around = graph[top] & alive
        rest = self.cover(graph, alive & ~(around | 1 << top), budget - around.bit_count())
        return None if rest is None else rest | around

    def _parts(
        self, graph: list[int], parts: list[int], partner: dict[int, int], budget: int
    ) -> int | None:
        """A least cover of each part, the small ones first."""
        least = {
            part: _cycle_bound({v: w for v, w in partner.items() if part >> v & 1})
            for part in parts
        }
        spare = budget - sum(least.values())
        taken = 0
        for part in sorted(parts, key=int.bit_count):
            for size in range(least[part], least[part] + spare + 1):
                found = self.cover(graph, part, size)
                if found is not None:
                    break
            else:
                return None
            taken |= found
            spare -= size - least[part]
        return taken


def node_cost(vertices: int) -> int:
    """How many nodes of a small graph one of a graph of so many vertices stands for.

    What a node takes grows with the pairs of vertices, and its budget is one of time at heart.

    Examples
    --------
    >>> node_cost(200), node_cost(499), node_cost(2000)
    (1, 1, 256)
    """
    return 1 if vertices < _SMALL else (4 * vertices // _SMALL) ** 2


def cover_bound(graph: list[int], alive: int) -> int:
    """A number of vertices that every cover has at least."""
    return max(_cycle_bound(_double_matching(graph, alive)), _clique_bound(graph, alive))


def _bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit.bit_length() - 1
        mask ^= bit


_Reduced = tuple[list[int], int, int, int, list[tuple[int, int]]]


def _reduce(graph: list[int], alive: int, budget: int) -> _Reduced | None:
    """Remove vertices of few or too many neighbours; None where the budget does not suffice.

    Returns the graph that is left, its vertices and budget, the vertices taken, and the folds:
    ``(vertex, ends)`` where the vertex now stands for its two neighbours, to be taken in its
    place; where it is not taken it is in the cover itself.
    """
    taken = 0
    folds: list[tuple[int, int]] = []
    changed = True
    while changed:
        changed = False
        edges = top = 0
        for vertex in _bits(alive):
            if not alive >> vertex & 1:
                continue
            around = graph[vertex] & alive
            degree = around.bit_count()
            if degree == 0:
                alive ^= 1 << vertex
                continue
            if degree > budget:
                alive ^= 1 << vertex
                taken |= 1 << vertex
                budget -= 1
            elif degree == 1 or (degree == 2 and _joined(graph, around)):
                alive &= ~(around | 1 << vertex)
                taken |= around
                budget -= degree
            elif degree == 2:
                graph, alive = _fold(graph, alive, vertex, around)
                folds.append((vertex, around))
                budget -= 1
            else:
                edges += degree
                top = max(top, degree)
                continue
            if budget < 0:
                return None
            changed = True
    if edges > 2 * budget * top:
        return None
    return graph, alive, budget, taken, folds


def _joined(graph: list[int], pair: int) -> bool:
    first = pair & -pair
    return bool(graph[first.bit_length() - 1] & (pair ^ first))


def _fold(graph: list[int], alive: int, vertex: int, ends: int) -> tuple[list[int], int]:
    """Let a vertex of two unjoined neighbours stand for these."""
    alive &= ~ends
    around = 0
    for end in _bits(ends):
        around |= graph[end]
    around &= alive & ~(1 << vertex)
    graph = graph.copy()
    graph[vertex] = around
    for other in _bits(around):
        graph[other] |= 1 << vertex
    return graph, alive


def _double_matching(graph: list[int], alive: int) -> dict[int, int]:
    """A largest matching of left copies to right copies of the vertices, left -> right.

    Its size is twice the value of the linear relaxation of the least cover.
    """
    partner: dict[int, int] = {}
    owner: dict[int, int] = {}
    free = alive
    for vertex in _bits(alive):
        near = graph[vertex] & free
        if near:
            right = (near & -near).bit_length() - 1
            partner[vertex], owner[right] = right, vertex
            free ^= 1 << right
    for root in _bits(alive):
        if root in partner or not free:
            continue
        unseen = alive
        queue, parent = [root], {}
        for left in queue:
            near = graph[left] & unseen
            unseen &= ~near
            end = near & free
            if end:
                right = (end & -end).bit_length() - 1
                free ^= 1 << right
                parent[right] = left
                step: int | None = right
                while step is not None:  # swap along the path back to the root
                    last = parent[step]
                    before = partner.get(last)
                    partner[last], owner[step] = step, last
                    step = before
                break
            for right in _bits(near):
                parent[right] = left
                queue.append(owner[right])
    return partner


def _half_integral(graph: list[int], alive: int, partner: dict[int, int]) -> tuple[int, int]:
    """The vertices at one and at zero in an optimum of the linear relaxation (Kőnig)."""
    owner = {right: left for left, right in partner.items()}
    queue = [vertex for vertex in _bits(alive) if vertex not in partner]
    left_seen, right_seen = 0, 0
    for vertex in queue:
        left_seen |= 1 << vertex
    for left in queue:
        near = graph[left] & alive & ~right_seen
        right_seen |= near
        for right in _bits(near):
            after = owner[right]
            if not left_seen >> after & 1:
                left_seen |= 1 << after
                queue.append(after)
    return alive & right_seen & ~left_seen, alive & left_seen & ~right_seen


def _cycle_bound(partner: dict[int, int]) -> int:
    """What the cycles and paths of a double matching need: half their length, rounded up."""
    total = 0
    starts = set(partner) - set(partner.values())
    seen: set[int] = set()
    for start in [*starts, *partner]:
        length, vertex = 0, start
        while vertex in partner and vertex not in seen:
            seen.add(vertex)
            length += 1
            vertex = partner[vertex]
        total += (length + 1) // 2
    return total


def _clique_bound(graph: list[int], alive: int) -> int:
    """What disjoint cliques need: all of each but one."""
    cliques: list[int] = []  # the common neighbours of each
    degrees = {vertex: (graph[vertex] & alive).bit_count() for vertex in _bits(alive)}
    ordered = sorted(filter(degrees.__getitem__, degrees), key=degrees.__getitem__)
    for vertex in ordered:
        for index, common in enumerate(cliques):
            if common >> vertex & 1:
                cliques[index] = common & graph[vertex]
                break
        else:
            cliques.append(graph[vertex])
    return len(ordered) - len(cliques)


def _components(graph: list[int], alive: int) -> Iterator[int]:
    while alive:
        part = frontier = alive & -alive
        while frontier:
            around = 0
            for vertex in _bits(frontier):
                around |= graph[vertex]
            frontier = around & alive & ~part
            part |= frontier
        yield part
        alive &= ~part
