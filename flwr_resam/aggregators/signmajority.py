"""Majority vote of signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class SignMajority(CoordinateRule):
    """The sign of the sum of the rows' signs, in each coordinate: -1, 0 or 1.

    Complexity O(n d). Needs n > 2f. No lambda exists: the result has the direction of the
    rows, not their size, even where all rows are equal.

    Bernstein et al., "signSGD with majority vote is communication efficient and fault
    tolerant", 2019. A tie is 0.

    Examples
    --------
    >>> import numpy as np
    >>> SignMajority()(np.array([[0.1, -2.0], [0.2, 5.0], [-1e30, 0.0]]), f=1)
    array([1., 0.])
    """

    name: ClassVar[str] = "signmajority"

    def columns(self, block: Array, f: int) -> Array:
        """Sign of the sum of signs."""
        xp = array_namespace(block)
        return xp.sign(xp.sum(xp.sign(block), axis=0))

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """None exists, whatever n and f are."""
        return float("inf")
