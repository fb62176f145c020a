"""Which training examples each worker holds, by the names that run-configs use.

The honest workers share the training set among them; what is Byzantine holds no share and, where
it computes at all, draws from everything.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clients.data import Dataset
from clients.seeds import generator
from clients.settings import ClientSettings
from flwr_resam.errors import requirement
from flwr_resam.parse import parse_item
from flwr_resam.registry import Registry
from flwr_resam.spelling import Named

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

Indices = NDArray[np.int64]


class Partition(Named, ABC):
    """A way to share examples out."""

    @abstractmethod
    def shares(
        self, labels: Indices, workers: int, draw: np.random.Generator
    ) -> list[Indices] | None:
        """Return the examples of each worker; None if each holds all."""


@dataclass(frozen=True)
class Homogeneous(Partition):
    """Every worker samples from the whole training set, as the paper's do."""

    name: ClassVar[str] = "homogeneous"

    def shares(
        self, labels: Indices, workers: int, draw: np.random.Generator
    ) -> None:
        """Share nothing out."""


@dataclass(frozen=True)
class Iid(Partition):
    """Equal shares at random, by flwr-datasets' `IidPartitioner`."""

    name: ClassVar[str] = "iid"

    def shares(self, labels: Indices, workers: int, draw: np.random.Generator) -> list[Indices]:
        """Cut a permutation into equal pieces."""
        from flwr_datasets.partitioner import IidPartitioner

        return _by(IidPartitioner(workers), labels, draw.permutation(len(labels)))


@dataclass(frozen=True)
class Dirichlet(Partition):
    """For each class, shares drawn from Dirichlet(alpha), by flwr-datasets' partitioner."""

    alpha: float = 0.5
    name: ClassVar[str] = "dirichlet"

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < np.inf:
            raise requirement("alpha", "be above 0 and finite", self.alpha, "Use 0.5")

    def shares(self, labels: Indices, workers: int, draw: np.random.Generator) -> list[Indices]:
        """Share each class out by proportions of its own; nobody is left without an example."""
        from flwr_datasets.partitioner import DirichletPartitioner

        partitioner = DirichletPartitioner(
            workers, "label", float(self.alpha), min_partition_size=1, seed=_seed(draw)
        )
        return _by(partitioner, labels, np.arange(len(labels)))


@dataclass(frozen=True)
class Shards(Partition):
    """Examples sorted by label and cut into shards, of which each worker has as many.

    It is flwr-datasets' `ShardPartitioner`; examples that fill no shard are nobody's.
    """

    per_worker: int = 2
    name: ClassVar[str] = "shards"

    def __post_init__(self) -> None:
        if self.per_worker < 1:
            raise requirement("per_worker", "be at least 1", self.per_worker, "Use 2")

    def shares(self, labels: Indices, workers: int, draw: np.random.Generator) -> list[Indices]:
        """Deal the shards out at random."""
        from flwr_datasets.partitioner import ShardPartitioner

        partitioner = ShardPartitioner(
            workers, "label", num_shards_per_partition=self.per_worker, seed=_seed(draw)
        )
        return _by(partitioner, labels, np.arange(len(labels)))


@dataclass(frozen=True)
class Gamma(Partition):
    """A part of each share, ``similarity``, is taken at random and the rest by sorted labels."""

    similarity: float = 0.5
    name: ClassVar[str] = "gamma"

    def __post_init__(self) -> None:
        if not 0.0 <= self.similarity <= 1.0:
            raise requirement("similarity", "be in [0, 1]", self.similarity, "Use 0.5")

    def shares(self, labels: Indices, workers: int, draw: np.random.Generator) -> list[Indices]:
        """Give each worker an equal piece of the one part and an equal piece of the other."""
        order = draw.permutation(len(labels))
        cut = round(self.similarity * len(labels))
        alike, rest = order[:cut], order[cut:]
        by_label = rest[np.argsort(labels[rest], kind="stable")]
        pieces = (np.array_split(alike, workers), np.array_split(by_label, workers))
        return [np.concatenate(pair) for pair in zip(*pieces, strict=True)]


@dataclass(frozen=True)
class Sorted(Partition):
    """The extreme: sorted by label, one equal piece after the other."""

    name: ClassVar[str] = "sorted"

    def shares(self, labels: Indices, workers: int, draw: np.random.Generator) -> list[Indices]:
        """Cut what is sorted into equal pieces."""
        return Gamma(similarity=0.0).shares(labels, workers, draw)


PARTITIONS: Registry[Partition] = Registry(
    "partition", Partition, [Homogeneous, Iid, Dirichlet, Shards, Sorted, Gamma],
    group="flwr_resam.partitions",
)


def parse_partition(text: str) -> Partition:
    """Read a partition by name, such as ``dirichlet(alpha=0.1)``.

    Raises
    ------
    ValueError
        As `flwr_resam.parse_rule` does.
    """
    return parse_item(text, PARTITIONS)


def share_of(dataset: Dataset, settings: ClientSettings, partition: int) -> Indices | None:
    """Return the training examples that a node draws from; None if from all.

    Raises
    ------
    ValueError
        If the examples can't be shared out in this way, because a worker would have none.
    ImportError
        Without flwr-datasets, where the partition is one of its.
    """
    byzantine = 0 if settings.attack == "none" else settings.num_malicious_nodes
    workers = settings.num_nodes - byzantine
    if partition >= workers:
        return None
    found = _shares(dataset, settings.partition, workers, settings.seed)
    return None if found is None else found[partition]


@lru_cache(maxsize=2)
def _shares(
    dataset: Dataset, partition: str, workers: int, seed: int
) -> tuple[Indices, ...] | None:
    way, examples = parse_partition(partition), len(dataset.train_y)
    shards = workers * way.per_worker if isinstance(way, Shards) else 0
    if shards > examples:
        raise requirement(
            "partition", f"cut {examples} examples into at most {examples} shards",
            f"{shards} for {workers} workers in `{partition}`",
            "Lower per_worker, or ask fewer nodes",
        )
    try:
        found = way.shares(dataset.train_y, workers, generator(seed, "partition"))
    except (ArithmeticError, LookupError, ValueError) as error:  # from within the partitioner
        raise requirement(
            "partition", f"share {examples} examples out to {workers} workers",
            f"some without any in `{partition}`", "Ask fewer nodes, or share out more evenly",
        ) from error
    if found is None:
        return None
    empty = sum(len(share) == 0 for share in found)
    if len(found) != workers or empty:
        raise requirement(
            "partition", f"give each of {workers} workers an example",
            f"{empty} without in `{partition}`", "Ask fewer nodes, or share out more evenly",
        )
    return tuple(found)


def _by(partitioner: Partitioner, labels: Indices, order: Indices) -> list[Indices]:
    """What a partitioner of flwr-datasets makes of these examples in this order."""
    import datasets

    table: dict[str, Any] = {"label": labels[order], "index": order}
    partitioner.dataset = datasets.Dataset.from_dict(table)
    with warnings.catch_warnings():
        # Each try that leaves a worker without; where none succeeds, an error says so.
        warnings.filterwarnings("ignore", "The specified min_partition_size", UserWarning)
        # How datasets calls pyarrow is theirs to mend.
        warnings.filterwarnings("ignore", "Specifying null_placement", FutureWarning)
        return [
            np.asarray(partitioner.load_partition(worker)["index"], dtype=np.int64)
            for worker in range(partitioner.num_partitions)
        ]


def _seed(draw: np.random.Generator) -> int:
    return int(draw.integers(2**31))
