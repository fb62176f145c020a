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
from ..rows.source import Segments
from ..rows.threads import in_order, threads_for
from ..wire.layout import MOMENTUM_KEY, Layout

_CHUNK = 1 << 18
_PARTS = 1 << 22  # coordinates of a reply that a thread checks at a time
_METRICS, _NUMBERS, _KEY = 1000, 100_000, 200  # of a reply at most; a key's length
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
            return Rejection(node, f"error reply: {_reason(content.reason)}", proven=False)
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


def kept_metrics(content: object) -> RecordDict | None:
    """The metrics of a reply, as records of the server's own making; None where they are a flood.

    At most 1,000 metrics of 100,000 numbers together, under keys of at most 200 characters. What
    is not well formed is left out.

    Examples
    --------
    >>> flood = MetricRecord({str(number): 0 for number in range(1001)})
    >>> kept_metrics(RecordDict({"loss": MetricRecord({"loss": 0.5}), "c": ConfigRecord()}))["loss"]
    {'loss': 0.5}
    >>> print(kept_metrics(RecordDict({"flood": flood})))
    None
    """
    kept, metrics, numbers = RecordDict(), 0, 0
    try:
        records = members(content, (RecordDict,), RECORDS)
    except ValueError:
        return kept
    for name, record in records.items():
        items = record.__dict__.get("_data")
        if type(record) is not MetricRecord or type(items) is not dict or len(name) > _KEY:
            continue
        metrics += len(items)
        numbers += sum(len(value) if type(value) is list else 1 for value in items.values())
        if metrics > _METRICS or numbers > _NUMBERS:
            return None
        kept[name] = own = MetricRecord()
        for key, value in items.items():
            plain = _plain(value)
            if plain is not None and type(key) is str and len(key) <= _KEY:
                own.__dict__["_data"][key] = plain
    return kept


def _plain(value: Any) -> int | float | list[int | float] | None:
    """A number or a list of numbers, of Python's own types; None for what is neither."""
    if type(value) is list:
        numbers = [_plain(number) for number in value if type(number) is not list]
        if len(numbers) < len(value) or None in numbers:
            return None
        return cast(list[int | float], numbers)
    if type(value) is np.float64:
        return float(value)
    return value if type(value) in (int, float) else None


def _row(content: object, layout: Layout, sent: Sequence[NDArray[Any]]) -> Segments:
    records = members(content, (RecordDict,), RECORDS)
    arrays = [key for key, value in records.items() if type(value) is ArrayRecord]
    if len(arrays) != 1:
        raise ValueError(f"{len(arrays)} array records instead of one")
    received = _data(records[arrays[0]], layout)
    for entry in layout.entries:
        if entry.name in received:
            entry.locate(received[entry.name])
    parts = [entry.view(received[entry.name]) for entry in layout.parameters]
    base = None if arrays[0] == MOMENTUM_KEY else sent

    def check(place: tuple[int, int]) -> None:
        index, start = place
        values = parts[index][start : start + _PARTS]
        before = None if base is None else base[index][start : start + _PARTS]
        _check_range(layout.parameters[index].name, values, before)

    places = [(index, at) for index, part in enumerate(parts) for at in range(0, len(part), _PARTS)]
    threads = threads_for(layout.size)
    for _ in map(check, places) if threads == 1 else in_order(check, places, threads):
        pass
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
            if entry.offset is None:  # the server keeps its own
                continue
            raise ValueError(f"no array `{printable(entry.name)}`")
        data = arrays[entry.name].__dict__.get("data")
        if type(data) is not bytes:
            raise ValueError(f"`{entry.name}` holds a {_type(data)} instead of bytes")
        received[entry.name] = data
    if len(received) < len(arrays):
        unknown = next(name for name in arrays if name not in received)
        raise ValueError(f"an array `{printable(unknown)}`, which was not sent")
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


def _reason(reason: object) -> str:
    line = printable(reason)
    legacy = "KeyError" in line and "fitins" in line
    return f"{line} (a client of Flower's legacy API: write @app.train())" if legacy else line


def _type(value: object) -> str:
    return printable(type.__dict__["__name__"].__get__(type(value)))


def printable(text: object) -> str:
    """One printable line of at most 160 characters; of a long traceback, its last line."""
    if type(text) is not str:
        return "no reason given"
    if len(text) > 160:  # what went wrong stands at the end of a traceback
        lines = [line for line in text[-2000:].splitlines() if line.strip()]
        text = lines[-1] if len(lines) > 1 else text
    line = "".join(c if c.isprintable() else " " for c in " ".join(text[:1000].split()))
    return line if len(line) <= 160 else line[:157] + "..."
