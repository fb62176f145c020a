"""What a node does to its own examples before it trains: data poisoning, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clients.data import Dataset
from flwr_resam.errors import requirement


class Poison(Protocol):
    """A change of a batch. Equal ones make the same change; it may have a goal."""

    def __hash__(self) -> int: ...

    def check(self, dataset: Dataset) -> None:
        """Raise a ValueError where the data set has no such classes or inputs."""

    def batch(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], dataset: Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The inputs and labels to train on; those given are not changed."""

    def goal(self, dataset: Dataset) -> Goal | None:
        """What the attacker wants of the model; None where it just wants to harm."""


@dataclass(frozen=True, eq=False)
class Goal:
    """Test examples, and the class that the attacker wants them to be taken for.

    Attributes
    ----------
    inputs : (k, ...) float32 array
        None of them of that class.
    target : int
    """

    inputs: NDArray[np.float32]
    target: int


@dataclass(frozen=True)
class FlippedLabels:
    """Labels turned round, L - 1 - y; or those of one class into another's.

    Examples
    --------
    >>> labels = np.array([0, 1, 2])
    >>> digits = Dataset(np.empty(0), labels, np.empty(0), labels, classes=10)
    >>> FlippedLabels().batch(np.empty((3, 1), np.float32), labels, digits)[1]
    array([9, 8, 7])
    >>> FlippedLabels(source=1, target=7).batch(np.empty((3, 1), np.float32), labels, digits)[1]
    array([0, 7, 2])
    """

    source: int | None = None
    target: int | None = None

    def check(self, dataset: Dataset) -> None:
        """Raise for a class that there is not."""
        for name in ("source", "target"):
            if getattr(self, name) is not None:
                check_class(name, getattr(self, name), dataset)

    def batch(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], dataset: Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The inputs, and other labels."""
        if self.source is None or self.target is None:
            return inputs, dataset.classes - 1 - labels
        return inputs, np.where(labels == self.source, self.target, labels)

    def goal(self, dataset: Dataset) -> Goal | None:
        """Examples of the one class, taken for the other."""
        if self.source is None or self.target is None:
            return None
        return Goal(dataset.test_inputs[dataset.test_y == self.source], self.target)


@dataclass(frozen=True)
class Trigger:
    """A mark on a share of each batch, with the target's label.

    The mark is a square of ``size`` x ``size`` pixels in the lower right corner of an image, in all
    its channels, or the last ``size`` inputs of an example without height and width. It has the
    largest value among all training inputs.
    """

    target: int = 0
    share: float = 0.5
    size: int = 3

    def check(self, dataset: Dataset) -> None:
        """Raise for a class that there is not, and a mark that covers an example or more."""
        check_class("target", self.target, dataset)
        shape = dataset.train_x.shape[1:]
        room = min(shape[-2:]) if len(shape) > 1 else shape[0]
        if self.size >= room:
            raise requirement(
                "size", f"be less than the {room} of an example", self.size, "Use 3"
            )

    def batch(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], dataset: Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The first of a batch, which is drawn at random, marked; at least one."""
        count = max(1, round(self.share * len(labels)))
        inputs, labels = inputs.copy(), labels.copy()
        inputs[:count] = self.marked(inputs[:count], dataset)
        labels[:count] = self.target
        return inputs, labels

    def marked(self, inputs: NDArray[np.float32], dataset: Dataset) -> NDArray[np.float32]:
        """The inputs with the mark."""
        found = inputs.copy()
        corner: tuple[Any, ...] = (..., slice(-self.size, None))
        if inputs.ndim > 2:
            corner = (..., slice(-self.size, None), slice(-self.size, None))
        found[corner] = _largest(dataset)
        return found

    def goal(self, dataset: Dataset) -> Goal:
        """Marked examples of all other classes, taken for the target."""
        others = dataset.test_inputs[dataset.test_y != self.target]
        return Goal(self.marked(others, dataset), self.target)


def check_class(parameter: str, value: int, dataset: Dataset) -> None:
    """Raise a ValueError for a class that the data set has not."""
    if not 0 <= value < dataset.classes:
        raise requirement(
            parameter, f"be a class, 0 .. {dataset.classes - 1}", value, "Use 0, say"
        )


def _largest(dataset: Dataset) -> np.float32:
    """The largest value that an input has: of grey levels, white in the brightest channel."""
    if not dataset.mean:
        return np.float32(dataset.train_x.max())
    white = np.full((1, len(dataset.mean), 1, 1), 255, np.uint8)
    return np.float32(dataset.inputs(white).max())
