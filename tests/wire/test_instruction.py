"""What a worker reads of an instruction: its round, and whether momentum is wanted."""

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto

from flwr_resam.wire.flower import become_server, number_message
from flwr_resam.wire.instruction import (
    said_beta,
    say_beta,
    server_round_of,
    stamp,
    training_of,
    unstamped,
)


def instruction(**configs):
    become_server()
    records = {name: ConfigRecord(values) for name, values in configs.items()}
    return Message(RecordDict(records), dst_node_id=2, message_type="train")


def test_a_stamp_says_the_training_and_the_round():
    messages = [instruction(), instruction()]
    assert training_of(messages[0]) is None
    stamp(messages, "mine", 3)
    for message in messages:
        assert (training_of(message), server_round_of(message)) == ("mine", 3)


def test_a_stamp_travels_as_flower_sends_messages():
    sent = instruction()
    stamp([sent], "mine", 3)
    got = message_from_proto(message_to_proto(sent))
    assert (training_of(got), server_round_of(got)) == ("mine", 3)
    with unstamped(got):
        assert got.metadata.group_id == ""
        assert training_of(got) is None
    assert training_of(got) == "mine"


def test_a_message_without_content_is_left_alone():
    asked = instruction()
    number_message(asked)
    failed = Message(Error(1, "no"), reply_to=asked)
    stamp([failed], "mine", 3)
    assert not failed.has_content()


@pytest.mark.parametrize(("number", "taken"), [(1, True), (7, True), (0, False), (-1, False), (1.0, False), ("1", False)])
def test_a_round_is_a_whole_number_from_one(number, taken):
    message = instruction(config={"server-round": number})
    if taken:
        assert server_round_of(message) == number
    else:
        with pytest.raises(ValueError, match="`server-round` must be in the instruction's ConfigRecord"):
            server_round_of(message)


def test_the_round_may_stand_in_any_record():
    assert server_round_of(instruction(a={"x": 1}, b={"server-round": 0}, c={"server-round": 5})) == 5


def test_a_reply_says_its_beta():
    content = RecordDict()
    assert said_beta(content) is None
    say_beta(content, 0.9)
    assert said_beta(content) == 0.9


@pytest.mark.parametrize("wrong", [1.0, -0.1, float("nan"), 1, "0.9", [0.9]])
def test_what_is_no_beta_is_none(wrong):
    assert said_beta(RecordDict({"resam": ConfigRecord({"beta": wrong})})) is None
    assert said_beta(Error(0)) is None
    assert said_beta(wrong) is None
