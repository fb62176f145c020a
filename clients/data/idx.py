"""MNIST and what has its format: IDX files, gzipped or not, where torchvision keeps them."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset, not_found
from clients.data.root import elsewhere
from clients.data.vision import torchvision_datasets
from flwr_resam.errors import requirement

_UBYTE = 8
_FILES = [
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
]


@dataclass(frozen=True)
class Mnist:
    """70,000 grey images of 28 x 28 pixels in 10 classes, 60,000 to train.

    Attributes
    ----------
    name : str
        In a run-config.
    folder : str
        Under the root, and torchvision's name for it.
    """

    name: str
    folder: str
    mean: float
    std: float
    model: str = "mnist-cnn"
    shape: tuple[int, ...] = (1, 28, 28)

    def check(self, root: Path) -> None:
        """Raise a ValueError for the first file that is not there."""
        for file in _FILES:
            self._path(root, file)

    def read(self, root: Path) -> Dataset:
        """Read the four files."""
        train_x, train_y, test_x, test_y = (read_idx(self._path(root, file)) for file in _FILES)
        return Dataset(
            train_x[:, np.newaxis], train_y.astype(np.int64),
            test_x[:, np.newaxis], test_y.astype(np.int64),
            classes=10, mean=(self.mean,), std=(self.std,),
        )

    def download(self, root: Path) -> None:
        """Let torchvision put the files under ``root``."""
        getattr(torchvision_datasets(), self.folder)(root, download=True)

    def _path(self, root: Path, file: str) -> Path:
        plain = root / self.folder / "raw" / file
        packed = plain.with_name(file + ".gz")
        for path in (plain, packed):
            if path.is_file():
                return path
        raise not_found(self.name, packed, elsewhere(self.name))


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file of bytes: two zeros, type, dimensions, sizes (big-endian), values.

    Raises
    ------
    ValueError
        If the file is no such thing, or ends too early.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UBYTE]):
        raise _damaged(path, "another beginning")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise _damaged(path, f"{len(content) - start} bytes for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _damaged(path: Path, found: str) -> Exception:
    return requirement(
        "dataset", f"be whole: {path} an IDX file of bytes", found, "Get the file again"
    )
