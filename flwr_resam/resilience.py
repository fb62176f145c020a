"""How resilient a rule is: the proven lambda, the floor that no rule beats, and an audit of both.

A rule F is (f, lambda)-resilient averaging when
``||F(x_1, ..., x_n) - mean(x_S)|| <= lambda max_{i, j in S} ||x_i - x_j||``
for every S of n - f rows. Farhadkhani et al., "Byzantine Machine Learning Made Easy by Resilient
Averaging of Momentums", 2022.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import requirement
from .parse import parse_rule
from .rule import Aggregator, checked_f

_MOST_DIFFERENCES = 1e8  # 0.8 GB, and their squares take as much
_FACTORS = (-1.0, 0.0, 0.5, 0.9, 0.999999, 1.000001, 1.1, 2.0, 10.0)


def resilience_coefficient(rule: str | Aggregator, n: int, f: int, d: int) -> float | None:
    """Return lambda of a rule for n rows, f faults and d coordinates.

    Parameters
    ----------
    rule : str or Aggregator
        A name or chain as `parse_rule` reads it, or the rule itself.

    Returns
    -------
    float or None
        None where none is proven, infinity where none exists.

    Raises
    ------
    ValueError
        If the rule does not admit n and f, or the name is unknown.

    Examples
    --------
    >>> resilience_coefficient("mda", n=8, f=3, d=1000)
    1.2
    >>> resilience_coefficient("mean", n=8, f=3, d=1000)
    inf
    """
    rule = _rule(rule)
    rule.check(_at_least_one("n", n), f)
    return rule.coefficient(n, f, _at_least_one("d", d))


def lower_bound(n: int, f: int) -> float:
    """The least lambda that any rule has: ``f / (n - f)`` (RESAM, Proposition 2).

    Infinity for n <= 2f: without an honest majority no rule has any lambda.

    Examples
    --------
    >>> lower_bound(n=15, f=5), lower_bound(n=4, f=2)
    (0.5, inf)
    """
    if checked_f(f) >= _at_least_one("n", n):
        raise requirement("f", "be below n", f"n = {n}, f = {f}", "Give the number of faults")
    return f / (n - f) if n > 2 * f else math.inf


def largest_f(rule: str | Aggregator, n: int) -> int | None:
    """The most faults that a rule, or every stage of a chain, admits among n rows.

    None where it admits no f, not even 0. A baseline that runs for every f, without any
    lambda, counts as tolerating none.

    Examples
    --------
    >>> largest_f("mda", n=15), largest_f("mean", n=15)
    (7, 0)
    """
    rule = _rule(rule)
    admitted = [f for f in range(_at_least_one("n", n)) if rule.admits(n, f)]
    if admitted and 2 * admitted[-1] >= n:
        return 0
    return admitted[-1] if admitted else None


@dataclass(frozen=True)
class Audit:
    """What the search for bad rows found.

    Attributes
    ----------
    ratio : float
        The largest ``||F - mean(x_S)|| / diam(S)`` observed.
    rows : (n, d) float64
        The rows that gave it.
    honest : tuple of int
        S.
    """

    ratio: float
    rows: NDArray[np.float64]
    honest: tuple[int, ...]


def audit(
    rule: str | Aggregator, n: int, f: int, d: int = 1, *, trials: int = 4000, seed: int = 0,
    on_trial: Callable[[], object] = lambda: None,
) -> Audit:
    """Search for rows on which a rule is as bad as it gets.

    From random starts, the first n - f rows honest, rows are moved one or a few at a time:
    to another row or close beside it, to a multiple of themselves, or at random in steps that
    shrink; a move is kept where it makes the ratio larger. The ratio is taken over S the
    first n - f rows while searching, and over all S (at most 3,000 of them) at the end. What
    is found is a lower bound of the rule's true lambda.

    Parameters
    ----------
    trials : int
        How many times the rule is evaluated, over all starts.
    seed : int
        The same seed gives the same rows.
    on_trial : callable
        Called after each trial.

    Raises
    ------
    ValueError
        If the rule does not admit n and f, or a number is out of range.

    Examples
    --------
    >>> found = audit("cwtm", n=3, f=1, trials=500)
    >>> round(found.ratio, 2), resilience_coefficient("cwtm", n=3, f=1, d=1)
    (0.5, 0.5)
    """
    rule = _rule(rule)
    rule.check(_at_least_one("n", n), f)
    shape = (n, _at_least_one("d", d))
    check_size("d", n, d)
    generator = np.random.default_rng(seed)
    starts = max(1, min(20, _at_least_one("trials", trials) // 200))
    best, worst = np.zeros(shape), -1.0
    for _ in range(starts):
        start = _start(shape, f, generator)
        rows, ratio = _climb(rule, f, start, trials // starts, generator, on_trial)
        if ratio > worst:
            best, worst = rows, ratio
    return _over_subsets(rule, f, best)


def check_size(name: str, n: int, d: int) -> None:
    """Raise where `audit`, which compares all rows with each other, would run out of memory."""
    if n * n * d > _MOST_DIFFERENCES:
        raise requirement(
            name, f"be at most 1e8 / n^2 = {_MOST_DIFFERENCES / n**2:.3g} in a search",
            f"n = {n}, {name} = {d:.3g}",
            "Search over few coordinates, such as 10, or over fewer rows",
        )


def _climb(
    rule: Aggregator, f: int, rows: NDArray[np.float64], trials: int,
    generator: np.random.Generator, on_trial: Callable[[], object],
) -> tuple[NDArray[np.float64], float]:
    ratio = _excess(rule(rows, f=f), rows[: len(rows) - f])
    for trial in range(trials):
        moved = _move(rows, f, 10.0 ** -(6.0 * trial / trials), generator)
        after = _excess(rule(moved, f=f), moved[: len(rows) - f])
        if after >= ratio:
            rows, ratio = moved, after
        on_trial()
    return rows, ratio


def _start(
    shape: tuple[int, int], f: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    if generator.random() < 0.5:
        return generator.standard_normal(shape)
    # Rows on a few points: honest ones split in two, the rest anywhere on the line through.
    points = generator.standard_normal((2, shape[1]))
    along = generator.integers(0, 2, (shape[0], 1)).astype(np.float64)
    along[shape[0] - f :] = generator.choice([-1.0, -0.999, 1.001, 1.999, 2.0], (f, 1))
    return np.asarray(points[0] + along * (points[1] - points[0]))


def _move(
    rows: NDArray[np.float64], f: int, size: float, generator: np.random.Generator
) -> NDArray[np.float64]:
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


def _excess(vector: NDArray[np.float64], honest: NDArray[np.float64]) -> float:
    """The ratio, 0 where the honest rows agree to rounding."""
    differences = honest[:, None, :] - honest[None, :, :]
    diameter = math.sqrt(float((differences**2).sum(axis=2).max()))
    if diameter <= 1e-6 * float(np.abs(honest).max()):
        return 0.0
    return float(np.linalg.norm(vector - honest.mean(axis=0))) / diameter


def _over_subsets(rule: Aggregator, f: int, rows: NDArray[np.float64]) -> Audit:
    n = len(rows)
    vector = rule(rows, f=f)
    first = tuple(range(n - f))
    found = max(
        itertools.chain([first], itertools.islice(itertools.combinations(range(n), n - f), 3000)),
        key=lambda subset: _excess(vector, rows[list(subset)]),
    )
    return Audit(_excess(vector, rows[list(found)]), rows, found)


def _rule(rule: str | Aggregator) -> Aggregator:
    return parse_rule(rule) if isinstance(rule, str) else rule


def _at_least_one(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise requirement(
            name, "be a whole number, at least 1", f"{name} = {value}", "Give 1 or more"
        )
    return int(value)
