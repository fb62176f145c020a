"""The ClientApp of the experiments: what every node of a federation runs."""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from flwr_resam import answer_partition
from flwr_resam.momentum import exits_are_errors

app = ClientApp(mods=[exits_are_errors])
answer_partition(app)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train as the client that this node is, honest or not."""
    # Here, for a SuperNode starts a process for every message: a query needs no torch.
    from clients.byzantine import misconduct_of

    byzantine = misconduct_of(context)
    if byzantine is None:
        return _honest(message, context)
    return byzantine(message, context, _honest)


def _honest(message: Message, context: Context) -> Message:
    from clients.momentum import MomentumClient

    return MomentumClient(context).handle(message)
