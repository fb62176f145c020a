"""CIFAR-10: 60,000 colour photographs of 32 x 32 pixels in 10 classes, 50,000 to train."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset, no_download, not_found
from clients.data.root import ENVIRONMENT, elsewhere
from clients.data.vision import torchvision_datasets

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Cifar10:
    """The original, as torchvision downloads and reads it."""

    model: str = "cifar-cnn"
    shape: tuple[int, ...] = (3, 32, 32)

    def check(self, root: Path) -> None:
        """Raise a ValueError if there are no batches, an ImportError without torchvision."""
        wanted = root / "cifar-10-batches-py" / "batches.meta"
        if not wanted.is_file():
            raise not_found("cifar10", wanted, elsewhere("cifar10"))
        torchvision_datasets()

    def read(self, root: Path) -> Dataset:
        """Read torchvision's arrays; it compares the files with their checksums."""
        arrays: list[NDArray[Any]] = []
        for train in (True, False):
            part = torchvision_datasets().CIFAR10(root, train=train)
            arrays += [part.data, np.array(part.targets)]
        return _dataset(*arrays)

    def download(self, root: Path) -> None:
        """Let torchvision put the files under ``root``."""
        torchvision_datasets().CIFAR10(root, download=True)


@dataclass(frozen=True)
class Cifar10Jpeg:
    """A copy whose images went through JPEG: not to be compared, to the decimal, with CIFAR-10.

    ``CIFAR10_jpeg/cifar10_jpeg.npz`` holds for ``train`` and ``test`` each the JPEG streams one
    after the other (``train_jpeg``), where each begins and the last ends (``train_offsets``),
    and the labels (``train_labels``).
    """

    model: str = "cifar-cnn"
    shape: tuple[int, ...] = (3, 32, 32)

    def check(self, root: Path) -> None:
        """Raise a ValueError if the file is not there."""
        if not _npz(root).is_file():
            raise not_found(
                "cifar10-jpeg", _npz(root),
                f"Set `data-dir` or the environment's {ENVIRONMENT} to a folder that has it, or "
                "take `cifar10`",
            )

    def read(self, root: Path) -> Dataset:
        """Decode every image, which takes some seconds."""
        arrays: list[NDArray[Any]] = []
        with np.load(_npz(root), allow_pickle=False) as file:
            for part in ("train", "test"):
                images = _decoded(file[f"{part}_jpeg"].tobytes(), file[f"{part}_offsets"])
                arrays += [images, file[f"{part}_labels"]]
        return _dataset(*arrays)

    def download(self, root: Path) -> None:
        """Raise a ValueError."""
        raise no_download("cifar10-jpeg", "which nobody publishes")


def _npz(root: Path) -> Path:
    return root / "CIFAR10_jpeg" / "cifar10_jpeg.npz"


def _decoded(streams: bytes, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    from PIL import Image

    images = np.empty((len(offsets) - 1, 32, 32, 3), np.uint8)
    for index, (start, stop) in enumerate(itertools.pairwise(offsets)):
        images[index] = np.asarray(Image.open(io.BytesIO(streams[start:stop])))
    return images


def _dataset(
    train_x: NDArray[Any], train_y: NDArray[Any], test_x: NDArray[Any], test_y: NDArray[Any]
) -> Dataset:
    """From images with the channels last."""
    return Dataset(
        np.ascontiguousarray(train_x.transpose(0, 3, 1, 2)), train_y.astype(np.int64),
        np.ascontiguousarray(test_x.transpose(0, 3, 1, 2)), test_y.astype(np.int64),
        classes=10, mean=_MEAN, std=_STD,
    )
