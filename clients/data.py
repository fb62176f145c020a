"""Data sets, by the names that run-configs use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clients.seeds import generator


@dataclass(frozen=True)
class Dataset:
    """Training and test examples.

    Attributes
    ----------
    train_x, test_x : (examples, ...) float32
    train_y, test_y : (examples,) int64
        Labels 0 .. classes - 1.
    """

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    classes: int


@lru_cache(maxsize=2)
def load(name: str) -> Dataset:
    """Load a data set once for each process.

    Raises
    ------
    ValueError
        For a name that is not in `DATASETS`.
    """
    check(name)
    return DATASETS[name]()


def check(name: str) -> None:
    """Raise where a data set is not known, before anything is loaded."""
    if name not in DATASETS:
        raise ValueError(f"`{name}` is no data set. Data sets: {', '.join(sorted(DATASETS))}.")


def _digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn; 80 % train."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = generator(0, "digits split").permutation(len(labels))
    images = (images[order] / 16.0).astype(np.float32)
    labels = labels[order].astype(np.int64)
    cut = len(labels) * 4 // 5
    return Dataset(images[:cut], labels[:cut], images[cut:], labels[cut:], classes=10)


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
}
