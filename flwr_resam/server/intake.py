"""The gate: one reply becomes a row or a `Rejection`, and nothing that a node sends raises.

The npy header of each array is compared with the one that the server's own layout asks for
before any payload is looked at; so no header can lie about sizes, nothing is unpickled, and
nothing larger than the row itself is ever allocated. No method of an object that a sender
made is called either: only the types that Flower itself makes are read, exactly those, so that
a reply that was never serialised, as in process, can't run code here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from numpy.typing import NDArray

from ..errors import LARGEST, out_of_range
from ..momentum import MOMENTUM_KEY
from ..rows.source import Segments
from ..rows.threads import in_order, threads_for
from ..wire.layout import Layout
from ..wire.replies import Replies, Stray

_CHUNK = 1 << 18
RECORDS = (ArrayRecord, MetricRecord, ConfigRecord)


@dataclass(frozen=True)
class Rejection:
    """Why a reply gave no row.

    Attributes
    ----------
    node : int
        Whose reply it was.
    reason : str
        One line for a person.
    proven : bool
        Whether only a faulty node can have sent it. Not so for a ClientApp that raised: an
        honest device that runs out of memory does that too.
    """

    node: int
    reason: str
    proven: bool = True


@dataclass(frozen=True)
class Admitted:
    """What the gate made of one round's replies.

    Attributes
    ----------
    rows : dict of int to Segments
        The valid rows by node, in the order in which the nodes were asked.
    contents : list of RecordDict
        The replies that the rows came with.
    rejections : list of Rejection
        The replies that gave no row.
    strays : list of Stray
        Messages that answered nothing.
    """

    rows: dict[int, Segments]
    contents: list[RecordDict]
    rejections: list[Rejection]
    strays: list[Stray]

    @property
    def proven(self) -> int:
        """How many nodes proved themselves faulty."""
        return sum(rejection.proven for rejection in self.rejections)

    def counts(self, expected: int) -> MetricRecord:
        """How many of the expected nodes sent what, as a round's metrics name it."""
        valid, rejected = len(self.rows), len(self.rejections)
        return MetricRecord({
            "n-asked": expected, "n-valid": valid, "n-rejected": rejected,
            "n-silent": expected - valid - rejected,
        })


def admit(
    came: Replies, asked: Sequence[int], layout: Layout, sent: Sequence[NDArray[Any]]
) -> Admitted:
    """Let one round's replies through the gate, in the order in which the nodes were asked."""
    admitted = Admitted({}, [], [], came.strays)
    answered = [node for node in asked if node in came.answers or node in came.repeated]

    def read(node: int) -> Segments | Rejection:
        if node in came.repeated:
            return Rejection(node, "more than one reply", proven=False)
        return read_reply(came.answers[node], node, layout, sent)

    rows = in_order(read, answered, threads_for(len(answered) * layout.size))
    for node, row in zip(answered, rows, strict=True):
        if isinstance(row, Rejection):
            admitted.rejections.append(row)
        else:
            admitted.rows[node] = row
            admitted.contents.append(cast(RecordDict, came.answers[node]))
    return admitted


def read_reply(
    content: object, node: int, layout: Layout, sent: Sequence[NDArray[Any]]
) -> Segments | Rejection:
    """Turn what one node answered into its row; never raises.

    Parameters
    ----------
    content : RecordDict or Error
        What the node answered, or anything else that it put there.
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
        ``sent - received``, the update of a client that replies with weights. Its memory is
        that of the message, and one copy of what came in Fortran order.

    Notes
    -----
    Time O(entries) for a reply that is rejected for its names, types, headers or sizes,
    O(d) for the rest.
    """
    try:
        if type(content) is Error:
            return Rejection(node, f"error reply: {printable(content.reason)}", proven=False)
        return _row(content, layout, sent)
    except ValueError as error:
        return Rejection(node, printable(str(error)))
    except Exception as error:
        return Rejection(node, f"malformed ({type(error).__name__})")


