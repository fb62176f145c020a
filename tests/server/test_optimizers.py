"""Optimisers at the server: Flower's own on the same mean, over momentum, and after a resume."""

import re
import tracemalloc

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.serverapp import strategy as flowers

from flwr_resam import Resam
from flwr_resam.aggregators import Mean
from flwr_resam.optimizers import Adagrad, Adam, Descent, Momentum, Optimizer, Yogi
from flwr_resam.server.checkpoint import CheckpointError
from flwr_resam.server.descent import descend
from flwr_resam.wire.layout import Layout
from tests.server.test_checkpoint import same, train
from tests.support import content, record

CURVATURE = np.array([1.0, 0.3, 0.1, 0.01])
EVERY = [Descent(), Momentum(0.5), Adam(), Adam(beta_1=0.9), Yogi(), Yogi(beta_1=0.9), Adagrad()]
TWINS = [
    (Momentum(0.9, learning_rate=0.7), flowers.FedAvgM,
     {"server_momentum": 0.9, "server_learning_rate": 0.7}),
    (Adam(learning_rate=0.1, beta_1=0.9), flowers.FedAdam, {}),
    (Adam(), flowers.FedAdam, {"beta_1": 0.0}),
    (Adam(0.3, 0.5, 0.9, 1e-2), flowers.FedAdam,
     {"eta": 0.3, "beta_1": 0.5, "beta_2": 0.9, "tau": 1e-2}),
    (Yogi(beta_1=0.9), flowers.FedYogi, {}),
    (Yogi(), flowers.FedYogi, {"beta_1": 0.0}),
    (Adagrad(), flowers.FedAdagrad, {}),
]


def trained(message, i):
    """Local training: some of the way to the node's own optimum, and noise of its own."""
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    number = message.content["config"]["server-round"]
    draw = np.random.default_rng([number, i])
    moved = {
        name: (value - 0.2 * (value - i + 1.0) + 0.1 * draw.normal(size=value.shape))
        .astype(value.dtype)
        for name, value in model.items()
    }
    return content(record(**moved))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-11), (np.float32, 2e-5)])
@pytest.mark.parametrize(("ours", "kind", "arguments"), TWINS, ids=repr)
def test_it_is_flowers_own_on_the_mean(federation, ours, kind, arguments, dtype, rtol):
    start = {"w": np.linspace(-1.0, 2.0, 6).reshape(2, 3).astype(dtype), "b": np.array([3.0], dtype)}
    theirs = kind(fraction_evaluate=0.0, **arguments)
    mean = Resam(
        num_malicious_nodes=0, aggregator=Mean(), optimizer=ours, fraction_evaluate=0.0,
    )
    for rounds in (1, 2, 9):
        found, expected = (
            each.start(federation(trained, 5), record(**start), num_rounds=rounds).arrays
            for each in (mean, theirs)
        )
        if kind is not flowers.FedAvgM:
            theirs.m_t = theirs.v_t = None  # Flower's go on with those of the training before
        else:
            theirs.current_arrays = theirs.momentum_vector = None
        for name, value in start.items():
            assert found[name].numpy().dtype == dtype
            np.testing.assert_allclose(
                found[name].numpy(), expected[name].numpy(), rtol=rtol, atol=rtol
            )
            assert not np.allclose(found[name].numpy(), value, rtol=1e-3)


def farthest(federation, optimizer, beta=0.9, rounds=250):
    """The largest distance of a quadratic's model from its optimum in the last fifty rounds."""
    from flwr.app import Message, RecordDict
    from flwr.clientapp import ClientApp

    from flwr_resam import InProcessGrid, momentum_mod

    app = ClientApp(mods=[momentum_mod(beta=beta)])

    @app.train()
    def train(message, context):
        model = message.content["arrays"]["w"].numpy()
        return Message(
            RecordDict({"arrays": record(w=model - CURVATURE * model)}), reply_to=message
        )

    distances = []
    Resam(num_malicious_nodes=0, optimizer=optimizer, fraction_evaluate=0.0).start(
        InProcessGrid(app, 2), record(w=np.full(4, 3.0)), num_rounds=rounds,
        evaluate_fn=lambda _, arrays: distances.append(np.abs(arrays["w"].numpy()).max()),
    )
    return max(distances[-50:])


