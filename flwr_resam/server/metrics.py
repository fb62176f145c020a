"""Metrics of many nodes in one record, so that no liar moves or ends anything.

Of each metric the median is reported. With more than 2f reporting nodes it lies between two
honest values whatever f nodes say. A metric that fewer nodes report in the same form is left
out; what a node adds, drops, or fills with NaN is its own affair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import ERROR, WARNING
from statistics import median_low
from typing import Any

import numpy as np
from flwr.app import Error, Message, MetricRecord, RecordDict

from ..wire.flower import logger
from ..wire.replies import Matcher
from .gate import RECORDS, kept_metrics, members, printable

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]


def robust_metrics(
    contents: Iterable[object], f: int, nodes: Sequence[int] | None = None
) -> MetricRecord:
    """Return the low median of each metric that more than 2f nodes report in the same form.

    Lists go element by element, among those of one length. A bool, a NaN, an infinity or a
    whole number past the range of float64 counts as not reported.

    Parameters
    ----------
    contents : iterable of RecordDict
        Replies, of which at most f lie. What is no RecordDict counts as an empty one.
    f : int
        The faults to tolerate.
    nodes : sequence of int, optional
        Whose each content is, where a node may have several: f of them then report more often.

    Notes
    -----
    A list is only looked into where more than 2f nodes report one of its length, so that a
    huge one costs nothing.

    Examples
    --------
    >>> honest = [RecordDict({"m": MetricRecord({"loss": loss})}) for loss in (0.5, 0.6, 0.7)]
    >>> liar = RecordDict({"m": MetricRecord({"loss": float("nan"), "stolen": 1})})
    >>> robust_metrics([*honest, liar], f=1)
    {'loss': 0.6}
    """
    reported: dict[tuple[str, int | None], list[Any]] = {}
    whose: dict[tuple[str, int | None], Counter[int]] = {}
    for index, content in enumerate(contents):
        for key, value in _metrics(content).items():
            number = None if type(value) is list else _number(value)
            if type(value) is not list and number is None:
                continue
            name = (key, len(value) if type(value) is list else None)
            reported.setdefault(name, []).append(value if number is None else number)
            whose.setdefault(name, Counter())[index if nodes is None else nodes[index]] += 1
    result = MetricRecord()
    for (key, length), values in reported.items():
        lies = f * max(whose[key, length].values())
        if len(values) <= 2 * lies:
            continue
        if length is None:
            result[key] = median_low(values)
            continue
        lists = [numbers for numbers in map(_numbers, values) if numbers is not None]
        if len(lists) > 2 * lies:
            result[key] = [median_low(column) for column in zip(*lists, strict=True)]
    return result


def evaluations(
    asked: Iterable[Message], replies: Iterable[Message], after_each: Callable[[int], None]
) -> tuple[list[int], list[RecordDict]]:
    """Who answered the questions of an evaluation, a strategy may ask a node several, and what.

    ``after_each`` is called with the number of nodes when a reply has come.
    """
    asked = list(asked)
    matcher, found, answered = Matcher(asked), dict[str, RecordDict](), set[int]()
    for reply in replies:
        answer = matcher.take(reply)
        if answer is not None and type(answer.content) is RecordDict:
            found[answer.question] = metrics_of(answer.content, answer.node)
            answered.add(answer.node)
        elif answer is not None and type(answer.content) is Error:
            reason = printable(answer.content.reason)
            logger.log(WARNING, "\t> No evaluation by node %d: %s", answer.node, reason)
        after_each(len(answered))
    good = [
        (each.metadata.dst_node_id, found[each.metadata.message_id]) for each in asked
        if each.metadata.message_id in found
        and each.metadata.dst_node_id not in matcher.repeated
    ]
    return [node for node, _ in good], [content for _, content in good]


def metrics_of(content: object, node: int) -> RecordDict:
    """The metrics of a reply; none, and a line in the log, where they are a flood."""
    metrics = kept_metrics(content)
    if metrics is None:
        logger.log(WARNING, "\t> Node %d sent too many metrics: dropped", node)
    return RecordDict() if metrics is None else metrics


def reported(
    aggregate: MetricsFn, contents: list[RecordDict], weighted_by_key: str
) -> MetricRecord:
    """Apply a function of the metrics; what a node sent there must not end the run."""
    try:
        return MetricRecord(dict(aggregate(contents, weighted_by_key)))
    except Exception as error:
        logger.log(
            ERROR, "\t> No metrics of the nodes this round: the aggregation function raised "
            "%s: %s", type(error).__name__, printable(str(error)),
        )
        return MetricRecord()


def _metrics(content: object) -> dict[str, object]:
    """All metrics of one reply; what is not well formed is left out."""
    found: dict[str, object] = {}
    try:
        records = members(content, (RecordDict,), RECORDS)
    except ValueError:
        return found
    for record in records.values():
        items = record.__dict__.get("_data")
        if type(record) is MetricRecord and type(items) is dict:
            found.update((key, value) for key, value in items.items() if type(key) is str)
    return found


def _number(value: object) -> int | float | None:
    if type(value) not in (int, float, np.float64):
        return None
    number = value if type(value) is int else float(value)  # type: ignore[arg-type]
    try:
        return number if math.isfinite(number) else None
    except OverflowError:  # a whole number past the range of float64
        return None


def _numbers(values: list[object]) -> list[float] | None:
    """The values as floats; None where one is no finite number."""
    numbers = [_number(value) for value in values]
    return None if None in numbers else [float(n) for n in numbers if n is not None]
