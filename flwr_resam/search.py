"""The search for the rows on which a rule is worst: families of a structure, then a climb."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .rule import Aggregator
from .starts import Family, families

Rows = NDArray[np.float64]

_FACTORS = (-1.0, 0.0, 0.5, 0.9, 0.999999, 1.000001, 1.1, 2.0, 10.0)
_HALVINGS = 10
_CLIMB = 200  # evaluations, at least


Ratio = Callable[[Rows, Rows], float]
"""How far a vector is from the mean of the honest rows, in the terms of a criterion."""


class _Rule:
    """A rule whose evaluations are counted, and the ratio of what it gives."""

    def __init__(
        self, rule: Aggregator, f: int, ratio: Ratio, trials: int, on_trial: Callable[[], object]
    ) -> None:
        self._rule, self._f, self._ratio, self._on_trial = rule, f, ratio, on_trial
        self.left = trials

    def __call__(self, rows: Rows) -> float:
        self.left -= 1
        self._on_trial()
        return self._ratio(self._rule(rows, f=self._f), rows[: len(rows) - self._f])


def worst_rows(
    rule: Aggregator, n: int, f: int, d: int, ratio: Ratio, *, trials: int,
    generator: np.random.Generator, on_trial: Callable[[], object] = lambda: None,
) -> Rows:
    """The (n, d) rows, the last f of them liars, of the largest ratio that was found.

    Half of the trials go to the families of `starts`, along the length that each leaves free.
    The other half are climbs, up to 20, from the worst of these and from random rows in turn:
    rows are moved one or a few at a time, to another row or close beside it, to a multiple of
    themselves, or at random in steps that shrink, and a move is kept where the ratio grows.
    """
    counted = _Rule(rule, f, ratio, trials, on_trial)
    found: list[tuple[float, Rows]] = []
    each = max(1, trials // 2)
    if f:
        for family in families(n, f, d, generator):
            # One that can't be followed to its end would only take from the climbs.
            if counted.left - len(family.lengths) - _HALVINGS < trials - each:
                break
            found.append(_along(counted, family))
    found.sort(key=lambda pair: -pair[0])
    climbs = max(1, min(20, counted.left // _CLIMB))
    best, worst = found[0] if found else (-1.0, np.zeros((n, d)))
    for climb in range(climbs):
        if climb % 2 == 0 and climb // 2 < len(found):
            start = found[climb // 2][1]
        else:
            start = random_rows((n, d), f, generator)
        steps = counted.left // (climbs - climb)
        reached, rows = _climb(counted, f, start, steps, generator)
        if reached > best:
            best, worst = reached, rows
    return worst


def _along(counted: _Rule, family: Family) -> tuple[float, Rows]:
    """The worst length of a family: the worst that is listed, then towards the next ones."""
    ratios = [counted(family.rows(length)) for length in family.lengths]
    best = int(np.argmax(ratios))
    reached, length = ratios[best], family.lengths[best]
    # What a rule still takes grows up to where it gives it up.
    outward = 1 if length >= 0.0 else -1
    if 0 <= best + outward < len(ratios):
        end = family.lengths[best + outward]
        for _ in range(_HALVINGS):
            middle = (length + end) / 2.0
            ratio = counted(family.rows(middle))
            if ratio >= reached:
                reached, length = ratio, middle
            else:
                end = middle
    return reached, family.rows(length)


def _climb(
    counted: _Rule, f: int, rows: Rows, trials: int, generator: np.random.Generator
) -> tuple[float, Rows]:
    ratio = counted(rows)
    for trial in range(trials - 1):
        moved = move(rows, f, 10.0 ** -(6.0 * trial / trials), generator)
        after = counted(moved)
        if after >= ratio:
            rows, ratio = moved, after
    return ratio, rows


def random_rows(shape: tuple[int, int], f: int, generator: np.random.Generator) -> Rows:
    """Rows to climb from that have no structure, or lie on a line."""
    if generator.random() < 0.5:
        return generator.standard_normal(shape)
    # Rows on a few points: honest ones split in two, the rest anywhere on the line through.
    points = generator.standard_normal((2, shape[1]))
    along = generator.integers(0, 2, (shape[0], 1)).astype(np.float64)
    along[shape[0] - f :] = generator.choice([-1.0, -0.999, 1.001, 1.999, 2.0], (f, 1))
    return np.asarray(points[0] + along * (points[1] - points[0]))


def move(rows: Rows, f: int, size: float, generator: np.random.Generator) -> Rows:
    """The rows with a few of them moved, by ``size`` times the honest width where at random."""
    n = len(rows)
    rows = rows.copy()
    # Often all Byzantine rows together, or a handful of any: single rows stall on plateaus.
    if f and generator.random() < 0.3:
        chosen = np.arange(n - f, n)
    else:
        chosen = generator.choice(n, size=int(generator.integers(1, min(n, 4) + 1)), replace=False)
    kind = generator.random()
    if kind < 0.3:
        rows[chosen] = rows[generator.integers(n)]
    elif kind < 0.55:
        at, towards = rows[generator.integers(n)], rows[generator.integers(n)]
        rows[chosen] = at + generator.choice(_FACTORS) * (towards - at)
    else:
        spread = float(np.ptp(rows[: n - f], axis=0).max()) or 1.0
        steps = generator.standard_normal((len(chosen), rows.shape[1]))
        rows[chosen] += size * spread * (steps if generator.random() < 0.5 else steps[:1])
    return rows
