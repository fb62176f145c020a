"""What rules remember of single nodes: a running sum a node of what it sent.

Sums are kept relative to what the server took from each round, ``sum_t (x_i - v)``. Their
differences are those of the plain sums, nothing grows with a drift that all nodes share, and a
node that is silent for a round, or joins late, stands where the aggregate stands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from ..errors import LARGEST, requirement
from ..rows.geometry import Geometry
from ..rows.threads import in_order, threads_for
from ..rows.updates import Array, Updates
from ..rule import Round

_CHUNK = 1 << 13  # columns


def row_nodes(at: Round, n: int) -> tuple[int, ...]:
    """The node of each row; the row's number where nodes are unknown."""
    return at.nodes or tuple(range(n))


def trusted_node(trusted: int, at: Round, n: int) -> int:
    """The node that is trusted, by its number among those asked in the first round.

    Without nodes it is the number of the row.
    """
    asked = at.asked or row_nodes(at, n)
    if trusted >= len(asked):
        raise requirement(
            "trusted", "be less than the number of rows",
            f"trusted = {trusted}, n = {len(asked)}", "Rows are numbered from 0",
        )
    return asked[trusted]


def add_rows(
    known: tuple[int, ...], sums: Array | None, nodes: tuple[int, ...], updates: Updates,
    share: float = 1.0, rows: list[int] | None = None,
) -> Array:
    """The sum of each of this round's nodes with ``share`` times its row added.

    Sums have the precision of the rows, whose rounding they are compared in.

    Parameters
    ----------
    known : tuple of int
        The nodes that ``sums`` belongs to, row by row.
    sums : (len(known), d) array or None
        None where nothing is remembered yet.
    nodes : tuple of int
        The node behind each row; unknown ones start from zero.
    rows : list of int, optional
        The rows of ``updates`` that count; all if left out.

    Returns
    -------
    (n, d) array
        In the library and the dtype of the rows.

    Raises
    ------
    ValueError
        Where the sums are those of another model.
    """
    if sums is not None and tuple(sums.shape) != (len(known), updates.d):
        raise requirement(
            "state", f"hold a sum of {updates.d} coordinates for each of {len(known)} nodes",
            f"an array of shape {tuple(sums.shape)}", "Begin with rule.start() for another model",
        )
    place = {node: index for index, node in enumerate(known)}
    met = [row for row, node in enumerate(nodes) if sums is not None and node in place]
    old = [place[nodes[row]] for row in met]
    before: Any = sums
    totals = updates.zeros(len(nodes))

    def add(start: int, stop: int, block: Array) -> None:
        xp = array_namespace(block)
        if rows is not None and len(rows) < block.shape[0]:
            block = xp.stack([block[row, :] for row in rows])
        here = xp.astype(block, xp.float64) * share
        for row, index in zip(met, old, strict=True):
            old_sum = xp.astype(xp.asarray(before[index, start:stop]), xp.float64)
            here[row, :] = _add(here[row, :], old_sum, totals.dtype)
        totals[:, start:stop] = xp.astype(here, totals.dtype)

    updates.visit(add)
    return totals


def settle(
    known: tuple[int, ...], sums: Array | None, nodes: tuple[int, ...], totals: Array,
    vector: Array, share: float, dropped: frozenset[int],
) -> tuple[tuple[int, ...], Array | None]:
    """The sums to remember: this round's totals less the aggregate, the absent nodes' as before.

    Dropped nodes are forgotten, and of the absent ones all but the last seen, of which there are
    as many as are here: a node that comes back under new ids must not fill the memory. The totals
    are changed in place and must not be used again.
    """
    xp = array_namespace(totals)

    def take(start: int) -> None:
        part = slice(start, start + _CHUNK)
        taken = xp.astype(vector[part], xp.float64) * -share
        for row in range(totals.shape[0]):
            total = _add(xp.astype(totals[row, part], xp.float64), taken, totals.dtype)
            totals[row, part] = xp.astype(total, totals.dtype)

    threads = threads_for(totals.size) if is_numpy_array(totals) else 1
    for _ in in_order(take, range(0, totals.shape[1], _CHUNK), threads):
        pass
    here = [row for row, node in enumerate(nodes) if node not in dropped]
    away = [
        row for row, node in enumerate(known) if node not in dropped and node not in nodes
    ][: len(nodes)]
    kept = tuple(nodes[row] for row in here) + tuple(known[row] for row in away)
    if len(here) == len(nodes) and not away:
        return kept, totals
    old = [] if sums is None else [
        xp.astype(xp.asarray(sums[row, :]), totals.dtype) for row in away
    ]
    return kept, xp.stack([totals[row, :] for row in here] + old) if kept else None


def majority_distances(geometry: Geometry) -> tuple[NDArray[np.float64], float]:
    """How far rows lie from the one with the smallest ball of more than half, and its radius.

    Whenever some row has more than half of the rows within a threshold, this one has.
    """
    middle = geometry.n // 2
    reach = np.partition(geometry.squared_distances, middle, axis=1)[:, middle]
    row = int(np.argmin(reach))
    return np.sqrt(geometry.squared_distances[row]), float(np.sqrt(reach[row]))


def _add(left: Any, right: Any, dtype: Any) -> Any:
    """The float64 sum; one that would leave the range of rows of ``dtype`` stops at its end."""
    xp = array_namespace(left, right)
    limit = min(LARGEST, float(xp.finfo(dtype).max))
    return xp.clip(left + right, -limit, limit)
