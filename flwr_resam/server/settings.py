"""The arguments of `Resam`, checked at construction."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from pathlib import Path

from flwr.app import ArrayRecord

from ..aggregators import MDA
from ..errors import check_positive, check_whole, real, requirement
from ..rule import Aggregator, Chain, PreAggregator, Rule
from ..spelling import meant

Schedule = Callable[[int], float]


def checked_aggregator(aggregator: Aggregator | None) -> Aggregator:
    """The rule; None is `MDA`."""
    if aggregator is None:
        return MDA()
    if not isinstance(aggregator, Aggregator):
        raise requirement(
            "aggregator", "be an aggregator", repr(aggregator), f"Write {_meant(aggregator)}",
            error=TypeError,
        )
    if isinstance(aggregator, Chain) and isinstance(aggregator.last, PreAggregator):
        raise requirement(
            "aggregator", "end with a rule that leaves one vector", f"`{aggregator}`",
            f"Add one at the right, as in `{aggregator} | mda`",
        )
    return aggregator


def _meant(given: object) -> str:
    """The aggregator that what was given in place of one comes nearest to, as it is written."""
    written = meant(
        given, Rule, "parse_rule", "MDA(), say, or another one of flwr_resam.aggregators"
    )
    kind = given if isinstance(given, type) else type(given)
    return f"{written} | MDA()" if issubclass(kind, PreAggregator) else written


def checked_rate(rate: float | Schedule) -> float | Schedule:
    """The learning rate, or the function of the round that gives it."""
    return rate if callable(rate) else finite_rate(rate)


def checked_seed(seed: int | None) -> int | None:
    """A whole number, or None for draws that differ from run to run."""
    if seed is None:
        return None
    check_whole("seed", seed, "Use 0, or None for draws that differ from run to run", least=0)
    return operator.index(seed)


def finite_rate(rate: float) -> float:
    """A learning rate, given or returned by a function of the round."""
    check_positive(
        "learning_rate", rate,
        "Use 1.0 for updates of local training, or the rate of the paper's form",
    )
    return float(rate)


def at_least_zero(name: str, value: float) -> float:
    """A finite number that is not negative."""
    if not 0.0 <= real(value) < math.inf:
        raise requirement(name, "be a finite number, at least 0", f"{name} = {value!r}", "Use 0.0")
    return float(value)


def check_fraction(name: str, fraction: float) -> None:
    """Raise a ValueError unless this can be a share of the connected nodes."""
    if not 0.0 <= real(fraction) <= 1.0:
        raise requirement(
            name, "be a number from 0 to 1", f"{name} = {fraction!r}", "Use 1.0 for all nodes"
        )


def checked_least(name: str, nodes: int | None) -> int | None:
    """A number of nodes, or None for what the rule needs."""
    if nodes is None:
        return None
    check_whole(name, nodes, "Leave it out for what the rule needs", least=0)
    return operator.index(nodes)


def checked_timeout(seconds: float) -> float:
    """Seconds to wait for the replies of a round."""
    if not real(seconds) > 0:
        raise requirement(
            "timeout", "be a number of seconds above 0", f"timeout = {seconds!r}",
            "Use 3600.0, say; nodes that answer later count as silent",
        )
    return float(seconds)


def checked_output(
    output_dir: str | Path | None, checkpoint_every: int
) -> tuple[Path | None, int]:
    """The folder of a run, and after how many rounds each a checkpoint is written there."""
    if output_dir is not None and not isinstance(output_dir, str | os.PathLike):
        raise requirement(
            "output_dir", "be a path or None", repr(output_dir), 'Use "runs/first", say',
            error=TypeError,
        )
    check_whole("checkpoint_every", checkpoint_every, "Use 0 for no checkpoints", least=0)
    every = operator.index(checkpoint_every)
    if every and not output_dir:
        raise requirement(
            "output_dir", "be given for checkpoints", "none", "Name a folder, or leave out "
            "`checkpoint_every`",
        )
    return (Path(output_dir) if output_dir else None), every


def check_model(arrays: object) -> None:
    """Raise a TypeError unless this is a model as Flower sends it."""
    if not isinstance(arrays, ArrayRecord):
        raise requirement(
            "initial_arrays", "be an ArrayRecord", type(arrays).__name__,
            "Write ArrayRecord(...) of a state_dict or a list of NumPy arrays", error=TypeError,
        )
