"""Momentum at the worker: the average of its own updates, and the paper's vector."""

import io

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp

from clients.byzantine import byzantine_mod
from flwr_resam import InProcessGrid, WorkerMomentum, momentum_mod
from flwr_resam.server.gate import printable
from flwr_resam.wire.instruction import stamp

BETA = 0.9


def paper(gradients, beta=BETA):
    """m_t of the paper, in float64."""
    momentum = np.zeros_like(gradients[0], dtype=np.float64)
    for gradient in gradients:
        momentum = beta * momentum + (1.0 - beta) * gradient
    return momentum


@pytest.fixture
def gradients():
    return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def average(gradients, beta=BETA):
    """The weighted average of a worker's updates, the newest first, in float64."""
    shares = beta ** np.arange(len(gradients))[::-1]
    return np.average(np.asarray(gradients, np.float64), axis=0, weights=shares)


def papers(state=None):
    return WorkerMomentum(BETA, RecordDict() if state is None else state, bias_correction=False)


def test_it_sends_the_average_of_its_updates(gradients):
    worker = WorkerMomentum(BETA, RecordDict())
    for t, gradient in enumerate(gradients, start=1):
        sent = worker.step({"w": gradient}, server_round=t)["w"].numpy()
        assert sent.dtype == np.float32
        np.testing.assert_allclose(sent, average(gradients[:t]), rtol=1e-5, atol=1e-6)


