"""Runs an app of this folder in process: as it stands, or with two lines of it changed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from flwr.app import Array, ArrayRecord, Context, RecordDict

from flwr_resam import AdversarialGrid, InProcessGrid
from flwr_resam.attacks import FOE
from flwr_resam.grids.wrapper import GridWrapper
from flwr_resam.momentum import MOMENTUM_KEY

APPS = Path(__file__).parent / "apps"

TWO_LINES = {
    "app = ClientApp()\n": "app = ClientApp(mods=[momentum_mod(beta=0.9)])\n",
    "strategy = FedAvg(": "strategy = Resam(num_malicious_nodes=2, ",
}
"""The changes which the app's owner makes, imports aside."""


def liar(reply, instruction):
    """What a node can do alone: the opposite of its own update, enlarged."""
    if reply.has_error() or not instruction.metadata.message_type.startswith("train"):
        return reply
    ((key, record),) = reply.content.array_records.items()
    (sent,) = instruction.content.array_records.values()
    base = {name: 0.0 if key == MOMENTUM_KEY else sent[name].numpy() for name in record}
    reply.content[key] = ArrayRecord({
        name: Array(np.asarray(base[name] - 2.5 * (array.numpy() - base[name]), array.dtype))
        for name, array in record.items()
    })
    return reply


class LyingGrid(GridWrapper):
    """Some nodes lie, each by itself."""

    def __init__(self, grid, nodes):
        super().__init__(grid)
        self.nodes = set(nodes)

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        return [
            liar(reply, message) if message.metadata.dst_node_id in self.nodes else reply
            for message, reply in zip(messages, replies, strict=True)
        ]


def load(name, changes=None):
    """Return the app's namespace, with each of the changes made in exactly one place."""
    source = (APPS / f"{name}.py").read_text(encoding="utf-8")
    for before, after in (changes or {}).items():
        assert source.count(before) == 1 + (before in "server_app = ServerApp()\n"), before
        source = source.replace(before, after)
    if changes:
        source = "from flwr_resam import Resam, momentum_mod\n" + source
    space = {"__name__": f"dropin_{name}"}
    exec(compile(source, f"{name}.py", "exec"), space)
    return SimpleNamespace(**space)


def foe(grid, nodes):
    """The omniscient adversary, with the mean turned round."""
    return AdversarialGrid(grid, FOE(epsilon=2.5), nodes)


def run(app, adversary=None, *, rounds=30, local_epochs=2, num_nodes=6):
    """Run the ServerApp against its ClientApp; return its metrics by round."""
    config = {"num-server-rounds": rounds, "local-epochs": local_epochs}
    grid = InProcessGrid(app.app, num_nodes, config)
    if adversary is not None:
        grid = adversary(grid, list(grid.get_node_ids())[-(num_nodes // 3) :])
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    app.server_app(grid, context)
    return [dict(context.state[str(number)]) for number in range(rounds + 1)]
