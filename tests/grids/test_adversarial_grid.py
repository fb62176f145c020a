"""The omniscient adversary before Resam and before Flower's own strategies, all unchanged."""

from collections import Counter

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum

from flwr_resam import (
    AdversarialGrid,
    Adversary,
    InProcessGrid,
    PartitionedGrid,
    QuorumLostError,
    Resam,
    Schedule,
    momentum_mod,
)
from flwr_resam.aggregators import Mean, MoNNA
from flwr_resam.attacks import (
    ALIE,
    FOE,
    Gaussian,
    Huge,
    MinMax,
    NonFinite,
    OptimisedFOE,
    Replay,
    SignFlip,
    Zero,
)
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.momentum import server_round_of
from flwr_resam.wire.exchange import Deadline
from tests.support import content, record

N = 11


def batch_norm_model():
    """Weights, a float buffer in another dtype, and a counter."""
    return ArrayRecord({
        "weight": Array(np.ones((2, 3), np.float32)),
        "running_mean": Array(np.zeros(2, np.float64)),
        "num_batches_tracked": Array(np.array(5, np.int64)),
    })


def moved(arrays, step):
    """What a plain client returns: its weights after training."""
    return ArrayRecord({
        "weight": Array((arrays["weight"].numpy() + step).astype(np.float32)),
        "running_mean": Array((arrays["running_mean"].numpy() + 2 * step).astype(np.float64)),
        "num_batches_tracked": Array(
            # FedAvg makes 5.999... of counters that are 6, so round as a client must.
            np.asarray(np.rint(arrays["num_batches_tracked"].numpy()) + 1, dtype=np.int64)
        ),
    })


