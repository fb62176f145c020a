"""Nodes in the order of their partitions, whatever a minority of them claims or leaves unsaid."""

from collections import Counter
from itertools import combinations_with_replacement
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import (
    AdversarialGrid,
    InProcessGrid,
    PartitionedGrid,
    Resam,
    answer_partition,
    momentum_mod,
)
from flwr_resam.attacks import FOE
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.grids.partitioned import _fewest_liars
from tests.support import content, record

SILENT = "silent"
FIRST = 2  # the id of partition 0 in process


class Telling(GridWrapper):
    """Its nodes say what the test says, or are silent; they train as they are."""

    def __init__(self, n, said):
        app = ClientApp()

        @app.query("partition")
        def answer(message, context):
            partition = context.node_config["partition-id"]
            partition = said.get(partition, partition)
            if partition == "error":
                raise RuntimeError("no")
            if isinstance(partition, RecordDict):
                return Message(partition, reply_to=message)
            answer = RecordDict({"node": MetricRecord({"partition-id": partition})})
            return Message(answer, reply_to=message)

        @app.train()
        def train(message, context):
            lie = context.node_config["partition-id"] in said
            update = np.full(3, 1e6 if lie else 1.0, np.float32)
            return Message(content(record(w=update), key="momentum"), reply_to=message)

        super().__init__(InProcessGrid(app, n))
        self._lost = {FIRST + partition for partition, what in said.items() if what == SILENT}

    def send_and_receive(self, messages, *, timeout=None):
        replies = super().send_and_receive(messages, timeout=timeout)
        return [reply for reply in replies if reply.metadata.src_node_id not in self._lost]


def told(n, said):
    return PartitionedGrid(Telling(n, said), n, timeout=5.0)


def listed(grid):
    """The nodes by the partitions that they really hold."""
    return [node - FIRST for node in grid.get_node_ids()]


