"""The arguments of `Resam`, checked at construction."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord

from ..aggregators import MDA
from ..errors import check_positive, check_whole, checked_f, real, requirement
from ..optimizers import Descent, Optimizer, checked_optimizer
from ..rule import Aggregator, Chain, PreAggregator, Rule
from ..spelling import meant
from ..wire.buffers import checked_buffers
from ..wire.instruction import RESERVED
from ..wire.layout import MOMENTUM_KEY
from .folders import checked_path, checked_spill
from .quorum import effective_faults
from .root import Root, check_root
from .rounds import OnRound

Rate = Callable[[int], float]

DERIVED = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")  # of others


@dataclass(frozen=True)
class Settings:
    """What a run is made with; `Resam` says what each means.

    Raises
    ------
    ValueError, TypeError
        At construction, where f, the rule and the number of nodes do not fit together, or a
        number is out of range.

    Examples
    --------
    >>> settings = Settings(num_malicious_nodes=2)
    >>> settings.aggregator, settings.min_train_nodes, settings.least_quorum
    (MDA(), 5, 3)
    """

    num_malicious_nodes: int
    aggregator: Aggregator = field(default_factory=MDA)
    learning_rate: float | Rate = 1.0
    weight_decay: float = 0.0
    optimizer: Optimizer = field(default_factory=Descent)
    device: str | None = None
    seed: int | None = None
    max_skipped_rounds: int = 10
    timeout: float = 3600.0
    patience: float = 10.0
    connect_timeout: float = 600.0
    output_dir: Path | None = None
    checkpoint_every: int = 0
    buffers: frozenset[str] | None = None
    spill: Path | None = None
    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    min_train_nodes: int = 0
    min_evaluate_nodes: int = 2
    min_available_nodes: int = 0
    reproducible: bool = False
    on_round: OnRound | None = None
    root: Root | None = None
    given: Mapping[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls, aggregator: Aggregator | None, output_dir: str | Path | None,
        buffers: Collection[str] | None, min_train_nodes: int | None,
        min_available_nodes: int | None, **others: Any,
    ) -> Settings:
        """The settings, where None stands for what the rule needs."""
        return cls(
            aggregator=MDA() if aggregator is None else aggregator,
            output_dir=output_dir,  # type: ignore[arg-type]
            buffers=buffers,  # type: ignore[arg-type]
            min_train_nodes=_least("min_train_nodes", min_train_nodes),
            min_available_nodes=_least("min_available_nodes", min_available_nodes),
            **others,
        )

    def __post_init__(self) -> None:
        """Check each argument, then whether they fit together, and fill in what is derived."""
        self._set("num_malicious_nodes", _faults(self.num_malicious_nodes))
        _check_aggregator(self.aggregator)
        if not callable(self.learning_rate):
            self._set("learning_rate", finite_rate(self.learning_rate))
        self._set("weight_decay", _at_least_zero("weight_decay", self.weight_decay))
        self._set("optimizer", checked_optimizer(self.optimizer))
        self._set("output_dir", checked_path("output_dir", self.output_dir))
        self._set("buffers", checked_buffers(self.buffers))
        self._set("device", checked_device(self.device))
        self._set("spill", checked_spill(self.spill, self.aggregator, self.device))
        _check_reproducible(self.reproducible, self.device)
        self._set("seed", _seed(self.seed))
        check_whole("max_skipped_rounds", self.max_skipped_rounds, "Use 10")
        _check_fraction("fraction_train", self.fraction_train)
        _check_fraction("fraction_evaluate", self.fraction_evaluate)
        check_whole("min_evaluate_nodes", self.min_evaluate_nodes, "Use 2, say", least=0)
        self._set("timeout", checked_timeout(self.timeout))
        self._set("connect_timeout", checked_timeout(self.connect_timeout, "connect_timeout"))
        if not real(self.patience) >= 1.0:
            raise requirement(
                "patience", "be at least 1", f"patience = {self.patience!r}", "Use 10.0, or "
                'float("inf") to wait for the timeout',
            )
        check_whole("checkpoint_every", self.checkpoint_every, "Use 0 for no checkpoints", least=0)
        self._set("checkpoint_every", operator.index(self.checkpoint_every))
        if self.checkpoint_every and self.output_dir is None:
            raise requirement(
                "output_dir", "be given for checkpoints", "none", "Name a folder, or leave out "
                "`checkpoint_every`",
            )
        if self.on_round is not None and not callable(self.on_round):
            raise requirement(
                "on_round", "be callable or None", repr(self.on_round),
                "Give a function of a RoundReport, such as print", error=TypeError,
            )
        check_root(self.root, self.aggregator)
        self._settle_nodes()

    def _settle_nodes(self) -> None:
        """Choose the numbers of nodes that were left open, and check that the rule admits f."""
        self._set("given", {name: getattr(self, name) for name in DERIVED})
        least = self._least_nodes()
        nodes = self.min_available_nodes or self.min_train_nodes or least
        trained = self.min_train_nodes
        if not trained:
            # Of a fraction as many as FedAvg would sample, if the rule can do with so few.
            share = max(least, int(self.fraction_train * nodes))
            trained = share if 0.0 < self.fraction_train < 1.0 else nodes
        self.aggregator.check(trained, self.num_malicious_nodes)
        self._set("min_train_nodes", trained)
        if self.fraction_evaluate > 0.0:
            # So that with f of them silent there are enough for a metric to be believed.
            least = 3 * self.num_malicious_nodes + 1
            self._set("min_evaluate_nodes", max(self.min_evaluate_nodes, least))
        self._set("min_available_nodes", nodes)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _least_nodes(self) -> int:
        f = self.num_malicious_nodes
        tried = range(2, 8 * f + 64)
        # Where none will do, what is wrong shows when the rule checks this one.
        return next((n for n in tried if self.aggregator.admits(n, f)), 2 * f + 1)

    @property
    def least_quorum(self) -> int:
        """The least number of connected nodes with which a round need not be skipped."""
        asked, f = self.min_train_nodes, self.num_malicious_nodes
        return next(
            valid for valid in range(asked + 1)
            if valid == asked
            or effective_faults(self.aggregator, asked=asked, valid=valid, malformed=0, f=f)
            is not None
        )

    def rate(self, server_round: int) -> float:
        """Gamma of a round; a schedule may end at 0, which is a step of length 0."""
        rate = self.learning_rate
        if not callable(rate):
            return rate
        return _at_least_zero("learning_rate", rate(server_round))


def _faults(given: object) -> int:
    """f, which nobody can choose but the user."""
    if given is None:
        raise requirement(
            "num_malicious_nodes", "be given: how many of the nodes may be faulty", "nothing",
            "With n nodes write 0.2 n, say, and less than n / 2; 0 protects against nobody",
            error=TypeError,
        )
    if isinstance(given, str | Aggregator | PreAggregator):
        raise requirement(
            "num_malicious_nodes", "be a whole number", repr(given),
            f"Write Resam(num_malicious_nodes=3, aggregator={_meant(given)})", error=TypeError,
        )
    return checked_f(given)


def _check_aggregator(aggregator: object) -> None:
    """Raise for what is no rule that leaves one vector."""
    if not isinstance(aggregator, Aggregator):
        raise requirement(
            "aggregator", "be an aggregator", repr(aggregator), f"Write {_meant(aggregator)}",
            error=TypeError,
        )
    if isinstance(aggregator, Chain) and isinstance(aggregator.last, PreAggregator):
        raise requirement(
            "aggregator", "end with a rule that leaves one vector", f"`{aggregator}`",
            f"Add one at the right, as in `{aggregator} | mda`",
        )


def _meant(given: object) -> str:
    """The aggregator that what was given in place of one comes nearest to, as it is written."""
    written = meant(
        given, Rule, "parse_rule", "MDA(), say, or another one of flwr_resam.aggregators"
    )
    kind = given if isinstance(given, type) else type(given)
    return f"{written} | MDA()" if issubclass(kind, PreAggregator) else written


def _seed(seed: int | None) -> int | None:
    """A whole number, or None for draws that differ from run to run."""
    if seed is None:
        return None
    check_whole("seed", seed, "Use 0, or None for draws that differ from run to run", least=0)
    return operator.index(seed)


def finite_rate(rate: float) -> float:
    """A learning rate, given or returned by a function of the round."""
    check_positive(
        "learning_rate", rate,
        "Use 1.0 for updates of local training, or the rate of the paper's form",
    )
    return float(rate)


def _at_least_zero(name: str, value: float) -> float:
    """A finite number that is not negative."""
    if not 0.0 <= real(value) < math.inf:
        raise requirement(name, "be a finite number, at least 0", f"{name} = {value!r}", "Use 0.0")
    return float(value)


def _check_fraction(name: str, fraction: float) -> None:
    """Raise a ValueError unless this can be a share of the connected nodes."""
    if not 0.0 <= real(fraction) <= 1.0:
        raise requirement(
            name, "be a number from 0 to 1", f"{name} = {fraction!r}", "Use 1.0 for all nodes"
        )


def _least(name: str, nodes: int | None) -> int:
    """A number of nodes, or 0 for what the rule needs."""
    if nodes is None:
        return 0
    check_whole(name, nodes, "Leave it out for what the rule needs", least=0)
    return operator.index(nodes)


def checked_timeout(seconds: float, name: str = "timeout") -> float:
    """Seconds to wait for the nodes or for the replies of a round."""
    if not real(seconds) > 0:
        raise requirement(
            name, "be a number of seconds above 0", f"{name} = {seconds!r}",
            "Use 3600.0, say; nodes that answer later count as silent",
        )
    return float(seconds)


def check_keys(arrayrecord_key: str, configrecord_key: str) -> None:
    """Raise a ValueError for a key at which this package's own records lie."""
    keys = {"arrayrecord_key": arrayrecord_key, "configrecord_key": configrecord_key}
    for name, key in keys.items():
        if key in (RESERVED, MOMENTUM_KEY):
            raise requirement(
                name, f"be another name than {RESERVED!r} and {MOMENTUM_KEY!r}, which are taken",
                repr(key), "Use FedAvg's, \"arrays\" and \"config\"",
            )


def check_model(arrays: object) -> None:
    """Raise a TypeError unless this is a model as Flower sends it."""
    if not isinstance(arrays, ArrayRecord):
        raise requirement(
            "initial_arrays", "be an ArrayRecord", type(arrays).__name__,
            "Write ArrayRecord(...) of a state_dict or a list of NumPy arrays", error=TypeError,
        )


def _check_reproducible(reproducible: bool, device: str | None) -> None:
    if not isinstance(reproducible, bool):
        raise requirement(
            "reproducible", "be True or False", repr(reproducible), "Use True", error=TypeError
        )
    if reproducible and device:
        raise requirement(
            "reproducible", "be False where torch adds up", f"device = {device!r}",
            "Leave `device` out to aggregate with NumPy",
        )


def checked_device(device: str | None) -> str | None:
    """Return the device, or raise before any work where torch or the device is missing."""
    if not device:
        return None
    try:
        import torch
    except ImportError as error:
        raise requirement(
            "device", "be None where torch is not installed", repr(device),
            "Install torch, or leave `device` out to aggregate with NumPy", error=ImportError,
        ) from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise requirement(
            "device", "name a device that torch can use here", repr(device),
            'Use "cpu", or leave `device` out to aggregate with NumPy',
        ) from error
    return device