def plain_app(step=lambda partition, number: 1.0 + 0.01 * partition, seen=None, mods=()):
    """A ClientApp that knows nothing of Resam: weights in, weights out."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message, context):
        number, partition = server_round_of(message), context.node_config["partition-id"]
        if seen is not None:
            seen.append((number, partition))
        (arrays,) = message.content.array_records.values()
        record = moved(arrays, step(partition, number))
        # Clients may take the arrays out of the record that they were given.
        for name in list(arrays):
            arrays.pop(name)
        metrics = MetricRecord({"num-examples": 10, "train-loss": 0.5})
        return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)

    return app


def trained(strategy, grid, rounds=1):
    return strategy.start(grid, batch_norm_model(), num_rounds=rounds).arrays


def everyone(**changes):
    return {"fraction_evaluate": 0.0, "min_train_nodes": N, "min_available_nodes": N, **changes}


@pytest.mark.parametrize("rounds", [1, 3])
def test_before_fedavg_the_difference_from_what_was_sent_is_attacked(rounds):
    grid = AdversarialGrid(
        InProcessGrid(plain_app(lambda i, t: 1.0), N), FOE(epsilon=2.0), partitions=[9, 10]
    )
    arrays = trained(FedAvg(**everyone()), grid, rounds)
    step = (9 * 1.0 + 2 * -2.0) / N
    np.testing.assert_allclose(arrays["weight"].numpy(), 1.0 + rounds * step, rtol=1e-5)
    np.testing.assert_allclose(arrays["running_mean"].numpy(), rounds * 2 * step, rtol=1e-5)
    # Counters are no coordinates: Byzantine nodes count along with the honest ones.
    np.testing.assert_allclose(arrays["num_batches_tracked"].numpy(), 5 + rounds)


FLOWERS = {
    "fedavg": lambda: FedAvg(**everyone()),
    "fedmedian": lambda: FedMedian(**everyone()),
    "trimmed": lambda: FedTrimmedAvg(**everyone(), beta=0.2),
    "krum": lambda: Krum(**everyone(), num_malicious_nodes=2),
    "multikrum": lambda: MultiKrum(
        **everyone(), num_malicious_nodes=2, num_nodes_to_select=5
    ),
    "bulyan": lambda: Bulyan(**everyone(), num_malicious_nodes=2),
}


@pytest.mark.parametrize("name", sorted(FLOWERS))
def test_flowers_own_strategies_run_against_it_for_several_rounds(name):
    grid = AdversarialGrid(InProcessGrid(plain_app(), N), SignFlip(), partitions=[9, 10])
    attacked = trained(FLOWERS[name](), grid, 3)["weight"].numpy()
    alone = trained(FLOWERS[name](), InProcessGrid(plain_app(), N), 3)["weight"].numpy()
    assert np.isfinite(attacked).all()
    if name == "fedavg":
        assert (attacked < alone - 0.5).all()
    else:
        np.testing.assert_allclose(attacked, alone, atol=0.2)


@pytest.mark.parametrize("attack", [Huge(), NonFinite(), Gaussian(), Zero(), Replay()])
def test_resam_withstands_what_a_device_can_do_alone(attack):
    grid = AdversarialGrid(InProcessGrid(plain_app(), N), attack, partitions=[9, 10])
    arrays = trained(Resam(2, min_available_nodes=N, fraction_evaluate=0.0), grid, 2)
    np.testing.assert_allclose(arrays["weight"].numpy(), 3.0, atol=0.25)


def test_huge_rows_fit_small_dtypes_and_non_finite_ones_stay_so():
    sent = []

    class Watched(GridWrapper):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(super().send_and_receive(messages, timeout=timeout))
            sent.extend(r.content["arrays"]["w"].numpy() for r in replies)
            return replies

    app = ClientApp()

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    model = ArrayRecord({"w": Array(np.full(3, -9.0, np.float16))})
    for attack in (Huge(), NonFinite()):
        grid = Watched(AdversarialGrid(InProcessGrid(app, 3), attack, partitions=[2]))
        Resam(1, min_available_nodes=3, fraction_evaluate=0.0).start(grid, model, num_rounds=1)
    assert sent[2].dtype == sent[5].dtype == np.float16
    assert sent[2].tolist() == [-65504.0] * 3
    assert not np.isfinite(sent[5]).any()


def test_a_schedule_decides_when_and_honest_work_goes_on_in_between():
    seen = []
    grid = AdversarialGrid(
        InProcessGrid(plain_app(seen=seen), N), FOE(), partitions=[10],
        schedule=Schedule(start=2, every=3),
    )
    trained(Resam(1, Mean(), min_available_nodes=N, fraction_evaluate=0.0), grid, 7)
    assert [number for number, partition in seen if partition == 10] == [1, 3, 4, 6, 7]
    assert len(seen) == 7 * N - 2


def test_a_random_schedule_is_repeatable_and_near_its_probability():
    def rounds_on(seed):
        seen = []
        grid = AdversarialGrid(
            InProcessGrid(plain_app(seen=seen), 3), FOE(), partitions=[2],
            schedule=Schedule(probability=0.3), seed=seed,
        )
        trained(Resam(1, Mean(), min_available_nodes=3, fraction_evaluate=0.0), grid, 40)
        return {*range(1, 41)} - {number for number, partition in seen if partition == 2}

    on = rounds_on(1)
    assert on == rounds_on(1) != rounds_on(2)
    assert 5 <= len(on) <= 20


def test_several_attacks_at_once_each_know_the_honest_rows_only():
    nodes = InProcessGrid(plain_app(lambda i, t: float(i)), 6)
    grid = AdversarialGrid(nodes, [
        Adversary(FOE(epsilon=10.0), partitions=[4]),
        Adversary(ALIE(z=2.0), nodes=[nodes.partitions[5]], schedule=Schedule(start=2)),
    ])
    strategy = Resam(2, Mean(), min_available_nodes=6, fraction_evaluate=0.0)
    first = trained(strategy, grid, 1)["weight"].numpy()
    # Round 1: partition 5 is honest still, and the adversary on 4 sees it.
    honest = np.array([0.0, 1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(first - 1.0, (honest.sum() - 10.0 * honest.mean()) / 6, rtol=1e-5)
    second = trained(strategy, grid, 2)["weight"].numpy()
    honest = np.arange(4.0)
    # Updates are minus what was added, so ALIE's mu - z sigma is an addition of mu + z sigma.
    alie = honest.mean() + 2.0 * honest.std(ddof=1)
    expected = (honest.sum() - 10.0 * honest.mean() + alie) / 6
    np.testing.assert_allclose(second - first, expected, rtol=1e-5)


def test_memory_begins_anew_with_each_training():
    nodes = InProcessGrid(plain_app(lambda i, t: float(t)), 3)
    grid = AdversarialGrid(nodes, Replay(rounds=1), partitions=[2])
    strategy = Resam(1, Mean(), min_available_nodes=3, fraction_evaluate=0.0)
    for _ in range(2):
        arrays = trained(strategy, grid, 3)
        np.testing.assert_allclose(arrays["weight"].numpy(), 1 + (6 * 2 + 1 + 1 + 2) / 3, rtol=1e-5)


def test_the_optimised_attack_meets_the_strategy_that_it_was_optimised_against():
    rule = Mean()
    attack = OptimisedFOE().against(rule, 2)
    grid = AdversarialGrid(InProcessGrid(plain_app(), N), attack, partitions=[9, 10])
    arrays = trained(Resam(2, rule, min_available_nodes=N, fraction_evaluate=0.0), grid)
    assert (arrays["weight"].numpy() < -20.0).all()


def test_an_optimised_attack_trusts_whom_the_rule_trusts():
    rule = MoNNA(trusted=1)
    attack = OptimisedFOE().against(rule, 1)
    grid = AdversarialGrid(InProcessGrid(plain_app(), N), attack, partitions=[0])
    trained(Resam(1, rule, min_available_nodes=N, fraction_evaluate=0.0), grid)
    (state,) = grid.memory["states"]
    assert state["trusted"] == list(grid.get_node_ids())[1]


def test_malformed_honest_replies_are_not_known_and_not_copied():
    app = ClientApp()

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        partition = context.node_config["partition-id"]
        metrics = MetricRecord({"num-examples": 1})
        if partition == 0:
            raise RuntimeError("out of memory")
        record = moved(arrays, 1.0)
        if partition == 1:
            record["weight"] = Array("float32", (2, 3), "numpy.ndarray", b"nothing of the kind")
        if partition == 2:
            record = ArrayRecord({"weight": record["weight"]})
        if partition == 3:
            record["weight"] = Array(np.full((2, 3), np.nan, np.float32))
        return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)

    grid = AdversarialGrid(InProcessGrid(app, 7), FOE(epsilon=3.0), partitions=[6])
    arrays = trained(Resam(3, Mean(), min_available_nodes=7, fraction_evaluate=0.0), grid)
    np.testing.assert_allclose(arrays["weight"].numpy(), 1.0 + (1.0 + 1.0 - 3.0) / 3, rtol=1e-5)


def test_where_nothing_is_known_byzantine_nodes_are_silent(caplog):
    def nobody(partition, number):
        raise RuntimeError("down")

    for attack, step in ((FOE(), nobody), (MinMax(), lambda i, t: 1.0 if i == 0 else nobody(i, t))):
        grid = AdversarialGrid(InProcessGrid(plain_app(step), 3), attack, partitions=[2])
        with caplog.at_level("WARNING", logger="flwr"), pytest.raises(QuorumLostError):
            Resam(1, min_available_nodes=3, fraction_evaluate=0.0).start(
                grid, batch_norm_model(), num_rounds=1
            )
    assert "no honest reply that it can read: silent" in caplog.text
    assert "`min-max` is silent: `honest` must hold at least 2" in caplog.text


def test_partitions_are_found_through_a_partitioned_grid():
    from flwr_resam import answer_partition

    app = plain_app(lambda i, t: 1.0)
    answer_partition(app)
    nodes = PartitionedGrid(InProcessGrid(app, 4), 4)
    assert nodes.partitions == InProcessGrid(app, 4).partitions
    grid = AdversarialGrid(nodes, FOE(epsilon=4.0), partitions=[3])
    arrays = trained(Resam(1, Mean(), min_available_nodes=4, fraction_evaluate=0.0), grid)
    np.testing.assert_allclose(arrays["weight"].numpy(), 1.0 + (3.0 - 4.0) / 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("attack", "where", "message"),
    [
        (FOE(), {}, "`nodes` must name at least one Byzantine node for `foe`"),
        (FOE(), {"nodes": [99]}, r"`nodes` must be connected nodes\. Found \[99\]"),
        (FOE(), {"partitions": [3, 7]}, r"`partitions` must be held by connected.*Found \[7\]"),
        (FOE(), {"partitions": [0, 1, 2, 3]}, "`honest` must hold at least 1 row"),
        (MinMax(), {"partitions": [1, 2, 3]}, "`honest` must hold at least 2 row.*Found 1"),
        (OptimisedFOE(), {"partitions": [1]}, "`aggregator` must be the defender's rule"),
        (
            [Adversary(FOE(), partitions=[1]), Adversary(ALIE(), nodes=[3])], {},
            "`nodes` must have one attack each",
        ),
        ([Adversary(FOE(), partitions=[1])], {"partitions": [2]}, "given with each adversary"),
        (FOE, {"partitions": [1]}, r"`attack` must be an attack.*Write FOE\(\)"),
        ([], {}, "`attack` must be an attack"),
        ("foe", {"partitions": [1]}, r"""Found 'foe'\. Write parse_attack\("foe"\)"""),
        (None, {"partitions": [1]}, r"`attack` must be an attack.*Found None\. Write FOE\(\)"),
        (Adversary(FOE(), nodes=[1]), {}, r"`attack` must be .*a list.*Put it in a list"),
        ([FOE(epsilon=2.0)], {}, r"list of adversaries.*Write Adversary\(FOE\(epsilon=2\.0\), nodes="),
        ([FOE], {"partitions": [1]}, r"Write Adversary\(FOE\(\), nodes="),
        (["foe"], {}, r"""Write Adversary\(parse_attack\("foe"\), nodes="""),
        (FOE(), {"partitions": [1], "seed": 1.5}, "`seed` must be a whole number.*Found seed = 1.5"),
    ],
)
def test_what_cannot_be_is_said_before_training(attack, where, message):
    with pytest.raises(ValueError, match=message):
        AdversarialGrid(InProcessGrid(plain_app(), 4), attack, **where)


def test_an_adversary_has_an_attack():
    with pytest.raises(ValueError, match=r"""must be an attack\. Found 'foe'\. Write parse_attack\("foe"\)"""):
        Adversary("foe", partitions=[1])


def test_partitions_need_a_grid_that_knows_them():
    with pytest.raises(ValueError, match=r"Wrap it first: PartitionedGrid"):
        AdversarialGrid(GridWrapper(InProcessGrid(plain_app(), 4)), FOE(), partitions=[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"start": 0}, "the first round"), ({"every": 0}, "`every` must be a whole number"),
     ({"probability": 0.0}, "above 0 and at most 1"), ({"probability": 1.5}, "at most 1")],
)
def test_a_schedule_that_cannot_be_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**changes)


def test_what_is_forged_does_not_depend_on_who_answers_first():
    class Reversed(GridWrapper):
        def send_and_receive(self, messages, *, timeout=None):
            return list(super().send_and_receive(messages, timeout=timeout))[::-1]

    def forged(wrap):
        app = ClientApp()

        @app.train()
        def train(message, context):
            i = context.node_config["partition-id"]
            reply = content(record(weight=np.ones(2) * i), key="momentum", loss=float(i))
            return Message(reply, reply_to=message)

        nodes = wrap(InProcessGrid(app, 5))
        byzantine = list(nodes.get_node_ids())[4]
        grid = AdversarialGrid(nodes, FOE(), nodes=[byzantine])
        sent = RecordDict({
            "arrays": record(weight=np.zeros(2)), "config": ConfigRecord({"server-round": 1}),
        })
        messages = [Message(sent, node, "train") for node in grid.get_node_ids()]
        (reply,) = (
            reply for reply in grid.send_and_receive(messages)
            if reply.metadata.src_node_id == byzantine
        )
        return reply.content

    assert forged(Reversed) == forged(lambda grid: grid)


def training(grid, number=None, nodes=None):
    """The instructions of a round, which says its number or not."""
    config = {"x": 0} if number is None else {"server-round": number}
    sent = RecordDict({"arrays": record(weight=np.zeros(2)), "config": ConfigRecord(config)})
    return [Message(sent, node, "train") for node in nodes or grid.get_node_ids()]


def counted(n):
    """Nodes whose momentum is the number of the instruction that they answer."""
    app, times = ClientApp(), Counter()

    @app.train()
    def train(message, context):
        i = context.node_config["partition-id"]
        times[i] += 1
        row = np.full(2, float(times[i]))
        return Message(content(record(weight=row), key="momentum"), reply_to=message)

    @app.query()
    def query(message, context):
        return Message(RecordDict(), reply_to=message)

    return InProcessGrid(app, n)


def row_of(replies, node):
    (reply,) = (each for each in replies if each.metadata.src_node_id == node)
    return reply.content["momentum"]["weight"].numpy().tolist()


def test_rounds_that_no_strategy_numbers_are_counted():
    grid = AdversarialGrid(counted(3), Replay(rounds=1), partitions=[2])
    found = [row_of(grid.send_and_receive(training(grid)), 4) for _ in range(4)]
    assert found == [[1.0] * 2, [1.0] * 2, [2.0] * 2, [3.0] * 2]
    assert grid.memory["round"] == 4


def test_the_same_round_again_is_another_training():
    grid = AdversarialGrid(counted(3), Replay(rounds=1), partitions=[2])
    found = [row_of(grid.send_and_receive(training(grid, t)), 4) for t in (1, 2, 2, 3)]
    assert found == [[1.0] * 2, [1.0] * 2, [3.0] * 2, [3.0] * 2]


def test_other_messages_go_to_every_node():
    grid = AdversarialGrid(counted(3), FOE(), partitions=[2])
    questions = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    assert len(grid.send_and_receive(questions)) == 3
    assert grid.memory["round"] == 0


def test_honest_replies_come_first_and_forged_ones_have_ids_of_their_own():
    grid = AdversarialGrid(counted(4), FOE(), partitions=[0, 1])
    asked = training(grid, 1)
    replies = grid.send_and_receive(asked)
    assert [each.metadata.src_node_id for each in replies] == [4, 5, 2, 3]
    assert len({each.metadata.message_id for each in replies}) == 4
    assert "" not in {each.metadata.message_id for each in replies}
    numbers = {each.metadata.dst_node_id: each.metadata.message_id for each in asked}
    assert all(
        each.metadata.reply_to_message_id == numbers[each.metadata.src_node_id] for each in replies
    )


def test_a_byzantine_node_that_is_not_asked_sends_nothing():
    grid = AdversarialGrid(counted(4), FOE(), partitions=[3])
    replies = grid.send_and_receive(training(grid, 1, nodes=[2, 3]))
    assert [each.metadata.src_node_id for each in replies] == [2, 3]
    only = grid.send_and_receive(training(grid, 2, nodes=[5]))
    assert only == []  # nothing honest is known


def test_a_memory_is_of_the_same_attacks_or_they_begin_anew(caplog):
    def made(attack):
        return AdversarialGrid(counted(3), attack, partitions=[2])

    first = made(Replay(rounds=1))
    first.send_and_receive(training(first, 1))
    second, third = made(Replay(rounds=1)), made(Replay(rounds=2))
    assert second.recall(first.memory)
    assert "begin anew" not in caplog.text
    assert second.memory["round"] == 1
    assert third.recall(first.memory)  # the nodes' states are still in it
    assert "The attacks are others than in the checkpoint: they begin anew" in caplog.text
    assert third.memory["round"] == 0


def test_nodes_and_partitions_name_them_together_and_not_beside_several_adversaries():
    nodes = counted(5)
    grid = AdversarialGrid(nodes, FOE(), nodes=[2], partitions=[4])
    assert grid._nodes == [{2, 6}]
    several = [Adversary(FOE(), nodes=[2])]
    for beside in ({"nodes": [3]}, {"partitions": [1]}, {"schedule": Schedule(start=2)}):
        with pytest.raises(ValueError, match="be given with each adversary"):
            AdversarialGrid(nodes, several, **beside)
    with pytest.raises(ValueError, match="`seed` must be a whole number, at least 0"):
        AdversarialGrid(nodes, FOE(), nodes=[2], seed=-1)


def test_a_wrapper_passes_everything_on():
    class Inner(InProcessGrid):
        told = None

        def set_run(self, run):
            self.told = run

        @property
        def run(self):
            return self.told

    inner = Inner(plain_app(), 3)
    grid = GridWrapper(inner)
    grid.set_run("mine")
    assert (grid.inner, grid.run, inner.told) == (inner, "mine", "mine")
    assert list(grid.get_node_ids()) == [2, 3, 4]
    message = grid.create_message(RecordDict(), "query", 3, "group", ttl=9.0)
    assert (message.metadata.dst_node_id, message.metadata.ttl) == (3, 9.0)
    (number,) = grid.push_messages([message])
    (reply,) = grid.pull_messages([number])
    assert reply.metadata.reply_to_message_id == number
    assert grid.recall(grid.memory)


def test_a_mask_of_infinities_is_no_reason_for_silence(federation):
    mask = np.array([0.0, -np.inf], np.float32)
    model = record(w=np.zeros(3), mask=mask)

    def reply(message, i):
        return content(record(w=message.content["arrays"]["w"].numpy() + 1.0, mask=mask))

    grid = federation(reply, 7)
    hostile = AdversarialGrid(grid, SignFlip(), nodes=list(grid.get_node_ids())[:2])
    asked = Resam(2, fraction_evaluate=0.0, min_available_nodes=7)
    result = asked.start(hostile, model, num_rounds=1)
    assert result.train_metrics_clientapp[1]["n-valid"] == 7
    np.testing.assert_allclose(result.arrays["w"].numpy(), 1.0)
    np.testing.assert_array_equal(result.arrays["mask"].numpy(), mask)


class Streaming(GridWrapper):
    """Notes how many replies were taken before the first was handed on."""

    def __init__(self, grid):
        super().__init__(grid)
        self.given = 0

    def stream(self, messages, deadline):
        for reply in super().stream(messages, deadline):
            self.given += 1
            yield reply


def test_while_no_attack_is_on_replies_go_through_as_they_come(federation):
    inside = Streaming(federation(lambda message, i: content(record(w=np.ones(2))), 5))
    first = next(iter(inside.get_node_ids()))
    grid = AdversarialGrid(inside, [Adversary(SignFlip(), nodes=[first], schedule=Schedule(start=2))])
    strategy = Resam(1, min_available_nodes=5)
    for number, taken in ((1, 1), (2, 4)):
        inside.given = 0
        asked = strategy.configure_train(number, record(w=np.zeros(2)), ConfigRecord(), grid)
        next(iter(grid.stream(asked, Deadline(5.0))))
        assert inside.given == taken


def test_the_question_for_a_partition_is_no_training():
    inside = InProcessGrid(plain_app(mods=[momentum_mod(0.9)]), 5)
    nodes = list(inside.get_node_ids())
    grid = PartitionedGrid(AdversarialGrid(inside, SignFlip(), nodes=nodes[:1]), num_nodes=5)
    assert grid.by_partition == nodes


def test_a_forged_reply_names_a_secret_of_its_own():
    inside = InProcessGrid(plain_app(mods=[momentum_mod(0.9)]), 5)
    kept = []

    class Taps(GridWrapper):
        def stream(self, messages, deadline):
            for reply in super().stream(messages, deadline):
                kept.append(reply)
                yield reply

    grid = Taps(AdversarialGrid(inside, SignFlip(), nodes=list(inside.get_node_ids())[:2]))
    Resam(2, fraction_evaluate=0.0).start(grid, batch_norm_model(), num_rounds=1)
    said = [dict(reply.content["resam"]) for reply in kept]
    assert [each["beta"] for each in said] == [0.9] * 5
    assert len({each["secret"] for each in said}) == 5


@pytest.mark.parametrize("changes", [{"start": 1.5}, {"start": float("nan")}, {"every": 0.5}, {"probability": "x"}])
def test_a_schedule_that_is_never_on_is_refused(changes):
    with pytest.raises(ValueError, match=f"`{next(iter(changes))}` must be"):
        Schedule(**changes)


def test_a_memory_of_another_grid_is_refused_in_words(federation):
    plain = federation(lambda message, i: content(record(w=np.ones(2))), 5)
    wrapped = AdversarialGrid(plain, SignFlip(), nodes=list(plain.get_node_ids())[:1])
    with pytest.raises(ValueError, match="Resume with the grids that the run began with"):
        wrapped.recall(plain.memory)
    with pytest.raises(ValueError, match="have the nodes of the checkpoint"):
        plain.recall(wrapped.memory)