@pytest.mark.parametrize("optimizer", [Adam(), Yogi(learning_rate=0.1), Yogi(), Adagrad()], ids=repr)
def test_over_momentum_the_defaults_go_down(federation, optimizer):
    assert farthest(federation, optimizer) < 1.0  # of 3.0


@pytest.mark.parametrize(("kind", "rate"), [(Adam, 0.1), (Yogi, 0.1)])
def test_over_momentum_flowers_beta_1_swings_on(federation, kind, rate):
    settled = farthest(federation, kind(learning_rate=rate))
    assert settled < 1e-3
    assert farthest(federation, kind(learning_rate=rate, beta_1=0.9)) > 30 * settled


def test_momentum_over_momentum_is_for_short_steps_only(federation):
    assert farthest(federation, Momentum(0.9)) > 1e10
    assert farthest(federation, Momentum(0.5)) > 10.0
    assert farthest(federation, Momentum(0.5, learning_rate=0.25)) < 2.0  # 0.25 < 0.5 * 0.6
    assert farthest(federation, Momentum(0.9), beta=0.0) < 0.1


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_a_step_is_pure_and_goes_by_coordinates(optimizer):
    draw = np.random.default_rng(0)
    moments = {name: np.abs(draw.normal(size=40)) for name in optimizer.moments}
    aggregate = draw.normal(size=40)
    kept, given = {name: each.copy() for name, each in moments.items()}, aggregate.copy()
    way, after = optimizer.step(aggregate, moments, 3)
    np.testing.assert_array_equal(aggregate, given)
    assert set(after) == set(moments)
    for name, each in moments.items():
        np.testing.assert_array_equal(each, kept[name])
    part = slice(10, 25)
    some, some_after = optimizer.step(
        aggregate[part], {name: each[part] for name, each in moments.items()}, 3
    )
    np.testing.assert_array_equal(some, way[part])
    for name in moments:
        np.testing.assert_array_equal(some_after[name], after[name][part])


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_buffers_go_straight_and_the_rest_that_is_not_learnt_stays(optimizer):
    start = record(
        w=np.ones(3), running_var=np.array([2.0, 2.0]), steps=np.array(7),
        mask=np.array([0.0, -np.inf]),
    )
    layout = Layout.of(start)
    memory = optimizer.start(layout.learnt, layout.dtype)
    assert all(len(memory[name]) == 3 for name in optimizer.moments)
    after = descend(
        layout, start, np.array([1.0, 1.0, 1.0, 0.5, -0.5]), 0.1, 0.01, optimizer, memory
    )
    np.testing.assert_array_equal(after["running_var"].numpy(), [1.5, 2.5])
    assert after["steps"].data == start["steps"].data
    assert after["mask"].data == start["mask"].data
    assert (after["w"].numpy() < 1.0).all()


def test_what_no_node_moves_does_not_decay_and_what_moved_before_does():
    start = record(frozen=np.ones(2), w=np.ones(2))
    layout, optimizer = Layout.of(start), Momentum(0.5)
    memory = optimizer.start(layout.learnt, layout.dtype)
    once = descend(layout, start, np.array([0.0, 0.0, 1.0, 1.0]), 0.1, 0.1, optimizer, memory)
    twice = descend(layout, once, np.zeros(4), 0.1, 0.1, optimizer, memory)
    assert twice["frozen"].data == start["frozen"].data
    np.testing.assert_allclose(twice["w"].numpy(), 0.99 * (0.99 - 0.1) - 0.1 * 0.5)


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
@pytest.mark.parametrize(("dtype", "large"), [(np.float16, 6e4), (np.float32, 3e38), (np.float64, 1e140)])
def test_the_largest_aggregates_leave_model_and_moments_in_range(optimizer, dtype, large):
    model = record(w=np.array([1.0, -1.0, 0.5], dtype))
    layout = Layout.of(model)
    memory = optimizer.start(layout.learnt, layout.dtype)
    with np.errstate(over="raise", invalid="raise"):
        for sign in (1, 1, -1):
            direction = np.array([sign * large, -sign * large, 0.0], dtype)
            model = descend(layout, model, direction, 1.0, 0.0, optimizer, memory)
            layout.check_finite(model)
            for name in optimizer.moments:
                assert np.isfinite(memory[name]).all()
    assert model["w"].numpy()[2] == 0.5


