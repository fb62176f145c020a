"""InProcessGrid: who answers, in which order, alone and in threads."""

import threading
import time

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid


def counting_app(barrier=None, slow=()):
    """Each node answers how often it was asked; ``barrier`` needs several to answer at a time."""
    app = ClientApp()

    @app.query()
    def answer(message, context):
        partition = context.node_config["partition-id"]
        if barrier is not None:
            barrier.wait(timeout=20)
        if partition in slow:
            time.sleep(1.5)
        if partition == 3:
            raise ValueError("broken")
        past = context.state.get("count", MetricRecord({"times": 0}))
        context.state["count"] = MetricRecord({"times": past["times"] + 1})
        found = MetricRecord({"partition": partition, "times": past["times"] + 1})
        return Message(RecordDict({"found": found}), reply_to=message)

    return app


def questions(grid, nodes=None):
    return [Message(RecordDict(), node, "query") for node in nodes or grid.get_node_ids()]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_replies_come_in_the_order_of_the_messages_and_nodes_keep_their_state(threads):
    grid = InProcessGrid(counting_app(), num_nodes=6, threads=threads)
    for time_ in (1, 2, 3):
        asked = questions(grid)[::-1]
        replies = grid.send_and_receive(asked)
        assert [r.metadata.src_node_id for r in replies] == [m.metadata.dst_node_id for m in asked]
        found = [None if r.has_error() else dict(r.content["found"]) for r in replies]
        assert found == [
            None if i == 3 else {"partition": i, "times": time_} for i in reversed(range(6))
        ]


def test_as_many_nodes_answer_at_a_time_as_there_are_threads():
    together = threading.Barrier(3)
    grid = InProcessGrid(counting_app(together), num_nodes=3, threads=3)
    assert not any(reply.has_error() for reply in grid.send_and_receive(questions(grid)))


def test_two_messages_to_one_node_are_answered_one_after_the_other():
    grid = InProcessGrid(counting_app(), num_nodes=4, threads=4)
    node = list(grid.get_node_ids())[1]
    replies = grid.send_and_receive(questions(grid, [node] * 30))
    assert [reply.content["found"]["times"] for reply in replies] == list(range(1, 31))


def test_a_late_reply_is_lost_and_holds_up_no_other():
    grid = InProcessGrid(counting_app(slow=(2,)), num_nodes=5, threads=2)
    replies = grid.send_and_receive(questions(grid), timeout=1.0)
    nodes = list(grid.get_node_ids())
    assert [r.metadata.src_node_id for r in replies] == [nodes[i] for i in (0, 1, 3, 4)]


@pytest.mark.parametrize("arguments", [{"num_nodes": 0}, {"num_nodes": 2, "threads": 0}])
def test_a_number_that_can_not_be_is_an_error(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        InProcessGrid(ClientApp(), **arguments)


def test_a_client_that_ends_its_program_is_an_error_reply():
    app = ClientApp()

    @app.query()
    def answer(message, context):
        raise SystemExit("no data")

    (reply,) = (grid := InProcessGrid(app, num_nodes=1)).send_and_receive(questions(grid))
    assert reply.error.reason == "SystemExit: no data"


def test_one_node_and_one_thread_are_enough():
    grid = InProcessGrid(counting_app(), num_nodes=1, threads=1)
    assert len(grid.send_and_receive(questions(grid))) == 1


def test_nodes_know_their_partition_and_what_the_run_was_given():
    seen = []
    app = ClientApp()

    @app.query()
    def answer(message, context):
        seen.append((context.node_id, dict(context.node_config), dict(context.run_config)))
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, num_nodes=2, run_config={"x": 1})
    grid.send_and_receive(questions(grid))
    assert seen == [
        (2 + i, {"partition-id": i, "num-partitions": 2}, {"x": 1}) for i in range(2)
    ]
    assert grid.partitions == {0: 2, 1: 3}


def test_what_is_pushed_is_pulled_once():
    grid = InProcessGrid(counting_app(), num_nodes=2)
    numbers = grid.push_messages(questions(grid))
    first, second = grid.pull_messages(numbers)
    assert [first.metadata.reply_to_message_id, second.metadata.reply_to_message_id] == numbers
    assert grid.pull_messages([*numbers, "another"]) == []


def test_what_a_message_is_made_of_is_in_it():
    grid = InProcessGrid(counting_app(), num_nodes=2)
    message = grid.create_message(RecordDict(), "query", 3, "mine", ttl=9.0)
    found = message.metadata
    assert (found.dst_node_id, found.message_type, found.group_id, found.ttl) == (
        3, "query", "mine", 9.0
    )
    with pytest.raises(NotImplementedError, match="holds no run record"):
        grid.run  # noqa: B018


def test_a_client_that_returns_no_message_is_an_error_reply_with_a_code():
    app = ClientApp()
    app.query()(lambda message, context: None)
    (reply,) = (grid := InProcessGrid(app, num_nodes=1)).send_and_receive(questions(grid))
    assert reply.error.code == 1
    assert "the ClientApp returned NoneType, not a Message" in reply.error.reason


def test_a_memory_holds_the_state_of_each_node_and_is_of_as_many_nodes():
    grid, other = (InProcessGrid(counting_app(), num_nodes=2) for _ in range(2))
    grid.send_and_receive(questions(grid))
    assert other.recall(grid.memory)
    (reply, _) = other.send_and_receive(questions(other))
    assert reply.content["found"]["times"] == 2
    with pytest.raises(ValueError, match=r"must have the nodes of the checkpoint\. Found 3 nodes, 2"):
        InProcessGrid(counting_app(), num_nodes=3).recall(grid.memory)


def test_what_an_app_that_raised_left_in_its_state_is_dropped_as_on_flowers_engine():
    app = ClientApp()

    @app.train()
    def train(message, context):
        seen = context.state.setdefault("seen", ConfigRecord({"count": 0}))
        seen["count"] += 1
        context.state[str(seen["count"])] = ConfigRecord()
        if seen["count"] == 2:
            raise ZeroDivisionError
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, 1)
    (node,) = grid.get_node_ids()
    failed = []
    for _ in range(3):
        (reply,) = grid.send_and_receive([Message(RecordDict(), node, "train")])
        failed.append(reply.has_error())
    assert failed == [False, True, True]
    assert dict(grid.contexts[node].state["seen"]) == {"count": 1}
    assert set(grid.contexts[node].state) == {"seen", "1"}
