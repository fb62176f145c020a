"""1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn; 80 % train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.data.dataset import Dataset, no_download
from clients.seeds import generator


@dataclass(frozen=True)
class Digits:
    """The default data set, which needs no folder."""

    model: str = "digits-mlp"
    shape: tuple[int, ...] = (64,)

    def check(self, root: Path) -> None:
        """Do nothing: there is no file to find."""

    def read(self, root: Path) -> Dataset:
        """Split what scikit-learn holds, the same way each time."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        order = generator(0, "digits split").permutation(len(labels))
        images = (images[order] / 16.0).astype(np.float32)
        labels = labels[order].astype(np.int64)
        cut = len(labels) * 4 // 5
        return Dataset(images[:cut], labels[:cut], images[cut:], labels[cut:], classes=10)

    def download(self, root: Path) -> None:
        """Raise a ValueError."""
        raise no_download("digits", "which comes with scikit-learn")
