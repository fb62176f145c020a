"""Metrics of many nodes in one record, so that no liar moves or ends anything.

Of each metric the median is reported. With more than 2f reporting nodes it lies between two
honest values whatever f nodes say; a metric that fewer nodes report, or that is not a finite
number, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median_low

from flwr.app import MetricRecord, RecordDict


def robust_metrics(contents: Iterable[RecordDict], f: int) -> MetricRecord:
    """Return the low median of each metric that more than 2f nodes report.

    Parameters
    ----------
    contents : iterable of RecordDict
        Replies, of which at most f lie.
    f : int
        The faults to tolerate.

    Examples
    --------
    >>> honest = [RecordDict({"m": MetricRecord({"loss": loss})}) for loss in (0.5, 0.6, 0.7)]
    >>> liar = RecordDict({"m": MetricRecord({"loss": float("nan"), "stolen": 1})})
    >>> robust_metrics([*honest, liar], f=1)
    {'loss': 0.6}
    """
    reported: dict[str, list[float]] = {}
    for content in contents:
        values: dict[str, float] = {}
        for record in content.metric_records.values():
            for key, value in record.items():
                number = _number(value)
                if number is not None:
                    values[key] = number
        for key, number in values.items():
            reported.setdefault(key, []).append(number)
    return MetricRecord(
        {key: median_low(values) for key, values in reported.items() if len(values) > 2 * f}
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # a whole number past the range of float64
        return None
