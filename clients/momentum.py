"""The honest client: trains, takes momentum, and sends it."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict

from clients.batched_training import train
from clients.settings import ClientSettings
from clients.training import Training
from flwr_resam import WorkerMomentum
from flwr_resam.momentum import server_round_of, training_of
from flwr_resam.wire.layout import MOMENTUM_KEY
from flwr_resam.wire.records import of_kind


class MomentumClient:
    """One node's client for one message.

    Subclasses change what `compute` gives.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = ClientSettings.of_node(context)
        self.partition = int(context.node_config.get("partition-id", 0))

    def handle(self, message: Message) -> Message:
        """Answer a TRAIN instruction."""
        number = server_round_of(message)
        training = self.compute(message, number)
        momentum = WorkerMomentum(
            self.settings.beta, self.context.state, bias_correction=False  # the paper's form
        )
        record = momentum.step(
            training.update, server_round=number, training=training_of(message)
        )
        metrics = MetricRecord({"train-loss": training.loss, "num-examples": training.examples})
        content = RecordDict({MOMENTUM_KEY: record, "metrics": metrics})
        return Message(content, reply_to=message)

    def compute(self, message: Message, server_round: int) -> Training:
        """Train on the model that was sent."""
        (arrays,) = of_kind(message.content, ArrayRecord).values()
        return train(
            arrays, self.settings, server_round=server_round, partition=self.partition
        )