def members(record: object, kinds: tuple[type, ...], of: tuple[type, ...]) -> dict[str, Any]:
    """The items of a Flower record, without calling anything that a sender could have made.

    Raises
    ------
    ValueError
        If ``record`` is not exactly of one of ``kinds``, or its keys are not plain strings, or
        a value is not exactly of one of the types ``of``.
    """
    if type(record) not in kinds:
        raise ValueError(f"a {_type(record)} in place of a {kinds[0].__name__}")
    items = record.__dict__.get("_data")
    if type(items) is not dict:
        raise ValueError(f"a {_type(record)} that holds no items")
    for key, value in items.items():
        if type(key) is not str:
            raise ValueError(f"a key of type {_type(key)}")
        if type(value) not in of:
            raise ValueError(f"a {_type(value)} in a {_type(record)}")
    return items


def _row(content: object, layout: Layout, sent: Sequence[NDArray[Any]]) -> Segments:
    records = members(content, (RecordDict,), RECORDS)
    arrays = [key for key, value in records.items() if type(value) is ArrayRecord]
    if len(arrays) != 1:
        raise ValueError(f"{len(arrays)} array records instead of one")
    received = _data(records[arrays[0]], layout)
    for entry in layout.entries:
        entry.locate(received[entry.name])
    parts = [entry.view(received[entry.name]) for entry in layout.parameters]
    base = None if arrays[0] == MOMENTUM_KEY else sent
    for index, entry in enumerate(layout.parameters):
        _check_range(entry.name, parts[index], None if base is None else base[index])
    return Segments(parts, base)


def _data(record: ArrayRecord, layout: Layout) -> dict[str, bytes]:
    """The bytes of each array, where the names are the layout's; nothing of them is read."""
    held = record.__dict__.get("_data")
    if type(held) is dict and len(held) > len(layout.entries):
        raise ValueError(f"{len(held)} arrays instead of {len(layout.entries)}")
    arrays = members(record, (ArrayRecord,), (Array,))
    received: dict[str, bytes] = {}
    for entry in layout.entries:
        if entry.name not in arrays:
            raise ValueError(f"no array `{printable(entry.name)}`")
        data = arrays[entry.name].__dict__.get("data")
        if type(data) is not bytes:
            raise ValueError(f"`{entry.name}` holds a {_type(data)} instead of bytes")
        received[entry.name] = data
    return received


def _check_range(name: str, values: NDArray[Any], base: NDArray[Any] | None) -> None:
    """Raise for what is no entry of a row, also where it would come of ``base - values``."""
    wide = np.result_type(values.dtype, np.float32)
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        if _is_small(chunk):
            continue
        row = chunk
        if base is not None:  # what is sent is in range, so that one look at the change suffices
            with np.errstate(over="ignore", invalid="ignore"):
                row = np.subtract(base[start : start + _CHUNK], chunk, dtype=wide)
        if (wrong := out_of_range(row)) is not None:
            where = "" if out_of_range(chunk) else "the update of "
            raise ValueError(f"{wrong} in {where}`{printable(name)}`")


def _is_small(values: NDArray[Any]) -> bool:
    """Whether all are so far within their range that no difference from such in it leaves it.

    A NaN is not: it is the extreme of any values that it is among.
    """
    if values.dtype.itemsize < 4:
        return False
    limit = min(float(np.finfo(values.dtype).max), LARGEST) ** 0.5
    return bool(-limit < values.min() and values.max() < limit)


def _type(value: object) -> str:
    return printable(type.__dict__["__name__"].__get__(type(value)))


def printable(text: object) -> str:
    """One printable line of at most 160 characters."""
    if type(text) is not str:
        return "no reason given"
    line = "".join(c if c.isprintable() else " " for c in " ".join(text[:1000].split()))
    return line if len(line) <= 160 else line[:157] + "..."
