"""How resilient a rule is: what is proven, the floor that no rule beats, and an audit of both.

A rule F is (f, lambda)-resilient averaging when
``||F(x_1, ..., x_n) - mean(x_S)|| <= lambda max_{i, j in S} ||x_i - x_j||``
for every S of n - f rows. Farhadkhani et al., "Byzantine Machine Learning Made Easy by Resilient
Averaging of Momentums", 2022. It is (f, kappa)-robust averaging when, with mu = mean(x_S),
``||F(x_1, ..., x_n) - mu||^2 <= kappa / |S| sum_{i in S} ||x_i - mu||^2``. Allouah et al., "Fixing
by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity", 2023.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import requirement
from .parse import parse_rule
from .rule import Aggregator, checked_f
from .search import worst_rows

Criterion = Literal["lambda", "kappa"]

_MOST_DIFFERENCES = 1e8  # 0.8 GB, and their squares take as much
_MOST_WORK = 1e10  # multiplications over all subsets: seconds


def resilience_coefficient(
    rule: str | Aggregator, n: int, f: int, d: int, criterion: Criterion = "lambda"
) -> float | None:
    """Return lambda or kappa of a rule for n rows, f faults and d coordinates.

    Parameters
    ----------
    rule : str or Aggregator
        A name or chain as `parse_rule` reads it, or the rule itself.
    criterion : "lambda" or "kappa"

    Returns
    -------
    float or None
        None where none is proven, infinity where none exists.

    Raises
    ------
    ValueError
        If the rule does not admit n and f, or a name is unknown.

    Examples
    --------
    >>> resilience_coefficient("mda", n=8, f=3, d=1000)
    1.2
    >>> resilience_coefficient("cwtm", n=8, f=3, d=1000, criterion="kappa")
    1.5
    >>> resilience_coefficient("mean", n=8, f=3, d=1000)
    inf
    """
    rule = _rule(rule)
    rule.check(_at_least_one("n", n), f)
    of = rule.kappa if _checked(criterion) == "kappa" else rule.coefficient
    return of(n, f, _at_least_one("d", d))


def lower_bound(n: int, f: int, criterion: Criterion = "lambda") -> float:
    """The least lambda, ``f / (n - f)``, or kappa, ``f / (n - 2f)``, that any rule has.

    RESAM, Proposition 2, and docs/theory.md. Infinity for n <= 2f: without an honest majority no
    rule has either.

    Examples
    --------
    >>> lower_bound(n=15, f=5), lower_bound(n=4, f=2)
    (0.5, inf)
    >>> lower_bound(n=15, f=5, criterion="kappa")
    1.0
    """
    if checked_f(f) >= _at_least_one("n", n):
        raise requirement("f", "be below n", f"n = {n}, f = {f}", "Give the number of faults")
    if n <= 2 * f:
        return math.inf
    return f / (n - 2 * f) if _checked(criterion) == "kappa" else f / (n - f)


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
        The largest ``||F - mean(x_S)|| / diam(S)`` observed; for kappa the largest
        ``||F - mean(x_S)||^2`` by the mean squared distance of the rows of S from their mean.
        Infinity where F is not finite.
    rows : (n, d) float64
        The rows that gave it.
    honest : tuple of int
        S.
    """

    ratio: float
    rows: NDArray[np.float64]
    honest: tuple[int, ...]


