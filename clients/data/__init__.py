"""Data sets, by the names that run-configs use.

Those that don't come with a library are read from a folder: a run's ``data-dir``, else the
environment's RESAM_DATA, else ``~/.cache/flwr-resam/data``. ``python -m clients.data mnist``
downloads one there. A user's own is a name that a plugin adds (``DATASETS["mine"] = ...``), a file
(``/home/me/mine.npz``), or whatever flwr-datasets reads (``hub:ylecun/mnist``).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from clients.data.cifar import Cifar10, Cifar10Jpeg
from clients.data.dataset import Dataset, Source
from clients.data.digits import Digits
from clients.data.hub import PREFIX, Hub
from clients.data.idx import Mnist
from clients.data.npz import SUFFIX, Npz
from clients.data.root import root_of
from clients.objects import Objects

__all__ = ["DATASETS", "Dataset", "Source", "check", "load", "named"]

DATASETS: Objects[Source] = Objects("data set", {
    "digits": Digits(),
    "mnist": Mnist("mnist", "MNIST", mean=0.1307, std=0.3081),
    "fashion-mnist": Mnist("fashion-mnist", "FashionMNIST", mean=0.2860, std=0.3530),
    "cifar10": Cifar10(),
    "cifar10-jpeg": Cifar10Jpeg(),
}, group="flwr_resam.datasets", has=("check", "read", "download"))


def named(name: str) -> Source:
    """Return a data set's source, or raise a ValueError that says which there are."""
    if name.startswith(PREFIX):
        return Hub(name.removeprefix(PREFIX))
    return Npz(name) if name.endswith(SUFFIX) else DATASETS[name]


def check(name: str, data_dir: str = "") -> None:
    """Raise a ValueError or ImportError where a data set can't be read, without reading it."""
    named(name).check(root_of(data_dir))


def load(
    name: str, data_dir: str = "", validation_share: float = 0.0, *, validate: bool = False
) -> Dataset:
    """Load a data set, once for each process.

    Parameters
    ----------
    name, data_dir : str
        As in a run-config.
    validation_share : float
        The share of the training examples that is held out of training.
    validate : bool
        Whether these stand in place of the test examples.

    Raises
    ------
    ValueError
        For a name that is not in `DATASETS`, or a data set that is not where it should be.
    """
    source, root = named(name), root_of(data_dir)
    if not validation_share:
        return _load(source, root)
    return _split(source, root, validation_share)[validate]


@lru_cache(maxsize=2)
def _split(source: Source, root: Path, share: float) -> tuple[Dataset, Dataset]:
    return _load(source, root).held_out(share)


@lru_cache(maxsize=2)
def _load(source: Source, root: Path) -> Dataset:
    source.check(root)
    return source.read(root)
