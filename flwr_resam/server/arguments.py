"""The arguments of `Resam`, checked at construction."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..aggregators import MDA
from ..errors import requirement
from ..rule import Aggregator, Chain, PreAggregator

Schedule = Callable[[int], float]


def checked_aggregator(aggregator: Aggregator | None) -> Aggregator:
    """The rule; None is `MDA`."""
    if aggregator is None:
        return MDA()
    if not isinstance(aggregator, Aggregator):
        raise requirement(
            "aggregator", "be an aggregator", repr(aggregator),
            f'Write parse_rule("{aggregator}")' if isinstance(aggregator, str)
            else "Choose one of flwr_resam.aggregators", error=TypeError,
        )
    if isinstance(aggregator, Chain) and isinstance(aggregator.last, PreAggregator):
        raise requirement(
            "aggregator", "end with a rule that leaves one vector", f"`{aggregator}`",
            f"Add one at the right, as in `{aggregator} | mda`",
        )
    return aggregator


def checked_rate(rate: float | Schedule) -> float | Schedule:
    """The learning rate, or the function of the round that gives it."""
    return rate if callable(rate) else finite_rate(rate)


def checked_seed(seed: int | None) -> int | None:
    """A whole number, or None for draws that differ from run to run."""
    if seed is not None and (isinstance(seed, bool) or operator.index(seed) < 0):
        raise requirement("seed", "be None or at least 0", f"seed = {seed}", "Use 0")
    return seed


def finite_rate(rate: float) -> float:
    """A learning rate, given or returned by a function of the round."""
    if not (np.isfinite(rate) and rate > 0):
        raise requirement(
            "learning_rate", "be a finite number above 0", f"learning_rate = {rate}",
            "Use 1.0 for updates of local training, or the rate of the paper's form",
        )
    return float(rate)


def at_least_zero(name: str, value: float) -> float:
    """A finite number that is not negative."""
    if not (np.isfinite(value) and value >= 0):
        raise requirement(name, "be a finite number, at least 0", f"{name} = {value}", "Use 0.0")
    return float(value)


def check_fraction(name: str, fraction: float) -> None:
    """Raise a ValueError unless this can be a share of the connected nodes."""
    if not 0.0 <= fraction <= 1.0:
        raise requirement(name, "be from 0 to 1", f"{name} = {fraction}", "Use 1.0 for all nodes")


def checked_timeout(seconds: float) -> float:
    """Seconds to wait for the replies of a round."""
    if isinstance(seconds, bool) or not seconds > 0:
        raise requirement(
            "timeout", "be a number of seconds above 0", f"timeout = {seconds}",
            "Use 3600.0, say; nodes that answer later count as silent",
        )
    return float(seconds)


def checked_output(
    output_dir: str | Path | None, checkpoint_every: int
) -> tuple[Path | None, int]:
    """The folder of a run, and after how many rounds each a checkpoint is written there."""
    every = operator.index(checkpoint_every)
    if every < 0:
        raise requirement("checkpoint_every", "be at least 0", every, "Use 0 for no checkpoints")
    if every and not output_dir:
        raise requirement(
            "output_dir", "be given for checkpoints", "none", "Name a folder, or leave out "
            "`checkpoint_every`",
        )
    return (Path(output_dir) if output_dir else None), every
