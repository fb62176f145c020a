"""One round of Resam: what it asks, what it takes, and what becomes of the model."""

import logging

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.bad_replies import BAD_REPLIES, Verdict
from flwr_resam import (
    AdversarialGrid,
    InProcessGrid,
    QuorumLostError,
    Resam,
    momentum_mod,
    parse_rule,
)
from flwr_resam.aggregators import Mean, Median
from flwr_resam.attacks import ALIE, FOE
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.preaggregators import NNM
from flwr_resam.rule import WeightRule
from tests.support import content, record

START = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2), "n": np.array(3)}


def start():
    return record(**START)


def shifted(by: float):
    """A client's weights after training: the float entries moved, the counter counted."""
    return record(w=START["w"] + np.float32(by), b=START["b"] + by, n=START["n"] + 1)


def run(strategy, grid, rounds=1, **kwargs):
    return strategy.start(grid, start(), num_rounds=rounds, **kwargs)


def quiet(**kwargs):
    return Resam(**{"num_malicious_nodes": 0, "fraction_evaluate": 0.0, **kwargs})


def test_with_the_mean_it_is_unweighted_fedavg(federation):
    grid = federation(lambda message, i: content(shifted(float(i)), **{"num-examples": 10.0**i}), 5)
    result = run(quiet(aggregator=Mean()), grid)
    assert {name: array.dtype for name, array in result.arrays.items()} == {
        "w": "float32", "b": "float64", "n": "int64",
    }
    np.testing.assert_allclose(result.arrays["w"].numpy(), START["w"] + 2.0, rtol=1e-6)
    np.testing.assert_allclose(result.arrays["b"].numpy(), 2.0)
    assert result.arrays["n"].numpy() == 3  # integers keep the server's value


def test_momentum_replies_step_against_the_gradient(federation):
    gradient = record(w=np.ones((2, 3), np.float32), b=np.full(2, 2.0), n=np.array(0))
    grid = federation(lambda message, i: content(gradient, key="momentum"), 3)
    strategy = quiet(num_malicious_nodes=1, learning_rate=lambda t: 1.0 / t, weight_decay=0.5)
    result = run(strategy, grid, rounds=2)
    theta = np.zeros(2)
    for t in (1, 2):
        theta = (1 - 0.5 / t) * theta - 2.0 / t
    np.testing.assert_allclose(result.arrays["b"].numpy(), theta, rtol=1e-12)


def test_a_minority_of_anything_cannot_bend_the_model(federation):
    def reply(message, i):
        return content(shifted(1e30 if i < 2 else 1.0 + 0.01 * i))

    for rule in ("mda", "cwtm", "cwmed", "krum*", "gm", "nnm | cwtm"):
        strategy = quiet(num_malicious_nodes=2, aggregator=parse_rule(rule))
        result = run(strategy, federation(reply, 7))
        np.testing.assert_allclose(result.arrays["b"].numpy(), 1.0, atol=0.1, err_msg=rule)


FAULTS = [
    kind for kind, bad in BAD_REPLIES.items() if bad.from_device and bad.verdict is Verdict.FAULT
]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_malformed_reply_is_dropped_counted_and_logged(federation, caplog, kind):
    def reply(message, i):
        honest = content(shifted(1.0))
        return BAD_REPLIES[kind].content(honest) if i == 0 else honest

    grid = federation(reply, 5)
    with caplog.at_level(logging.WARNING, logger="flwr"):
        result = run(quiet(num_malicious_nodes=1, min_available_nodes=5), grid)
    np.testing.assert_allclose(result.arrays["b"].numpy(), 1.0)
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-asked"], metrics["n-valid"], metrics["n-rejected"]) == (5, 4, 1)
    assert metrics["f-effective"] == 1
    assert "Rejected node 2" in caplog.text


def test_an_exception_in_the_client_app_is_survived(federation):
    def reply(message, i):
        if i == 0:
            raise ZeroDivisionError
        return content(shifted(1.0))

    result = run(quiet(num_malicious_nodes=1, min_available_nodes=5), federation(reply, 5))
    np.testing.assert_allclose(result.arrays["b"].numpy(), 1.0)


def test_fortran_order_is_read_as_what_it_means(federation):
    local = START["w"] + np.arange(6, dtype=np.float32).reshape(2, 3)
    reply = content(record(**{**START, "w": np.asfortranarray(local)}))
    result = run(quiet(aggregator=Mean()), federation(lambda message, i: reply, 3))
    np.testing.assert_allclose(result.arrays["w"].numpy(), local)


