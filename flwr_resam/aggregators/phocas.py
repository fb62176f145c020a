"""Mean around the trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..rows.order import mean_around_trimmed_mean
from ..rows.updates import Array
from ..rule import CoordinateRule


@dataclass(frozen=True)
class Phocas(CoordinateRule):
    """In each coordinate, the mean of the n - f values nearest the trimmed mean.

    The trimmed mean drops the f lowest and the f highest values; of two values equally far
    from it the lower is taken. Complexity O(d n log n). Needs n > 2f. No lambda is proven.

    Xie et al., "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018,
    with as many values trimmed on each side as there are faults (b = f).

    Examples
    --------
    >>> import numpy as np
    >>> Phocas()(np.array([[1.0], [2.0], [4.0], [1e30]]), f=1).round(6)
    array([2.333333])
    """

    name: ClassVar[str] = "phocas"

    def columns(self, block: Array, f: int) -> Array:
        """Mean of the n - f values nearest the trimmed mean."""
        return mean_around_trimmed_mean(block, f, block.shape[0] - f)
