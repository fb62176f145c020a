"""Apps that people wrote for FedAvg, and what Resam and the mod do with them."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from flwr_resam import (
    AdversarialGrid,
    InProcessGrid,
    Momentum,
    Resam,
    momentum_mod,
    parse_attack,
    parse_rule,
)
from flwr_resam.aggregators import Mean
from tests.dropin.test_overridden import NODES, answer, app, both, end, model

MOD = momentum_mod(0.0)


def started(strategy, client, rounds=4, initial=None):
    return strategy.start(InProcessGrid(client, NODES), initial or model(), num_rounds=rounds)


class OwnAverage:
    def aggregate_train(self, server_round, replies):
        contents = [reply.content for reply in replies]
        return aggregate_arrayrecords(contents, "num-examples"), MetricRecord()


class ByName:
    def aggregate_train(self, server_round, replies):
        return FedAvg.aggregate_train(self, server_round, replies)


@pytest.mark.parametrize("mixin", [OwnAverage, ByName])
def test_momentum_that_another_aggregation_would_take_for_weights_ends_the_run(mixin):
    _, resam = both(mixin)
    with pytest.raises(RuntimeError, match=r"`aggregate_train` must call super\(\).aggregate_train"):
        started(resam, app(MOD))


@pytest.mark.parametrize("mixin", [OwnAverage, ByName])
def test_weights_that_another_aggregation_averages_are_said_to_be_unprotected_once(mixin, caplog):
    fedavg, resam = both(mixin)
    np.testing.assert_allclose(end(resam, app()), end(fedavg, app()))
    assert caplog.text.count("no rule was applied") == 1


def test_an_aggregation_that_keeps_the_model_in_some_rounds_is_nobodys_affair(caplog):
    class Pauses(Resam):
        def aggregate_train(self, server_round, replies):
            if server_round == 2:
                list(replies)
                return None, None
            return super().aggregate_train(server_round, replies)

    result = started(Pauses(1, fraction_evaluate=0.0), app(MOD))
    np.testing.assert_allclose(result.arrays["w"].numpy(), 1 - 0.5**3)
    assert "no rule" not in caplog.text


def altered(key):
    class Altered:
        """Sends what the model would be in quarters, under a name of its own."""

        def configure_train(self, server_round, arrays, config, grid):
            config["server-round"] = server_round
            rounded = (np.round(arrays["w"].numpy() * 4) / 4).astype(np.float32)
            content = RecordDict({key: ArrayRecord({"w": Array(rounded)}), "cfg": config})
            return [Message(content, node, "train") for node in grid.get_node_ids()]

    return Altered


def first_record(message, context):
    (arrays,) = message.content.array_records.values()
    weights = arrays["w"].numpy()
    return answer(message, weights - (0.5 * (weights - 0.9)).astype(weights.dtype))


@pytest.mark.parametrize("key", ["arrays", "model"])
def test_the_step_is_taken_from_the_model_that_was_sent_by_whatever_name(key):
    fedavg, resam = both(altered(key))
    expected = end(fedavg, app(handler=first_record))
    np.testing.assert_allclose(end(resam, app(MOD, handler=first_record)), expected, rtol=1e-6)


def test_what_is_sent_a_second_time_asks_for_weights():
    """A strategy that sends the round's content again averages what comes as weights."""
    kept = []

    class Twice(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            self.grid, asked = grid, list(super().configure_train(server_round, arrays, config, grid))
            self.again = [Message(m.content, m.metadata.dst_node_id, "train") for m in asked]
            return asked

        def aggregate_train(self, server_round, replies):
            made = super().aggregate_train(server_round, replies)
            kept.extend(self.grid.send_and_receive(self.again))
            return made

    started(Twice(1, fraction_evaluate=0.0), app(MOD), rounds=1)
    assert [list(reply.content.array_records) for reply in kept] == [["arrays"]] * NODES


@pytest.mark.parametrize("name", ["_construct_messages", "_check_and_log_replies"])
@pytest.mark.parametrize("bases", [(Resam,), (type("Custom", (FedAvg,), {}), Resam)])
def test_hooks_that_are_never_called_are_refused_wherever_they_stand(name, bases):
    if len(bases) > 1:
        bases = (type("Custom", (FedAvg,), {name: lambda self: None}), Resam)
    with pytest.raises(TypeError, match=f"override methods that Resam calls. Found {name}"):
        type("Mine", bases, {name: lambda self: None} if len(bases) == 1 else {})


def evaluated(f, told):
    """The metrics of an evaluation in which each node is asked twice, once a set of examples."""
    client = ClientApp()

    @client.train()
    def train(message, context):
        return first_record(message, context)

    for action in ("val", "test"):
        @client.evaluate(action)
        def evaluate(message, context, action=action):
            metrics = MetricRecord(told(action, int(context.node_config["partition-id"])))
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

    class Twice(Resam):
        def configure_evaluate(self, server_round, arrays, config, grid):
            asked = super().configure_evaluate(server_round, arrays, config, grid)
            again = [Message(m.content, m.metadata.dst_node_id, "evaluate.test") for m in asked]
            for message in asked:
                message.metadata.message_type = "evaluate.val"
            self._resam_run.questions = asked + again
            return self._resam_run.questions

    result = started(Twice(f, min_available_nodes=NODES), client, rounds=1)
    return result.evaluate_metrics_clientapp[1]


@pytest.mark.parametrize("f", [2, 3])
def test_a_node_may_be_asked_to_evaluate_twice(f):
    """Each metric has one value a node where they have names of their own, and two where not."""
    def lie(node):
        return 1e9 if node < f else 0.5

    assert evaluated(f, lambda action, node: {action: lie(node)}) == {"val": 0.5, "test": 0.5}
    assert evaluated(f, lambda action, node: {"accuracy": lie(node)}) == {"accuracy": 0.5}


def test_where_few_report_twice_all_they_say_may_be_lies():
    """Four of eight nodes report x, each twice: two liars are half of what is said of it."""
    said = evaluated(2, lambda action, node: {"y": 1, **({"x": 1} if node < 4 else {})})
    assert said == {"y": 1}


def test_a_node_that_is_asked_to_train_twice_is_refused():
    class Twice(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            content = RecordDict({"arrays": arrays, "config": config})
            return [Message(content, node, "train") for node in [2, 2, 3, 4]]

    with pytest.raises(ValueError, match=r"ask each node once a round\. Found node 2 asked 2 times"):
        started(Twice(1), app())


@pytest.mark.parametrize("mods", [(), (MOD,)])
def test_a_handler_may_go_through_all_that_it_is_sent(mods):
    def handler(message, context):
        (config,) = message.content.config_records.values()
        arrays, same = message.content.values()
        assert same is config
        assert set(config) == {"server-round"}
        assert isinstance(arrays, ArrayRecord)
        return first_record(message, context)

    result = started(Resam(1, fraction_evaluate=0.0), app(*mods, handler=handler), rounds=1)
    assert result.train_metrics_clientapp[1]["n-valid"] == NODES


def test_a_group_id_of_the_apps_own_reaches_the_handler():
    seen = []

    class Grouped(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            for message in (asked := super().configure_train(server_round, arrays, config, grid)):
                message.metadata.group_id = str(server_round)
            return asked

    def handler(message, context):
        seen.append(int(message.metadata.group_id))
        return first_record(message, context)

    result = started(Grouped(1, fraction_evaluate=0.0), app(MOD, handler=handler), rounds=2)
    assert seen == [1] * NODES + [2] * NODES
    assert result.train_metrics_clientapp[2]["n-momentum"] == NODES


class Part:
    """Keeps the whole model, and trains a part of it."""

    def configure_train(self, server_round, arrays, config, grid):
        self.frozen = arrays["backbone"]
        part = ArrayRecord({"w": arrays["w"]})
        return super().configure_train(server_round, part, config, grid)

    def aggregate_train(self, server_round, replies):
        part, metrics = super().aggregate_train(server_round, replies)
        return ArrayRecord({"backbone": self.frozen, "w": part["w"]}), metrics


def test_a_strategy_may_keep_the_whole_model_and_send_a_part():
    whole = ArrayRecord({"backbone": Array(np.ones(5, np.float32)), **model()})
    fedavg, resam = both(Part)
    expected = started(fedavg, app(), initial=whole).arrays
    result = started(resam, app(MOD), initial=whole)
    assert set(result.arrays) == {"backbone", "w"}
    np.testing.assert_allclose(result.arrays["w"].numpy(), expected["w"].numpy())
    assert result.train_metrics_clientapp[4]["n-momentum"] == NODES


def test_a_part_has_its_moments_and_its_rules_memory_after_a_resumption(tmp_path):
    def run(folder, rounds, resume=False):
        strategy = type("OfResam", (Part, Resam), {})(
            1, parse_rule("cc(radius=0.1)"), optimizer=Momentum(0.9), fraction_evaluate=0.0,
            output_dir=tmp_path / folder, checkpoint_every=1, buffers=["stat"],
        )
        whole = ArrayRecord({
            "backbone": Array(np.ones(5, np.float32)), "stat": Array(np.ones(2, np.float32)),
            **model(),
        })
        grid = InProcessGrid(app(MOD), NODES)
        return strategy.start(grid, whole, num_rounds=rounds, resume=resume).arrays["w"].numpy()

    run("parts", 3)
    np.testing.assert_array_equal(run("parts", 6, resume=True), run("straight", 6))


def test_a_strategy_within_another_applies_the_rule(caplog):
    class Outer(Resam):
        inner = None

        def configure_train(self, server_round, arrays, config, grid):
            return self.inner.configure_train(server_round, arrays, config, grid)

        def aggregate_train(self, server_round, replies):
            return self.inner.aggregate_train(server_round, replies)

    outer = Outer(1, fraction_evaluate=0.0)
    outer.inner = Resam(1, fraction_evaluate=0.0)
    result = started(outer, app(MOD), rounds=2)
    np.testing.assert_allclose(result.arrays["w"].numpy(), 0.75)
    assert "no rule was applied" not in caplog.text


def test_a_round_that_keeps_the_model_may_return_a_copy_of_it():
    class Keeps(Resam):
        def aggregate_train(self, server_round, replies):
            list(replies)
            return model(), MetricRecord()

    result = started(Keeps(1, fraction_evaluate=0.0), app(MOD), rounds=2)
    np.testing.assert_array_equal(result.arrays["w"].numpy(), 0)


def test_names_that_authors_give_are_theirs():
    class Mine(Resam):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self._run = "wandb's"

        def _aggregate(self):
            raise AssertionError

        _messages = _skip = _median = _aggregate

    strategy = Mine(1)
    result = started(strategy, app(MOD))
    np.testing.assert_allclose(result.arrays["w"].numpy(), 1 - 0.5**4)
    assert result.evaluate_metrics_clientapp[4]["accuracy"] == 0.5
    assert strategy._run == "wandb's"


def test_a_class_attribute_changes_as_little_as_with_fedavg():
    class Half(Resam):
        fraction_train = 0.5

    strategy = Half(1, fraction_evaluate=0.0, min_available_nodes=NODES)
    assert started(strategy, app(), rounds=1).train_metrics_clientapp[1]["n-asked"] == NODES


KEPT = {
    "num_batches_tracked": np.array(7), "counts": np.arange(4),
    "mask": np.array([0, -np.inf], np.float32),
}


@pytest.mark.parametrize("mods", [(), (MOD,)])
def test_counters_and_masks_may_be_left_out_of_a_reply_and_stay_the_servers(mods):
    initial = ArrayRecord({**model(), **{name: Array(value) for name, value in KEPT.items()}})
    result = started(Resam(1, fraction_evaluate=0.0), app(*mods), initial=initial)
    np.testing.assert_allclose(result.arrays["w"].numpy(), 1 - 0.5**4)
    for name, value in KEPT.items():
        np.testing.assert_array_equal(result.arrays[name].numpy(), value)


@pytest.mark.parametrize("mods", [(), (MOD,)])
@pytest.mark.parametrize("beside", [False, True])
def test_an_adversary_attacks_where_replies_hold_less_or_instructions_more(mods, beside):
    class Controlled(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            asked = super().configure_train(server_round, arrays, config, grid)
            if beside:
                asked[0].content["control"] = ArrayRecord({"c": Array(np.ones(2, np.float32))})
            return asked

    def handler(message, context):
        record = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + np.float32(1))})
        return Message(RecordDict({"arrays": record}), reply_to=message)

    initial = ArrayRecord({**model(), **{name: Array(value) for name, value in KEPT.items()}})
    grid = AdversarialGrid(
        InProcessGrid(app(*mods, handler=handler), NODES), parse_attack("foe(epsilon=9.0)"),
        partitions=[6, 7],
    )
    ends = [
        Controlled(f, rule, fraction_evaluate=0.0).start(grid, initial, num_rounds=1)
        for f, rule in ((0, Mean()), (2, parse_rule("cwtm")))
    ]
    mean, trimmed = (end.arrays["w"].numpy() for end in ends)
    np.testing.assert_allclose(mean, (6 - 2 * 9) / 8, rtol=1e-6)
    np.testing.assert_allclose(trimmed, 1)


@pytest.mark.parametrize("mods", [(), (MOD,)])
def test_what_was_not_sent_is_not_taken_in_place_of_a_counter(mods):
    initial = ArrayRecord({**model(), "n": Array(np.array(7))})

    def handler(message, context):
        weights = message.content["arrays"]["w"]
        record = ArrayRecord({"w": weights, "other": Array(np.array(1))})
        return Message(RecordDict({"arrays": record}), reply_to=message)

    strategy = Resam(1, fraction_evaluate=0.0, max_skipped_rounds=1)
    with pytest.raises(RuntimeError, match="other"):
        started(strategy, app(*mods, handler=handler), initial=initial, rounds=1)


def test_the_order_of_names_is_no_other_model():
    class Sorted(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            ordered = ArrayRecord(dict(sorted(arrays.items())))
            return super().configure_train(server_round, ordered, config, grid)

    def handler(message, context):
        arrays = message.content["arrays"]
        moved = {name: Array(array.numpy() + step) for step, (name, array) in zip(
            (np.float32(1), np.float32(2)), sorted(arrays.items()), strict=True
        )}
        return Message(RecordDict({"arrays": ArrayRecord(moved)}), reply_to=message)

    initial = ArrayRecord({"z": Array(np.zeros(2, np.float32)), "a": Array(np.zeros(2, np.float32))})
    result = started(Sorted(1, fraction_evaluate=0.0), app(MOD, handler=handler), 3, initial)
    assert result.train_metrics_clientapp[3]["n-momentum"] == NODES
    np.testing.assert_allclose(result.arrays["a"].numpy(), 3)
    np.testing.assert_allclose(result.arrays["z"].numpy(), 6)


def test_an_instruction_may_hold_more_than_the_model():
    class Controlled:
        def configure_train(self, server_round, arrays, config, grid):
            content = RecordDict({
                "arrays": arrays, "control": ArrayRecord({"c": Array(np.ones(2, np.float32))}),
                "config": ConfigRecord({"server-round": server_round}),
            })
            return [Message(content, node, "train") for node in grid.get_node_ids()]

    fedavg, resam = both(Controlled)
    np.testing.assert_allclose(end(resam, app(MOD)), end(fedavg, app()), rtol=1e-6)


def test_a_reply_that_could_be_to_either_record_is_told_so():
    class Controlled(Resam):
        def configure_train(self, server_round, arrays, config, grid):
            asked = super().configure_train(server_round, arrays, config, grid)
            asked[0].content["control"] = model()
            return asked

    def handler(message, context):
        record = ArrayRecord({"w": message.content["arrays"]["w"]})
        return Message(RecordDict({"mine": record}), reply_to=message)

    with pytest.raises(RuntimeError, match="name its ArrayRecord as the model is named"):
        started(
            Controlled(1, fraction_evaluate=0.0, max_skipped_rounds=1),
            app(MOD, handler=handler), rounds=1,
        )


def test_a_flood_of_metrics_in_an_evaluation_is_said(caplog):
    client = ClientApp()

    @client.train()
    def train(message, context):
        return first_record(message, context)

    @client.evaluate()
    def evaluate(message, context):
        metrics = MetricRecord({"roc": [0.5] * 200_000})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    started(Resam(1), client, rounds=1)
    assert caplog.text.count("sent too many metrics: dropped") == NODES