def test_metrics_are_medians_that_no_liar_moves(federation):
    def reply(message, i):
        lie = {"loss": float("nan")} if i == 0 else {"loss": 1e30, "stolen": 1.0}
        return content(shifted(1.0), **(lie if i < 2 else {"loss": float(i)}))

    result = run(quiet(num_malicious_nodes=2, min_available_nodes=7), federation(reply, 7))
    metrics = result.train_metrics_clientapp[1]
    assert 2.0 <= metrics["loss"] <= 6.0
    assert "stolen" not in metrics


def test_too_few_valid_replies_skip_rounds_and_then_end_the_run(federation):
    def reply(message, i):
        config = next(iter(message.content.config_records.values()))
        bad = config["server-round"] in (2, 4, 5, 6)
        return RecordDict() if bad else content(shifted(1.0))

    strategy = quiet(num_malicious_nodes=1, min_available_nodes=4, max_skipped_rounds=3)
    with pytest.raises(QuorumLostError, match=r"3 round\(s\) in a row had too few") as lost:
        run(strategy, federation(reply, 4), rounds=9)
    assert "4 nodes were asked; 0 gave a row, 4 were rejected (node 2: 0 array records" in str(lost.value)
    assert [each.node for each in lost.value.rejections] == [2, 3, 4, 5]


def test_a_rule_that_finds_no_finite_vector_is_what_is_to_be_mended(federation):
    class Broken(WeightRule):
        name = "broken"

        def weights(self, geometry, f):
            return np.full(geometry.n, np.nan)

    strategy = quiet(num_malicious_nodes=0, aggregator=Broken(), min_available_nodes=4, max_skipped_rounds=2)
    with pytest.raises(QuorumLostError, match=r"4 nodes were asked; 4 gave a row.* mend the rule") as lost:
        run(strategy, federation(lambda message, i: content(shifted(1.0)), 4), rounds=9)
    assert "too few" not in str(lost.value)


def test_nodes_that_leave_are_said_to_be_gone(federation):
    class Left(GridWrapper):
        rounds = 0

        def send_and_receive(self, messages, *, timeout=None):
            self.rounds += 1
            return self._grid.send_and_receive(messages, timeout=timeout)

        def get_node_ids(self):
            return [] if self.rounds else self._grid.get_node_ids()

    strategy = quiet(num_malicious_nodes=1, min_available_nodes=4, max_skipped_rounds=2, timeout=0.01)
    with pytest.raises(QuorumLostError, match="0 of the 4 nodes that have to be asked were connected"):
        run(strategy, Left(federation(lambda message, i: content(shifted(1.0)), 4)), rounds=5)


def test_the_rows_go_by_node_and_not_by_arrival(federation):
    class Shuffled(GridWrapper):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(self._grid.send_and_receive(messages, timeout=timeout))
            return replies[::-1]

    generator = np.random.default_rng(0)
    values = generator.normal(size=(5, 2))
    inner = federation(
        lambda message, i: content(record(w=START["w"], b=values[i], n=START["n"])), 5
    )
    straight = run(quiet(aggregator=Mean()), inner)
    shuffled = run(quiet(aggregator=Mean()), Shuffled(inner))
    assert straight.arrays["b"].data == shuffled.arrays["b"].data


def test_a_seed_repeats_the_sample_of_nodes(federation):
    asked = []

    def reply(message, i):
        asked.append(i)
        return content(shifted(1.0))

    samples = []
    for _ in range(2):
        asked.clear()
        strategy = quiet(fraction_train=0.5, min_available_nodes=20, min_train_nodes=10, seed=7)
        run(strategy, federation(reply, 20), rounds=3)
        samples.append(list(asked))
    assert samples[0] == samples[1]
    assert sorted(samples[0][:10]) != sorted(samples[0][10:20])


def test_torch_on_the_cpu_aggregates_to_the_same_model(federation):
    pytest.importorskip("torch")

    def reply(message, i):
        return content(shifted(0.1 * i))

    with_numpy = run(quiet(num_malicious_nodes=2), federation(reply, 7))
    with_torch = run(quiet(num_malicious_nodes=2, device="cpu"), federation(reply, 7))
    np.testing.assert_allclose(
        with_torch.arrays["w"].numpy(), with_numpy.arrays["w"].numpy(), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"initial_arrays": [np.zeros(3)]}, TypeError, "`initial_arrays` must be an ArrayRecord. Found list"),
        ({"initial_arrays": None}, TypeError, "`initial_arrays` must be an ArrayRecord. Found NoneType"),
        ({"num_rounds": "3"}, ValueError, "`num_rounds` must be a whole number, at least 0. Found num_rounds = '3'"),
        ({"num_rounds": 2.0}, ValueError, "`num_rounds` must be a whole number"),
        ({"num_rounds": -1}, ValueError, "`num_rounds` must be a whole number"),
        ({"timeout": "60"}, ValueError, "`timeout` must be a number of seconds above 0. Found timeout = '60'"),
    ],
)
def test_a_wrong_argument_of_start_is_said_before_any_round(arguments, error, message):
    with pytest.raises(error, match=message):
        quiet().start(InProcessGrid(ClientApp(), 3), **{"initial_arrays": start(), **arguments})