def audit(
    rule: str | Aggregator, n: int, f: int, d: int | None = None, *, trials: int = 4000,
    seed: int = 0, criterion: Criterion = "lambda", on_trial: Callable[[], object] = lambda: None,
) -> Audit:
    """Search for rows on which a rule is as bad as it gets.

    Half of the evaluations go to rows of a structure (equally far apart, codes of zeros and ones,
    two points) with liars along a line; the others are climbs from the worst of these and from
    random rows. The ratio is taken over S the first n - f rows while searching, and over all S
    (at most 3,000 of them, fewer of many rows) at the end. What is found is a lower bound of the
    rule's true lambda or kappa.

    Parameters
    ----------
    d : int or None (default: None)
        Coordinates; None is n, since rows equally far apart need about as many, or what memory
        holds of n.
    trials : int
        How many times the rule is evaluated, over all starts.
    seed : int
        The same seed gives the same rows.
    criterion : "lambda" or "kappa"
    on_trial : callable
        Called after each trial.

    Raises
    ------
    ValueError
        If the rule does not admit n and f, or a number is out of range.

    Examples
    --------
    >>> found = audit("cwtm", n=3, f=1, trials=500)
    >>> round(found.ratio, 2), resilience_coefficient("cwtm", n=3, f=1, d=3)
    (0.5, 0.5)
    >>> found = audit("cwtm", n=3, f=1, trials=500, criterion="kappa")
    >>> round(found.ratio, 2), resilience_coefficient("cwtm", n=3, f=1, d=3, criterion="kappa")
    (1.0, 1.0)
    """
    rule = _rule(rule)
    rule.check(_at_least_one("n", n), f)
    d = coordinates(n) if d is None else _at_least_one("d", d)
    check_size("d", n, d)
    ratio = _kappa_ratio if _checked(criterion) == "kappa" else _lambda_ratio
    rows = worst_rows(
        rule, n, f, d, ratio, trials=_at_least_one("trials", trials),
        generator=np.random.default_rng(seed), on_trial=on_trial,
    )
    vector = rule(rows, f=f)
    first = tuple(range(n - f))
    most = max(1, min(3000, int(_MOST_WORK // (n * n * d))))
    sets = itertools.islice(itertools.combinations(range(n), n - f), most)
    found = max(
        itertools.chain([first], sets), key=lambda subset: ratio(vector, rows[list(subset)])
    )
    return Audit(ratio(vector, rows[list(found)]), rows, found)


def coordinates(n: int) -> int:
    """How many coordinates `audit` gives n rows: n, or as many as it has memory for.

    Examples
    --------
    >>> coordinates(15), coordinates(1000)
    (15, 100)
    """
    return max(1, min(n, int(_MOST_DIFFERENCES // n**2)))


def check_size(name: str, n: int, d: int) -> None:
    """Raise where `audit`, which compares all rows with each other, would run out of memory."""
    if n * n * d > _MOST_DIFFERENCES:
        raise requirement(
            name, f"be at most 1e8 / n^2 = {_MOST_DIFFERENCES / n**2:.3g} in a search",
            f"n = {n}, {name} = {d:.3g}",
            "Search over few coordinates, such as 10, or over fewer rows",
        )


def _lambda_ratio(vector: NDArray[np.float64], honest: NDArray[np.float64]) -> float:
    """The distance from the mean by the diameter, 0 where the rows agree to rounding."""
    if not np.isfinite(vector).all():
        return math.inf
    mean = honest.mean(axis=0)
    off = honest - mean  # small numbers, of which inner products lose no digit of a distance
    gram = off @ off.T
    squares = np.diagonal(gram)
    diameter = math.sqrt(max(0.0, float((squares[:, None] + squares - 2.0 * gram).max())))
    if diameter <= 1e-6 * float(np.abs(honest).max()):
        return 0.0
    return float(np.linalg.norm(vector - mean)) / diameter


def _kappa_ratio(vector: NDArray[np.float64], honest: NDArray[np.float64]) -> float:
    """The squared distance from the mean by the rows' mean one, 0 where they agree to rounding."""
    if not np.isfinite(vector).all():
        return math.inf
    mean = honest.mean(axis=0)
    spread = float(((honest - mean) ** 2).sum()) / len(honest)
    if math.sqrt(spread) <= 1e-6 * float(np.abs(honest).max()):
        return 0.0
    return float(((vector - mean) ** 2).sum()) / spread


def _rule(rule: str | Aggregator) -> Aggregator:
    return parse_rule(rule) if isinstance(rule, str) else rule


def _checked(criterion: str) -> str:
    if criterion not in get_args(Criterion):
        raise requirement(
            "criterion", "be `lambda` or `kappa`", f"criterion = {criterion!r}", "Use `lambda`"
        )
    return criterion


def _at_least_one(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise requirement(
            name, "be a whole number, at least 1", f"{name} = {value}", "Give 1 or more"
        )
    return int(value)