@pytest.mark.parametrize("optimizer", [Adam(), Adam(beta_1=0.9), Yogi()], ids=repr)
def test_a_step_takes_the_memory_of_the_new_model_and_little_more(optimizer):
    model = record(w=np.ones((2, 2_000_000), np.float32))
    layout = Layout.of(model)
    direction = np.ones(layout.size, np.float32)
    memory = optimizer.start(layout.learnt, layout.dtype)
    descend(layout, model, direction, 1.0, 0.0, optimizer, memory)
    tracemalloc.start()
    try:
        descend(layout, model, direction, 1.0, 0.0, optimizer, memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(memory[name].nbytes == 4 * layout.size for name in optimizer.moments)
    assert peak < 1.6 * 4 * layout.size


@pytest.mark.parametrize("optimizer", EVERY[1:], ids=repr)
def test_moments_are_in_checkpoints_and_resume_to_the_same_bits(tmp_path, monkeypatch, optimizer):
    whole = train(tmp_path / "whole", 8, optimizer=optimizer)
    train(tmp_path / "parts", 5, optimizer=optimizer)
    assert same(whole, train(tmp_path / "parts", 8, resume=True, optimizer=optimizer))
    # Without the moments the bits would differ.
    train(tmp_path / "lost", 5, optimizer=optimizer)
    begin = Optimizer.start
    monkeypatch.setattr("flwr_resam.server.checkpoint.decode", forgetting(begin, optimizer))
    assert not same(whole, train(tmp_path / "lost", 8, resume=True, optimizer=optimizer))


def forgetting(begin, optimizer):
    from flwr_resam.server.encoding import decode

    def decoded(value, arrays):
        found = decode(value, arrays)
        if isinstance(found, dict) and "steps" in found:
            return begin(optimizer, len(found[optimizer.moments[0]]), np.dtype(np.float32))
        return found

    return decoded


def test_a_checkpoint_is_of_its_optimizer_but_for_the_rate(tmp_path):
    train(tmp_path, 3, optimizer=Adam())
    for other in (Adam(beta_2=0.9), Yogi(), None):
        with pytest.raises(CheckpointError, match="its `optimizer` is Adam"):
            train(tmp_path, 5, resume=True, optimizer=other)
    train(tmp_path, 5, resume=True, optimizer=Adam(learning_rate=0.01))


def test_a_schedule_of_resam_multiplies_the_rate(federation):
    start = {"w": np.zeros(2)}
    ends = [
        Resam(
            num_malicious_nodes=0, aggregator=Mean(), optimizer=Adam(learning_rate=own),
            learning_rate=rate, fraction_evaluate=0.0,
        ).start(federation(trained, 3), record(**start), num_rounds=3).arrays["w"].numpy()
        for own, rate in ((0.2, lambda _: 0.5), (0.1, 1.0))
    ]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)


def test_the_optimizer_may_be_another_within_a_run(federation):
    adam = Adam(beta_1=0.9)

    class Late(Resam):
        def configure_train(self, server_round, *others):
            if server_round == 2:
                self.optimizer = adam
            return super().configure_train(server_round, *others)

    def end(kind, rounds):
        strategy = kind(num_malicious_nodes=0, aggregator=Mean(), fraction_evaluate=0.0)
        grid = federation(trained, 3)
        return strategy.start(grid, record(w=np.zeros(2)), num_rounds=rounds).arrays["w"].numpy()

    first, plain = end(Resam, 1), end(Resam, 2)
    way, _ = adam.step(first - plain, {"m": np.zeros(2), "root-v": np.zeros(2)}, 1)
    np.testing.assert_allclose(end(Late, 2), first - way, rtol=1e-6)