def test_a_model_without_parameters_is_refused_before_any_round():
    grid = InProcessGrid(ClientApp(), 3)
    with pytest.raises(ValueError, match="floating-point parameters"):
        quiet().start(grid, record(n=np.array(1)), num_rounds=1)


@pytest.mark.parametrize("key", ["momentum", "arrays"])
def test_the_adversary_sends_what_its_formula_says_in_the_form_of_the_honest(federation, key):
    honest = np.random.default_rng(1).normal(size=(5, 2))

    def reply(message, i):
        value = honest[i] if key == "momentum" else START["b"] - honest[i]
        return content(record(w=START["w"], b=value, n=START["n"]), key=key)

    nodes = federation(reply, 7)
    grid = AdversarialGrid(nodes, ALIE(z=1.5), nodes=list(nodes.get_node_ids())[5:])
    strategy = quiet(aggregator=Mean())
    result = run(strategy, grid)
    forged = honest.mean(axis=0) - 1.5 * honest.std(axis=0, ddof=1)
    expected = -(honest.sum(axis=0) + 2 * forged) / 7
    np.testing.assert_allclose(result.arrays["b"].numpy(), expected, rtol=1e-9)


def test_the_adversary_also_stands_before_flowers_own_strategies(federation):
    from flwr.serverapp.strategy import FedAvg

    nodes = federation(lambda message, i: content(shifted(1.0)), 5)
    grid = AdversarialGrid(nodes, FOE(epsilon=4.0), nodes=list(nodes.get_node_ids())[3:])
    result = FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=1)
    np.testing.assert_allclose(result.arrays["b"].numpy(), (3 * 1.0 + 2 * -4.0) / 5)


def test_a_node_that_does_not_exist_is_named(federation):
    nodes = federation(lambda message, i: content(shifted(1.0)), 3)
    with pytest.raises(ValueError, match=r"connected nodes\. Found"):
        AdversarialGrid(nodes, FOE(), nodes=[99])


def test_the_summary_names_what_matters(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        Resam(num_malicious_nodes=2, aggregator=NNM() | Median()).summary()
    assert "Aggregator: nnm | cwmed" in caplog.text
    assert "Malicious nodes tolerated: 2" in caplog.text


def test_a_reply_to_nothing_that_was_asked_is_ignored(federation):
    class Noisy(GridWrapper):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(self._grid.send_and_receive(messages, timeout=timeout))
            if not replies:
                return replies
            stray = Message(content(shifted(1e9)), reply_to=replies[0])
            return [*replies, stray, replies[0]]

    grid = Noisy(federation(lambda message, i: content(shifted(1.0)), 5))
    result = run(quiet(num_malicious_nodes=1, min_available_nodes=5), grid)
    np.testing.assert_allclose(result.arrays["b"].numpy(), 1.0)
    assert result.train_metrics_clientapp[1]["n-rejected"] == 1  # the node that answered twice


def test_a_schedule_may_reach_zero(federation):
    strategy = quiet(learning_rate=lambda t: 1.0 - 0.5 * t)
    grid = federation(lambda message, i: content(record(w=np.ones(2)), key="momentum"), 3)
    result = strategy.start(grid, record(w=np.zeros(2)), num_rounds=2)
    np.testing.assert_allclose(result.arrays["w"].numpy(), -0.5)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, None, "0.1"])
def test_a_schedule_that_returns_no_learning_rate_ends_before_the_model_is_spoilt(federation, rate):
    strategy = quiet(learning_rate=lambda t: rate)
    grid = federation(lambda message, i: content(record(w=np.ones(2)), key="momentum"), 3)
    with pytest.raises(ValueError, match="`learning_rate` must be a finite number, at least 0"):
        strategy.start(grid, record(w=np.zeros(2)), num_rounds=1)


def test_without_a_seed_no_adversary_can_know_the_draws(federation):
    def model(seed):
        grid = federation(
            lambda message, i: content(record(w=np.arange(4.0) ** i), key="momentum"), 9
        )
        strategy = quiet(num_malicious_nodes=1, aggregator=parse_rule("bucketing(s=2) | cwmed"), seed=seed)
        return strategy.start(grid, record(w=np.zeros(4)), num_rounds=5).arrays["w"].numpy().tolist()

    assert model(3) == model(3)
    assert model(None) != model(None)


