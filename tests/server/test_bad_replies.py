"""The gate makes of every bad reply of the catalogue what that says, and leaves others alone."""

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from clients.bad_replies import BAD_REPLIES, Level, Verdict
from clients.bad_replies.objects import HostileText
from flwr_resam.rows.source import Segments
from flwr_resam.server import gate, intake
from flwr_resam.server.gate import Rejection, read_reply
from flwr_resam.server.intake import Intake
from flwr_resam.wire.flower import become_server, number_message
from flwr_resam.wire.layout import Layout
from tests.support import content, record

MODEL = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(2),
    "n": np.array(3),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(1.5, np.float32),
}
LAYOUT = Layout.of(record(**MODEL))
SENT = LAYOUT.views(record(**MODEL))
NODES = (7, 8, 9)
BAD = 8


def asked():
    become_server()
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in NODES]
    for message in messages:
        number_message(message)
    return messages


def honest(instruction, key):
    node = instruction.metadata.dst_node_id
    moved = {name: value + value.dtype.type(node) for name, value in MODEL.items()}
    return Message(content(record(**moved), key=key, loss=0.5), reply_to=instruction)


def values(row):
    assert isinstance(row, Segments), row
    out = np.empty(row.size)
    row.read(0, row.size, out)
    return out


def admitted(instructions, replies):
    intake = Intake(instructions, LAYOUT, SENT)
    for reply in replies:
        intake.take(reply)
    return intake


@pytest.mark.parametrize("key", ["momentum", "arrays"])
@pytest.mark.parametrize("kind", BAD_REPLIES)
def test_the_gate_gives_the_verdict_of_the_catalogue(kind, key, monkeypatch):
    bad = BAD_REPLIES[kind]
    instructions = asked()
    replies = [honest(each, key) for each in instructions]
    alone = admitted(instructions, replies)
    arriving = bad.arriving(replies[1], [replies[0], replies[2]])
    monkeypatch.setattr(HostileText, "armed", True)
    found = admitted(instructions, [replies[0], *arriving, replies[2]])
    for node in set(NODES) - {BAD}:
        np.testing.assert_array_equal(values(found.rows[node]), values(alone.rows[node]))
    rejected = {rejection.node: rejection for rejection in found.rejections}
    assert set(rejected) <= {BAD}
    assert found.proven == (bad.verdict is Verdict.FAULT)
    if bad.verdict is Verdict.ROW:
        row = values(found.rows[BAD])
        assert row.size == LAYOUT.size
        assert np.isfinite(row).all()
        assert len(found.metrics) == 3
    else:
        assert set(found.rows) == set(NODES) - {BAD}
        assert len(found.metrics) == 2
    if bad.verdict in (Verdict.FAULT, Verdict.UNPROVEN):
        assert rejected[BAD].proven == (bad.verdict is Verdict.FAULT)
        assert 0 < len(rejected[BAD].reason) <= 200
        assert rejected[BAD].reason.isprintable()
        assert not found.strays
    else:
        assert not rejected


@pytest.mark.parametrize(
    "kind", [kind for kind, bad in BAD_REPLIES.items() if bad.level is not Level.MESSAGE]
)
def test_a_content_is_read_or_rejected_for_the_node_that_was_asked(kind, monkeypatch):
    bad = BAD_REPLIES[kind]
    made = bad.content(honest(asked()[1], "momentum").content)
    monkeypatch.setattr(HostileText, "armed", True)
    found = read_reply(made, 5, LAYOUT, SENT)
    if bad.verdict is Verdict.ROW:
        assert isinstance(found, Segments)
    else:
        assert isinstance(found, Rejection)
        assert found.node == 5
        assert found.proven == (bad.verdict is Verdict.FAULT)


def test_what_comes_twice_does_not_count_whichever_comes_first():
    instructions = asked()
    replies = [honest(each, "momentum") for each in instructions]
    twice = BAD_REPLIES["sent twice"].arriving(replies[1])
    for order in (twice, twice[::-1]):
        found = admitted(instructions, [*order, replies[0], replies[2]])
        assert set(found.rows) == {7, 9}
        assert "more than one reply" in found.rejections[0].reason


def test_an_intake_counts_who_sent_what_in_the_order_asked():
    instructions = asked()
    momentum, weights = honest(instructions[2], "momentum"), honest(instructions[0], "arrays")
    wrong = Message(RecordDict(), reply_to=instructions[1])
    found = admitted(instructions, [momentum, wrong, weights, "no message"])
    assert found.asked == NODES
    assert list(found.rows) == [7, 9]
    assert (found.valid, found.momentums, found.proven) == (2, 1, 1)
    assert found.rejections == [Rejection(8, "0 array records instead of one")]
    assert [stray.node for stray in found.strays] == [0]
    assert found.counts(5) == {
        "n-asked": 5, "n-valid": 2, "n-rejected": 1, "n-silent": 2, "n-momentum": 1,
    }
    assert [dict(each["metrics"])["loss"] for each in found.metrics] == [0.5, 0.5]


@pytest.mark.parametrize("wrong_first", [True, False])
def test_a_node_that_sends_a_fault_and_something_else_proves_nothing(wrong_first):
    instructions = asked()
    wrong = Message(RecordDict(), reply_to=instructions[1])
    both = [wrong, honest(instructions[1], "momentum")]
    found = admitted(instructions, both if wrong_first else both[::-1])
    assert (found.valid, found.proven, found.rows, found.metrics) == (0, 0, {}, [])
    assert found.rejections == [Rejection(8, "more than one reply", proven=False)]


def test_metrics_that_are_a_flood_cost_no_row(caplog):
    instructions = asked()
    flood = content(record(**MODEL), **{str(number): 0.0 for number in range(1001)})
    found = admitted(instructions, [Message(flood, reply_to=instructions[0])])
    assert list(found.rows) == [7]
    assert found.metrics == [RecordDict()]
    assert "Node 7 sent too many metrics: dropped" in caplog.text


def test_the_gates_names_are_found_where_others_import_them_from():
    for name in ("Rejection", "printable", "read_reply"):
        assert getattr(intake, name) is getattr(gate, name)
        assert name in intake.__all__
