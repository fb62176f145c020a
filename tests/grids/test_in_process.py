"""InProcessGrid: who answers, in which order, alone and in threads."""

import threading
import time

import pytest
from flwr.app import Message, MetricRecord, RecordDict
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
