"""Whether there are compiled loops for a block: Numba is used where it is installed."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

_FEWEST = 1 << 16  # elements of a block; what is smaller is not worth importing Numba for


def kernels_for(block: Any, *, double: bool = False) -> ModuleType | None:
    """The module `kernels` where it serves this block, None where NumPy is to be used.

    ``double`` says that what is called takes float64 blocks too.
    """
    if not is_numpy_array(block) or block.size < _FEWEST:
        return None
    if block.dtype != np.float32 and not (double and block.dtype == np.float64):
        return None
    return _kernels() if block.strides[1] == block.itemsize else None


def compiled() -> bool:
    """Whether there are compiled loops at all."""
    return _kernels() is not None


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | None:
    if find_spec("numba") is None:
        return None
    try:
        from . import kernels
    except (ImportError, RuntimeError):  # a Numba for another NumPy, or no folder for its cache
        return None
    return kernels
