"""Whether there are compiled loops for a block: Numba is used where it is installed."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

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


def flat_rows(block: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """A block as one line of memory, and how far apart its rows begin in it; mostly a view.

    Of a line Numba knows that neighbours lie side by side, of a part of a matrix it does not.

    Examples
    --------
    >>> flat_rows(np.arange(8.0).reshape(2, 4)[:, 1:3])
    (array([1., 2., 3., 4., 5., 6.]), 4)
    """
    height, width = block.shape
    if height == 1 or block.strides[0] <= 0 or block.strides[0] % block.itemsize:
        block = np.ascontiguousarray(block)
        step = width
    else:
        step = block.strides[0] // block.itemsize
    size = (height - 1) * step + width
    return as_strided(block, (size,), (block.itemsize,), writeable=False), step


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