def test_an_error_of_the_users_metrics_is_one_printable_line(federation, caplog):
    def fussy(contents, weighted_by):
        raise ValueError(f"odd {next(iter(contents[0]['metrics']))}")

    def reply(message, i):
        return RecordDict({
            "momentum": record(w=np.ones(2)),
            "metrics": MetricRecord({"a\n\x1b[31mforged": 1.0, "num-examples": 1}),
        })

    strategy = quiet(train_metrics_aggr_fn=fussy)
    strategy.start(federation(reply, 3), record(w=np.zeros(2)), num_rounds=1)
    (line,) = (r.getMessage() for r in caplog.records if "No metrics of the nodes" in r.getMessage())
    assert line.isprintable() or line.strip().isprintable()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"fraction_train": 0.1, "min_available_nodes": 100, "num_malicious_nodes": 4}, 10),
        ({"fraction_train": 0.1, "min_available_nodes": 50, "num_malicious_nodes": 4}, 9),
        ({"fraction_train": 0.5, "min_available_nodes": 40, "min_train_nodes": 30}, 30),
        ({"min_available_nodes": 40}, 40),
    ],
)
def test_a_fraction_of_the_nodes_is_sampled_as_by_fedavg(federation, arguments, expected):
    grid = federation(
        lambda message, i: content(record(w=np.ones(2)), key="momentum"),
        arguments["min_available_nodes"],
    )
    found = quiet(**arguments).start(grid, record(w=np.zeros(2)), num_rounds=2)
    assert found.train_metrics_clientapp[1]["n-asked"] == expected
    assert found.train_metrics_clientapp[2]["n-asked"] == expected


def test_flowers_privacy_wrappers_get_weights_and_a_liar_moves_nothing(caplog):
    """They clip what comes as a change of the weights, so that no momentum may come."""
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping as Private

    target = np.linspace(-1, 1, 6)
    app = ClientApp(mods=[momentum_mod(beta=0.9)])

    @app.train()
    def train(message, context):
        value = message.content["arrays"]["0"].numpy()
        value = value - 0.5 * (value - target) + 1e6 * (context.node_config["partition-id"] == 0)
        arrays = ArrayRecord([value.astype(np.float32)])
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    strategy = Private(
        Resam(1, fraction_evaluate=0.0), noise_multiplier=1e-3, clipping_norm=5.0,
        num_sampled_clients=7,
    )
    start = ArrayRecord([np.zeros(6, np.float32)])
    result = strategy.start(InProcessGrid(app, 7), start, num_rounds=15)
    np.testing.assert_allclose(result.arrays["0"].numpy(), target, atol=0.05)
    assert caplog.text.count("Another loop than that of `Resam.start`") == 1


@pytest.mark.parametrize(("on_engine", "seed"), [(True, 3), (False, 3), (True, None)])
def test_a_seed_that_does_not_choose_the_same_nodes_again_is_told(
    federation, monkeypatch, caplog, on_engine, seed
):
    monkeypatch.setattr("flwr_resam.server.log.on_engine", lambda grid: on_engine)
    grid = federation(lambda message, i: content(record(w=np.ones(2)), key="momentum"), 4)
    strategy = quiet(seed=seed, fraction_train=0.5, min_available_nodes=4)
    strategy.start(grid, record(w=np.zeros(2)), num_rounds=2)
    told = "draws new node ids in every run" in caplog.text
    assert told == (on_engine and seed is not None)


def test_num_examples_is_no_metric_and_evaluation_asks_as_many_as_can_be_believed(federation):
    def reply(message, i):
        return content(record(w=np.ones(2)), key="momentum", loss=float(i))

    grid = federation(reply, 15)
    strategy = Resam(5, min_available_nodes=15, fraction_evaluate=0.5)
    result = strategy.start(grid, record(w=np.zeros(2)), num_rounds=1)
    assert strategy.min_evaluate_nodes == 16  # all that are there
    metrics = result.train_metrics_clientapp[1]
    assert "num-examples" not in metrics
    assert (metrics["loss"], metrics["n-momentum"]) == (7.0, 15)


def test_without_the_mod_the_log_says_that_nodes_sent_weights(federation, caplog):
    grid = federation(lambda message, i: content(record(w=np.ones(2))), 4)
    result = quiet().start(grid, record(w=np.zeros(2)), num_rounds=1)
    assert result.train_metrics_clientapp[1]["n-momentum"] == 0
    assert "4 of the replies hold weights, and no momentum: is momentum_mod in" in caplog.text
