"""Optimisers at the server: what step is taken along the aggregate of a round.

    theta <- (1 - gamma wd) theta - gamma D,   D = step(R)

R is what the rule made of the round, gamma and wd are `Resam`'s ``learning_rate`` (1, or a
schedule) and ``weight_decay``. The formulas are those of Flower's FedAvgM, FedAdam, FedYogi and
FedAdagrad, of which R is minus their delta. They are for parameters: buffers go straight.

Defaults are Flower's, but for one. Nodes send momentum, which lags behind the model, and momentum
at the server (``beta_1``) adds a second lag: the model swings past where it should go, and swings
on. So ``beta_1`` is 0 here. Where nodes send plain updates (``momentum_mod(beta=0)``), 0.9 does
what it does in FedAdam.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import check_positive, real, requirement
from .spelling import making

Vector = NDArray[np.float64]


class Optimizer(ABC):
    """Makes the step of a round of its aggregate, coordinate by coordinate."""

    @property
    @abstractmethod
    def moments(self) -> tuple[str, ...]:
        """The names of the vectors that are remembered."""

    @property
    def inertia(self) -> float:
        """How much of a step the next one goes on with."""
        return 0.0

    @property
    def lineage(self) -> str:
        """What a run must share to go on with its moments: all but the learning rate."""
        shared = {name: value for name, value in vars(self).items() if name != "learning_rate"}
        return f"{type(self).__name__} {shared}"

    def start(self, size: int, dtype: np.dtype[Any]) -> dict[str, Any]:
        """What is remembered before the first step: plain values and arrays, for a checkpoint.

        Parameters
        ----------
        size : int
            The number of parameters.
        dtype : dtype
            Of the model; moments are float32 at least.
        """
        wide = np.result_type(dtype, np.float32)
        return {"steps": 0, **{name: np.zeros(size, wide) for name in self.moments}}

    @abstractmethod
    def step(
        self, aggregate: Vector, moments: Mapping[str, Vector], number: int
    ) -> tuple[Vector, Mapping[str, Vector]]:
        """The direction D, and the moments after it; nothing that is given is changed.

        Parameters
        ----------
        aggregate : array
            R, or any part of its coordinates.
        moments : mapping of arrays
            Those of the same coordinates.
        number : int
            Of the step, from 1.
        """


@dataclass(frozen=True)
class Descent(Optimizer):
    """``D = R``: with `learning_rate` 1 and the mean, FedAvg."""

    @property
    def moments(self) -> tuple[str, ...]:
        """None."""
        return ()

    def step(
        self, aggregate: Vector, moments: Mapping[str, Vector], number: int
    ) -> tuple[Vector, Mapping[str, Vector]]:
        """R itself."""
        return aggregate, {}


@dataclass(frozen=True)
class Momentum(Optimizer):
    """FedAvgM: ``m <- mu m + R``, ``D = eta m``.

    A direction that stays is multiplied by 1 / (1 - mu). Over momentum at the nodes, with beta
    there, it is for short steps only: where local training goes the share c of the way to its
    optimum, it is stable at least where ``eta c < (1 - mu) (1 - mu + 1 - beta)``, and not far
    beyond: with 0.9 and 0.9 up to 0.023, with 0.5 at the server up to 0.61. Plain descent is
    stable for all c up to 1.

    Parameters
    ----------
    momentum : float
        mu, 0 <= mu < 1. Flower's default is 0, which is plain descent.
    learning_rate : float (default: 1.0)
        eta.

    Examples
    --------
    >>> optimizer = Momentum(0.5)
    >>> optimizer.step(np.array([1.0]), {"m": np.array([4.0])}, 2)
    (array([3.]), {'m': array([3.])})
    """

    momentum: float
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_share("momentum", self.momentum)
        _check_rate(self.learning_rate)

    @property
    def moments(self) -> tuple[str, ...]:
        """The momentum."""
        return ("m",)

    @property
    def inertia(self) -> float:
        """Mu."""
        return self.momentum

    def step(
        self, aggregate: Vector, moments: Mapping[str, Vector], number: int
    ) -> tuple[Vector, Mapping[str, Vector]]:
        """The momentum, times the rate."""
        m = self.momentum * moments["m"] + aggregate
        return self.learning_rate * m, {"m": m}


@dataclass(frozen=True)
class _Adaptive(Optimizer):
    """Divides by what a coordinate's aggregates were like: ``D = eta m / (sqrt(v) + tau)``.

    ``m <- beta_1 m + (1 - beta_1) R``, which is R with ``beta_1 = 0`` and then not kept. Of v its
    root is kept, which has the range of R: squares of float32 numbers have not.
    """

    learning_rate: float = 0.1
    beta_1: float = 0.0
    beta_2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_rate(self.learning_rate)
        _check_share("beta_1", self.beta_1)
        _check_share("beta_2", self.beta_2)
        check_positive("tau", self.tau, "Use 1e-3")

    @property
    def moments(self) -> tuple[str, ...]:
        """The root of v, and m where it is not R."""
        return ("root-v", "m") if self.beta_1 else ("root-v",)

    @property
    def inertia(self) -> float:
        """beta_1."""
        return self.beta_1

    def step(
        self, aggregate: Vector, moments: Mapping[str, Vector], number: int
    ) -> tuple[Vector, Mapping[str, Vector]]:
        """The average over the root."""
        kept = {"root-v": self._root(moments["root-v"], aggregate)}
        m = aggregate
        if self.beta_1:
            m = kept["m"] = self.beta_1 * moments["m"] + (1.0 - self.beta_1) * aggregate
        return self._rate(number) * m / (kept["root-v"] + self.tau), kept

    @abstractmethod
    def _root(self, root: Vector, aggregate: Vector) -> Vector:
        """The root of the next v."""

    def _rate(self, number: int) -> float:
        """The eta of a step."""
        return self.learning_rate


@dataclass(frozen=True)
class Adam(_Adaptive):
    """FedAdam: ``v <- beta_2 v + (1 - beta_2) R^2``.

    ``D = eta_t m / (sqrt(v) + tau)`` with
    ``eta_t = eta sqrt(1 - beta_2^(t + 1)) / (1 - beta_1^(t + 1))`` in step t, as in Flower.

    Parameters
    ----------
    learning_rate : float (default: 0.1)
        eta: about the length of a coordinate's step, whatever the length of R.
    beta_1 : float (default: 0.0)
        Momentum at the server, 0.9 in Flower; see the module for why it is 0.
    beta_2 : float (default: 0.99)
        Of the average of squares.
    tau : float (default: 1e-3)
        What the root is compared with: aggregates far below it are not scaled up to eta.

    Examples
    --------
    >>> direction, moments = Adam(beta_2=0.0).step(np.array([3.0]), {"root-v": np.zeros(1)}, 1)
    >>> direction.round(4), moments
    (array([0.1]), {'root-v': array([3.])})
    """

    def _root(self, root: Vector, aggregate: Vector) -> Vector:
        # The root of an average of squares, without the squares.
        return np.hypot(math.sqrt(self.beta_2) * root, math.sqrt(1.0 - self.beta_2) * aggregate)

    def _rate(self, number: int) -> float:
        of_squares = math.sqrt(1.0 - self.beta_2 ** (number + 1))
        return self.learning_rate * of_squares / (1.0 - self.beta_1 ** (number + 1))


@dataclass(frozen=True)
class Yogi(_Adaptive):
    """FedYogi: ``v <- v - (1 - beta_2) R^2 sign(v - R^2)``, which forgets no faster than R^2.

    Parameters
    ----------
    learning_rate : float (default: 0.01)
    beta_1, beta_2, tau : float (default: 0.0, 0.99, 1e-3)
        As of `Adam`.
    """

    learning_rate: float = 0.01

    def _root(self, root: Vector, aggregate: Vector) -> Vector:
        size, part = np.abs(aggregate), math.sqrt(1.0 - self.beta_2) * np.abs(aggregate)
        grown = np.hypot(root, part)
        shrunk = np.sqrt(np.maximum(root - part, 0.0)) * np.sqrt(root + part)
        return np.where(root < size, grown, np.where(root > size, shrunk, root))


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """FedAdagrad: ``v <- v + R^2``, ``D = eta R / (sqrt(v) + tau)``.

    Parameters
    ----------
    learning_rate : float (default: 0.1)
    tau : float (default: 1e-3)
    """

    learning_rate: float = 0.1
    tau: float = 1e-3

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_rate(self.learning_rate)
        check_positive("tau", self.tau, "Use 1e-3")

    @property
    def moments(self) -> tuple[str, ...]:
        """The root of v."""
        return ("root-v",)

    def step(
        self, aggregate: Vector, moments: Mapping[str, Vector], number: int
    ) -> tuple[Vector, Mapping[str, Vector]]:
        """The aggregate over the root."""
        root = np.hypot(moments["root-v"], aggregate)
        return self.learning_rate * aggregate / (root + self.tau), {"root-v": root}


def checked_optimizer(optimizer: object) -> Optimizer:
    """Return it, `Descent` for None; or raise for what is none, such as the class of one."""
    if optimizer is None:
        return Descent()
    if not isinstance(optimizer, Optimizer):
        written = "Adam(learning_rate=0.1), say"
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            written = making(optimizer)
        raise requirement(
            "optimizer", "be one of flwr_resam.optimizers, or None", repr(optimizer),
            f"Write {written}", error=TypeError,
        )
    return optimizer


def _check_rate(rate: float) -> None:
    check_positive("learning_rate", rate, "Use 0.1, say; a schedule is for Resam's own")


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= real(value) < 1.0:
        raise requirement(name, f"satisfy 0 <= {name} < 1", f"{name} = {value!r}", "Use 0.0")
