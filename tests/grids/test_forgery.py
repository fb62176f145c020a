"""The form of honest replies: what it is, who is in it, and what is made in it."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from flwr_resam.grids._forgery import Form
from flwr_resam.wire.flower import become_server, number_message
from tests.support import content, record

SENT = record(w=np.array([[1.0, 2.0]], np.float32), n=np.array(3))


def asked(node=2):
    become_server()
    message = Message(RecordDict({"arrays": SENT}), dst_node_id=node, message_type="train")
    number_message(message)
    return message


def reply(key="arrays", node=2, w=(0.0, 0.0), dtype=np.float32, n=None, **more):
    arrays = record(w=np.array([w], dtype), n=np.array(4) if n is None else n)
    return Message(content(arrays, key=key, **more), reply_to=asked(node))


def test_a_row_is_the_momentum_or_what_was_sent_minus_what_came_back():
    (weights, momentum) = (reply(key, w=(0.5, 3.0)) for key in ("arrays", "momentum"))
    np.testing.assert_array_equal(Form.of([weights], SENT).row(weights), [0.5, -1.0])
    np.testing.assert_array_equal(Form.of([momentum], SENT).row(momentum), [0.5, 3.0])


def test_the_form_is_that_of_most_replies_and_another_is_not_in_it():
    wide, narrow = reply(dtype=np.float64), reply()
    form = Form.of([wide, narrow, reply()], SENT)
    assert form.layout.dtype == np.float32
    assert form.row(wide) is None
    assert form.row(reply("momentum")) is None
    assert Form.of([wide, narrow, reply(dtype=np.float64)], SENT).layout.dtype == np.float64


def test_an_integer_that_became_a_float_has_coordinates():
    """As FedAvg makes counters floating-point."""
    found = reply(n=np.array(4.5))
    form = Form.of([found], SENT)
    np.testing.assert_array_equal(form.row(found), [1.0, 2.0, -1.5])


@pytest.mark.parametrize(
    "arrays",
    [
        record(n=np.array(4)),
        record(w=np.zeros((1, 2)), n=np.array(4), more=np.zeros(1)),
        record(w=np.zeros((2, 1)), n=np.array(4)),
        record(w=np.zeros((1, 2), int), n=np.array(4)),
        record(w=np.zeros((1, 2)), n=np.array(4 + 1j)),
        record(w=np.full((1, 2), np.nan), n=np.array(4)),
        ArrayRecord({"w": Array("float32", (1, 2), "numpy.ndarray", b""), "n": Array(np.array(4))}),
    ],
)
def test_what_could_not_answer_has_no_form(arrays):
    assert Form.of([Message(content(arrays), reply_to=asked())], SENT) is None


def test_no_reply_two_records_and_none_have_no_form():
    two = RecordDict({"a": record(w=np.zeros(2)), "b": record(w=np.zeros(2))})
    for contents in ([], [two], [RecordDict()]):
        assert Form.of([Message(each, reply_to=asked()) for each in contents], SENT) is None


def test_where_the_most_votes_are_for_what_nobody_fills_the_next_form_counts():
    empty = ArrayRecord({
        "w": Array("float64", (1, 2), "numpy.ndarray", b""), "n": Array(np.array(4)),
    })
    liars = [Message(content(empty), reply_to=asked()) for _ in range(2)]
    assert Form.of([*liars, reply()], SENT).layout.dtype == np.float32


@pytest.mark.parametrize("key", ["arrays", "momentum"])
def test_a_forged_reply_says_its_row_and_else_what_an_honest_one_says(key):
    honest = reply(key, loss=0.5)
    form = Form.of([honest], SENT)
    forged = form.reply(asked(5), np.array([7.0, -7.0], np.float32))
    np.testing.assert_array_equal(form.row(forged), [7.0, -7.0])
    assert forged.metadata.src_node_id == 5
    assert forged.content[key]["n"] == honest.content[key]["n"]
    assert forged.content["metrics"] == honest.content["metrics"]


def test_equal_rows_share_their_arrays_and_no_record():
    form = Form.of([reply()], SENT)
    rows = [np.zeros(2, np.float32), np.zeros(2, np.float32), -np.zeros(2, np.float32)]
    first, second, third = form.replies([asked(5), asked(6), asked(7)], rows)
    assert first.content["arrays"]["w"] is second.content["arrays"]["w"]
    assert first.content["arrays"]["w"] is not third.content["arrays"]["w"]  # 0.0 and -0.0
    second.content["arrays"]["w"] = Array(np.ones((1, 2)))
    first.content["metrics"] = MetricRecord()
    np.testing.assert_array_equal(form.row(first), [0.0, 0.0])
    assert second.content["metrics"] != MetricRecord()


def test_what_is_too_large_to_be_subtracted_stops_at_the_end_and_what_is_no_number_stays_none():
    form = Form.of([reply()], SENT)
    limit = np.finfo(np.float32).max
    sent = record(w=np.array([[-limit, 1.0]], np.float32), n=np.array(3))
    of_large = Form.of([reply()], sent)
    forged = of_large.reply(asked(), np.array([limit, np.inf], np.float32))
    np.testing.assert_array_equal(forged.content["arrays"]["w"].numpy(), [[-limit, -np.inf]])
    assert form.row(form.reply(asked(), np.array([np.nan, 0.0], np.float32))) is None


def test_a_row_out_of_range_is_not_read():
    wide = Form.of([reply(dtype=np.float64)], SENT)
    assert wide.row(reply(dtype=np.float64, w=(1e140, 0.0))) is not None
    assert wide.row(reply(dtype=np.float64, w=(2e140, 0.0))) is None
