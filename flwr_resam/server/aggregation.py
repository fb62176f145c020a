"""The rows of one round become one vector: parameters by the rule, buffers by the median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from array_api_compat import array_namespace

from ..aggregators.median import Median
from ..round import Round
from ..rows.updates import Row, Updates
from ..rule import Aggregate, Aggregator
from .device import on_device
from .segments import Columns


def aggregate(
    rule: Aggregator,
    rows: Sequence[Row],
    *,
    learnt: int,
    f: int,
    state: Any,
    round: Round,
    device: str | None,
) -> Aggregate:
    """Aggregate the first ``learnt`` coordinates by the rule and the rest by `Median`.

    The rest are buffers, such as running variances. A rule that looks at whole rows lets a
    faulty node be as far from the honest ones as these are from one another, which is nothing
    to a parameter, and below zero for a small variance beside many noisy parameters. The
    coordinate-wise median of n > 2f rows lies within what honest nodes sent, in each of them.

    Returns
    -------
    Aggregate
        Its weights and state are those of the parameters.
    """
    size = rows[0].size
    if learnt == size:
        updates = Updates(on_device(rows, device))
        return rule.step(updates, f=f, state=state, round=round)
    first = [Columns(row, 0, learnt) for row in rows]
    done = rule.step(Updates(on_device(first, device)), f=f, state=state, round=round)
    last = [Columns(row, learnt, size) for row in rows]
    # The median is the same for every f; a rule such as the mean may be given too large a one.
    buffers = Median()(Updates(on_device(last, device)), f=min(f, (len(rows) - 1) // 2))
    xp = array_namespace(done.vector)
    return replace(done, vector=xp.concat([done.vector, buffers]))
