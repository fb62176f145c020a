"""What honest replies look like, so that a forged one looks the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from numpy.typing import NDArray

from ..errors import out_of_range
from ..rows.source import Segments
from ..wire.instruction import said_beta, say_beta
from ..wire.layout import MOMENTUM_KEY, Entry, Layout, is_kept
from ..wire.npy import unpack
from ..wire.records import copied, of_kind


@dataclass(frozen=True)
class Form:
    """The form that most replies of a round share: record name, array names, shapes, dtypes.

    It is taken from the replies, since strategies may send other dtypes than models return
    (Flower's FedAvg makes counters floating-point, say). A reply in this form is a row: the
    momentum that it holds, or else what was sent minus what came back.

    Attributes
    ----------
    key : str
        The name of the replies' ArrayRecord.
    layout : Layout
        Of that record; what is floating-point in it has coordinates in the row.
    base : list of 1-d arrays
        What was sent, in the layout's dtypes.
    example : RecordDict
        The content of one such reply: a forged one takes its integer arrays and its metrics.
    """

    key: str
    layout: Layout
    base: list[NDArray[Any]]
    example: RecordDict

    @classmethod
    def of(cls, replies: Sequence[Message], *sent: ArrayRecord) -> Form | None:
        """Find the form of most replies to one of the records sent; None where none has one."""
        found = (cls._to(replies, record) for record in sent)
        return next((form for form in found if form is not None), None)

    @classmethod
    def _to(cls, replies: Sequence[Message], sent: ArrayRecord) -> Form | None:
        claims = [(_claims(reply, sent), reply) for reply in replies]
        votes = Counter(claim for claim, _ in claims if claim is not None)
        for claim, _ in votes.most_common():
            key, dtypes = claim
            layout = _layout(sent, dtypes)
            base = [
                unpack(sent[entry.name]).reshape(-1).astype(entry.dtype, copy=False)
                for entry in layout.parameters
            ]
            for other, reply in claims:
                form = cls(key, layout, base, reply.content) if other == claim else None
                if form is not None and form.row(reply) is not None:
                    return form
        return None

    def row(self, reply: Message) -> NDArray[Any] | None:
        """Read one reply's row; None where it is not in this form or range."""
        row = np.empty(self.layout.size, self.layout.dtype)
        return row if self.read(reply, row) else None

    def read(self, reply: Message, row: NDArray[Any]) -> bool:
        """Write one reply's row into ``row``; say whether it is in this form and range."""
        try:
            (key, record), = of_kind(reply.content, ArrayRecord).items()
            names = {entry.name for entry in self.layout.entries}
            if key != self.key or not names >= set(record):
                return False
            for entry in self.layout.entries:
                if entry.offset is not None or entry.name in record:
                    entry.locate(record[entry.name].data)
            parts = self.layout.views(record)
        except Exception:
            return False
        base = None if self.key == MOMENTUM_KEY else self.base
        Segments(parts, base).read(0, self.layout.size, row)
        return out_of_range(row) is None

    def reply(self, instruction: Message, row: NDArray[Any]) -> Message:
        """Answer ``instruction`` with a row of one's own."""
        return self.replies([instruction], [row])[0]

    def replies(
        self, instructions: Sequence[Message], rows: Iterable[NDArray[Any]]
    ) -> list[Message]:
        """Answer each instruction with a row; equal rows that follow each other are made once."""
        messages: list[Message] = []
        last: tuple[NDArray[Any], ArrayRecord] | None = None
        for instruction, row in zip(instructions, rows, strict=True):
            if last is None or not _same_bits(last[0], row):
                last = row, self._record(row)
            content = copied(self.example)
            content[self.key] = last[1].copy()
            if (beta := said_beta(content)) is not None:
                say_beta(content, beta)
            messages.append(Message(content, reply_to=instruction))
        return messages

    def _record(self, row: NDArray[Any]) -> ArrayRecord:
        """What a node sends whose row is this one."""
        vector = row
        if self.key != MOMENTUM_KEY:
            with np.errstate(over="ignore"):
                vector = np.concatenate(self.base) - row
            limit = np.finfo(vector.dtype).max
            vector = np.where(np.isfinite(row), np.clip(vector, -limit, limit), vector)
        integers = of_kind(self.example, ArrayRecord)[self.key]
        there = tuple(entry for entry in self.layout.entries if entry.name in integers)
        return Layout(there).record(vector, integers=integers)


def _same_bits(row: NDArray[Any], other: NDArray[Any]) -> bool:
    first, second = np.ascontiguousarray(row), np.ascontiguousarray(other)
    return np.array_equal(first.view(np.uint8), second.view(np.uint8))


def _claims(reply: Message, sent: ArrayRecord) -> tuple[str, tuple[np.dtype[Any], ...]] | None:
    """What a reply says it holds, where that could answer ``sent``; nothing is decoded."""
    try:
        (key, record), = of_kind(reply.content, ArrayRecord).items()
        same = set(record) <= set(sent) and all(
            tuple(record[name].shape) == tuple(sent[name].shape) if name in record
            else is_kept(sent[name]) for name in sent
        )
        dtypes = tuple(np.dtype(record.get(name, sent[name]).dtype) for name in sent)
    except Exception:
        return None
    floating = any(dtype.kind == "f" for dtype in dtypes)
    real = all(dtype.kind in "fiub" for dtype in dtypes)
    return (key, dtypes) if same and floating and real else None


def _layout(sent: ArrayRecord, dtypes: Sequence[np.dtype[Any]]) -> Layout:
    entries, offset = [], 0
    for name, dtype in zip(sent, dtypes, strict=True):
        # What holds an infinity, such as a mask, is no parameter, as for `Layout.of`.
        floating = dtype.kind == "f" and bool(np.isfinite(unpack(sent[name])).all())
        entry = Entry(name, tuple(sent[name].shape), dtype, offset if floating else None)
        entries.append(entry)
        offset += entry.size if floating else 0
    return Layout(tuple(entries))
