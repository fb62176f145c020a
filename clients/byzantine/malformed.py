"""Replies that are no answer: everything that a broken or hostile device may put in a message."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from clients.byzantine.mod import Conduct
from flwr_resam.errors import requirement
from flwr_resam.momentum import server_round_of
from flwr_resam.registry import unknown_name

EXCEPTION, SILENCE, ALL = "exception", "silence", "all"


@dataclass(frozen=True)
class Malformed(Conduct):
    """Trains honestly and then spoils the reply.

    Attributes
    ----------
    kind : str
        One of `KINDS`; "exception" raises instead of answering, "silence" answers too late;
        "all" takes another kind in each round and on each node, silence left out.
    seconds : float
        How long a silence is.
    """

    kind: str = ALL
    seconds: float = 7200.0
    name: ClassVar[str] = "malformed"

    def __post_init__(self) -> None:
        names = [ALL, EXCEPTION, SILENCE, *KINDS]
        if self.kind not in names:
            raise unknown_name(self.kind, names, "kind of malformed reply")
        if not 0.0 <= self.seconds < np.inf:
            raise requirement("seconds", "be at least 0 and finite", self.seconds, "Use 7200")

    def answer(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answer TRAIN in this kind."""
        kind = self.kind
        if kind == ALL:
            turns = [EXCEPTION, *KINDS]
            partition = int(context.node_config.get("partition-id", 0))
            kind = turns[(server_round_of(message) + partition) % len(turns)]
        if kind == EXCEPTION:
            raise RuntimeError("a Byzantine node fails on purpose")
        reply = call_next(message, context)
        if kind == SILENCE:
            time.sleep(self.seconds)
        elif not reply.has_error():
            KINDS[kind](reply.content)
        return reply


def _each(change: Callable[[Array], Array]) -> Callable[[RecordDict], None]:
    """Change every array of the model."""

    def spoil(content: RecordDict) -> None:
        for key, record in content.array_records.items():
            content[key] = ArrayRecord({name: change(array) for name, array in record.items()})

    return spoil


def _names(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[RecordDict], None]:
    """Change which arrays there are."""

    def spoil(content: RecordDict) -> None:
        for key, record in content.array_records.items():
            content[key] = ArrayRecord(change(dict(record)))

    return spoil


def _values(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[RecordDict], None]:
    """Change the arrays' shapes or dtypes, with headers that say so."""
    return _each(lambda array: Array(np.asarray(change(array.numpy()))))


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[RecordDict], None]:
    """Change the bytes, with the claims of the honest array around them."""
    return _each(lambda array: Array(array.dtype, array.shape, array.stype, change(array.data)))


def _examples(value: Any) -> Callable[[RecordDict], None]:
    """Report so many examples."""

    def spoil(content: RecordDict) -> None:
        for record in content.metric_records.values():
            record["num-examples"] = value

    return spoil


def _no_records(content: RecordDict) -> None:
    for key in list(content):
        del content[key]


def _two_models(content: RecordDict) -> None:
    for record in list(content.array_records.values()):
        content["another-model"] = record.copy()


def _no_metrics(content: RecordDict) -> None:
    for key in list(content.metric_records):
        del content[key]


def _extra_metrics(content: RecordDict) -> None:
    content["more-metrics"] = MetricRecord({"accuracy": 2.0})
    for record in content.metric_records.values():
        record.update({"train-loss": float("nan"), "f-effective": 0, "lists": [1.0, 2.0]})


def _other_dtype(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float32 if values.dtype == np.float64 else np.float64)


def _saved(values: NDArray[Any], *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=pickled)
    return buffer.getvalue()


def _lying_header(_: bytes) -> bytes:
    """An npy file that promises a terabyte and holds 64 bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)}
    )
    return buffer.getvalue() + bytes(64)


KINDS: dict[str, Callable[[RecordDict], None]] = {
    "shapes": _values(lambda values: np.append(values.ravel(), values.dtype.type(0))),
    "axes": _values(lambda values: values.reshape(*values.shape, 1)),
    "dtypes": _values(_other_dtype),
    "complex": _values(lambda values: values.astype(np.complex64)),
    "missing-keys": _names(lambda arrays: dict(list(arrays.items())[1:])),
    "extra-keys": _names(lambda arrays: {**arrays, "extra": next(iter(arrays.values()))}),
    "other-keys": _names(lambda arrays: {f"_{name}": value for name, value in arrays.items()}),
    "header": _bytes(_lying_header),
    "claims": _each(lambda array: Array("int8", (1 << 38,), array.stype, array.data)),
    "serialisation": _each(lambda array: Array(array.dtype, array.shape, "pickle", array.data)),
    "objects": _bytes(lambda _: _saved(np.array([{"a": 1}, None], dtype=object), pickled=True)),
    "truncated": _bytes(lambda data: data[: len(data) // 2]),
    "trailing": _bytes(lambda data: data + bytes(8)),
    "garbage": _bytes(lambda data: bytes(reversed(data))),
    "empty": _bytes(lambda _: b""),
    "no-records": _no_records,
    "two-models": _two_models,
    "no-metrics": _no_metrics,
    "extra-metrics": _extra_metrics,
    "num-examples-huge": _examples(1e30),
    "num-examples-nan": _examples(float("nan")),
    "num-examples-negative": _examples(-1),
    "num-examples-list": _examples([1, 2, 3]),
}
"""What each kind does to an honest reply."""
