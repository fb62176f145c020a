"""The settings of one experiment, checked as a whole before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Self, cast

from clients import data, models
from clients.byzantine import on_device, planned
from clients.byzantine.mod import Conduct
from clients.partitions import parse_partition
from clients.settings import ClientSettings, setting
from flwr_resam import Adversary, parse_rule
from flwr_resam.attacks import Attack
from flwr_resam.errors import requirement
from flwr_resam.momentum import checked_beta
from flwr_resam.parse import Plan
from flwr_resam.plugins import located
from flwr_resam.registry import unknown_name
from flwr_resam.rule import checked_f
from flwr_resam.server.folders import checked_path
from flwr_resam.server.rounds import OnRound
from flwr_resam.server.settings import checked_device

PROJECT = Path(__file__).resolve().parents[1]

# Where a run reads and writes does not make it another run.
PLACES = ("output-dir", "data-dir", "spill", "plugins", "on-round")


@dataclass(frozen=True)
class Experiment(ClientSettings):
    """One run: the nodes' settings and the server's.

    The fields are the run-config keys of pyproject.toml, which says what each means.
    """

    aggregator: str = setting("mda")
    num_rounds: int = setting(100, above=0)
    learning_rate: float = setting(0.75, above=0.0)
    learning_rate_decay: int = setting(0, least=0)
    weight_decay: float = setting(0.0, least=0)
    evaluate_every: int = setting(1, above=0)
    evaluate_on: str = setting("test")
    output_dir: str = setting("")
    spill: str = setting("")
    on_round: str = setting("")
    checkpoint_every: int = setting(0, least=0)
    resume: bool = setting(False)
    connect_timeout: float = setting(60.0, above=0.0)
    round_timeout: float = setting(3600.0, above=0.0)

    @classmethod
    def read(cls, run_config: Mapping[str, Any], *, here: bool = True) -> Self:
        """Read and check a run-config; ``here`` says whether this machine is to run it.

        Raises
        ------
        ValueError
            One sentence on the first setting that is wrong.
        """
        for key in run_config:
            if key not in cls.by_key():
                raise unknown_name(key, sorted(cls.by_key()), "run-config key")
        experiment = super().read(run_config)
        experiment.check(here=here)
        return experiment

    @classmethod
    def default(cls, overrides: Mapping[str, Any] | None = None, *, here: bool = True) -> Self:
        """Return the default experiment, with some settings changed.

        Plugins that are found from here are named so that any process of this machine finds them.
        """
        found = {**defaults(), **(overrides or {})}
        if isinstance(found["plugins"], str):
            found["plugins"] = located(found["plugins"])
        return cls.read(found, here=here)

    def run_config(self) -> dict[str, Any]:
        """The settings under the names that Flower's run-config has."""
        return {key: getattr(self, each.name) for key, each in self.by_key().items()}

    def check(self, *, here: bool = True) -> None:
        """Raise a ValueError on the first setting that can't work.

        Where a cluster runs it, and not this machine, its device and its data are not looked for.
        """
        models.chosen(self.model, self.dataset)
        if self.data_dir and not Path(self.data_dir).expanduser().is_absolute():
            raise requirement(
                "data-dir", "be an absolute path", repr(self.data_dir),
                "Flower runs the apps in folders of their own; write the whole path",
            )
        if here:
            data.check(self.dataset, self.data_dir)
        self._check_validation()
        parse_partition(self.partition)
        f = checked_f(self.num_malicious_nodes)
        self._check_range("num-nodes")
        try:
            parse_rule(self.aggregator).check(self.num_nodes, f)
            self._check_attack()
        except ValueError as error:  # the library names its parameter, not the run-config's key
            message = str(error).replace("`num_malicious_nodes`", "`num-malicious-nodes`")
            raise ValueError(message) from None
        checked_beta(self.beta)
        for key in self.by_key():
            self._check_range(key)
        if self.seed >= 1 << 63:
            raise requirement("seed", "be below 2**63", self.seed, "Use a smaller one")
        if here:
            checked_device(self.device)
            self.tracker()
        if (self.checkpoint_every or self.resume) and not self.output_dir:
            raise requirement(
                "output-dir", "be given for checkpoints", "none", "Name a folder for them",
            )
        for key, folder in (("output-dir", self.output_dir), ("spill", self.spill)):
            path = checked_path(key, folder)
            if path is not None and not path.is_absolute():
                raise requirement(
                    key, "be an absolute path", repr(folder),
                    "Flower runs the ServerApp in a folder of its own; write the whole path",
                )

    def rate(self, server_round: int) -> float:
        """``gamma / (1 + floor(t / k))`` with t = ``server_round`` - 1 and k the decay."""
        if not self.learning_rate_decay:
            return self.learning_rate
        return self.learning_rate / (1 + (server_round - 1) // self.learning_rate_decay)

    def tracker(self) -> OnRound | None:
        """The function that ``on-round`` names, for `Resam`."""
        if not self.on_round:
            return None
        try:
            found = resolve_name(self.on_round)
        except (ImportError, AttributeError, ValueError) as error:
            raise requirement(
                "on-round", "name a function that can be imported here, as module:function",
                f"{self.on_round!r} ({error})", "Install its module, or name it in `plugins`",
            ) from error
        if not callable(found):
            raise requirement(
                "on-round", "name a function", f"{self.on_round!r}, a {type(found).__name__}",
                "Name what takes a RoundReport",
            )
        return cast(OnRound, found)

    def plans(self) -> list[tuple[Plan[Attack | Conduct], range]]:
        """Which of the last f partitions each of the run's attacks is on; none without one."""
        if self.attack == "none":
            return []
        return planned(self.attack, self.num_nodes, self.num_malicious_nodes)

    def adversaries(self) -> list[Adversary]:
        """The omniscient adversaries, which know the rule; what devices do alone is not theirs."""
        f = self.num_malicious_nodes
        rule = parse_rule(self.aggregator)
        return [
            Adversary(plan.what.against(rule, f), partitions=partitions, schedule=plan.schedule)
            for plan, partitions in self.plans()
            if isinstance(plan.what, Attack) and not on_device(plan)
        ]

    def _check_range(self, key: str) -> None:
        own = self.by_key()[key]
        value, above, least = getattr(self, own.name), own.metadata["above"], own.metadata["least"]
        if above is not None and not value > above:
            raise requirement(key, f"be above {above}", value, "Use 1 or the default")
        if isinstance(value, float) and not math.isfinite(value):
            raise requirement(key, "be a finite number", value, "Use the default")
        if least is not None and value < least:
            raise requirement(key, f"be at least {least}", value, f"Use {least}")

    def _check_validation(self) -> None:
        if not self.validation_share < 1.0:
            raise requirement(
                "validation-share", "be below 1, or nothing is left to train on",
                self.validation_share, "Use 0.1",
            )
        if self.evaluate_on not in ("test", "validation"):
            raise requirement(
                "evaluate-on", "be `test` or `validation`", repr(self.evaluate_on),
                "Use one of these",
            )
        if self.evaluate_on == "validation" and not self.validation_share:
            raise requirement(
                "validation-share", "be above 0 where `evaluate-on` is `validation`", 0.0,
                "Use 0.1",
            )

    def _check_attack(self) -> None:
        if self.attack == "none":
            return
        if self.num_malicious_nodes == 0:
            raise requirement(
                "num-malicious-nodes", f"be at least 1 for attack `{self.attack}`", 0,
                "Set attack='none' or make some nodes malicious",
            )
        honest = self.num_nodes - self.num_malicious_nodes
        for adversary in self.adversaries():
            adversary.attack.check(honest, len(adversary.partitions))


@cache
def defaults() -> Mapping[str, Any]:
    """The run-config of the default experiment; that of pyproject.toml, for `flwr run`."""
    return MappingProxyType(Experiment().run_config())
