"""Sorting networks on the rows of a block: order statistics of all its columns at once.

A comparator takes two rows and leaves the smaller values in one, the larger in the other, for
all columns in two vector operations. Comparators that no wanted row depends on are left out,
and those that lie in step are one operation on a slab of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SOURCE = 0  # the rows as they are given, never written; 1 and 2 are buffers of the same height


@dataclass(frozen=True)
class _Slab:
    """``out = smaller or larger of (left, right)``, each some rows of a place."""

    larger: bool
    left: tuple[int, slice]
    right: tuple[int, slice]
    out: tuple[int, slice]


@dataclass(frozen=True)
class Program:
    """What to do with a block, and in which place each wanted row is then."""

    slabs: tuple[_Slab, ...]
    places: dict[int, int]


@lru_cache(maxsize=64)
def program(n: int, wanted: tuple[int, ...]) -> Program:
    """The operations after which the ``wanted`` rows hold the order statistics of their ranks."""
    slabs: list[_Slab] = []
    place = [_SOURCE] * n
    for layer in _pruned(n, wanted):
        for group in _in_step(layer, place):
            step = group[1][0] - group[0][0] if len(group) > 1 else 1
            (left, right, *_), last = group[0], group[-1]
            low = slice(left, last[0] + 1, step)
            high = slice(right, last[1] + 1, step)
            here = (place[left], low), (place[right], high)
            for larger, rows, old in ((False, low, place[left]), (True, high, place[right])):
                if group[0][2 + larger]:
                    slabs.append(_Slab(larger, *here, (_other(old), rows)))
        for i, j, smaller, larger in layer:
            place[i] = _other(place[i]) if smaller else place[i]
            place[j] = _other(place[j]) if larger else place[j]
    return Program(tuple(slabs), {rank: place[rank] for rank in wanted})


@lru_cache(maxsize=64)
def comparator_table(n: int, wanted: tuple[int, ...]) -> NDArray[np.int64]:
    """The comparators that the ``wanted`` ranks depend on, one a line."""
    pairs = [(i, j) for layer in _pruned(n, wanted) for i, j, *_ in layer]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def comparators(n: int) -> Iterator[list[tuple[int, int]]]:
    """Batcher's merge exchange for n rows, layer by layer (Knuth 5.2.2, algorithm M).

    Examples
    --------
    >>> list(comparators(3))
    [[(0, 2)], [(0, 1)], [(1, 2)]]
    """
    top = p = 1 << max(0, (n - 1).bit_length() - 1)
    while p and n > 1:
        q, r, step = top, 0, p
        while True:
            yield [(i, i + step) for i in range(n - step) if i & p == r]
            if q == p:
                break
            step, q, r = q - p, q // 2, p
        p //= 2


def _pruned(n: int, wanted: Iterable[int]) -> list[list[tuple[int, int, bool, bool]]]:
    """The comparators that wanted rows depend on, and which of their two results are needed."""
    needed = set(wanted)
    layers = []
    for layer in reversed(list(comparators(n))):
        kept = [(i, j, i in needed, j in needed) for i, j in layer if needed & {i, j}]
        needed |= {row for i, j, *_ in kept for row in (i, j)}
        if kept:
            layers.append(kept)
    return layers[::-1]


_Comparator = tuple[int, int, bool, bool]


def _in_step(layer: list[_Comparator], place: list[int]) -> Iterator[list[_Comparator]]:
    """Few groups of comparators of one kind whose rows are evenly spaced."""
    kinds: dict[Any, list[_Comparator]] = {}
    for comparator in layer:
        i, j, smaller, larger = comparator
        kinds.setdefault((place[i], place[j], smaller, larger), []).append(comparator)
    for left in kinds.values():
        while left:
            group = max(
                (_progression(left, other[0] - left[0][0]) for other in left[1:]),
                key=len, default=left[:1],
            )
            yield group
            left = [comparator for comparator in left if comparator not in group]


def _progression(left: list[_Comparator], step: int) -> list[_Comparator]:
    """The first comparator and those that follow it at equal steps."""
    group = left[:1]
    for comparator in left[1:]:
        if comparator[0] == group[-1][0] + step:
            group.append(comparator)
    return group


def _other(place: int) -> int:
    return 1 if place != 1 else 2


def order_rows(block: NDArray[Any], wanted: tuple[int, ...]) -> Callable[[int], NDArray[Any]]:
    """Sort the columns of a block as far as the wanted ranks need it.

    Returns a function from a wanted rank to the row that holds it.
    """
    plan = program(len(block), wanted)
    places = (block, np.empty_like(block), np.empty_like(block))
    for slab in plan.slabs:
        (a, left), (b, right), (c, out) = slab.left, slab.right, slab.out
        operation = np.maximum if slab.larger else np.minimum
        operation(places[a][left], places[b][right], out=places[c][out])
    return lambda rank: places[plan.places[rank]][rank]