def test_a_liar_does_not_bend_it(federation):
    def reply(message, i):
        return content(record(w=np.full(2, 1e30))) if i == 0 else trained(message, 1)

    start = record(w=np.full(2, 5.0))
    end = Resam(num_malicious_nodes=1, optimizer=Adam(0.3), fraction_evaluate=0.0).start(
        federation(reply, 5), start, num_rounds=60
    )
    assert np.abs(end.arrays["w"].numpy()).max() < 1.0


def test_the_log_says_which_and_warns_of_momentum_twice(federation, caplog):
    caplog.set_level("INFO", logger="flwr")
    for optimizer, warned in ((Adam(), False), (Adam(beta_1=0.9), True)):
        caplog.clear()
        Resam(num_malicious_nodes=0, optimizer=optimizer, fraction_evaluate=0.0).start(
            federation(trained, 3), record(w=np.zeros(2)), num_rounds=2
        )
        assert f"Optimizer: {optimizer}" in caplog.text
        assert caplog.text.count("adds momentum at the server") == warned


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Adam(learning_rate=0.0), ValueError, "`learning_rate` must be a finite number above 0"),
        (lambda: Adam(beta_1=1.0), ValueError, "`beta_1` must satisfy 0 <= beta_1 < 1. Found beta_1 = 1.0"),
        (lambda: Adam(beta_2=-0.1), ValueError, "`beta_2` must satisfy"),
        (lambda: Yogi(tau=0), ValueError, "`tau` must be a finite number above 0"),
        (lambda: Adagrad(tau=-1.0), ValueError, "`tau` must be"),
        (lambda: Adagrad(learning_rate="0.1"), ValueError, "`learning_rate` must be"),
        (lambda: Momentum(1.0), ValueError, "`momentum` must satisfy"),
        (lambda: Momentum(0.5, learning_rate=lambda t: 1), ValueError, "a schedule is for Resam's own"),
        (lambda: Resam(1, optimizer="adam"), TypeError, "`optimizer` must be one of flwr_resam.optimizers"),
        (lambda: Resam(1, optimizer=Adam), TypeError, "Write Adam()"),
    ],
)
def test_what_is_no_optimizer_is_said_at_construction(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


CURES = {
    "FedAdam": "optimizer=Adam(", "FedYogi": "optimizer=Yogi(", "FedAdagrad": "optimizer=Adagrad(",
    "FedAvgM": "optimizer=Momentum(", "FedProx": 'ConfigRecord({"proximal-mu": 0.1})',
    "Krum": 'parse_rule("krum")', "FedMedian": 'parse_rule("cwmed")', "QFedAvg": "Resam alone",
}


@pytest.mark.parametrize("name", CURES)
@pytest.mark.parametrize("first", [True, False])
def test_a_class_of_two_strategies_is_refused_with_what_to_write(name, first):
    other = getattr(flowers, name)
    bases = (other, Resam) if first else (Resam, other)
    with pytest.raises(TypeError, match=f"`Mine` must derive.*Found {name}.*{re.escape(CURES[name])}"):
        type("Mine", bases, {})


def test_a_class_of_resam_and_what_is_no_strategy_is_fine():
    class Mixin:
        pass

    class Mine(Mixin, Resam):
        pass

    assert Mine(num_malicious_nodes=1).num_malicious_nodes == 1


def test_proximal_mu_reaches_the_clients(federation):
    seen = []

    def reply(message, i):
        seen.append(message.content["config"]["proximal-mu"])
        return trained(message, i)

    grid = federation(reply, 3)
    config = ConfigRecord({"proximal-mu": 0.1})
    Resam(1, fraction_evaluate=0.0).start(grid, record(w=np.zeros(2)), 2, train_config=config)
    flowers.FedProx(fraction_evaluate=0.0, proximal_mu=0.1).start(grid, record(w=np.zeros(2)), 2)
    assert seen == [0.1] * 12
