"""What an honest node computes: its gradient, or the average gradient of K local steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from clients import data, models
from clients.data import Dataset
from clients.gradients import Gradients, forward, is_plain, regularise_and_clip
from clients.partitions import share_of
from clients.poison import Goal, Poison
from clients.seeds import generator
from clients.settings import ClientSettings
from flwr_resam.wire.npy import unpack

_EVALUATED = 250  # examples at a time; what a convolution makes of more no longer fits a cache

# Threads share PyTorch's generator, from which dropout and the building of a model draw, and the
# layers that parameters are put into for a forward pass.
_one_at_a_time = Lock()


@dataclass(frozen=True)
class Training:
    """What one round of training gave.

    Attributes
    ----------
    update : dict of arrays
        The gradient by parameter name, averaged over the local steps. Of buffers, such as a
        batch norm's statistics, ``sent - local``; of integer ones the local value.
    loss : float
        The mean loss over the local steps' batches.
    examples : int
        How many examples were seen.
    """

    update: dict[str, NDArray[Any]]
    loss: float
    examples: int


def train(
    arrays: ArrayRecord,
    settings: ClientSettings,
    *,
    server_round: int,
    partition: int,
    poison: Poison | None = None,
) -> Training:
    """Compute the update that momentum is taken of.

    With one local step that is the gradient of the mean loss of one batch, plus ``l2 theta``
    and ``norm-penalty theta / ||theta||``, clipped to ``clip-norm``: the paper's worker. With
    K > 1 it is ``(theta_sent - theta_local) / (K local_learning_rate)``, the average gradient on
    the way, so that the server's learning rate means the same.

    Batches are drawn with replacement from what the partition holds: the whole training set
    for the paper's homogeneous workers.
    """
    with one_thread():
        return _train(arrays, settings, server_round, partition, poison)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread: the same sums in the same order on every engine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(
    arrays: ArrayRecord, settings: ClientSettings, server_round: int, partition: int,
    poison: Poison | None,
) -> Training:
    dataset = data.load(settings.dataset, settings.data_dir, settings.validation_share)
    with _one_at_a_time:
        model = _layers(models.named(models.chosen(settings.model, settings.dataset)))
    device = settings.device or "cpu"
    state = state_dict(arrays, device)
    parameters = dict(model.named_parameters())
    buffers = {name: value.clone() for name, value in state.items() if name not in parameters}
    draw = batch_generator(settings, server_round, partition)
    noise = generator(settings.seed, "dropout", server_round=server_round, partition=partition)
    total: Gradients = {}
    losses = []
    for step in range(settings.local_steps):
        inputs, labels = batch(dataset, settings, partition, draw, poison)
        gradients, loss = _gradients(model, state, inputs.to(device), labels.to(device), noise)
        losses.append(loss)
        regularise_and_clip(
            gradients, state, settings.l2, settings.norm_penalty, settings.clip_norm
        )
        for name, (gradient,) in gradients.items():
            total[name] = total[name] + gradient if step else gradient
            if step + 1 < settings.local_steps:
                state[name].sub_(gradient, alpha=settings.local_learning_rate)
    update: dict[str, NDArray[Any]] = {
        name: (sent - state[name] if sent.is_floating_point() else state[name]).numpy(force=True)
        for name, sent in buffers.items()
    }
    for name, value in total.items():
        mean = value / settings.local_steps if settings.local_steps > 1 else value
        update[name] = mean.contiguous().numpy(force=True)
    return Training(update, float(np.mean(losses)), settings.local_steps * settings.batch_size)


@lru_cache(maxsize=1)
def _layers(model: models.Model | models.Sized) -> nn.Module:
    """What a model is made of: nothing is trained in it, so that a process needs it once.

    Another model that is registered by the same name is another one here.
    """
    return models.empty(model).train()


def _gradients(
    model: nn.Module, state: dict[str, torch.Tensor], inputs: torch.Tensor, labels: torch.Tensor,
    noise: np.random.Generator,
) -> tuple[Gradients, float]:
    """The gradient of one batch, with a leading dimension of one, and its mean loss."""
    parameters = {
        name: state[name].detach().requires_grad_() for name, _ in model.named_parameters()
    }
    if is_plain(model):
        scores = forward(model, parameters, inputs)
    else:
        with _one_at_a_time, torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(noise.integers(2**63)))  # of all devices
            scores = functional_call(model, state | parameters, (inputs,))
    loss = nn.functional.cross_entropy(scores, labels)
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {name: one[None] for name, one in zip(parameters, found, strict=True)}, loss.item()


def batch_generator(
    settings: ClientSettings, server_round: int, partition: int
) -> np.random.Generator:
    """The draws of a partition's batches in one round."""
    return generator(settings.seed, "batch", server_round=server_round, partition=partition)


def batch(
    dataset: Dataset, settings: ClientSettings, partition: int, draw: np.random.Generator,
    poison: Poison | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the inputs and labels of one batch, with replacement, from what a partition holds."""
    held = share_of(dataset, settings, partition)
    chosen = draw.integers(
        len(dataset.train_y) if held is None else len(held), size=settings.batch_size
    )
    if held is not None:
        chosen = held[chosen]
    labels = dataset.train_y[chosen]
    inputs = dataset.inputs(dataset.train_x[chosen])
    if poison is not None:
        inputs, labels = poison.batch(inputs, labels, dataset)
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def state_dict(arrays: ArrayRecord, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The model that was sent, as torch takes it: tensors of one's own."""
    values = {
        name: torch.from_numpy(unpack(array).copy()).to(device) for name, array in arrays.items()
    }
    return {
        name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in values.items()
    }


def accuracy(
    arrays: ArrayRecord, model: nn.Module, dataset: Dataset, device: str = ""
) -> tuple[float, float]:
    """Return the accuracy and the mean loss of a model with these arrays on the test set."""
    device = device or "cpu"
    model.to(device).load_state_dict(state_dict(arrays, device))
    models.channels_last(model).eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for start in range(0, len(dataset.test_y), _EVALUATED):
            part = slice(start, start + _EVALUATED)
            labels = torch.from_numpy(dataset.test_y[part]).to(device)
            scores = model(torch.from_numpy(dataset.test_inputs[part]).to(device))
            correct += int((scores.argmax(dim=1) == labels).sum())
            loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
    return correct / len(dataset.test_y), loss / len(dataset.test_y)


def success(arrays: ArrayRecord, model: nn.Module, goal: Goal, device: str = "") -> float:
    """The share of an attacker's examples that a model takes for what the attacker wants."""
    device = device or "cpu"
    model.to(device).load_state_dict(state_dict(arrays, device))
    models.channels_last(model).eval()
    taken = 0
    with torch.no_grad():
        for start in range(0, len(goal.inputs), _EVALUATED):
            inputs = torch.from_numpy(goal.inputs[start : start + _EVALUATED]).to(device)
            taken += int((model(inputs).argmax(dim=1) == goal.target).sum())
    return taken / max(1, len(goal.inputs))
