"""A rule, a pre-aggregator, an attack, a data set, a model and a partition of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from clients.data import DATASETS, Dataset
from clients.models import MODELS, Model
from clients.partitions import PARTITIONS, Partition
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.attacks import ATTACKS
from flwr_resam.attacks.attack import MemorylessAttack
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rule import CoordinateRule, PreAggregator
from torch import nn


@AGGREGATORS.register
@dataclass(frozen=True)
class Winsorized(CoordinateRule):
    """The mean of each coordinate, its f + extra largest and smallest values drawn in."""

    extra: int = 0
    name: ClassVar[str] = "winsorized"

    def columns(self, block, f):
        """Return the mean of what is drawn in."""
        xp = array_namespace(block)  # NumPy, or what the updates are of
        rows = xp.sort(block, axis=0)
        k = min(f + self.extra, (len(rows) - 1) // 2)
        return xp.mean(xp.clip(rows, rows[k], rows[len(rows) - 1 - k]), axis=0)


@PREAGGREGATORS.register
@dataclass(frozen=True)
class Halfway(PreAggregator):
    """Each row, half the way to the mean of all."""

    name: ClassVar[str] = "halfway"

    def mixing(self, geometry, f, at):
        """Return the weights of each row that leaves."""
        n = geometry.n
        return 0.5 * np.eye(n) + 0.5 / n


@ATTACKS.register
@dataclass(frozen=True)
class Backwards(MemorylessAttack):
    """Minus `size` times the mean of the honest rows."""

    size: float = 3.0
    name: ClassVar[str] = "backwards"
    knowledge: ClassVar[str] = "omniscient"

    def rows(self, honest, count, at):
        """Return one row, which all of them send."""
        return -self.size * honest.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Wine:
    """178 wines of 13 measurements and 3 kinds, which come with scikit-learn; 80 % train."""

    model: str = "wine-linear"
    shape: tuple[int, ...] = (13,)

    def check(self, root: Path) -> None:
        """Do nothing: there is no file to find."""

    def read(self, root: Path) -> Dataset:
        """Split what scikit-learn holds, the same way each time, and standardise it."""
        from sklearn.datasets import load_wine

        x, y = load_wine(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(y))
        x, y = ((x - x.mean(axis=0)) / x.std(axis=0))[order].astype(np.float32), y[order]
        cut = len(y) * 4 // 5
        return Dataset(x[:cut], y[:cut], x[cut:], y[cut:], classes=3)

    def download(self, root: Path) -> None:
        """Do nothing: it is there."""


DATASETS["wine"] = Wine()
MODELS["wine-linear"] = Model(lambda: nn.Linear(13, 3), (13,))


@PARTITIONS.register
@dataclass(frozen=True)
class ByTurns(Partition):
    """The first example to the first worker, the second to the second, and round again."""

    name: ClassVar[str] = "by-turns"

    def shares(self, labels, workers, draw):
        """Return the examples of each worker."""
        return [np.arange(worker, len(labels), workers) for worker in range(workers)]
