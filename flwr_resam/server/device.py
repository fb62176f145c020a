"""Aggregation on a torch device, where asked for: torch is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rows.updates import Row

_CHUNK = 1 << 22


def checked_device(device: str | None) -> str | None:
    """Return the device, or raise before any work where torch or the device is missing."""
    if not device:
        return None
    try:
        import torch
    except ImportError as error:
        raise requirement(
            "device", "be None where torch is not installed", repr(device),
            "Install torch, or leave `device` out to aggregate with NumPy", error=ImportError,
        ) from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise requirement(
            "device", "name a device that torch can use here", repr(device),
            'Use "cpu", or leave `device` out to aggregate with NumPy',
        ) from error
    return device


def on_device(rows: Sequence[Row], device: str | None) -> Any:
    """Return the rows as they are, or as an (n, d) tensor on the device."""
    if device is None:
        return rows
    import torch

    dtype = np.result_type(np.float32, *(row.dtype for row in rows))
    size = rows[0].size
    buffer = np.empty(min(size, _CHUNK), dtype=dtype)
    matrix = torch.empty(
        (len(rows), size), dtype=torch.from_numpy(buffer[:0]).dtype, device=device
    )
    for index, row in enumerate(rows):
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            row.read(start, stop, buffer[: stop - start])
            matrix[index, start:stop] = torch.from_numpy(buffer[: stop - start])
    return matrix


def to_numpy(vector: Any) -> NDArray[Any]:
    """A vector on the host, as the rules return it."""
    return np.asarray(vector.cpu() if hasattr(vector, "cpu") else vector)
