"""Rules with memory inside the strategy, which supplies rows, nodes and the model."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.app import Message as Reply
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid, Resam
from flwr_resam.aggregators import ByzantineSGD, CenteredClipping, Safeguard
from flwr_resam.rule import Round


def gradient_app(target, bias):
    """Nodes that send the gradient of |theta - target|^2 / 2 with a noise of their own."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        number = int(message.content["config"]["server-round"])
        node = int(context.node_config["partition-id"])
        noise = np.random.default_rng([number, node]).normal(size=3) * 0.05
        sent = arrays["w"].numpy() - target + noise + (bias if node == 2 else 0.0)
        content = {"momentum": ArrayRecord({"w": Array(sent)}), "metrics": MetricRecord({"l": 1.0})}
        return Reply(RecordDict(content), reply_to=message)

    return app


@pytest.mark.parametrize(
    ("rule", "drops"),
    [(ByzantineSGD(1.0, 0.15, 12), True), (Safeguard(4, 12), True), (CenteredClipping(0.3), False)],
    ids=str,
)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_resam_supplies_what_rules_remember(rule, drops, device):
    """The model that `Resam` trains is the one of a loop by hand with the same rule."""
    target, bias, rate = np.array([1.0, -2.0, 3.0]), np.array([0.7, 0.0, 0.0]), 0.3
    strategy = Resam(
        num_malicious_nodes=2, aggregator=rule, learning_rate=lambda t: rate / t,
        min_available_nodes=7, fraction_evaluate=0.0, device=device,
    )
    result = strategy.start(
        InProcessGrid(gradient_app(target, bias), num_nodes=7),
        ArrayRecord({"w": Array(np.array([5.0, 5.0, 5.0]))}), num_rounds=12,
    )
    theta, state = np.array([5.0, 5.0, 5.0]), rule.start()
    for number in range(1, 13):
        noise = [np.random.default_rng([number, i]).normal(size=3) * 0.05 for i in range(7)]
        rows = np.array([theta - target + e for e in noise])
        rows[2] += bias
        nodes = tuple(range(7))
        done = rule.step(
            rows, f=2, state=state, at=Round(number, nodes, model=lambda now=theta: now)
        )
        theta, state = theta - rate / number * done.vector, done.state
    np.testing.assert_allclose(result.arrays["w"].numpy(), theta, rtol=1e-9)
    if drops:
        assert state["dropped"] == (2,)
