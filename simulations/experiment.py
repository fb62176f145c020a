"""The settings of one experiment, checked as a whole before anything runs."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clients import data, models
from clients.byzantine import Conduct, on_device, planned
from clients.partitions import parse_partition
from flwr_resam import Adversary, parse_rule
from flwr_resam.attacks import Attack
from flwr_resam.errors import requirement
from flwr_resam.momentum import checked_beta
from flwr_resam.parse import Plan
from flwr_resam.registry import unknown_name
from flwr_resam.rule import checked_f
from flwr_resam.server.aggregation import checked_device

PROJECT = Path(__file__).resolve().parents[1]

# Where a run reads and writes does not make it another run.
PLACES = ("output-dir", "data-dir")

_WRITTEN = {
    str: "Write it in quotes",
    int: "Write a whole number",
    float: "Write a number",
    bool: "Write true or false",
}


@dataclass(frozen=True)
class Experiment:
    """One run; the fields are the run-config keys of pyproject.toml, which says what each means."""

    dataset: str
    data_dir: str
    model: str
    partition: str
    num_nodes: int
    num_malicious_nodes: int
    attack: str
    aggregator: str
    beta: float
    num_rounds: int
    learning_rate: float
    learning_rate_decay: int
    weight_decay: float
    batch_size: int
    local_steps: int
    local_learning_rate: float
    l2: float
    clip_norm: float
    evaluate_every: int
    seed: int
    output_dir: str
    connect_timeout: float
    round_timeout: float
    device: str
    checkpoint_every: int
    resume: bool

    @classmethod
    def read(cls, run_config: Mapping[str, Any]) -> Experiment:
        """Read and check a run-config.

        Raises
        ------
        ValueError
            One sentence on the first setting that is wrong.
        """
        known = {field.name.replace("_", "-"): field.name for field in fields(cls)}
        for key in run_config:
            if key not in known:
                raise unknown_name(key, sorted(known), "run-config key")
        kinds: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
        values: dict[str, Any] = {}
        for field in fields(cls):
            key = field.name.replace("_", "-")
            kind = kinds[str(field.type)]
            value = run_config[key]
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if type(value) is not kind:
                unquoted = " without quotes" if isinstance(value, str) else ""
                raise requirement(
                    key, f"be of type {kind.__name__}", f"{value!r}", _WRITTEN[kind] + unquoted,
                )
            values[field.name] = value
        experiment = cls(**values)
        experiment.check()
        return experiment

    @classmethod
    def default(cls, overrides: Mapping[str, Any] | None = None) -> Experiment:
        """Return the experiment of pyproject.toml, with some settings changed."""
        return cls.read({**defaults(), **(overrides or {})})

    def run_config(self) -> dict[str, Any]:
        """The settings under the names that Flower's run-config has."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}

    def check(self) -> None:
        """Raise a ValueError on the first setting that can't work."""
        models.chosen(self.model, self.dataset)
        if self.data_dir and not Path(self.data_dir).expanduser().is_absolute():
            raise requirement(
                "data-dir", "be an absolute path", repr(self.data_dir),
                "Flower runs the apps in folders of their own; write the whole path",
            )
        data.check(self.dataset, self.data_dir)
        parse_partition(self.partition)
        f = checked_f(self.num_malicious_nodes)
        _above("num-nodes", self.num_nodes, 0)
        try:
            parse_rule(self.aggregator).check(self.num_nodes, f)
            self._check_attack()
        except ValueError as error:  # the library names its parameter, not the run-config's key
            message = str(error).replace("`num_malicious_nodes`", "`num-malicious-nodes`")
            raise ValueError(message) from None
        checked_beta(self.beta)
        for name in ("num_rounds", "batch_size", "local_steps", "evaluate_every"):
            _above(name.replace("_", "-"), getattr(self, name), 0)
        for name in ("learning_rate", "local_learning_rate", "connect_timeout", "round_timeout"):
            _above(name.replace("_", "-"), getattr(self, name), 0.0)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise requirement(
                    field.name.replace("_", "-"), "be a finite number", value, "Use the default",
                )
        for name in (
            "learning_rate_decay", "weight_decay", "l2", "clip_norm", "seed", "checkpoint_every",
        ):
            if getattr(self, name) < 0:
                raise requirement(
                    name.replace("_", "-"), "be at least 0", getattr(self, name), "Use 0"
                )
        if self.seed >= 1 << 63:
            raise requirement("seed", "be below 2**63", self.seed, "Use a smaller one")
        checked_device(self.device)
        if (self.checkpoint_every or self.resume) and not self.output_dir:
            raise requirement(
                "output-dir", "be given for checkpoints", "none", "Name a folder for them",
            )
        if self.output_dir and not Path(self.output_dir).is_absolute():
            raise requirement(
                "output-dir", "be an absolute path", repr(self.output_dir),
                "Flower runs the ServerApp in a folder of its own; write the whole path",
            )

    def rate(self, server_round: int) -> float:
        """``gamma / (1 + floor(t / k))`` with t = ``server_round`` - 1 and k the decay."""
        if not self.learning_rate_decay:
            return self.learning_rate
        return self.learning_rate / (1 + (server_round - 1) // self.learning_rate_decay)

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
    """The run-config of pyproject.toml."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    return MappingProxyType(project["tool"]["flwr"]["app"]["config"])


def _above(name: str, value: float, limit: float) -> None:
    if not value > limit:
        raise requirement(name, f"be above {limit}", value, "Use 1 or the default")
