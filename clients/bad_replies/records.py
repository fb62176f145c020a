"""Replies with odd values, odd metrics, or other records than one of arrays and one of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from clients.bad_replies.arrays import Values, every, first
from clients.bad_replies.reply import BadReply, Content, Level, Verdict

Metrics = dict[str, Any]
_COUNT = "num-examples"


def measured(change: Callable[[Metrics], Mapping[str, Any]]) -> Content:
    """Change the metrics, keep the arrays."""

    def make(content: RecordDict) -> RecordDict:
        records = dict(content.items())
        for key, record in (content.metric_records or {"metrics": MetricRecord()}).items():
            records[key] = MetricRecord(dict(change(dict(record.items()))))
        return RecordDict(records)

    return make


def _counting(value: Any) -> Content:
    """Report so many examples."""
    return measured(lambda metrics: {**metrics, _COUNT: value})


def _reporting(value: Any) -> Content:
    """Report this as a loss, and as whatever else is reported but the number of examples."""
    return measured(lambda metrics: {
        name: one if name == _COUNT else value for name, one in {"loss": 0.0, **metrics}.items()
    })


def _cancelling(metrics: Metrics) -> Metrics:
    return {**metrics, _COUNT: -7 * metrics.get(_COUNT, 1)}


def _arrays_of(content: RecordDict) -> ArrayRecord:
    return next(iter(content.array_records.values()))


def filled(value: float) -> Content:
    """Put the same number, or the nearest that there is, in place of every float."""

    def fill(values: Values) -> Values:
        limit = np.finfo(values.dtype).max
        return np.full_like(values, np.clip(value, -limit, limit))

    return every(fill)


def _infinite(values: Values) -> Values:
    changed = values.copy()
    changed.flat[0] = np.inf
    return changed


def _without_metrics(content: RecordDict) -> RecordDict:
    return RecordDict({
        key: record for key, record in content.items() if not isinstance(record, MetricRecord)
    })


def _metrics_twice(content: RecordDict) -> RecordDict:
    metrics = next(iter(content.metric_records.values()), MetricRecord())
    return RecordDict({**content, "again": metrics})


def _renamed(content: RecordDict) -> RecordDict:
    return RecordDict({
        "weights" if isinstance(record, ArrayRecord) else key: record
        for key, record in content.items()
    })


def _only_config(_: RecordDict) -> RecordDict:
    return RecordDict({"config": ConfigRecord({"x": b"\x00"})})


_fault = partial(BadReply, level=Level.RECORD, from_device=True, tabled=True)
_row = partial(_fault, verdict=Verdict.ROW)

RECORDS = [
    _fault("NaN", "Every float is NaN.", content=filled(float("nan"))),
    _fault("one infinity", "The first float is infinite.", content=first(_infinite)),
    _row("1e30", "Every float is 1e30.", content=filled(1e30)),
    _row("3e38", "Every float is -3e38, nearly the largest of float32.",
         content=filled(-3e38)),
    _row("no metrics", "There is no record of metrics.", content=_without_metrics),
    _row("metrics empty", "There is a record of metrics, with nothing in it.",
         content=measured(lambda metrics: {})),  # noqa: ARG005
    _row("metric added", "There is a metric that no other node reports.",
         content=measured(lambda metrics: {**metrics, "more": 1.0})),
    _row("metric missing", "The number of examples is all that is reported.",
         content=measured(lambda metrics: {_COUNT: metrics.get(_COUNT, 1)})),
    _row("metric is a list", "A metric is a list of numbers.", content=_reporting([1.0, 2.0])),
    _row("metric NaN", "A metric is NaN.", content=_reporting(float("nan"))),
    _row("num-examples 1e30", "The number of examples is 1e30.", content=_counting(1e30)),
    _row("num-examples NaN", "The number of examples is NaN.", content=_counting(float("nan"))),
    _row("num-examples -1e9", "The number of examples is far below zero.",
         content=_counting(-(10**9))),
    _row("num-examples cancels", "The number of examples cancels that of seven other nodes.",
         content=measured(_cancelling)),
    _row("num-examples a list", "The number of examples is a list.", content=_counting([1, 2])),
    _fault("two array records", "The arrays are there twice.",
           content=lambda content: RecordDict({**content, "again": _arrays_of(content)})),
    _row("two metric records", "The metrics are there twice.", content=_metrics_twice),
    _row("another record name", "The record of arrays is named as no server asks for it.",
         content=_renamed),
    _fault("only config", "There is a record of bytes, and none of arrays.", content=_only_config),
    _fault("nothing", "There is no record at all.", content=lambda _: RecordDict()),
    _fault("only metrics", "There is no record of arrays.", tabled=False,
           content=lambda _: RecordDict({"metrics": MetricRecord({"w": 1.0})})),
]
