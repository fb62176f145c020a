"""Other people's Flower apps become resilient by two changed lines."""

import pytest

from tests.dropin.driver import TWO_LINES, load, run

SLOW = ("scikit_learn", "jax_mlp", "pytorch")
APPS = ["numpy_softmax", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", APPS)
def test_two_lines_cost_no_accuracy_and_survive_a_third_of_attackers(name):
    if name == "jax_mlp":
        pytest.importorskip("jax")
    plain, resilient = load(name), load(name, TWO_LINES)
    usual = run(plain)[-1]["accuracy"]
    assert usual > 0.9
    assert run(resilient)[-1]["accuracy"] > usual - 0.04
    assert run(plain, attacked=True, rounds=8)[-1]["accuracy"] < 0.5
    assert run(resilient, attacked=True)[-1]["accuracy"] > usual - 0.06


def test_clients_that_reply_with_weights_need_no_change():
    changes = {"strategy = FedAvg(": "strategy = Resam(num_malicious_nodes=2, "}
    app = load("numpy_softmax", changes)
    assert run(app, rounds=10)[-1]["accuracy"] > 0.9
    assert run(app, attacked=True, rounds=10)[-1]["accuracy"] > 0.85


def test_resam_with_the_mean_and_no_momentum_is_unweighted_fedavg():
    mean = "strategy = Resam(0, aggregator=__import__('flwr_resam').parse_rule('mean'), "
    # Four partitions of one size: FedAvg's weights are equal.
    usual = run(load("numpy_softmax"), rounds=4, num_nodes=4)
    ours = run(load("numpy_softmax", {"strategy = FedAvg(": mean}), rounds=4, num_nodes=4)
    for one, other in zip(ours, usual, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=1e-9)
