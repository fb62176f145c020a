"""What a data set is once it is read, and what can read one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clients.seeds import generator
from flwr_resam.errors import requirement


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples, as they are stored; `inputs` makes of them what a model takes.

    Attributes
    ----------
    train_x, test_x : (examples, ...) array
        Grey levels as uint8, channels first, or inputs as float32.
    train_y, test_y : (examples,) int64
        Labels 0 .. classes - 1.
    mean, std : tuple of float
        By channel, of grey levels between 0 and 1; with these, inputs are standardised. Empty
        for examples that are inputs already.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def inputs(self, examples: NDArray[Any]) -> NDArray[np.float32]:
        """``(x / 255 - mean) / std`` of some examples, in float32."""
        if not self.mean:
            return examples
        scale, shift = self._scale_and_shift
        values = examples.astype(np.float32)
        values *= scale
        values += shift
        return values

    def held_out(self, share: float) -> tuple[Dataset, Dataset]:
        """Two that train on the same: all but ``share`` of the training examples.

        The first has the test examples to be evaluated on, the second what was held out. Which
        examples these are is drawn once for all runs, whatever their seed.
        """
        count = round(share * len(self.train_y))
        order = generator(0, "validation").permutation(len(self.train_y))
        out, kept = np.sort(order[:count]), np.sort(order[count:])
        less = replace(self, train_x=self.train_x[kept], train_y=self.train_y[kept])
        return less, replace(less, test_x=self.train_x[out], test_y=self.train_y[out])

    @cached_property
    def test_inputs(self) -> NDArray[np.float32]:
        """The inputs of all test examples, kept, for every evaluation needs them all."""
        return self.inputs(self.test_x)

    @cached_property
    def _scale_and_shift(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, std = np.array(self.mean), np.array(self.std)
        scale, shift = 1.0 / (255.0 * std), -mean / std
        return scale.astype(np.float32)[:, None, None], shift.astype(np.float32)[:, None, None]


class Source(Hashable, Protocol):
    """Something that can read a data set.

    Attributes
    ----------
    model : str
        The model that an experiment takes which names none.
    shape : tuple of int
        Of one example.
    """

    @property
    def model(self) -> str: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    def check(self, root: Path) -> None:
        """Raise a ValueError or ImportError if `read` can't work."""

    def read(self, root: Path) -> Dataset:
        """Read what is under ``root``."""

    def download(self, root: Path) -> None:
        """Get it from the network into ``root``."""


class OfAnySize(ABC):
    """A source whose sizes are known when it has been read, wherever the experiments' data lie."""

    @property
    def model(self) -> str:
        """A multilayer perceptron of the size that the data ask for."""
        data = self.read(Path())
        return f"mlp(inputs={np.prod(self.shape, dtype=int)}, classes={data.classes})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.read(Path()).train_x.shape[1:]

    def check(self, root: Path) -> None:
        """Raise a ValueError or ImportError unless it can be read, by reading it."""
        self.read(root)

    @abstractmethod
    def read(self, root: Path) -> Dataset:
        """Read it, once a process."""


def not_found(name: str, wanted: Path, cure: str) -> Exception:
    """Say that a data set is not where it was looked for."""
    return requirement("dataset", f"be there for `{name}`", f"no {wanted}", cure)


def no_download(name: str, reason: str) -> Exception:
    """Say that a data set can't be downloaded."""
    return requirement("dataset", "be one that can be downloaded", f"`{name}`, {reason}", "See "
                       "clients/data for the file that is read")
