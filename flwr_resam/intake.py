"""The gate: one reply becomes a row or a `Rejection`, and nothing that a node sends raises.

The npy header of each array is compared, byte for byte, with the one that the server's own
layout asks for, before any payload is looked at; so no header can lie about sizes, nothing is
unpickled, and nothing larger than the row itself is ever allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from .layout import Layout, Segments
from .momentum import MOMENTUM_KEY

_CHUNK = 1 << 18


@dataclass(frozen=True)
class Rejection:
    """Why a reply gave no row."""

    node: int
    reason: str


def read_reply(
    reply: Message, node: int, layout: Layout, sent: Sequence[NDArray[Any]]
) -> Segments | Rejection:
    """Turn one reply into the worker's row.

    Parameters
    ----------
    reply : Message
        Anything that claims to answer the instruction.
    node : int
        The node that was asked.
    layout : Layout
        The layout of the model that was sent.
    sent : sequence of 1-d arrays
        The parameters that were sent, for replies that hold weights.

    Returns
    -------
    Segments or Rejection
        The row is the content of the record `momentum`, as momentum clients send it, or else
        ``sent - received``, the update of a client that replies with weights.
    """
    try:
        if reply.has_error():
            return Rejection(node, f"error reply: {_short(reply.error.reason)}")
        records = {
            key: value for key, value in reply.content.items() if isinstance(value, ArrayRecord)
        }
        if len(records) != 1:
            return Rejection(node, f"{len(records)} array records instead of one")
        (key, record), = records.items()
        if set(record) != {entry.name for entry in layout.entries}:
            return Rejection(node, _difference(set(record), layout))
        for entry in layout.entries:
            if not isinstance(record[entry.name].data, bytes):
                return Rejection(node, f"`{entry.name}` holds no bytes")
            entry.view(record[entry.name].data)
        parts = layout.views(record)
        if not all(_is_finite(part) for part in parts):
            return Rejection(node, "a NaN or an infinity")
        row = Segments(parts, None if key == MOMENTUM_KEY else sent)
    except Exception as error:
        return Rejection(node, f"malformed: {_short(error)}")
    return row


def _is_finite(values: NDArray[Any]) -> bool:
    return all(
        bool(np.isfinite(values[start : start + _CHUNK]).all())
        for start in range(0, len(values), _CHUNK)
    )


def _difference(names: set[str], layout: Layout) -> str:
    expected = {entry.name for entry in layout.entries}
    missing, extra = sorted(expected - names), sorted(names - expected)
    parts = [f"missing `{missing[0]}`"] if missing else []
    parts += [f"unasked `{_short(extra[0])}`"] if extra else []
    return f"wrong array names: {' and '.join(parts)} ({len(missing)} missing, {len(extra)} extra)"


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 160 else line[:157] + "..."
