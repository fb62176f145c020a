"""Smallest maximum eigenvalue averaging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rows.geometry import Geometry
from ..rule import WeightRule, checked_f
from ._spectrum import centred

_MOST_SUBSETS = 100_000
_AT_ONCE = 2048
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SMEA(WeightRule):
    """The mean of the n - f rows whose covariance has the least top eigenvalue.

    ``F = mean(x_S), S = argmin over |S| = n - f of lambda_max(cov(x_S))``, found by listing the
    subsets. Complexity O(n^2 d + C(n, f) n^3). Needs n > 2f and C(n, f) <= 100000. Of
    equal subsets, up to rounding, the first in row order is taken.
    kappa = 4 f / (n - 2f); the squared error is at most so much times the top eigenvalue of the
    honest covariance, too. lambda = sqrt(f / (n - 2f)). Both are proven in docs/theory.md.

    Allouah et al., "On the privacy-robustness-utility trilemma in distributed learning", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> SMEA()(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [90.0, 1.0], [1.0, 1.0]]), f=1)
    array([0.5, 0.5])
    """

    name: ClassVar[str] = "smea"
    need: ClassVar[str] = "n > 2f and C(n, f) <= 100000"

    def admits(self, n: int, f: int) -> bool:
        """Whether there is an honest majority and few enough subsets to list."""
        return n > 2 * f and comb(n, f) <= _MOST_SUBSETS

    def check(self, n: int, f: int) -> None:
        """As for every rule; too many subsets get an error of their own."""
        f = checked_f(f)
        if n > 2 * f and not self.admits(n, f):
            raise requirement(
                "f", f"leave at most {_MOST_SUBSETS} subsets to list for `{self}`",
                f"n = {n}, f = {f}, with {comb(n, f)} subsets of n - f rows",
                "Use `caf`, which filters by the same eigenvalue without listing, or lower n or f",
            )
        super().check(n, f)

    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """1 / (n - f) on the chosen rows."""
        n = geometry.n
        tops = []
        for chunk in _chunks(combinations(range(n), n - f)):
            index = np.array(chunk)
            grams = geometry.rows[index[:, :, None], index[:, None, :]]
            tops.append(np.linalg.eigvalsh(centred(grams))[:, -1])
        top = np.concatenate(tops)
        least, size = top.min(), np.sort(np.diagonal(geometry.rows))[n - f - 1]
        first = int(np.argmax(top <= least + _ROUNDING * (least + size)))
        best = next(islice(combinations(range(n), n - f), first, None))
        weights = np.zeros(n)
        weights[list(best)] = 1.0 / len(best)
        return weights

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """``sqrt(f / (n - 2f))``."""
        return sqrt(f / (n - 2 * f))

    def kappa(self, n: int, f: int, d: int) -> float:
        """``4 f / (n - 2f)``."""
        return 4.0 * f / (n - 2 * f)


def _chunks(subsets: Iterator[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    while chunk := list(islice(subsets, _AT_ONCE)):
        yield chunk
