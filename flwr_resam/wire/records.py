"""The records of a message: by kind, and copied."""

from __future__ import annotations

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)


def of_kind(content: RecordDict, kind: type[R]) -> dict[str, R]:
    """The records of one kind, by key; Flower's own views of them check each one anew.

    Examples
    --------
    >>> of_kind(RecordDict({"a": ConfigRecord({"b": 1}), "m": MetricRecord()}), ConfigRecord)
    {'a': {'b': 1}}
    """
    return {key: record for key, record in content.items() if isinstance(record, kind)}


def noted_arrays(content: RecordDict) -> dict[str, ArrayRecord]:
    """The ArrayRecords by name, as they are now: a handler may empty those that it is given."""
    return {key: ArrayRecord(dict(each)) for key, each in of_kind(content, ArrayRecord).items()}


def copied(content: RecordDict) -> RecordDict:
    """The same records as others that may be changed; arrays are values, and are shared."""
    return RecordDict({key: record.copy() for key, record in content.items()})
