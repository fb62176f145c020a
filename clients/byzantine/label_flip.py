"""Label flip: honest work on dishonest labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from clients.batched_training import train
from clients.byzantine.mod import Conduct
from clients.momentum import MomentumClient
from clients.training import Training


@dataclass(frozen=True)
class LabelFlip(Conduct):
    """Computes honestly, momentum included, on labels L - 1 - y."""

    name: ClassVar[str] = "label-flip"

    def answer(
        self, message: Message, context: Context, call_next: ClientAppCallable
    ) -> Message:
        """Train on flipped labels, in place of the honest training of this ClientApp."""
        return _FlippedClient(context).handle(message)


class _FlippedClient(MomentumClient):
    def compute(self, message: Message, server_round: int) -> Training:
        """Train on flipped labels."""
        (arrays,) = message.content.array_records.values()
        return train(
            arrays, self.settings, server_round=server_round, partition=self.partition,
            flip_labels=True,
        )
