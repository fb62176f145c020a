"""Milliseconds of the gradients of one batch, and of ten clients' batches, each way to take them.

Of one batch: PyTorch's autograd through `clients.gradients.forward`, through
`torch.func.functional_call`, and `torch.func.grad`. Of ten: one after the other,
`clients.gradients.grouped_gradients`, and `torch.func.vmap`. Batches of 25, one thread, random
images. ``python -m benchmarks.gradients`` writes ``benchmarks/results/gradients.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from benchmarks.machine import RESULTS, alternate, describe
from clients.gradients import State, forward, grouped_gradients, is_dense, is_plain
from clients.models import MODELS, empty

BATCH, CLIENTS = 25, 10
Run = Callable[[nn.Module, State, torch.Tensor, torch.Tensor], object]


def through_forward(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> object:
    """What an honest client does."""
    parameters = {name: value.detach().requires_grad_() for name, value in state.items()}
    loss = cross_entropy(forward(model, parameters, inputs), labels)
    return torch.autograd.grad(loss, list(parameters.values()))


def through_functional_call(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> object:
    """What it does with a model of other layers."""
    parameters = {n: state[n].detach().requires_grad_() for n, _ in model.named_parameters()}
    loss = cross_entropy(functional_call(model, {**state, **parameters}, (inputs,)), labels)
    return torch.autograd.grad(loss, list(parameters.values()))


def through_func_grad(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> object:
    """PyTorch's functional gradient."""
    return grad_and_value(_loss(model))(dict(state), inputs, labels)


def one_by_one(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> object:
    """The clients in turn."""
    return [through_forward(model, state, x, y) for x, y in zip(inputs, labels, strict=True)]


def through_vmap(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> object:
    """PyTorch's functional gradient of all clients."""
    return vmap(grad_and_value(_loss(model)), in_dims=(None, 0, 0))(dict(state), inputs, labels)


def _loss(model: nn.Module) -> Callable[[State, torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda state, inputs, labels: cross_entropy(
        functional_call(model, dict(state), (inputs,)), labels
    )


def measure(name: str, repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds by number of batches and by way, for one model."""
    model = empty(name).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    one: dict[str, Run] = {"functional_call": through_functional_call}
    several: dict[str, Run] = {}
    if is_plain(model):
        one |= {"forward": through_forward, "func.grad": through_func_grad}
        several |= {"one by one": one_by_one, "vmap": through_vmap}
    if is_dense(model):
        several["one pass"] = grouped_gradients
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(CLIENTS, BATCH, *MODELS[name].shape, generator=draw)
    labels = torch.randint(10, (CLIENTS, BATCH), generator=draw)
    found = {}
    for title, ways, x, y in (
        ("one batch", one, inputs[0], labels[0]), (f"{CLIENTS} batches", several, inputs, labels),
    ):
        candidates: dict[str, Callable[[], object]] = {
            way: partial(run, model, state, x, y) for way, run in ways.items()
        }
        for run_once in candidates.values():
            run_once()
        times = alternate(candidates, repeats, seconds=20.0)
        found[title] = {way: round(wall, 3) for way, (wall, _) in times.items()}
    return found


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--output", type=Path, default=RESULTS / "gradients.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    before = describe()
    content = {
        "setting": {"batch-size": BATCH, "clients": CLIENTS, "torch-threads": 1}, **before,
        "milliseconds": {name: measure(name, chosen.repeats) for name in MODELS},
    }
    chosen.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["milliseconds"], indent=1))


if __name__ == "__main__":
    main()
