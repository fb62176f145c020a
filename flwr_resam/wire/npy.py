"""Arrays as npy files: read by a grammar, never by evaluating a header, and written byte for byte.

The header of a file that a stranger sent is some 120 bytes of text that say a dtype, an order
and a shape. What is read here is compared by the caller with what it expects; nothing is
allocated, decoded or unpickled.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

_LIMIT = 4096
_MAGIC = b"\x93NUMPY"
_LENGTH_AT = slice(8, 10)
_STYPE = "numpy.ndarray"
_ITEM = re.compile(
    r"\s*(?P<quote>['\"])(?P<key>descr|fortran_order|shape)(?P=quote)\s*:\s*"
    r"(?:(?P<mark>['\"])(?P<descr>[<>|=]?[a-zA-Z]\d{0,4})(?P=mark)"
    r"|(?P<order>True|False)"
    r"|\(\s*(?P<shape>(?:\d{1,18}L?\s*,\s*)*(?:\d{1,18}L?\s*)?)\))"
    r"\s*(?:,|(?=\}))"
)


class Header(NamedTuple):
    """What an npy file says of itself, and where its payload starts."""

    descr: str
    fortran: bool
    shape: tuple[int, ...]
    start: int


def write_header(dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> bytes:
    """The bytes before the payload, as this NumPy writes them."""
    buffer = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": fortran,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def read_header(data: bytes) -> Header:
    """Read the header of an npy file of a plain dtype, whatever wrote and padded it.

    Raises
    ------
    ValueError
        If the file does not begin with the header of such an array, in at most 4,096 bytes.

    Examples
    --------
    >>> data = write_header(np.dtype(np.float32), (2, 3), False)
    >>> read_header(data)[:3]
    ('<f4', False, (2, 3))
    """
    if data[:6] != _MAGIC:
        raise ValueError("no npy file")
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(data[6:8])
    if width is None or len(data) < 8 + width:
        raise ValueError("an npy version that is not 1.0 to 3.0")
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > min(_LIMIT, len(data)):
        raise ValueError("an npy header longer than the file or than 4096 bytes")
    text = data[8 + width : start].decode("latin-1").strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("an npy header that is no dictionary")
    found: dict[str, str] = {}
    place, end = 1, len(text) - 1
    while text[place:end].strip():
        item = _ITEM.match(text, place)
        if item is None or item["key"] in found:
            raise ValueError("an npy header of no plain array")
        value = {"descr": item["descr"], "fortran_order": item["order"], "shape": item["shape"]}
        if value[item["key"]] is None:
            raise ValueError("an npy header of no plain array")
        found[item["key"]] = value[item["key"]]
        place = item.end()
    if len(found) != 3:
        raise ValueError("an npy header without dtype, order or shape")
    shape = found["shape"].replace("L", "").replace(" ", "")
    if shape and "," not in shape:
        raise ValueError("an npy header whose shape is no tuple")
    sizes = tuple(int(size) for size in shape.split(",") if size)
    return Header(found["descr"], found["fortran_order"] == "True", sizes, start)


def pack(values: NDArray[Any]) -> Array:
    """Return ``Array(values)``, byte for byte.

    Examples
    --------
    >>> values = np.arange(6.0).reshape(2, 3)
    >>> pack(values) == Array(values)
    True
    """
    if not values.flags.c_contiguous or values.dtype.kind not in "fiub":
        return Array(values)
    data = b"".join((_written(values.dtype, values.shape), values.reshape(-1).data))
    return Array(dtype_name(values.dtype), values.shape, _STYPE, data)


def unpack(array: Array) -> NDArray[Any]:
    """Return the values of ``array``: a view that can't be written to, where that can be had.

    Examples
    --------
    >>> unpack(Array(np.arange(3)))
    array([0, 1, 2])
    """
    if array.stype != _STYPE:
        return array.numpy()
    data = array.data
    start = 10 + int.from_bytes(data[_LENGTH_AT], "little")
    try:
        header = _read(data[:start])
        values = np.frombuffer(data, header.descr, offset=start)
        if header.fortran:
            return values.reshape(header.shape[::-1]).T
        return values.reshape(header.shape)
    except (ValueError, TypeError):
        return array.numpy()


def record_of(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Return a record that holds these very arrays, rather than a copy of each."""
    record = ArrayRecord()
    for name, array in arrays.items():
        record[name] = array
    return record


@lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """What `Array.dtype` says; NumPy spells it out anew each time."""
    return str(dtype)


@lru_cache(maxsize=1024)
def _written(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return write_header(dtype, shape, False)


@lru_cache(maxsize=1024)
def _read(prefix: bytes) -> Header:
    return read_header(prefix)
