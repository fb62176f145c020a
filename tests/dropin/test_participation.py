"""Momentum of nodes that are not asked every round is the average of their own updates."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid, Resam, momentum_mod
from flwr_resam.grids._wrapper import GridWrapper

BETA = 0.9


class Recorder(GridWrapper):
    """Keeps what each node sent, by round."""

    def __init__(self, grid):
        super().__init__(grid)
        self.sent = []

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        if not replies:
            return replies  # there is no evaluation
        self.sent.append({
            reply.metadata.src_node_id: reply.content["momentum"]["0"].numpy()
            for reply in replies
        })
        return replies


def moving_target_app():
    """Each call moves the model by another, known amount; several metrics, no num-examples."""
    app = ClientApp(mods=[momentum_mod(beta=BETA)])

    @app.train()
    def train(message, context):
        (value,) = message.content["arrays"].to_numpy_ndarrays()
        number = message.content["config"]["server-round"]
        moved = value - update(context.node_config["partition-id"], number)
        metrics = MetricRecord({"loss": 1.0 / number, "parts": [1, 2]})
        content = RecordDict({"weights": ArrayRecord([moved]), "metrics": metrics})
        return Message(content, reply_to=message)

    return app


def update(partition, server_round):
    return np.random.default_rng([partition, server_round]).normal(size=3)


@pytest.mark.parametrize("fraction", [0.4, 1.0])
def test_what_a_node_sends_is_the_formula(fraction):
    grid = Recorder(InProcessGrid(moving_target_app(), num_nodes=10))
    strategy = Resam(
        num_malicious_nodes=1, fraction_train=fraction, fraction_evaluate=0.0,
        min_train_nodes=4, min_available_nodes=10, seed=1,
    )
    strategy.start(grid, ArrayRecord([np.zeros(3)]), num_rounds=12)
    asked = {node: [] for node in grid.get_node_ids()}
    missed = 0
    for server_round, sent in enumerate(grid.sent, start=1):
        assert len(sent) == max(4, int(10 * fraction))
        for node, momentum in sent.items():
            asked[node].append(server_round)
            own = asked[node]
            m = sum(
                (1 - BETA) * BETA ** (len(own) - 1 - i) * update(node - 2, number)
                for i, number in enumerate(own)
            )
            missed += len(own) < server_round
            np.testing.assert_allclose(momentum, m / (1 - BETA ** len(own)), rtol=1e-10)
    assert (missed > 0) == (fraction < 1)


def test_the_server_hears_of_beta_and_warns_once(caplog):
    grid = InProcessGrid(moving_target_app(), num_nodes=10)
    strategy = Resam(
        num_malicious_nodes=1, fraction_train=0.4, fraction_evaluate=0.0,
        min_train_nodes=4, min_available_nodes=10, seed=1,
    )
    with caplog.at_level("WARNING", logger="flwr"):
        strategy.start(grid, ArrayRecord([np.zeros(3)]), num_rounds=12)
        assert caplog.text.count("Each node is asked in about 4.8 of 12 rounds, and beta = 0.9") == 1
        assert caplog.text.count("Each round asks 4 of 10 nodes") == 1
        caplog.clear()
        strategy.start(grid, ArrayRecord([np.zeros(3)]), num_rounds=3)
        assert caplog.text.count("num_rounds = 3 is below 1 / (1 - beta) = 10") == 1