LIES = {
    "each claims another honest node's": {8 + i: i for i in range(7)},
    "all claim one honest node's": dict.fromkeys(range(8, 15), 0),
    "all claim one of nobody": dict.fromkeys(range(8, 15), 99),
    "each claims one of nobody": {8 + i: 99 + i for i in range(7)},
    "none claims any": dict.fromkeys(range(8, 15), -1),
    "all fail": dict.fromkeys(range(8, 15), "error"),
    "all say something else": dict.fromkeys(range(8, 15), 2.5),
    "none says anything": dict.fromkeys(range(8, 15), SILENT),
    "some of each": {8: 0, 9: 0, 10: 3, 11: -1, 12: SILENT, 13: "error", 14: 99},
}
ORDERS = {
    "each claims another honest node's": [7, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14],
    "all claim one honest node's": [*range(1, 8), 0, *range(8, 15)],
    "some of each": [1, 2, 4, 5, 6, 7, 14, 0, 8, 9, 3, 10, 11, 13, 12],
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_seven_liars_of_fifteen_keep_nobody_from_starting_and_come_last(lie, caplog):
    grid = told(15, LIES[lie])
    assert listed(grid) == ORDERS.get(lie, list(range(15)))
    held = {partition: node - FIRST for partition, node in grid.partitions.items()}
    claims = Counter(LIES[lie].get(i, i) for i in range(15))
    assert {i: i for i in range(8) if claims[i] == 1}.items() <= held.items()
    assert all(claims[partition] == 1 for partition in held)
    assert grid.by_partition == [grid.partitions[i] for i in sorted(held)]
    last = [i for i in range(15) if i not in held.values()]
    for node in last:
        assert f"Node {node + FIRST} " in caplog.text
    assert caplog.text.count("it is listed last") == len(last)


@pytest.mark.parametrize("lie", sorted(LIES))
def test_and_the_training_goes_on_as_without_them(lie):
    grid = told(15, LIES[lie])
    strategy = Resam(7, min_available_nodes=15, fraction_evaluate=0.0)
    result = strategy.start(grid, record(w=np.zeros(3, np.float32)), num_rounds=2, timeout=5.0)
    np.testing.assert_allclose(result.arrays["w"].numpy(), -2.0)


@pytest.mark.parametrize("lie", [RecordDict(), [1], 0, -1, 2.5, "error"], ids=str)
def test_one_liar_and_whose_partition_it_claims_come_last(lie, caplog):
    grid = told(5, {3: lie})
    last = [0, 3] if lie == 0 else [3]
    assert listed(grid) == [i for i in range(5) if i not in last] + last
    assert f"Node {3 + FIRST} holds no partition of its own" in caplog.text
    assert ("others claim 0, too" in caplog.text) == (lie == 0)


def test_where_no_partition_is_sure_the_claims_still_give_an_order():
    """Seven liars make seven honest nodes doubtful, and the last honest one is slow."""
    grid = told(15, {**LIES["each claims another honest node's"], 7: SILENT})
    assert grid.partitions == {}
    assert grid.by_partition == []
    assert listed(grid) == [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7]
    with pytest.raises(ValueError, match=r"each by one\. Found \[3\]\. Give `nodes`: no node holds"):
        AdversarialGrid(grid, FOE(), partitions=[3])


def test_an_adversary_takes_the_place_of_a_node_only_where_it_is_known_whose_partition_it_is():
    grid = told(15, {14: 3, 13: SILENT})
    assert AdversarialGrid(grid, FOE(), partitions=[12])._nodes == [{12 + FIRST}]
    for partition in (3, 13, 14):
        with pytest.raises(ValueError, match=rf"`partitions` must be held by .*\[{partition}\]"):
            AdversarialGrid(grid, FOE(), partitions=[partition])


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (4, dict.fromkeys(range(4), 0)),  # all set up alike
        (15, dict.fromkeys(range(15), 0)),
        (15, dict.fromkeys(range(15), -1)),  # or without a partition-id
        (15, dict.fromkeys(range(15), "error")),  # or without answer_partition
        (1, {0: "error"}),
        (14, {i: i // 2 for i in range(14)}),  # two machines with the same numbers
        (15, {i: i % 5 for i in range(15)}),
        (15, dict.fromkeys(range(8), -1)),  # more than can lie
        (15, {i: SILENT if i < 8 else "error" for i in range(15)}),
    ],
)
def test_nodes_that_were_set_up_wrong_are_an_error(n, said):
    with pytest.raises(ValueError, match=rf"Each of the {n} nodes must hold its own partition"):
        told(n, said)


def test_the_error_shows_what_was_claimed():
    with pytest.raises(ValueError, match=r"Found \[0, 0, 0, 2\]\. Put momentum_mod"):
        told(4, {1: 0, 2: 0, 3: 2})


@pytest.mark.parametrize("f", range(3))
def test_no_minority_of_liars_is_taken_for_a_wrong_set_up(f):
    """Whatever they claim, they are counted as at most so many; and as all of them in the worst."""
    n = 2 * f + 1
    counts = [
        _fewest_liars(Counter([*range(n - f), *lies]))
        for lies in combinations_with_replacement([None, *range(n)], f)
    ]
    assert min(counts) == 0
    assert max(counts) == f


@pytest.mark.parametrize("silent", [1, 2, 3, 4])
def test_silent_nodes_come_last_however_many_they_are(silent, caplog):
    grid = told(5, dict.fromkeys(range(silent), SILENT))
    assert listed(grid) == [*range(silent, 5), *range(silent)]
    assert f"Node {FIRST} did not say its partition within 5 s" in caplog.text


def test_where_nobody_answers_it_is_an_error():
    with pytest.raises(TimeoutError, match=r"None of 5 connected nodes said within 5 s"):
        told(5, dict.fromkeys(range(5), SILENT))


def test_a_node_that_comes_later_is_last():
    class Growing(GridWrapper):
        hidden = FIRST + 1

        def get_node_ids(self):
            return [node for node in super().get_node_ids() if node != self.hidden]

    app = ClientApp()
    answer_partition(app)
    inner = Growing(InProcessGrid(app, 4))
    grid = PartitionedGrid(inner, 3)
    inner.hidden = None
    assert listed(grid) == [0, 2, 3, 1]
    with pytest.raises(TimeoutError, match="`num-nodes` is 5, but only 4"):
        PartitionedGrid(inner, 5, timeout=0.0)


def test_when_the_time_is_over_the_least_that_will_do_is_enough(caplog):
    app = ClientApp()
    answer_partition(app)
    inner = InProcessGrid(app, 4)
    assert listed(PartitionedGrid(inner, 5, timeout=0.2, least=4)) == [0, 1, 2, 3]
    assert "Going on with 4 of 5 nodes: no more connected within 0.2 s" in caplog.text
    with pytest.raises(TimeoutError, match="`num-nodes` is 6, but only 4"):
        PartitionedGrid(inner, 6, timeout=0.0, least=5)


def test_a_node_that_connects_in_time_is_waited_for(monkeypatch):
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr("flwr_resam.grids.partitioned.time", clock)

    class Growing(GridWrapper):
        def get_node_ids(self):
            return [node for node in super().get_node_ids() if node < 5 or now[0] > 0.9]

    app = ClientApp()
    answer_partition(app)
    assert listed(PartitionedGrid(Growing(InProcessGrid(app, 4)), 4, timeout=1.0)) == [0, 1, 2, 3]
    assert slept == [0.2] * 5
    now[0] = -100.0
    with pytest.raises(TimeoutError, match=r"`num-nodes` is 4, but only 3 node\(s\) .* within 1 s"):
        PartitionedGrid(Growing(InProcessGrid(app, 4)), 4, timeout=1.0)
    assert sum(slept[5:]) == pytest.approx(1.0, abs=0.21)


def test_the_mod_says_the_partition_and_the_handler_is_not_called():
    app = ClientApp(mods=[momentum_mod(beta=0.9)])
    called = []

    @app.train()
    def train(message, context):
        called.append(message)

    assert listed(PartitionedGrid(InProcessGrid(app, 4), 4)) == [0, 1, 2, 3]
    assert called == []


def test_an_app_with_neither_is_an_error():
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    with pytest.raises(ValueError, match="Put momentum_mod into the ClientApp, or call answer_partition"):
        PartitionedGrid(InProcessGrid(app, 4), 4)


def test_a_node_without_a_partition_says_so():
    """As a SuperNode does that was started without --node-config."""
    app = ClientApp()
    answer_partition(app)
    grid = InProcessGrid(app, 3)
    del grid.contexts[FIRST].node_config["partition-id"]
    found = PartitionedGrid(grid, 3)
    assert listed(found) == [1, 2, 0]
    assert found.partitions == {1: FIRST + 1, 2: FIRST + 2}
