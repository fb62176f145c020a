"""The clients of a run that share a process, and take their gradients in one pass.

All of them start a round from the same model, so the first that is asked computes the updates
of all. Each still answers for itself, through the ClientApp, and draws what it would have drawn
alone; only the order in which float32 sums are added up is another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
from flwr.app import ArrayRecord
from torch import nn

from clients import data, models, training
from clients.gradients import grouped_gradients, is_dense, regularise_and_clip
from clients.poison import Poison
from clients.settings import ClientSettings
from clients.training import Training


class BatchedClients:
    """Groups of partitions, and what is computed but not yet asked for of the newest round.

    Parameters
    ----------
    groups : collection of collections of int
        Partitions that train together: every one of a group is asked in every round, and with
        the same poison, if any.
    """

    def __init__(self, groups: Collection[Collection[int]]) -> None:
        self._groups = groups
        self._model = lru_cache(maxsize=1)(models.empty)
        self._round = 0
        self._arrays: ArrayRecord | None = None
        self._ready: dict[tuple[int, Poison | None], Training] = {}

    def take(
        self, arrays: ArrayRecord, settings: ClientSettings, server_round: int, partition: int,
        poison: Poison | None,
    ) -> Training | None:
        """Return what one client computes; None where it has to compute that by itself."""
        group = next((group for group in self._groups if partition in group), None)
        if group is None or settings.local_steps > 1:
            return None
        if server_round != self._round or arrays != self._arrays:
            self._round, self._arrays, self._ready = server_round, arrays, {}
        place = (partition, poison)
        if place not in self._ready:
            model = self._model(models.chosen(settings.model, settings.dataset))
            if not is_dense(model):
                return None
            found = _train(model, arrays, settings, server_round, group, poison)
            self._ready |= {(member, poison): one for member, one in found.items()}
        return self._ready.pop(place)


_current: ContextVar[BatchedClients | None] = ContextVar("batched_clients", default=None)


@contextmanager
def together(groups: Collection[Collection[int]]) -> Iterator[None]:
    """Let these groups of partitions train together, in this context."""
    token = _current.set(BatchedClients(groups))
    try:
        yield
    finally:
        _current.reset(token)


def train(
    arrays: ArrayRecord,
    settings: ClientSettings,
    *,
    server_round: int,
    partition: int,
    poison: Poison | None = None,
) -> Training:
    """Train with the others of a group, else alone: see `clients.training.train`."""
    batched = _current.get()
    if batched is not None:
        found = batched.take(arrays, settings, server_round, partition, poison)
        if found is not None:
            return found
    return training.train(
        arrays, settings, server_round=server_round, partition=partition, poison=poison
    )


def _train(
    model: nn.Module,
    arrays: ArrayRecord,
    settings: ClientSettings,
    server_round: int,
    group: Collection[int],
    poison: Poison | None,
) -> dict[int, Training]:
    """One local step of every partition of a group."""
    dataset = data.load(settings.dataset, settings.data_dir, settings.validation_share)
    device = settings.device or "cpu"
    state = training.state_dict(arrays, device)
    batches = [
        training.batch(
            dataset, settings, partition,
            training.batch_generator(settings, server_round, partition), poison,
        )
        for partition in group
    ]
    inputs = torch.stack([inputs for inputs, _ in batches]).to(device)
    labels = torch.stack([labels for _, labels in batches]).to(device)
    with training.one_thread():
        gradients, losses = grouped_gradients(model, state, inputs, labels)
        regularise_and_clip(
            gradients, state, settings.l2, settings.norm_penalty, settings.clip_norm
        )
    return {
        partition: Training(
            {name: values[index].numpy(force=True) for name, values in gradients.items()},
            float(losses[index]), settings.batch_size,
        )
        for index, partition in enumerate(group)
    }
