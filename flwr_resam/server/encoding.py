"""Plain values as JSON beside named arrays: what a checkpoint holds, without pickle.

Structure (dicts with any plain keys, lists, tuples, records of Flower) becomes JSON; arrays and
bytes become entries of a dict of arrays, which the JSON names.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from ..errors import requirement

Arrays = dict[str, NDArray[Any]]

_RECORDS: dict[str, type[Any]] = {
    "arrays": ArrayRecord,
    "config": ConfigRecord,
    "metrics": MetricRecord,
    "records": RecordDict,
}
_NATIVE = {np.dtype(kind).str for kind in "?bBhHiIqQefd"}
_SCALARS = (bool, int, float, str, type(None))


def encode(value: Any, arrays: Arrays, name: str = "value") -> Any:
    """Return the JSON form of ``value``, adding its arrays to ``arrays``.

    Parameters
    ----------
    value : dict, list, tuple, str, int, float, bool, None, bytes, array or Flower record
        Nested as one likes. Arrays are NumPy's, or torch tensors.
    arrays : dict of arrays
        Is added to, under names that begin with ``name``; the JSON refers to them.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> arrays = {}
    >>> text = encode({3: (1.5, np.zeros(2))}, arrays)
    >>> list(arrays)
    ['value/3/1']
    >>> decode(text, arrays)
    {3: (1.5, array([0., 0.]))}
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, list):
        return _sequence(value, arrays, name)
    if isinstance(value, tuple):
        return {"tuple": _sequence(value, arrays, name)}
    for kind, record in _RECORDS.items():
        if isinstance(value, record):
            return {kind: _pairs(dict(value.items()), arrays, name)}
    if isinstance(value, dict):
        return {"dict": _pairs(value, arrays, name)}
    if isinstance(value, Array):
        return _flower_array(value, arrays, name)
    if isinstance(value, bytes):
        return {"bytes": _keep(np.frombuffer(value, np.uint8), arrays, name)}
    if isinstance(value, np.generic):
        return {"scalar": _npy(value, arrays, name)}
    if isinstance(value, np.ndarray):
        if value.dtype.str in _NATIVE and value.flags.c_contiguous:
            return {"ndarray": _keep(value, arrays, name)}
        return {"npy": _npy(value, arrays, name)}
    if hasattr(value, "detach") and hasattr(value, "device"):
        return {"tensor": [_npy(value.detach().cpu().numpy(), arrays, name), str(value.device)]}
    raise requirement(
        "state", "be made of dicts, lists, tuples, numbers, text, bytes and arrays",
        f"{type(value).__name__}", "Keep the rule's state in these", error=TypeError,
    )


def decode(value: Any, arrays: Arrays) -> Any:
    """Return what `encode` was given."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    ((kind, inner),) = value.items()
    if kind == "tuple":
        return tuple(decode(item, arrays) for item in inner)
    if kind == "dict" or kind in _RECORDS:
        items = {decode(key, arrays): decode(item, arrays) for key, item in inner}
        return items if kind == "dict" else _RECORDS[kind](items)
    if kind == "array":
        return Array(arrays[inner])
    if kind == "raw-array":
        return Array(**decode(inner[0], arrays), data=arrays[inner[1]].tobytes())
    if kind == "bytes":
        return arrays[inner].tobytes()
    if kind == "tensor":
        import torch

        return torch.from_numpy(_read(arrays[inner[0]])).to(inner[1])
    if kind == "ndarray":
        return arrays[inner]
    loaded = _read(arrays[inner])
    return loaded[()] if kind == "scalar" else loaded


def _sequence(values: Any, arrays: Arrays, name: str) -> list[Any]:
    return [encode(value, arrays, f"{name}/{index}") for index, value in enumerate(values)]


def _pairs(items: dict[Any, Any], arrays: Arrays, name: str) -> list[Any]:
    return [
        [encode(key, arrays, name), encode(value, arrays, f"{name}/{key}")]
        for key, value in items.items()
    ]


def _flower_array(value: Array, arrays: Arrays, name: str) -> Any:
    """As a named array where that gives every byte of the original back, else as its bytes."""
    try:
        loaded = value.numpy()
        same = loaded.dtype.str in _NATIVE and loaded.flags.c_contiguous and Array(loaded) == value
    except (ValueError, TypeError):
        same = False
    if same:
        return {"array": _keep(loaded, arrays, name)}
    held = {"dtype": value.dtype, "shape": tuple(value.shape), "stype": value.stype}
    data = np.frombuffer(value.data, np.uint8)
    return {"raw-array": [encode(held, arrays, name), _keep(data, arrays, name)]}


def _keep(array: NDArray[Any], arrays: Arrays, name: str) -> str:
    while name in arrays:
        name += "+"
    arrays[name] = array
    return name


def _npy(array: Any, arrays: Arrays, name: str) -> str:
    """Keep an array as its npy file, which holds any dtype, order and byte order exactly."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return _keep(np.frombuffer(buffer.getvalue(), np.uint8), arrays, name)


def _read(data: NDArray[Any]) -> NDArray[Any]:
    loaded: NDArray[Any] = np.load(io.BytesIO(data.tobytes()), allow_pickle=False)
    return loaded