def test_without_bias_correction_it_sends_the_papers_momentum(gradients):
    worker = papers()
    for t, gradient in enumerate(gradients, start=1):
        sent = worker.step({"w": gradient}, server_round=t)["w"].numpy()
        np.testing.assert_allclose(sent, paper(gradients[:t]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            sent, (1 - BETA**t) * average(gradients[:t]), rtol=1e-5, atol=1e-6
        )


def test_without_momentum_it_sends_the_gradient_bit_for_bit(gradients):
    state = RecordDict()
    for t, gradient in enumerate(gradients, start=1):
        sent = WorkerMomentum(0.0, state).step({"w": gradient}, server_round=t)
        np.testing.assert_array_equal(sent["w"].numpy(), gradient)


def test_a_worker_that_lost_its_memory_sends_a_full_sized_momentum(gradients):
    worker = papers()
    for steps, t in enumerate(range(8, 13), start=1):
        sent = worker.step({"w": gradients[t - 1]}, server_round=t)["w"].numpy()
        scale = (1 - BETA**t) / (1 - BETA**steps)
        np.testing.assert_allclose(sent, scale * paper(gradients[7:t]), rtol=1e-5, atol=1e-6)
    worker = WorkerMomentum(BETA, RecordDict())
    for t in range(8, 13):
        sent = worker.step({"w": gradients[t - 1]}, server_round=t)["w"].numpy()
        np.testing.assert_allclose(sent, average(gradients[7:t]), rtol=1e-5, atol=1e-6)


def test_a_momentum_that_starts_anew_is_said_once(gradients, caplog):
    worker = WorkerMomentum(BETA, RecordDict())
    with caplog.at_level("INFO", logger="flwr"):
        for t in (8, 9):
            worker.step({"w": gradients[0]}, server_round=t)
    assert "starts anew in round 8" in caplog.text
    assert caplog.text.count("starts anew") == 1


def test_a_constant_gradient_gives_the_same_momentum_whoever_missed_rounds():
    gradient = np.ones(3)
    always, sometimes = papers(), papers()
    for t in range(1, 20):
        full = always.step({"w": gradient}, server_round=t)["w"].numpy()
        if t % 3 == 0:
            part = sometimes.step({"w": gradient}, server_round=t)["w"].numpy()
            np.testing.assert_allclose(part, full, rtol=1e-12)


def test_memory_of_another_model_or_training_or_a_later_round_is_dropped():
    state = RecordDict()

    def sends(value, size, **of):
        update = {"w": np.full(size, value, np.float32)}
        return float(WorkerMomentum(BETA, state).step(update, **of)["w"].numpy()[0])

    assert sends(5.0, 5, server_round=1) == pytest.approx(5.0)
    assert sends(1.0, 7, server_round=2) == pytest.approx(1.0)  # another model
    both = (BETA * 1.0 + 3.0) / (BETA + 1.0)
    assert sends(3.0, 7, server_round=3) == pytest.approx(both)
    assert sends(9.0, 7, server_round=3) == pytest.approx(9.0)  # a round that was already
    assert sends(2.0, 7, server_round=4, training="b") == pytest.approx(2.0)
    assert sends(4.0, 7, server_round=5, training="b") != pytest.approx(4.0)
    assert sends(4.0, 7, server_round=6, training="c") == pytest.approx(4.0)
    assert sends(6.0, 3, server_round=7, training="c") == pytest.approx(6.0)  # a smaller one


def test_an_update_that_is_no_mapping_of_numpy_arrays_is_told_so():
    worker = WorkerMomentum(BETA, RecordDict())
    with pytest.raises(TypeError, match=r"Found an ArrayRecord\. Write \{name: array\.numpy"):
        worker.step(ArrayRecord({"w": Array(np.ones(3))}), server_round=1)
    with pytest.raises(TypeError, match="Found a list in `w`"):
        worker.step({"w": [1.0]}, server_round=1)


def test_a_round_that_comes_twice_is_of_another_training(gradients):
    state = RecordDict()
    for _ in range(2):
        sent = WorkerMomentum(BETA, state).step({"w": gradients[0]}, server_round=3)
        np.testing.assert_allclose(sent["w"].numpy(), gradients[0], rtol=1e-6)


def test_float16_keeps_its_dtype_on_the_wire_and_float32_in_memory():
    state = RecordDict()
    sent = WorkerMomentum(BETA, state).step({"w": np.ones(2, np.float16)}, server_round=1)
    assert sent["w"].numpy().dtype == np.float16
    assert state["resam-momentum"]["w"].numpy().dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_average_of_the_largest_numbers_is_no_infinity(dtype):
    worker = WorkerMomentum(BETA, RecordDict())
    update = np.full(3, np.finfo(dtype).max, dtype)
    for number in range(1, 30):
        sent = worker.step({"w": update}, server_round=number)["w"].numpy()
        np.testing.assert_allclose(sent, update, rtol=1e-3)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan"), "0.9", None, True])
def test_beta_out_of_range_is_refused_before_any_round(beta):
    with pytest.raises(ValueError, match="0 <= beta < 1"):
        momentum_mod(beta)


def trained_by(mods, reply, dtype=np.float64, training="a"):
    """Ask one node to train, at round 1, and return its reply."""
    app = ClientApp(mods=mods)
    app.train()(reply)
    app.evaluate()(reply)
    grid = InProcessGrid(app, num_nodes=1)

    def ask(kind="train", server_round=1):
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(np.full(3, 5.0, dtype)), "n": Array(np.array(7))}),
                "config": ConfigRecord({"server-round": server_round}),
            }
        )
        (node,) = grid.get_node_ids()
        message = Message(content, node, kind)
        if training is not None:
            stamp([message], training, server_round)
        (answer,) = grid.send_and_receive([message])
        return answer

    return ask


def weights(message: Message, context: Context) -> Message:
    """Train as a handler of anyone's app: empties what came and returns other weights."""
    arrays = {"w": Array(np.full(3, 2.0)), "n": Array(np.array(8))}
    next(iter(message.content.array_records.values())).clear()
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"loss": 1.0})})
    return Message(content, reply_to=message)


def test_the_mod_sends_momentum_of_what_training_changed():
    ask = trained_by([momentum_mod(BETA)], weights)
    first, second = ask(), ask(server_round=2)
    assert list(first.content.array_records) == ["momentum"]
    np.testing.assert_allclose(first.content["momentum"]["w"].numpy(), 3.0)
    np.testing.assert_allclose(second.content["momentum"]["w"].numpy(), 3.0)
    assert first.content["momentum"]["n"].numpy() == 8
    assert first.content["metrics"] == {"loss": 1.0}


def test_a_server_that_asks_for_no_momentum_gets_the_weights():
    reply = trained_by([momentum_mod(BETA)], weights, training=None)()
    assert list(reply.content.array_records) == ["arrays"]
    np.testing.assert_array_equal(reply.content["arrays"]["w"].numpy(), 2.0)


