"""How many nodes to ask where a round asks only some: the odds that the liars among them stay few.

Of N nodes B are Byzantine, and n are drawn each round without replacement. How many liars X are
among them is hypergeometric,
``P(X > f) = sum_{k > f} C(B, k) C(N - B, n - k) / C(N, n)``,
and R rounds, each drawn anew, all stay within f with probability ``(1 - P(X > f))^R``. Allouah,
Farhadkhani, Guerraoui, Gupta, Pinot, Rizk, Voitovych, "Byzantine-Robust Federated Learning:
Impact of Client Subsampling and Local Updates", 2024, choose n and f by this condition.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .errors import check_whole, checked_f, real, requirement

_MOST_NODES = 1_000_000
_ROUNDING = 1e-6  # what float64 may be wrong by, and much more: nearer decisions are exact

Admits = Callable[[int, int], bool]


@dataclass(frozen=True)
class Sample:
    """A size of sample, and what it takes and gives.

    Attributes
    ----------
    n, f : int
        How many nodes are asked, and the least f that the liars stay within.
    failure : float
        The probability that in some round more than f of them lie.
    """

    n: int
    f: int
    failure: float

    @property
    def floor(self) -> float:
        """``f / (n - f)``: no rule comes nearer to the honest mean, in diameters."""
        return self.f / (self.n - self.f)


def sampling_failure(nodes: int, byzantine: int, n: int, f: int, rounds: int = 1) -> float:
    """The probability that more than f of n sampled nodes lie in one of the rounds.

    The sum for one round is of whole numbers, and exact; the result is it in float64, to within
    some 1e-15 of itself.

    Parameters
    ----------
    nodes, byzantine : int
        N and B: how many nodes there are, and how many of them may lie.
    n, f : int
        How many are asked in a round, and how many of these are tolerated.
    rounds : int (default: 1)
        R, each with a sample of its own.

    Raises
    ------
    ValueError, TypeError
        For a number that is none or out of range.

    Examples
    --------
    >>> round(sampling_failure(nodes=100, byzantine=20, n=10, f=4), 4)
    0.0255
    >>> round(sampling_failure(nodes=100, byzantine=20, n=10, f=4, rounds=300), 4)
    0.9996
    """
    _check(nodes, byzantine, n, rounds)
    return _in_run(_tail(nodes, byzantine, n, checked_f(f)), rounds)


def least_f(nodes: int, byzantine: int, n: int, rounds: int, failure: float) -> Sample:
    """The least f that n sampled nodes need: the liars stay within it in all rounds.

    Parameters
    ----------
    nodes, byzantine, n, rounds : int
        As for `sampling_failure`.
    failure : float
        How probable it may be that they do not, 0 < failure < 1.

    Returns
    -------
    Sample
        Its f may be n / 2 or more, which no rule tolerates.

    Examples
    --------
    >>> least_f(nodes=100, byzantine=20, n=10, rounds=300, failure=1e-3).f
    8
    """
    _check(nodes, byzantine, n, rounds)
    _check_failure(failure)
    fewest, most = -1, min(n, byzantine)  # with the last of them it can't fail
    while most - fewest > 1:
        f = (fewest + most) // 2
        if _safe(nodes, byzantine, n, f, rounds, failure):
            most = f
        else:
            fewest = f
    return Sample(n, most, _in_run(_tail(nodes, byzantine, n, most), rounds))


def least_sample(
    nodes: int, byzantine: int, rounds: int, failure: float = 1e-3, admits: Admits | None = None
) -> Sample:
    """The fewest nodes to ask in a round, and the f that goes with them.

    Parameters
    ----------
    nodes, byzantine, rounds, failure
        As for `least_f`.
    admits : callable, optional
        What the rule needs of n and f, as `Aggregator.admits` says it; None is n > 2f.

    Raises
    ------
    ValueError, TypeError
        For a number that is none or out of range, or where the rule does not admit the
        Byzantine nodes even with all nodes asked.

    Examples
    --------
    >>> sample = least_sample(nodes=600, byzantine=60, rounds=300, failure=1e-3)
    >>> sample.n, sample.f
    (19, 9)
    """
    _check(nodes, byzantine, nodes, rounds)
    _check_failure(failure)
    for n in range(_first_safe(nodes, byzantine, rounds, failure), nodes + 1):
        if not _safe(nodes, byzantine, n, (n - 1) // 2, rounds, failure):
            continue
        sample = least_f(nodes, byzantine, n, rounds, failure)
        if 2 * sample.f < n and (admits is None or admits(n, sample.f)):
            return sample
    raise requirement(
        "byzantine", "be so few that the rule tolerates them where all nodes are asked",
        f"{byzantine} of {nodes}", "Take a rule that needs n > 2f only, or more nodes"
        if 2 * byzantine < nodes else "No rule tolerates half of the nodes or more",
    )


def _first_safe(nodes: int, byzantine: int, rounds: int, failure: float) -> int:
    """The fewest nodes in which the Byzantine ones are a minority, or one that is less.

    Of two odd numbers the larger is the safer where the Byzantine nodes are a minority of all, and
    the other way round where they are not; an even number is never safer than the odd one before.
    """
    def holds(half: int) -> bool:
        return _safe(nodes, byzantine, 2 * half + 1, half, rounds, failure)

    if holds(0):
        return 1
    if 2 * byzantine >= nodes:
        return nodes
    return min(2 * bisect_left(range((nodes + 1) // 2), True, key=holds) + 1, nodes)


def most_byzantine(nodes: int, n: int, f: int, rounds: int, failure: float = 1e-3) -> int:
    """The most Byzantine nodes of which f of a sample hold, in all rounds, with this failure.

    Examples
    --------
    >>> most_byzantine(nodes=100, n=10, f=4, rounds=300, failure=1e-3)
    4
    >>> most_byzantine(nodes=10, n=10, f=4, rounds=300, failure=1e-3)
    4
    """
    _check(nodes, 0, n, rounds)
    _check_failure(failure)
    fewest, most = min(checked_f(f), nodes), nodes + 1  # so few never exceed f
    while most - fewest > 1:
        byzantine = (fewest + most) // 2
        if _safe(nodes, byzantine, n, f, rounds, failure):
            fewest = byzantine
        else:
            most = byzantine
    return fewest


def _safe(nodes: int, byzantine: int, n: int, f: int, rounds: int, failure: float) -> bool:
    """Whether f holds in all rounds; in float64 where that decides it, else exactly."""
    # (1 - p)^rounds >= 1 - failure
    allowed = -math.expm1(math.log1p(-failure) / rounds)
    about = _tail_in_floats(nodes, byzantine, n, f)
    if abs(about - allowed) > _ROUNDING * allowed:
        return about <= allowed
    return _in_run(_tail(nodes, byzantine, n, f), rounds) <= failure


def _in_run(once: Fraction, rounds: int) -> float:
    """The probability in some round of what has this one in each."""
    if (p := float(once)) == 1.0:
        return 1.0
    return -math.expm1(rounds * math.log1p(-p))


def _tail(nodes: int, byzantine: int, n: int, f: int) -> Fraction:
    """P(X > f), exactly."""
    first, last = max(f + 1, n - (nodes - byzantine)), min(n, byzantine)
    if first > last:
        return Fraction(0)
    term = math.comb(byzantine, first) * math.comb(nodes - byzantine, n - first)
    total = term
    for k in range(first, last):
        # Each division leaves no rest: what comes of it is a product of two binomials again.
        term = term * (byzantine - k) // (k + 1) * (n - k) // (nodes - byzantine - n + k + 1)
        total += term
    return Fraction(total, math.comb(nodes, n))


def _tail_in_floats(nodes: int, byzantine: int, n: int, f: int) -> float:
    """P(X > f) in float64, from the logarithm of its first term and the ratios of the others."""
    honest = nodes - byzantine
    first, last = max(f + 1, n - honest), min(n, byzantine)
    if first > last:
        return 0.0
    if first * nodes >= n * byzantine:  # above the mean, and so far out nothing is left to add
        last = min(last, first + 50 + 40 * math.isqrt(n))
    logarithm = (
        _log_comb(byzantine, first) + _log_comb(honest, n - first) - _log_comb(nodes, n)
    )
    k = np.arange(first, last, dtype=np.float64)
    ratios = (byzantine - k) * (n - k) / ((k + 1) * (honest - n + k + 1))
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(ratios))]) + logarithm
    return float(np.exp(logarithms).sum())


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _check(nodes: int, byzantine: int, n: int, rounds: int) -> None:
    check_whole("nodes", nodes, "Give how many nodes there are")
    if nodes > _MOST_NODES:
        raise requirement("nodes", f"be at most {_MOST_NODES:,}", nodes, "Ask for fewer")
    check_whole("byzantine", byzantine, "Give how many of the nodes may lie", least=0)
    if byzantine > nodes:
        raise requirement(
            "byzantine", "be at most the number of nodes", f"{byzantine} of {nodes}",
            "Give how many of the nodes may lie",
        )
    check_whole("n", n, "Give how many are asked in a round")
    if n > nodes:
        raise requirement(
            "n", "be at most the number of nodes", f"n = {n}, nodes = {nodes}",
            "Give how many are asked in a round",
        )
    check_whole("rounds", rounds, "Give how many rounds the run has")


def _check_failure(failure: float) -> None:
    if not 0.0 < real(failure) < 1.0:
        raise requirement(
            "failure", "be a probability above 0 and below 1", f"failure = {failure!r}",
            "Give 1e-3, say: 0 takes asking all nodes",
        )
