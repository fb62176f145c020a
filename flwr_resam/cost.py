"""What a rule costs in seconds: the terms of its complexity, times what each takes here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import comb, exp, inf, lgamma, log, log2

import numpy as np

from .rows.order import mean_between
from .rows.updates import Updates

_N, _D = 100, 4000  # rows and coordinates of the calibration
_FACTOR = re.compile(r"C\(n, f\)|log n|[a-z]+(?:\^\d)?|\d+")


def seconds(complexity: str, n: int, f: int, d: int, arguments: Mapping[str, object]) -> float:
    """Estimate what a round takes, from terms such as ``O(n^2 d + n^3)``.

    Each term counts with the time of an operation of its kind, as `calibrate` finds it: an
    estimate within a factor of a few, to choose by. What a search takes is not in it.

    Parameters
    ----------
    complexity : str
        A sum of products of n, d, f, ``log n``, ``C(n, f)``, powers, numbers and names of
        arguments.
    arguments : mapping
        The rule's own, by name.

    Raises
    ------
    ValueError
        For a factor that has no value.

    Examples
    --------
    >>> few, many = (seconds("O(n^2 d)", n, 0, 1000, {}) for n in (100, 400))
    >>> round(many / few)
    16
    """
    known = {**arguments, "n": n, "f": f, "d": d}
    cost = calibrate()
    total = 0.0
    for term in complexity.removeprefix("O(").removesuffix(")").split(" + "):
        factors = _FACTOR.findall(term)
        if "".join(factors).replace(" ", "") != term.replace(" ", ""):
            raise ValueError(f"`{term}` is no product of n, d, f and arguments")
        count = 1.0
        for factor in factors:
            count *= _value(factor, known)
        total += count * cost[_kind(set(factors))]
    return total


def _value(factor: str, known: Mapping[str, object]) -> float:
    n, f = known["n"], known["f"]
    assert isinstance(n, int)
    assert isinstance(f, int)
    if factor == "log n":
        return log2(max(2, n))
    if factor == "C(n, f)":
        if f > n:
            return 0.0
        large = lgamma(n + 1) - lgamma(f + 1) - lgamma(n - f + 1)
        return float(comb(n, f)) if large < log(1e15) else exp(large) if large < 700 else inf
    if factor.isdecimal():
        return float(factor)
    base, _, power = factor.partition("^")
    value = known.get(base)
    if not isinstance(value, int | float):
        raise ValueError(f"`{base}` has no value")
    return float(value) ** int(power or 1)


def _kind(factors: set[str]) -> str:
    if "d" in factors:
        return "pairs" if "n^2" in factors else "sort" if "log n" in factors else "read"
    return "table" if factors.isdisjoint({"n^3"}) else "cube"


@lru_cache(maxsize=1)
def calibrate() -> dict[str, float]:
    """Seconds of one operation of each kind here: a fifth of a second, once a process."""
    rows = np.random.default_rng(0).standard_normal((_N, _D), dtype=np.float32)
    table = Updates(rows).geometry().rows
    share = np.full(_N, 1.0 / _N)
    return {
        "pairs": _least(lambda: Updates(rows).geometry().gram) / (_N * _N * _D),
        "sort": _least(lambda: mean_between(rows, 10, _N - 10)) / (_N * log2(_N) * _D),
        "read": _least(lambda: Updates(rows).combine(share)) / (_N * _D),
        "table": _least(lambda: np.argsort(table, axis=1)) / (_N * _N * log2(_N)),
        "cube": _least(lambda: np.linalg.eigh(table)) / _N**3,
    }


def _least(action: Callable[[], object]) -> float:
    found = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)