def test_another_training_begins_anew():
    app = ClientApp(mods=[momentum_mod(BETA)])
    sent = []

    @app.train()
    def train(message, context):
        value = message.content["arrays"]["w"].numpy()
        moved = {"w": Array(value - message.content["config"]["by"])}
        return Message(RecordDict({"arrays": ArrayRecord(moved)}), reply_to=message)

    grid = InProcessGrid(app, num_nodes=1)
    for number, (training, by) in enumerate([("a", 8.0), ("a", 2.0), ("b", 1.0)], start=1):
        content = RecordDict({
            "arrays": ArrayRecord({"w": Array(np.zeros(1))}),
            "config": ConfigRecord({"server-round": number, "by": by}),
        })
        message = Message(content, 2, "train")
        stamp([message], training, number)
        (reply,) = grid.send_and_receive([message])
        sent.append(float(reply.content["momentum"]["w"].numpy()[0]))
    assert sent == pytest.approx([8.0, (BETA * 8.0 + 2.0) / (BETA + 1.0), 1.0])


def test_a_handler_that_ends_the_process_gives_an_error_reply():
    def leaves(message: Message, context: Context) -> Message:
        raise SystemExit(3)

    ask = trained_by([momentum_mod(BETA)], leaves)
    for kind in ("train", "evaluate"):
        assert "the ClientApp called sys.exit(3)" in ask(kind).error.reason


def test_a_handler_that_replaces_its_state_is_told_so(caplog):
    def forgets(message: Message, context: Context) -> Message:
        context.state = RecordDict({"mine": MetricRecord({"x": 1})})
        return weights(message, context)

    ask = trained_by([momentum_mod(BETA)], forgets)
    ask()
    assert "replaced" not in caplog.text
    ask(server_round=2)
    assert "The handler replaced `context.state`" in caplog.text


def test_the_mod_leaves_other_messages_and_errors_alone():
    ask = trained_by([momentum_mod(BETA)], weights)
    np.testing.assert_array_equal(ask("evaluate").content["arrays"]["w"].numpy(), 2.0)

    def fails(message: Message, context: Context) -> Message:
        raise ZeroDivisionError("of the app's own")

    assert "of the app's own" in trained_by([momentum_mod(BETA)], fails)().error.reason


def _as_bfloat16(values):
    """The npy file that NumPy writes of a bfloat16 array, whose dtype it does not know."""
    file = io.BytesIO()
    np.save(file, (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view("V2"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"n": Array(np.array(7))}, "hold the arrays that were sent. Found no ['w']"),
        (
            {"w": Array(np.ones(3)), "n": Array(np.array(7)), "v": Array(np.ones(3))},
            "Found ['v'] besides",
        ),
        (
            {"_orig_mod.w": Array(np.ones(3)), "_orig_mod.n": Array(np.array(7))},
            "Found each name with the prefix `_orig_mod.`",
        ),
        ({"w": Array(np.ones(4)), "n": Array(np.array(7))}, "keep the shapes that were sent"),
        (
            {"w": Array(np.ones(3, np.int8)), "n": Array(np.array(7))},
            "keep the dtypes that were sent. Found int8 for float64 in `w`. Return it as float64",
        ),
        ({"w": Array(np.ones(3, bool)), "n": Array(np.array(7))}, "Found bool for float64"),
        ({"w": Array(np.ones(3, complex)), "n": Array(np.array(7))}, "Found complex128 for"),
        (
            {
                "w": Array("bfloat16", (3,), "numpy.ndarray", _as_bfloat16(np.ones(3))),
                "n": Array(np.array(7)),
            },
            "Found bfloat16 for float64",
        ),
    ],
)
def test_a_handler_that_returns_another_model_is_told_so(arrays, message):
    def other(instruction: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=instruction)

    assert message in trained_by([momentum_mod(BETA)], other)().error.reason


@pytest.mark.parametrize("count", [0, 2])
def test_a_handler_that_returns_no_record_or_two_is_told_so(count):
    def other(instruction: Message, context: Context) -> Message:
        arrays = {"w": Array(np.ones(3)), "n": Array(np.array(7))}
        records = {str(index): ArrayRecord(dict(arrays)) for index in range(count)}
        return Message(RecordDict(records), reply_to=instruction)

    reason = trained_by([momentum_mod(BETA)], other)().error.reason
    assert f"`reply` must hold one ArrayRecord. Found {count}" in reason


