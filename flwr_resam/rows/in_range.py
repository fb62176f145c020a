"""Columns near the end of float64's range, whose sums would leave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

_SAFE = 2.0**1000  # float64 values that so many rows can sum without leaving the range
_TINY = 2.0**-900  # below this a result may have lost digits when its column was scaled


def in_range(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Scale columns near the end of float64 down for ``function`` and its result up again.

    A result that is tiny beside such a column is computed without scaling, which would have
    taken digits of it.
    """

    def scaled(block: Any) -> Any:
        xp = array_namespace(block)
        top = xp.max(xp.abs(block), axis=0)
        if not bool(xp.any(top > _SAFE)):
            return function(block)
        large = xp.astype(top > _SAFE, block.dtype)
        factor = 2.0**-64 * large + (1.0 - large)
        limit = xp.finfo(block.dtype).max * factor
        out = xp.clip(function(block * factor), -limit, limit) / factor
        with np.errstate(all="ignore"):
            plain = function(block)
        return xp.where((xp.abs(out) < _TINY) & xp.isfinite(plain), plain, out)

    return scaled
