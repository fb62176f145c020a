"""Statistics of the data are aggregated apart: no faulty node bends a variance."""

from functools import partial

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid, Resam, WorkerMomentum, momentum_mod, parse_rule
from flwr_resam.aggregators import MDA, Mean
from flwr_resam.wire.buffers import buffer_names
from flwr_resam.wire.layout import Layout
from tests.support import record

MODEL = {
    "bn.running_var": np.full(3, 0.02, np.float32),
    "w": np.zeros((40, 10), np.float32),
    "bn.num_batches_tracked": np.array(5),
    "bn.running_mean": np.zeros(3, np.float32),
    "b": np.zeros(10, np.float32),
}
BUFFERS = ("bn.running_var", "bn.running_mean")


def test_a_row_holds_parameters_first_and_buffers_last():
    layout = Layout.of(record(**MODEL))
    assert [entry.name for entry in layout.parameters] == ["w", "b", *BUFFERS]
    assert (layout.learnt, layout.size) == (410, 416)
    assert Layout.of(record(**MODEL), buffers=["b"]).learnt == 406
    assert layout.fingerprint != Layout.of(record(**MODEL), buffers=["b"]).fingerprint
    back = layout.record(layout.flat(record(**MODEL)), integers=record(**MODEL))
    for name, value in MODEL.items():
        np.testing.assert_array_equal(back[name].numpy(), value)


def test_a_model_of_buffers_alone_is_refused():
    with pytest.raises(ValueError, match="hold floating-point parameters"):
        Layout.of(record(**{name: MODEL[name] for name in BUFFERS}))


