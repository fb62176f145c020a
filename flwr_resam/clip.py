"""How much rows are shortened: what centred clipping, clipping and ARC share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MEASURED = 1e139


def clip_factors(
    lengths: NDArray[np.float64], limit: float, *, unit: float
) -> NDArray[np.float64]:
    """``min(1, limit / length)`` for each length.

    Parameters
    ----------
    lengths : (n,) float64
        In the geometry's unit.
    limit : float
        In the same unit.
    unit : float
        The geometry's. Where it is not 1, float64 rows differ so much in size that lengths
        beyond 1e139 are not measured; rows of such lengths are shortened to nothing.

    Examples
    --------
    >>> clip_factors(np.array([0.0, 1.0, 4.0]), 2.0, unit=1.0)
    array([1. , 1. , 0.5])
    """
    factors = np.ones(len(lengths))
    longer = lengths > limit
    factors[longer] = limit / lengths[longer]
    if unit != 1.0:
        factors[lengths > _MEASURED] = 0.0
    return factors
