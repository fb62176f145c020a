"""Any data set that flwr-datasets reads by its name: of the Hugging Face hub, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset, OfAnySize
from flwr_resam.errors import requirement

PREFIX = "hub:"


@dataclass(frozen=True)
class Hub(OfAnySize):
    """Splits ``train`` and ``test``, of which one column is the label and the rest the example.

    The label is the column of class labels, or that named ``label``. An example is the one
    picture, as grey levels with the channels first, or all columns of numbers, as float32.
    """

    name: str

    def read(self, root: Path) -> Dataset:
        """Read it from where the `datasets` library keeps what it has downloaded."""
        return _read(self.name)

    def download(self, root: Path) -> None:
        """Read it, which downloads what is not there."""
        self.read(root)


@lru_cache(maxsize=2)
def _read(name: str) -> Dataset:
    from flwr_datasets import FederatedDataset

    federated = FederatedDataset(dataset=name, partitioners={})
    try:
        train, test = federated.load_split("train"), federated.load_split("test")
    except Exception as error:  # of the hub, the network, a file, or the data set itself
        raise requirement(
            "dataset", f"be one that flwr-datasets reads by the name {name}, with the splits train "
            "and test", f"{type(error).__name__}: {str(error).splitlines()[0].removesuffix('.')}",
            "Connect to the network the first time, or name a folder",
        ) from error
    label = _label_of(train.features, name)
    x, y = _examples(train, label, name), np.asarray(train[label], dtype=np.int64)
    test_x, test_y = _examples(test, label, name), np.asarray(test[label], dtype=np.int64)
    classes = int(max(y.max(), test_y.max())) + 1
    if x.dtype == np.uint8:
        half = (0.5,) * x.shape[1]
        return Dataset(x, y, test_x, test_y, classes, mean=half, std=half)
    return Dataset(x, y, test_x, test_y, classes)


def _label_of(features: dict[str, Any], name: str) -> str:
    from datasets import ClassLabel

    named = [key for key, each in features.items() if isinstance(each, ClassLabel)]
    found = named if len(named) == 1 else [key for key in ("label", "labels") if key in features]
    if len(found) != 1:
        raise requirement(
            "dataset", f"have one column of class labels in {name}, or one named label",
            ", ".join(features), "Register a data set of your own that picks one",
        )
    return found[0]


def _examples(split: Any, label: str, name: str) -> NDArray[Any]:
    from datasets import Image, Value

    features = {key: each for key, each in split.features.items() if key != label}
    pictures = [key for key, each in features.items() if isinstance(each, Image)]
    if len(pictures) == 1:
        stacked = np.stack([np.asarray(picture) for picture in split[pictures[0]]])
        return stacked[:, None] if stacked.ndim == 3 else np.moveaxis(stacked, -1, 1)
    numbers = [
        key for key, each in features.items()
        if isinstance(each, Value) and each.dtype.startswith(("int", "uint", "float"))
    ]
    if pictures or len(numbers) < len(features) or not numbers:
        raise requirement(
            "dataset", f"have one picture or only numbers beside the label in {name}",
            ", ".join(features), "Register a data set of your own that picks columns",
        )
    return np.stack([np.asarray(split[key], dtype=np.float32) for key in numbers], axis=1)
