"""Strategies that people made of FedAvg by overriding its methods, with Resam in its place."""

import functools
import logging

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_resam import InProcessGrid, Momentum, Resam, momentum_mod, parse_rule
from flwr_resam.aggregators import Mean

NODES = 8


def app(*mods, handler=None):
    """Each round goes half of the way to 1; the evaluation says 0.5."""
    made = ClientApp(mods=list(mods))

    @made.train()
    def train(message, context):
        if handler is not None:
            return handler(message, context)
        weights = message.content["arrays"]["w"].numpy()
        return answer(message, weights - (0.5 * (weights - 1)).astype(weights.dtype))

    @made.evaluate()
    def evaluate(message, context):
        metrics = MetricRecord({"accuracy": 0.5, "num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return made


def answer(message, weights):
    metrics = MetricRecord({"num-examples": 1, "loss": 1.0})
    content = RecordDict({"arrays": ArrayRecord({"w": Array(weights)}), "metrics": metrics})
    return Message(content, reply_to=message)


def model(dtype=np.float32):
    return ArrayRecord({"w": Array(np.zeros(3, dtype))})


def both(mixin):
    """The same subclass of FedAvg and of Resam, each ready to start."""
    fedavg = type("OfFedAvg", (mixin, FedAvg), {})(fraction_evaluate=0.0)
    resam = type("OfResam", (mixin, Resam), {})(1, fraction_evaluate=0.0)
    return fedavg, resam


def end(strategy, client, rounds=6):
    return (
        strategy.start(InProcessGrid(client, NODES), model(), num_rounds=rounds).arrays["w"].numpy()
    )


def own_messages(arrays, config, grid):
    content = RecordDict({"arrays": arrays, "config": config})
    return [
        Message(content, message_type=MessageType.TRAIN, dst_node_id=i) for i in grid.get_node_ids()
    ]


class Masks:
    """Sends a model whose first coordinate is always 3."""

    def configure_train(self, server_round, arrays, config, grid):
        masked = arrays["w"].numpy().copy()
        masked[0] = 3.0
        sent = ArrayRecord({"w": Array(masked)})
        return super().configure_train(server_round, sent, config, grid)


class OnePerNode:
    """Sends every second node a model of its own."""

    def configure_train(self, server_round, arrays, config, grid):
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages[::2]:
            other = arrays["w"].numpy().copy()
            other[0] = 3.0
            message.content = RecordDict(
                {"arrays": ArrayRecord({"w": Array(other)}), "config": config}
            )
        return messages


@pytest.mark.parametrize("mixin", [Masks, OnePerNode])
@pytest.mark.parametrize("mods", [[], [momentum_mod(0.0)]])
def test_the_step_is_taken_from_what_was_sent(mixin, mods, caplog):
    fedavg, resam = both(mixin)
    resam.aggregator = Mean()
    expected = end(fedavg, app())
    found = end(resam, app(*mods))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert ("sent different models" in caplog.text) == (mixin is OnePerNode)


def test_a_model_in_other_dtypes_keeps_the_optimiser_going(caplog):
    class Half(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            half = ArrayRecord({"w": Array(arrays["w"].numpy().astype(np.float16))})
            return super().configure_train(server_round, half, config, grid)

    def handler(message, context):
        return answer(
            message, message.content["arrays"]["w"].numpy().astype(np.float32) + np.float32(0.125)
        )

    ends = [
        end(
            made(0, Mean(), optimizer=Momentum(0.9), fraction_evaluate=0.0),
            app(momentum_mod(0.0), handler=handler),
        )
        for made in (Resam, Half)
    ]
    np.testing.assert_allclose(*ends, rtol=1e-3)
    assert "a model of other dtypes" in caplog.text


def test_messages_of_ones_own_are_sent_whatever_the_fraction():
    class Own:
        def configure_train(self, server_round, arrays, config, grid):
            config["server-round"] = server_round
            return own_messages(arrays, config, grid)

    made = type("OfResam", (Own, Resam), {})(1, fraction_train=0.0, fraction_evaluate=0.0)
    np.testing.assert_allclose(end(made, app(momentum_mod(0.0))), 1 - 0.5**6)


def test_a_round_in_which_nobody_is_asked_is_none_that_was_skipped():
    class Every5th:
        def configure_train(self, server_round, arrays, config, grid):
            if server_round % 15:
                return []
            return super().configure_train(server_round, arrays, config, grid)

    for strategy in both(Every5th):
        np.testing.assert_allclose(end(strategy, app(), rounds=30), 0.75)


def test_nodes_that_an_override_leaves_out_are_not_silent():
    class Five(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            return list(super().configure_train(server_round, arrays, config, grid))[:5]

    def handler(message, context):
        if context.node_id == 2:
            raise ZeroDivisionError
        return answer(message, np.ones(3, np.float32))

    strategy = Five(1, min_available_nodes=NODES, fraction_evaluate=0.0)
    result = strategy.start(InProcessGrid(app(handler=handler), NODES), model(), num_rounds=1)
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-asked"], metrics["n-valid"], metrics["n-silent"]) == (5, 4, 0)


def test_no_node_there_is_a_skipped_round_still(federation):
    class Gone(InProcessGrid):
        def get_node_ids(self):
            return list(super().get_node_ids())[: 0 if self.away else None]

    grid = Gone(app(), 3)
    grid.away = False
    strategy = Resam(1, fraction_evaluate=0.0, timeout=0.1)
    first = list(strategy.configure_train(1, model(), ConfigRecord(), grid))
    strategy.aggregate_train(1, grid.send_and_receive(first))
    grid.away = True
    assert strategy.configure_train(2, model(), ConfigRecord(), grid) == []
    arrays, metrics = strategy.aggregate_train(2, [])
    assert arrays is None
    assert metrics["n-silent"] == 3


class OwnLoop(Resam):
    """Flower's loop, and messages of its own."""

    def start(self, *arguments, **changes):
        return Strategy.start(self, *arguments, **changes)


@pytest.mark.parametrize("what", ["train", "evaluate"])
def test_replies_to_what_resam_knows_nothing_of_are_an_error_in_the_first_round(what):
    class Own(OwnLoop):
        def configure_train(self, server_round, arrays, config, grid):
            if what == "evaluate":
                return super().configure_train(server_round, arrays, config, grid)
            return own_messages(arrays, config, grid)

        def configure_evaluate(self, server_round, arrays, config, grid):
            content = RecordDict({"arrays": arrays, "config": config})
            return [
                Message(content, message_type=MessageType.EVALUATE, dst_node_id=i)
                for i in grid.get_node_ids()
            ]

    with pytest.raises(RuntimeError, match=rf"`aggregate_{what}` must be given replies to what"):
        end(Own(1), app())


def logged(method):
    """A decorator that looks at the replies first."""

    @functools.wraps(method)
    def wrapper(self, server_round, replies):
        self.seen = len(list(replies))
        return method(self, server_round, replies)

    return wrapper


def test_a_wrapped_method_may_look_at_the_replies_first():
    class Logged(Resam):
        aggregate_train = logged(Resam.aggregate_train)

    patched = Resam(1, fraction_evaluate=0.0)
    patched.aggregate_train = functools.partial(logged(Resam.aggregate_train), patched)
    for strategy in (Logged(1, fraction_evaluate=0.0), patched):
        np.testing.assert_allclose(end(strategy, app()), 1 - 0.5**6)
        assert strategy.seen == NODES


def test_the_handler_gets_what_fedavg_sends_and_may_empty_it():
    seen = []

    def handler(message, context):
        seen.append({key: dict(record) for key, record in message.content.config_records.items()})
        weights = message.content["arrays"]["w"].numpy()
        message.content.clear()
        return answer(message, weights - np.float32(0.5) * (weights - 1))

    found = end(Resam(1, fraction_evaluate=0.0), app(momentum_mod(0.0), handler=handler))
    np.testing.assert_allclose(found, 1 - 0.5**6)
    assert seen[0] == {"config": {"server-round": 1}}


def test_the_round_is_the_one_that_the_loop_counts():
    class Constant(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            return own_messages(arrays, ConfigRecord({"server-round": 1}), grid)

    ends = [
        end(made(1, fraction_evaluate=0.0), app(momentum_mod(0.9))) for made in (Resam, Constant)
    ]
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    "keys",
    [{"arrayrecord_key": "momentum"}, {"arrayrecord_key": "resam"}, {"configrecord_key": "resam"}],
)
def test_the_keys_of_resams_own_records_are_taken(keys):
    with pytest.raises(ValueError, match=f"`{next(iter(keys))}` must be another name"):
        Resam(1, **keys)


def test_a_hook_that_is_never_called_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match=r"Found _construct_messages. Override configure_train"):

        class Mine(Resam):
            def _construct_messages(self, record, node_ids, message_type):
                return []


def test_an_attribute_with_the_name_of_a_setting_is_told_so(caplog):
    class Mine(Resam):
        def __init__(self):
            super().__init__(1)
            self.learning_rate = 0.01  # of the nodes, as its author thinks
            self.fraction_train = 0.5

    with caplog.at_level(logging.WARNING, logger="flwr"):
        Mine()
    assert "`Mine.learning_rate` is a setting of Resam, 0.01 from now on" in caplog.text
    assert "fraction_train" not in caplog.text

    class Before(Resam):
        def __init__(self):
            self.seed = 3
            super().__init__(1)

    with pytest.raises(
        AttributeError, match=r"`seed` is a setting of Resam, which is not there before"
    ):
        Before()
    with pytest.raises(
        TypeError, match="`settings` must hold what Resam was made with"
    ):
        Resam(1).settings = {}


def test_what_is_derived_follows_what_is_changed_later(tmp_path):
    strategy = Resam(1, min_available_nodes=20)
    strategy.fraction_train = 0.5
    assert strategy.min_train_nodes == 10
    strategy.num_malicious_nodes = 6
    assert (strategy.min_train_nodes, strategy.min_available_nodes) == (13, 20)
    strategy.min_train_nodes = 15
    strategy.fraction_train = 0.1
    assert strategy.min_train_nodes == 15
    strategy.output_dir = str(tmp_path)
    assert strategy.output_dir == tmp_path


def test_a_model_that_grows_begins_the_rules_memory_anew():
    class Grows(Resam):
        def aggregate_train(self, server_round, replies):
            arrays, metrics = super().aggregate_train(server_round, replies)
            if server_round == 2:
                arrays["more"] = Array(np.zeros(2, np.float32))
            return arrays, metrics

    def handler(message, context):
        arrays = ArrayRecord(
            {
                name: Array(array.numpy() + np.float32(0.1))
                for name, array in message.content["arrays"].items()
            }
        )
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    strategy = Grows(1, parse_rule("cc(radius=1.0)"), fraction_evaluate=0.0)
    result = strategy.start(InProcessGrid(app(handler=handler), NODES), model(), num_rounds=4)
    np.testing.assert_allclose(result.arrays["more"].numpy(), 0.2, rtol=1e-6)


def test_another_loop_may_go_on_after_start():
    strategy = Resam(1, fraction_evaluate=0.0)
    grid = InProcessGrid(app(), NODES)
    arrays = strategy.start(grid, model(), num_rounds=2).arrays
    asked = list(strategy.configure_train(3, arrays, ConfigRecord(), grid))
    arrays, _ = strategy.aggregate_train(3, grid.send_and_receive(asked))
    np.testing.assert_allclose(arrays["w"].numpy(), 1 - 0.5**3)


def test_nobody_asked_is_nobody_missing_whoever_is_there():
    class Gone(InProcessGrid):
        def get_node_ids(self):
            return list(super().get_node_ids())[: NODES - self.away]

    class Never(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            asked = super().configure_train(server_round, arrays, config, grid)
            grid.away = 1
            return [] if server_round > 1 else asked

    grid = Gone(app(), NODES)
    grid.away = 0
    strategy = Never(1, fraction_evaluate=0.0, min_available_nodes=NODES)
    result = strategy.start(grid, model(), num_rounds=20)
    np.testing.assert_allclose(result.arrays["w"].numpy(), 0.5)


def test_a_mod_outside_may_call_again_and_read_what_was_sent():
    seen = []

    def again(message, context, call_next):
        first = call_next(message, context)
        seen.append((set(message.content), "momentum" in first.content))
        return call_next(message, context)

    result = Resam(1, fraction_evaluate=0.0).start(
        InProcessGrid(app(again, momentum_mod(0.0)), NODES), model(), num_rounds=1
    )
    assert seen == [({"arrays", "config"}, True)] * NODES
    assert result.train_metrics_clientapp[1]["n-momentum"] == NODES


def test_a_number_that_is_set_to_what_it_is_stays():
    strategy = Resam(2)
    strategy.min_train_nodes = 7
    strategy.num_malicious_nodes = 3
    assert strategy.min_train_nodes == 7
    strategy.min_available_nodes = strategy.min_available_nodes
    strategy.num_malicious_nodes = 1
    assert (strategy.min_train_nodes, strategy.min_available_nodes) == (7, 7)
