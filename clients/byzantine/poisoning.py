"""Honest work on poisoned data: what the conducts that poison have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

from clients.batched_training import train
from clients.byzantine.mod import Conduct
from clients.momentum import MomentumClient
from clients.poison import Poison
from clients.training import Training
from flwr_resam.grids._forgery import Form
from flwr_resam.wire.records import of_kind


@dataclass(frozen=True)
class Poisoning(Conduct):
    """Computes honestly, momentum included, on poisoned data; sends ``factor`` times that."""

    @property
    @abstractmethod
    def poison(self) -> Poison:
        """What is done to the data."""

    @property
    def factor(self) -> float:
        """What the row that is sent is multiplied by."""
        return 1.0

    def answer(
        self, message: Message, context: Context, call_next: ClientAppCallable
    ) -> Message:
        """Train on poisoned data, in place of the honest training of this ClientApp."""
        (arrays,) = of_kind(message.content, ArrayRecord).values()
        sent = ArrayRecord(dict(arrays))
        reply = _PoisonedClient(context, self.poison).handle(message)
        if self.factor == 1.0:
            return reply
        form = Form.of([reply], sent)
        row = None if form is None else form.row(reply)
        if form is None or row is None:
            return reply  # a model that has diverged: there is nothing to make worse
        limit = np.finfo(row.dtype).max
        boosted = np.clip(self.factor * row.astype(np.float64), -limit, limit)
        return form.reply(message, boosted.astype(row.dtype))


class _PoisonedClient(MomentumClient):
    def __init__(self, context: Context, poison: Poison) -> None:
        super().__init__(context)
        self.poison = poison

    def compute(self, message: Message, server_round: int) -> Training:
        """Train on the poisoned data."""
        (arrays,) = of_kind(message.content, ArrayRecord).values()
        return train(
            arrays, self.settings, server_round=server_round, partition=self.partition,
            poison=self.poison,
        )