def test_momentum_twice_is_told_so():
    ask = trained_by([momentum_mod(BETA), momentum_mod(BETA)], weights)
    assert "momentum_mod once" in printable(ask().error.reason)


def test_the_mods_travel_to_other_processes_as_ray_sends_them():
    """By value: what their bodies name must be what a process can be sent."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    mods = cloudpickle.loads(cloudpickle.dumps([byzantine_mod("sign-flip"), momentum_mod(BETA)]))
    flipped = trained_by(mods, weights)()
    np.testing.assert_allclose(flipped.content["momentum"]["w"].numpy(), -3.0)
    twice = trained_by([momentum_mod(BETA), mods[1]], weights)()
    assert "momentum_mod once" in printable(twice.error.reason)


def test_one_bad_batch_costs_a_worker_one_round():
    worker = WorkerMomentum(BETA, RecordDict())
    for number in range(1, 40):
        if number == 3:
            for bad in (np.nan, np.inf, -2e141):
                with pytest.raises(ValueError, match="`update` must be finite"):
                    worker.step({"w": np.array([bad, 1.0])}, server_round=number)
            continue
        sent = worker.step({"w": np.array([1.0, -2.0])}, server_round=number)["w"].numpy()
    # Of a constant gradient it is the momentum of a worker that never missed a round.
    np.testing.assert_allclose(sent, np.array([1.0, -2.0]))


def test_float64_that_numpy_makes_goes_back_to_the_dtype_that_was_sent():
    reply = trained_by([momentum_mod(BETA)], weights, np.float32)()
    assert reply.content["momentum"]["w"].dtype == "float32"
    np.testing.assert_allclose(reply.content["momentum"]["w"].numpy(), 3.0, rtol=1e-6)

    def halves(message, context):
        arrays = {"w": Array(np.full(3, 2.0)), "n": Array(np.array(0.5))}
        return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)

    reason = trained_by([momentum_mod(BETA)], halves)().error.reason
    assert "keep the dtypes that were sent. Found float64 for int64" in reason


def test_the_mod_that_was_not_called_says_so():
    reason = trained_by([momentum_mod], weights)().error.reason
    assert "`mods` must hold what momentum_mod returns. Found momentum_mod itself" in reason


def variance_after(name="v", first=(9.0, 9.0), second=(0.5, 0.4), left=0.3, **options):
    """Two rounds in which a handler shrinks one array to ``left``: whether the mod warns, and how.

    The momentum of the first round takes what is left of it below zero in the second.
    """
    app = ClientApp(mods=[momentum_mod(BETA, **options)])

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        local = {name: Array(np.full_like(arrays[name].numpy(), left))}
        return Message(RecordDict({"arrays": ArrayRecord(local)}), reply_to=message)

    grid = InProcessGrid(app, num_nodes=1)
    (node,) = grid.get_node_ids()
    for number, sent in enumerate((first, second), start=1):
        arrays = ArrayRecord({name: Array(np.array(sent))})
        config = ConfigRecord({"server-round": number})
        content = RecordDict({"arrays": arrays, "config": config})
        message = Message(content, node, "train")
        stamp([message], "a", number)
        (reply,) = grid.send_and_receive([message])
        assert not reply.has_error()


def test_a_variance_that_momentum_takes_below_zero_is_named(caplog):
    variance_after()
    assert caplog.text.count("Momentum takes `v` below zero") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"buffers": ()},
        {"name": "bn.running_var"},
        {"first": [1.0, 1.0]},  # stays above zero
        {"second": [0.5, -0.4]},  # was no variance at the server
        {"second": [0.5, 0.0]},
        {"left": 0.0},  # nor here
        {"first": [9.0], "second": [0.5]},  # one number
        {"first": [[9.0, 9.0]], "second": [[0.5, 0.4]]},  # a matrix
    ],
)
def test_nothing_is_said_of_what_is_no_variance_or_stays_one(changes, caplog):
    variance_after(**changes)
    assert "below zero" not in caplog.text
