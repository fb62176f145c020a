"""Models, by the names that run-configs use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import nn

from clients import data
from clients.objects import Objects
from flwr_resam.errors import requirement
from flwr_resam.parse import parse_item
from flwr_resam.registry import Registry
from flwr_resam.spelling import Named


@dataclass(frozen=True)
class Model:
    """How to make a model, and the shape of the examples it takes: flat ones of any shape, too."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]


def chosen(model: str, dataset: str) -> str:
    """The name of the model that an experiment trains; "" is the data set's own.

    Raises
    ------
    ValueError
        For a name that is not in `MODELS`, or a model of other inputs.
    """
    source = data.named(dataset)
    name = model or source.model
    taken = named(name).shape
    if taken not in (source.shape, (math.prod(source.shape),)):
        fit = [other for other, each in MODELS.items() if each.shape == source.shape]
        sized = f"mlp(inputs={math.prod(source.shape)}, classes=...)"
        raise requirement(
            "model", f"take the examples of `{dataset}`, which are {source.shape}",
            f"`{name}`, which takes {taken}", f"Use {' or '.join([*fit, sized])}",
        )
    return name


def build(name: str, seed: int) -> nn.Module:
    """Build a model with the initial parameters that the seed gives."""
    return _made(named(name), seed)


def _made(model: Model | Sized, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.make()


def empty(model: str | Model | Sized) -> nn.Module:
    """Build a model whose parameters are still to be loaded.

    Not on the meta device, which would draw nothing for them: the first use of that imports half
    a second of PyTorch, in every process of a federation, and no later one is faster for it.
    """
    return channels_last(_made(named(model) if isinstance(model, str) else model, seed=0))


def channels_last(model: nn.Module) -> nn.Module:
    """Lay convolutions out with the channels innermost: pooling then takes a tenth of the time."""
    return model.to(memory_format=torch.channels_last)


def _digits_mlp() -> nn.Module:
    """64-32-10: 2,410 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def _mnist_mlp() -> nn.Module:
    """784-100-10: 79,510 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))


def _mnist_cnn() -> nn.Module:
    """Two convolutions of 5 x 5, of 20 and 50 channels, and 800-500-10: 431,080 parameters.

    To pool before the ReLU is to pool after it, on a quarter of the values: neither a sum nor a
    rounding is another.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )


def _cifar_cnn() -> nn.Module:
    """Two convolutions of 64 channels, two of 128, and 8192-128-10: 1,310,922 parameters."""

    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]

    return nn.Sequential(
        *convolution(3, 64), *convolution(64, 64), nn.MaxPool2d(2), nn.Dropout(0.25),
        *convolution(64, 128), *convolution(128, 128), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(8192, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10),
    )


@dataclass(frozen=True)
class Sized(Named):
    """A model of a size that the run-config gives, for data of any shape."""

    inputs: int
    classes: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise requirement(field.name, "be at least 1", getattr(self, field.name), "Use 10")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its inputs, as one line."""
        return (self.inputs,)

    def make(self) -> nn.Module:
        """Return the network."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Sized):
    """One layer."""

    name: ClassVar[str] = "linear"

    def make(self) -> nn.Module:
        """Return inputs-classes."""
        return nn.Sequential(nn.Flatten(), nn.Linear(self.inputs, self.classes))


@dataclass(frozen=True)
class Mlp(Sized):
    """One hidden layer."""

    hidden: int = 100
    name: ClassVar[str] = "mlp"

    def make(self) -> nn.Module:
        """Return inputs-hidden-classes."""
        return nn.Sequential(
            nn.Flatten(), nn.Linear(self.inputs, self.hidden), nn.ReLU(),
            nn.Linear(self.hidden, self.classes),
        )


def named(name: str) -> Model | Sized:
    """The model of a name, or of a name with sizes such as ``mlp(inputs=13, classes=3)``."""
    return MODELS[name] if name.partition("(")[0].strip() not in SIZED else parse_item(name, SIZED)


SIZED: Registry[Sized] = Registry("sized model", Sized, [Linear, Mlp])

MODELS: Objects[Model] = Objects("model", {
    "digits-mlp": Model(_digits_mlp, (64,)),
    "mnist-mlp": Model(_mnist_mlp, (1, 28, 28)),
    "mnist-cnn": Model(_mnist_cnn, (1, 28, 28)),
    "cifar-cnn": Model(_cifar_cnn, (3, 32, 32)),
}, group="flwr_resam.models", has=("make", "shape"))
