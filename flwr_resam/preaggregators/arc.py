"""Adaptive robust clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rows.geometry import Geometry, clip_factors
from ..rule import PreAggregator, Round


@dataclass(frozen=True)
class ARC(PreAggregator):
    """Shorten the k = floor(2 f (n - f) / n) longest rows to the norm of the next longest.

    Complexity O(n d + n log n). Needs n > 2f.

    Allouah et al., "Adaptive gradient clipping for robust federated learning", 2024.

    Examples
    --------
    >>> import numpy as np
    >>> ARC()(np.array([[1.0], [-2.0], [4.0], [90.0]]), f=1)
    array([[ 1.],
           [-2.],
           [ 4.],
           [ 4.]])
    """

    name: ClassVar[str] = "arc"

    def mixing(self, geometry: Geometry, f: int, at: Round) -> NDArray[np.float64]:
        """The factor of each row, on the diagonal."""
        n = geometry.n
        norms = np.sqrt(geometry.squared_norms)
        limit = np.sort(norms)[n - 1 - (2 * f * (n - f)) // n]
        return np.diag(clip_factors(norms, float(limit)))
