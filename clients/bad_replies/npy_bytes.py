"""Replies of which an array's bytes, or what it claims of them, are no array of the model.

Flower sends an array as an npy file: six bytes of magic, two of a version, the length of a header,
the header, which is the text of a Python dictionary, and the payload.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array

from clients.bad_replies.arrays import Values, every, first
from clients.bad_replies.reply import BadReply, Content, Level, Verdict


def replaced(change: Callable[[bytes], bytes]) -> Content:
    """Change the bytes of the first array, and nothing that it says of itself."""

    def corrupt(values: Values) -> Array:
        honest = Array(values)
        return Array(honest.dtype, honest.shape, honest.stype, change(honest.data))

    return first(corrupt)


def npy(header: bytes, payload: bytes, version: bytes = b"\x01\x00", size: int = -1) -> bytes:
    """An npy file with this header, which may say that it is of another size."""
    width = 2 if version[0] == 1 else 4
    length = (len(header) if size < 0 else size).to_bytes(width, "little")
    return b"\x93NUMPY" + version + length + header + payload


def _payload(data: bytes) -> bytes:
    return data[10 + int.from_bytes(data[8:10], "little") :]


def _headed(header: bytes) -> Content:
    """The first array's payload under another header."""
    return replaced(lambda data: npy(header, _payload(data)))


def _fixed(data: bytes) -> Content:
    """These bytes, whatever the array was."""
    return replaced(lambda _: data)


def _claiming(**changes: Any) -> Content:
    """The first array's payload under its own header but for this."""

    def change(values: Values) -> Array:
        header = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
        honest = Array(values)
        data = npy(str({**header, **changes}).encode(), values.tobytes())
        return Array(honest.dtype, honest.shape, honest.stype, data)

    return first(change)


def _pickled(values: Values) -> Array:
    buffer = io.BytesIO()
    np.save(buffer, values.astype(object), allow_pickle=True)
    return Array("object", values.shape, "numpy.ndarray", buffer.getvalue())


def _lying(data: bytes) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + _payload(data)


def _unlike(array: Array) -> Array:
    return Array("int8", (1 << 38,), array.stype, array.data)


_tabled = partial(BadReply, level=Level.BYTES, from_device=True, tabled=True)
_more = partial(BadReply, level=Level.BYTES, from_device=True)

NPY_BYTES = [
    _tabled("pickled objects", "The first array is a pickle of Python objects, in an npy file.",
            content=first(_pickled)),
    _tabled("corrupt npy", "The first array's bytes are zeros.",
            content=replaced(lambda data: bytes(len(data)))),
    _tabled("truncated npy", "The second half of the first array's bytes is missing.",
            content=replaced(lambda data: data[: len(data) // 2])),
    _tabled("empty npy", "The first array has no bytes at all.", content=_fixed(b"")),
    _tabled("lying header", "The first array's header promises 4 TiB.", content=replaced(_lying)),
    _tabled("odd stype", "The first array is said to be a pickle, and is none.",
            verdict=Verdict.ROW,
            content=first(lambda w: Array("float32", w.shape, "pickle", Array(w).data))),
    _more("false claims", "Each array is said to be 256 GiB of int8, and is what it should be.",
          verdict=Verdict.ROW, content=every(lambda w: _unlike(Array(w)))),
    _more("one byte missing", "The first array's payload ends a byte too soon.",
          content=replaced(lambda data: data[:-1])),
    _more("one byte more", "The first array's payload ends a byte too late.",
          content=replaced(lambda data: data + b"\0")),
    _more("truncated header", "The first array ends within its header.",
          content=replaced(lambda data: data[:40])),
    _more("npy magic only", "The first array ends after the six bytes that say npy.",
          content=_fixed(b"\x93NUMPY")),
    _more("npy magic and version", "The first array ends after the version of npy.",
          content=_fixed(b"\x93NUMPY\x01\x00")),
    _more("npy version 9", "The first array is of a version of npy that there is not.",
          content=_fixed(npy(b"{}", b"", b"\x09\x00"))),
    _more("npy header of 4 GB", "The first array's header is said to have 4 GB.",
          content=_fixed(npy(b"{}", b"", b"\x02\x00", size=(1 << 32) - 1))),
    _more("npy header past the end", "The first array's header is said to be longer than the file.",
          content=_fixed(npy(b"{}", b"", size=60000))),
    _more("empty npy header", "The first array's header is an empty dictionary.",
          content=_headed(b"{}")),
    _more("npy key twice", "The first array's header names its dtype twice.",
          content=_fixed(npy(b"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False}", b""))),
    _more("npy key missing", "The first array's header names no order.",
          content=_headed(b"{'descr': '<f4', 'shape': (2, 3), }")),
    _more("npy key added", "The first array's header names something more.",
          content=_claiming(x=1)),
    _more("code in the header", "The first array's header calls a function.",
          content=_headed(b"{'descr': __import__('os'), }")),
    _more("deep brackets", "The first array's header nests 4000 brackets.",
          content=_fixed(npy(b"{'shape': " + b"(" * 4000 + b"}", b""))),
    _more("wrong kinds in the header", "The first array's header takes its values for each other.",
          content=_headed(b"{'descr': (2,), 'fortran_order': '<f4', 'shape': True}")),
    _more("shape is no tuple", "The first array's shape is a number.",
          content=_headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (6)}")),
    _more("overflowing shape", "The first array's shape has more elements than 64 bits count.",
          content=_claiming(shape=(1 << 40, 1 << 40))),
    _more("negative shape", "The first array's shape is below zero.",
          content=_claiming(shape=(-1, 3))),
    _more("objects without a pickle", "The first array is said to hold objects, and holds floats.",
          content=_claiming(descr="|O")),
    _more("zip", "The first array is the beginning of a zip file, as of npz.",
          content=_fixed(b"PK\x03\x04" + bytes(100))),
    _more("pickle", "The first array is a bare pickle.", content=_fixed(b"\x80\x04N.")),
]
