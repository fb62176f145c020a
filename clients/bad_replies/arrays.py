"""Replies whose arrays are others than the model's: other names, shapes, dtypes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray

from clients.bad_replies.reply import BadReply, Content, Level

Values = NDArray[Any]
Change = Callable[[Values], Array | Values]


def renewed(change: Callable[[dict[str, Array]], Mapping[str, Array]]) -> Content:
    """Change which arrays there are, and keep all else."""

    def make(content: RecordDict) -> RecordDict:
        return RecordDict({
            key: ArrayRecord(dict(change(dict(record.items()))))
            if isinstance(record, ArrayRecord) else record
            for key, record in content.items()
        })

    return make


def first(change: Change) -> Content:
    """Change the first array of floats."""

    def replace(arrays: dict[str, Array]) -> dict[str, Array]:
        named = (name for name, array in arrays.items() if _floating(array) and array.numpy().size)
        name = next(named, next(iter(arrays)))
        return {**arrays, name: _array(change(arrays[name].numpy()))}

    return renewed(replace)


def every(change: Change) -> Content:
    """Change every array of floats."""
    return renewed(lambda arrays: {
        name: _array(change(array.numpy())) if _floating(array) else array
        for name, array in arrays.items()
    })


def _array(changed: Array | Values) -> Array:
    return changed if isinstance(changed, Array) else Array(changed)


def _floating(array: Array) -> bool:
    return array.numpy().dtype.kind == "f"


def _turned(values: Values) -> Values:
    """Transposed, or with an axis more where that changes no shape."""
    turned = values.T.copy()
    return turned if turned.shape != values.shape else turned[np.newaxis]


def _renamed(arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{name}.x": array for name, array in arrays.items()}


def _as(dtype: str, values: Values) -> Values:
    return values.astype(dtype)


def _double(values: Values) -> Values:
    return values.astype(np.float32 if values.dtype == np.float64 else np.float64)


def _structured(values: Values) -> Array:
    made = Array(values.view([("a", values.dtype)]))
    return Array(str(values.dtype), values.shape, made.stype, made.data)


_tabled = partial(BadReply, level=Level.RECORD, from_device=True, tabled=True)
_more = partial(BadReply, level=Level.RECORD, from_device=True)

ARRAYS = [
    _tabled("array renamed", "Every array has another name.", content=renewed(_renamed)),
    _tabled("array missing", "The first array is not there.",
            content=renewed(lambda arrays: dict(list(arrays.items())[1:]))),
    _tabled("array added", "There is an array more than the model has.",
            content=renewed(lambda arrays: {**arrays, "more": Array(np.ones(3, np.float32))})),
    _tabled("no array", "There is an array record, with nothing in it.",
            content=renewed(lambda arrays: {})),  # noqa: ARG005
    _tabled("wrong shape", "The first array is transposed.", content=first(_turned)),
    _tabled("broadcasts", "The first array has one element, which NumPy would broadcast.",
            content=first(lambda w: w.reshape(-1)[:1].copy())),
    _tabled("0-d", "The first array is one large number without an axis.",
            content=first(lambda _: np.array(1e6, np.float32))),
    _tabled("zero-size", "The first array has no elements.",
            content=first(lambda w: np.zeros((0, *w.shape[1:]), w.dtype))),
    _tabled("float64", "Arrays of float32 are float64, and those of float64 float32.",
            content=every(_double)),
    _tabled("integers", "Arrays of floats are int32.", content=every(partial(_as, "int32"))),
    _tabled("complex", "Arrays of floats are complex64.", content=every(partial(_as, "complex64"))),
    _tabled("big-endian", "Arrays of floats have their bytes the other way round.",
            content=every(lambda w: w.astype(w.dtype.newbyteorder(">")))),
    _tabled("text", "The first array holds words.",
            content=first(lambda w: np.full(w.shape, "abc"))),
    _more("float16", "Arrays of floats are float16.", content=every(partial(_as, "float16"))),
    _more("dates", "The first array holds dates.",
          content=first(lambda w: np.zeros(w.shape, "<M8[s]"))),
    _more("structured dtype", "The first array's elements have named fields.",
          content=first(_structured)),
    _more("flat", "The first array has all its elements along one axis.",
          content=first(lambda w: w.reshape(-1) if w.ndim > 1 else w[np.newaxis])),
    _more("one axis more", "Arrays of floats have an axis of length one at their end.",
          content=every(lambda w: w[..., np.newaxis])),
    _more("one element more", "Arrays of floats are flat and have an element more.",
          content=every(lambda w: np.append(w.ravel(), w.dtype.type(0)))),
    _more("huge name", "An array more has a name of a million letters.",
          content=renewed(lambda arrays: {**arrays, "x" * 1_000_000: Array(np.ones(1))})),
]
