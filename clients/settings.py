"""What a node reads from the run-config, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClientSettings:
    """The run-config keys that concern a node; see pyproject.toml for what each means."""

    dataset: str
    data_dir: str
    model: str
    partition: str
    seed: int
    num_nodes: int
    num_malicious_nodes: int
    attack: str
    beta: float
    batch_size: int
    local_steps: int
    local_learning_rate: float
    l2: float
    clip_norm: float
    device: str

    @classmethod
    def read(cls, run_config: Any) -> ClientSettings:
        """Read the settings from ``context.run_config``."""
        return cls(
            dataset=str(run_config["dataset"]),
            data_dir=str(run_config["data-dir"]),
            model=str(run_config["model"]),
            partition=str(run_config["partition"]),
            seed=int(run_config["seed"]),
            num_nodes=int(run_config["num-nodes"]),
            num_malicious_nodes=int(run_config["num-malicious-nodes"]),
            attack=str(run_config["attack"]),
            beta=float(run_config["beta"]),
            batch_size=int(run_config["batch-size"]),
            local_steps=int(run_config["local-steps"]),
            local_learning_rate=float(run_config["local-learning-rate"]),
            l2=float(run_config["l2"]),
            clip_norm=float(run_config["clip-norm"]),
            device=str(run_config["device"]),
        )