def one_round(rule, replies, **options):
    """Let Resam aggregate weights that nodes sent for MODEL; return the next model."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        arrays = {k: Array(np.asarray(v)) for k, v in
                  replies[context.node_config["partition-id"]].items()}
        content = RecordDict({
            "arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})
        })
        return Message(content, reply_to=message)

    strategy = Resam(**{
        "num_malicious_nodes": 0, "aggregator": rule, "min_available_nodes": len(replies),
        "fraction_evaluate": 0.0, **options,
    })
    grid = InProcessGrid(app, len(replies))
    result = strategy.start(grid, record(**MODEL), num_rounds=1)
    return {name: array.numpy() for name, array in result.arrays.items()}


def weights(rng, variance):
    drawn = {name: MODEL[name] + rng.normal(size=MODEL[name].shape).astype(np.float32)
             for name in ("w", "b")}
    return {**MODEL, **drawn, "bn.running_var": np.full(3, variance, np.float32)}


@pytest.mark.parametrize("rule", ["mda", "gm", "cwtm", "nnm | cwtm", "krum*", "centered"])
def test_a_variance_stays_among_the_honest_ones(rule):
    rng = np.random.default_rng(3)
    honest = [weights(rng, variance) for variance in (0.01, 0.015, 0.02, 0.025, 0.03)]
    # No farther from the others than noisy parameters put them from each other.
    faulty = [
        {**honest[0], "bn.running_var": np.full(3, -4.0, np.float32)},
        {**honest[1], "bn.running_var": np.full(3, -4.0, np.float32)},
    ]
    chosen = parse_rule("cc(radius=5.0)" if rule == "centered" else rule)
    found = one_round(chosen, [*honest, *faulty], num_malicious_nodes=2)
    assert found["bn.running_var"].min() >= 0.01 - 1e-6
    assert found["bn.running_var"].max() <= 0.03 + 1e-6
    named = one_round(MDA(), [*honest, *faulty], num_malicious_nodes=2, buffers=())
    assert named["bn.running_var"].min() < 0  # as one row with the parameters


def test_a_buffer_takes_neither_learning_rate_nor_decay():
    rng = np.random.default_rng(4)
    replies = [weights(rng, 0.5) for _ in range(4)]
    found = one_round(Mean(), replies, learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_allclose(found["bn.running_var"], 0.5, rtol=1e-6)
    mean = np.mean([reply["w"] for reply in replies], axis=0)
    np.testing.assert_allclose(found["w"], 0.1 * mean, atol=1e-6)
    assert found["bn.num_batches_tracked"] == 5


@pytest.mark.parametrize("rule", ["mean", "clipping(radius=1.0) | mean"])
def test_a_rule_for_any_f_goes_on_where_a_node_is_silent(rule):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["partition-id"] == 0:
            raise RuntimeError("out of memory")
        return Message(message.content, reply_to=message)

    strategy = Resam(
        7, parse_rule(rule), min_available_nodes=15, fraction_evaluate=0.0, max_skipped_rounds=1
    )
    found = strategy.start(InProcessGrid(app, 15), record(**MODEL), num_rounds=1)
    assert found.train_metrics_clientapp[1]["n-valid"] == 14


@pytest.mark.parametrize(
    ("buffers", "error", "message"),
    [
        ("bn.running_var", TypeError, "be a list of the names of arrays"),
        ([1], TypeError, "be a list of the names of arrays"),
        (["bn.running-var"], ValueError, r"names of the model's arrays\. Found `bn.running-var`"),
    ],
)
def test_buffers_that_are_none_of_the_arrays_are_an_error(buffers, error, message):
    with pytest.raises(error, match=message):
        Layout.of(record(**MODEL), buffers)
    with pytest.raises(error, match=message):
        WorkerMomentum(0.9, RecordDict(), buffers).step(
            {"bn.running_var": np.ones(2)}, server_round=1
        )
    if error is TypeError:
        for make in (partial(Resam, 1), momentum_mod):
            with pytest.raises(error, match=message):
                make(buffers=buffers)


@pytest.mark.parametrize(
    ("names", "buffers"),
    [
        (["bn.weight", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"], {1, 2}),
        (["module.bn1_running_var", "running_total", "running_mean.weight"], {0}),
        (["batch_normalization/gamma:0", "batch_normalization/moving_mean:0",
          "batch_normalization/moving_variance:0"], {1, 2}),  # Keras 2
        (["sequential/bn/moving_mean", "sequential/bn/moving_variance", "sequential/bn/beta"],
         {0, 1}),  # Keras 3
        (["params/BatchNorm_0/scale", "batch_stats/BatchNorm_0/mean"], {1}),  # linen
        (["['params']['bn']['scale']", "['batch_stats']['bn']['mean']"], {1}),
        (["batch_stats.bn.var", "my_batch_stats_head.kernel"], {0}),
        (["bn.mean", "bn.var", "bn.scale", "bn.bias", "head.mean.kernel"], {0, 1}),  # nnx
        (["['bn']['mean'].value", "['bn']['var'].value", "['bn']['scale'].value"], {0, 1}),
        (["bn/mean/value", "bn/var/value", "bn/bias/value"], {0, 1}),
        (["policy.mean", "policy.var", "policy.kernel"], set()),
        (["policy.mean", "policy.scale"], set()),
    ],
)
def test_statistics_are_found_under_the_names_that_frameworks_give(names, buffers):
    assert buffer_names(names) == {names[index] for index in buffers}


def constants_and_weights(momentum, beta=0.9, **options):
    """Train beside a causal mask and a frozen encoding, as a state_dict holds them."""
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    start = record(w=np.ones(4, np.float32), mask=mask, frozen=np.full(3, 2.0, np.float32))
    app = ClientApp(mods=[momentum_mod(beta)] if momentum else [])

    @app.train()
    def train(message, context):
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        arrays["w"] = arrays["w"] * np.float32(0.5)
        content = {"arrays": record(**arrays), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    strategy = Resam(num_malicious_nodes=1, fraction_evaluate=0.0, **options)
    result = strategy.start(InProcessGrid(app, 5), start, num_rounds=4)
    assert result.train_metrics_clientapp[4]["n-valid"] == 5
    np.testing.assert_array_equal(result.arrays["mask"].numpy(), mask)
    return {name: array.numpy() for name, array in result.arrays.items()}


@pytest.mark.parametrize("momentum", [False, True])
def test_constants_are_neither_refused_nor_decayed(momentum, caplog):
    found = constants_and_weights(momentum, weight_decay=0.1)
    np.testing.assert_array_equal(found["frozen"], 2.0)
    assert (found["w"] < 0.5).all()
    assert "since they hold an infinity: mask" in caplog.text


def test_a_model_with_nan_is_still_refused():
    broken = record(w=np.array([1.0, np.nan, np.inf]))
    with pytest.raises(ValueError, match="a NaN or an infinity in `w`"):
        Resam(num_malicious_nodes=1).start(InProcessGrid(ClientApp(), 3), broken)
    constant = record(w=np.ones(2), v=np.array([np.inf, 1.0]))
    assert Layout.of(constant).constants == ["v"]


def test_the_server_hears_of_an_array_that_goes_below_zero(caplog):
    app = ClientApp()

    @app.train()
    def train(message, context):
        content = {"arrays": ArrayRecord([np.array([1.0, -0.5])])}
        return Message(RecordDict(content), reply_to=message)

    start = ArrayRecord([np.array([1.0, 1.0])])
    strategy = Resam(num_malicious_nodes=1, fraction_evaluate=0.0)
    strategy.start(InProcessGrid(app, 5), start, num_rounds=3)
    assert caplog.text.count("`0` was positive and is below zero now") == 1
