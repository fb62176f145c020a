"""The rows of one round become one vector: parameters by the rule, buffers by the median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from ..aggregators.median import Median
from ..rows.source import Columns
from ..rows.updates import Row, Updates
from ..rule import Aggregate, Aggregator, Round
from ..wire.flower import logger
from .descent import size_of
from .intake import Intake
from .loop import RunState
from .root import root_row
from .settings import Settings

_CHUNK = 1 << 22


def aggregate(
    rule: Aggregator,
    rows: Sequence[Row],
    *,
    learnt: int,
    f: int,
    state: Any,
    at: Round,
    device: str | None,
    reproducible: bool = False,
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
        updates = Updates(on_device(rows, device), reproducible=reproducible)
        return rule.step(updates, f=f, state=state, at=at)
    first = [Columns(row, 0, learnt) for row in rows]
    updates = Updates(on_device(first, device), reproducible=reproducible)
    done = rule.step(updates, f=f, state=state, at=at)
    last = [Columns(row, learnt, size) for row in rows]
    # The median is the same for every f; a rule such as the mean may be given too large a one.
    buffers = Median()(Updates(on_device(last, device)), f=min(f, (len(rows) - 1) // 2))
    xp = array_namespace(done.vector)
    return replace(done, vector=xp.concat([done.vector, buffers]))


def result_of(
    intake: Intake, f: int, run: RunState, settings: Settings, server_round: int
) -> tuple[Aggregate, float] | None:
    """Apply the rule to the rows of a round; None where it has no finite result.

    Returns
    -------
    Aggregate, float
        With a NumPy vector, and its norm. The rule's state is the run's then.

    Raises
    ------
    ValueError, TypeError
        That the rule raised though every node asked gave a row, or that ``root`` returned no
        update of this model: so it is the user's to mend.
    """
    layout, model, rows = run.layout, run.model, intake.rows
    assert layout is not None
    assert model is not None
    rule, seed = settings.aggregator, settings.seed
    root = None if settings.root is None else root_row(
        settings.root(server_round, model), layout
    )
    at = Round(
        server_round, tuple(rows),
        np.random.default_rng(None if seed is None else [seed, server_round]),
        lambda: layout.flat(model)[: layout.learnt], intake.asked, root,
    )
    try:
        done = aggregate(
            rule, list(rows.values()), learnt=layout.learnt, f=f, state=run.rule_state,
            at=at, device=settings.device, reproducible=settings.reproducible,
        )
    except (ArithmeticError, ValueError) as error:
        numeric = isinstance(error, ArithmeticError | np.linalg.LinAlgError)
        if not numeric and len(rows) == len(intake.asked):
            raise
        logger.log(ERROR, "\t> `%s` found no result: %s", rule, error)
        return None
    done = replace(done, vector=to_numpy(done.vector))
    size = size_of(done.vector)
    if np.isnan(size):
        logger.log(ERROR, "\t> The result of `%s` is not finite", rule)
        return None
    if done.note:
        logger.log(WARNING, "\t> %s", done.note)
    run.rule_state = done.state
    return done, size


def on_device(rows: Sequence[Row], device: str | None) -> Any:
    """Return the rows as they are, or as an (n, d) tensor on the device."""
    if device is None:
        return rows
    import torch

    dtype = np.result_type(np.float32, *(row.dtype for row in rows))
    size = rows[0].size
    buffer = np.empty(min(size, _CHUNK), dtype=dtype)
    matrix = torch.empty(
        (len(rows), size), dtype=torch.from_numpy(buffer[:0]).dtype, device=device
    )
    for index, row in enumerate(rows):
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            row.read(start, stop, buffer[: stop - start])
            matrix[index, start:stop] = torch.from_numpy(buffer[: stop - start])
    return matrix


def to_numpy(vector: Any) -> NDArray[Any]:
    """A vector on the host, as the rules return it."""
    return np.asarray(vector.cpu() if hasattr(vector, "cpu") else vector)
