"""Models, by the data set they are for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def build(dataset: str, seed: int) -> nn.Module:
    """Build the model for a data set, with the initial parameters that the seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[dataset]()


def _digits_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "digits": _digits_mlp,
}
