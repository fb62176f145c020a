"""Records and replies, made short."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict


def record(**arrays: object) -> ArrayRecord:
    """Make an ArrayRecord of NumPy arrays."""
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def content(arrays: ArrayRecord, key: str = "arrays", **metrics: float) -> RecordDict:
    """Make a reply's content."""
    return RecordDict({key: arrays, "metrics": MetricRecord({"num-examples": 1, **metrics})})


def idx(values: object) -> bytes:
    """Make an IDX file of bytes."""
    array = np.asarray(values, np.uint8)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def asked_of(request: Any) -> list[str]:
    """The messages whose replies are pulled; flwr 1.43 has another field for them."""
    if "reply_to_message_ids" in request.DESCRIPTOR.fields_by_name:
        return list(request.reply_to_message_ids.vals)
    return list(request.message_ids)


def await_text(path: Path, text: str) -> None:
    """Return once a process has written some text into a file."""
    deadline = time.monotonic() + 120
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.2)
