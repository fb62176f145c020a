"""Clients that misbehave in ways one device can by itself, on simulated and real nodes alike."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

from clients.momentum import MomentumClient
from clients.training import Training, train
from flwr_resam.momentum import MOMENTUM_KEY


class SignFlipClient(MomentumClient):
    """Sends minus its own honest momentum."""

    def send(self, content: RecordDict) -> RecordDict:
        """Turn the momentum round."""
        record = content.array_records[MOMENTUM_KEY]
        content[MOMENTUM_KEY] = ArrayRecord(
            {name: Array(np.negative(array.numpy())) for name, array in record.items()}
        )
        return content


class LabelFlipClient(MomentumClient):
    """Computes honestly on labels L - 1 - y."""

    def compute(self, message: Message, server_round: int) -> Training:
        """Train on flipped labels."""
        (arrays,) = message.content.array_records.values()
        return train(
            arrays, self.settings, server_round=server_round, partition=self.partition,
            flip_labels=True,
        )


BYZANTINE_CLIENTS: dict[str, type[MomentumClient]] = {
    "sign-flip": SignFlipClient,
    "label-flip": LabelFlipClient,
}


def client_for(context: Context) -> MomentumClient:
    """Return the client that this node is.

    A node is Byzantine where its own config says so (``--node-config 'byzantine="sign-flip"'``
    on a SuperNode), or, in an experiment, where the run's attack is one that a device does by
    itself and the node holds one of the last f partitions.
    """
    honest = MomentumClient(context)
    settings = honest.settings
    own = str(context.node_config.get("byzantine", ""))
    if own:
        if own not in BYZANTINE_CLIENTS:
            raise ValueError(
                f"`{own}` is no Byzantine client. Choose among {', '.join(BYZANTINE_CLIENTS)}."
            )
        return BYZANTINE_CLIENTS[own](context)
    last_honest = settings.num_nodes - settings.num_malicious_nodes - 1
    if settings.attack in BYZANTINE_CLIENTS and honest.partition > last_honest:
        return BYZANTINE_CLIENTS[settings.attack](context)
    return honest
