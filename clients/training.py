"""What an honest node computes: its gradient, or the average gradient of K local steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import nn

from clients import data, models
from clients.data import Dataset
from clients.partitions import share_of
from clients.seeds import generator
from clients.settings import ClientSettings
from flwr_resam.packing import unpack

_EVALUATED = 250  # examples at a time; what a convolution makes of more no longer fits a cache


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
    flip_labels: bool = False,
) -> Training:
    """Compute the update that momentum is taken of.

    With one local step that is the gradient of the mean loss of one batch, plus ``l2 theta``,
    clipped to ``clip-norm``: the paper's worker. With K > 1 it is
    ``(theta_sent - theta_local) / (K local_learning_rate)``, the average gradient on the way,
    so that the server's learning rate means the same.

    Batches are drawn with replacement from what the partition holds: the whole training set
    for the paper's homogeneous workers.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every engine
    dataset = data.load(settings.dataset, settings.data_dir)
    model = models.empty(models.chosen(settings.model, settings.dataset))
    sent = state_dict(arrays)
    model.load_state_dict(sent)
    model.train()
    draw = batch_generator(settings, server_round, partition)
    noise = generator(settings.seed, "dropout", server_round=server_round, partition=partition)
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    losses = []
    for step in range(settings.local_steps):
        inputs, labels = batch(dataset, settings, partition, draw, flip_labels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(noise.integers(2**63)))
            loss = nn.functional.cross_entropy(model(inputs), labels)
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        _regularise_and_clip(model, settings)
        with torch.no_grad():
            for name, value in model.named_parameters():
                assert value.grad is not None
                total[name] += value.grad
                if step + 1 < settings.local_steps:
                    value.sub_(settings.local_learning_rate * value.grad)
    update: dict[str, NDArray[Any]] = _buffers(model, sent)
    update |= {
        name: (value / settings.local_steps).contiguous().numpy() for name, value in total.items()
    }
    return Training(update, float(np.mean(losses)), settings.local_steps * settings.batch_size)


def batch_generator(
    settings: ClientSettings, server_round: int, partition: int
) -> np.random.Generator:
    """The draws of a partition's batches in one round."""
    return generator(settings.seed, "batch", server_round=server_round, partition=partition)


def batch(
    dataset: Dataset, settings: ClientSettings, partition: int, draw: np.random.Generator,
    flip_labels: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the inputs and labels of one batch, with replacement, from what a partition holds."""
    held = share_of(dataset, settings, partition)
    chosen = draw.integers(
        len(dataset.train_y) if held is None else len(held), size=settings.batch_size
    )
    if held is not None:
        chosen = held[chosen]
    labels = dataset.train_y[chosen]
    if flip_labels:
        labels = dataset.classes - 1 - labels
    inputs = dataset.inputs(dataset.train_x[chosen])
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def _buffers(model: nn.Module, sent: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """What the forward passes did to the arrays of the model that no optimiser moves."""
    state = model.state_dict()
    names = state.keys() - dict(model.named_parameters()).keys()
    return {
        name: (sent[name] - state[name] if state[name].is_floating_point() else state[name]).numpy()
        for name in names
    }


def _regularise_and_clip(model: nn.Module, settings: ClientSettings) -> None:
    if settings.l2:
        with torch.no_grad():
            for value in model.parameters():
                assert value.grad is not None
                value.grad += settings.l2 * value
    if settings.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)


def state_dict(arrays: ArrayRecord) -> dict[str, torch.Tensor]:
    """The model that was sent, as torch takes it."""
    return {name: torch.from_numpy(unpack(array).copy()) for name, array in arrays.items()}


def accuracy(arrays: ArrayRecord, model: nn.Module, dataset: Dataset) -> tuple[float, float]:
    """Return the accuracy and the mean loss of a model with these arrays on the test set."""
    model.load_state_dict(state_dict(arrays))
    models.channels_last(model).eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for start in range(0, len(dataset.test_y), _EVALUATED):
            part = slice(start, start + _EVALUATED)
            labels = torch.from_numpy(dataset.test_y[part])
            scores = model(torch.from_numpy(dataset.test_inputs[part]))
            correct += int((scores.argmax(dim=1) == labels).sum())
            loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
    return correct / len(dataset.test_y), loss / len(dataset.test_y)
