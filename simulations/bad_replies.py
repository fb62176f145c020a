"""Replies that no honest client sends, by kind: what one faulty node puts in place of its own.

Each maker takes the content of an honest reply (one ArrayRecord `arrays` of weights, one
MetricRecord `metrics`) and returns what goes out.
"""

# Makers that throw all away still take what there was.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

Maker = Callable[[RecordDict], RecordDict]


def _with(arrays: Mapping[str, Array], metrics: Mapping[str, Any]) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord(dict(arrays)), "metrics": MetricRecord(dict(metrics))})


def _arrays(change: Callable[[dict[str, Array]], Mapping[str, Array]]) -> Maker:
    """Change the arrays, keep the metrics."""
    return lambda content: _with(
        change(dict(content["arrays"].items())), dict(content["metrics"].items())
    )


def _metrics(change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Maker:
    """Change the metrics, keep the arrays."""
    return lambda content: _with(
        dict(content["arrays"].items()), change(dict(content["metrics"].items()))
    )


def _first(change: Callable[[np.ndarray], Array | np.ndarray]) -> Maker:
    """Change the first array."""

    def replace(arrays: dict[str, Array]) -> dict[str, Array]:
        name = next(iter(arrays))
        changed = change(arrays[name].numpy())
        return {**arrays, name: changed if isinstance(changed, Array) else Array(changed)}

    return _arrays(replace)


def _every(change: Callable[[np.ndarray], np.ndarray]) -> Maker:
    """Change every array."""
    return _arrays(
        lambda arrays: {name: Array(change(array.numpy())) for name, array in arrays.items()}
    )


def _bytes(change: Callable[[bytes], bytes]) -> Maker:
    """Change the bytes of the first array, and nothing that it says of itself."""

    def corrupt(value: np.ndarray) -> Array:
        honest = Array(value)
        return Array(honest.dtype, honest.shape, honest.stype, change(honest.data))

    return _first(corrupt)


def _pickled(value: np.ndarray) -> Array:
    buffer = io.BytesIO()
    np.save(buffer, value.astype(object), allow_pickle=True)
    return Array("object", value.shape, "numpy.ndarray", buffer.getvalue())


def _lying(data: bytes) -> bytes:
    """A header that asks for 4 TiB, before the same payload."""
    payload = data[10 + int.from_bytes(data[8:10], "little") :]
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + payload


def _raise(content: RecordDict) -> RecordDict:
    raise RuntimeError("this client raises")


BAD_REPLIES: dict[str, Maker] = {
    "array renamed": _arrays(lambda a: {f"{name}.x": value for name, value in a.items()}),
    "array missing": _arrays(lambda a: dict(list(a.items())[1:])),
    "array added": _arrays(lambda a: {**a, "more": Array(np.ones(3, np.float32))}),
    "no array": _arrays(lambda a: {}),
    "wrong shape": _first(lambda w: w.T.copy()),
    "broadcasts": _first(lambda w: w.reshape(-1)[:1].copy()),
    "0-d": _first(lambda w: np.array(1e6, np.float32)),
    "zero-size": _first(lambda w: np.zeros((0, *w.shape[1:]), w.dtype)),
    "float64": _every(lambda w: w.astype(np.float64)),
    "integers": _every(lambda w: w.astype(np.int32)),
    "complex": _every(lambda w: w.astype(np.complex64)),
    "big-endian": _every(lambda w: w.astype(">f4")),
    "text": _first(lambda w: np.full(w.shape, "abc")),
    "pickled objects": _first(_pickled),
    "corrupt npy": _bytes(lambda data: b"\x00" * len(data)),
    "truncated npy": _bytes(lambda data: data[: len(data) // 2]),
    "empty npy": _bytes(lambda data: b""),
    "lying header": _bytes(_lying),
    "odd stype": _first(lambda w: Array("float32", w.shape, "pickle", Array(w).data)),
    "NaN": _every(lambda w: np.full_like(w, np.nan)),
    "one infinity": _first(lambda w: np.where(np.arange(w.size).reshape(w.shape), w, np.inf)
                           .astype(w.dtype)),
    "1e30": _every(lambda w: np.full_like(w, 1e30)),
    "3e38": _every(lambda w: np.full_like(w, -3e38)),
    "no metrics": lambda content: RecordDict({"arrays": content["arrays"]}),
    "metrics empty": _metrics(lambda m: {}),
    "metric added": _metrics(lambda m: {**m, "more": 1.0}),
    "metric missing": _metrics(lambda m: {"num-examples": m["num-examples"]}),
    "metric is a list": _metrics(lambda m: {**m, "loss": [1.0, 2.0]}),
    "metric NaN": _metrics(lambda m: {**m, "loss": float("nan")}),
    "num-examples 1e30": _metrics(lambda m: {**m, "num-examples": 1e30}),
    "num-examples NaN": _metrics(lambda m: {**m, "num-examples": float("nan")}),
    "num-examples -1e9": _metrics(lambda m: {**m, "num-examples": -(10**9)}),
    "num-examples cancels": _metrics(lambda m: {**m, "num-examples": -7 * m["num-examples"]}),
    "num-examples a list": _metrics(lambda m: {**m, "num-examples": [1, 2]}),
    "two array records": lambda content: RecordDict({**content, "again": content["arrays"]}),
    "two metric records": lambda content: RecordDict({**content, "again": content["metrics"]}),
    "another record name": lambda content: RecordDict(
        {"weights": content["arrays"], "metrics": content["metrics"]}
    ),
    "only config": lambda content: RecordDict({"config": ConfigRecord({"x": b"\x00"})}),
    "nothing": lambda content: RecordDict(),
    "an exception": _raise,
}
