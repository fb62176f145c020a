"""Whether there are compiled loops for a block: Numba is used where it is installed."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

_FEWEST = 1 << 16  # elements of a block; what is smaller is not worth importing Numba for


def kernels_for(block: Any) -> ModuleType | None:
    """The module `kernels` where it serves this block, None where NumPy is to be used."""
    if not is_numpy_array(block) or block.dtype != np.float32 or block.size < _FEWEST:
        return None
    return _kernels() if block.strides[1] == block.itemsize else None


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | None:
    if find_spec("numba") is None:
        return None
    try:
        from . import kernels
    except (ImportError, RuntimeError):  # a Numba for another NumPy, or no folder for its cache
        return None
    return kernels
