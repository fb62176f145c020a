"""Where Flower's private parts are used."""

from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.superlink.grid.http_grid import HttpGrid

from flwr_resam.wire.flower import Network, become_server, number_message, received
from tests.support import asked_of


def test_a_process_that_became_the_server_writes_as_it():
    try:
        for run_id, arguments in ((1, ()), (7, (7,))):
            become_server(*arguments)
            metadata = Message(RecordDict(), dst_node_id=5, message_type="train").metadata
            assert (metadata.run_id, metadata.src_node_id) == (run_id, 1)
            assert metadata.src_task_id == 1
    finally:
        become_server()


def test_a_message_has_one_number_and_keeps_it():
    become_server()
    first, second = (Message(RecordDict(), dst_node_id=5, message_type="train") for _ in range(2))
    assert number_message(first) == number_message(first) == first.metadata.message_id
    assert number_message(second) != number_message(first)


def test_what_is_received_shares_no_record_with_what_was_sent():
    become_server()
    sent = Message(RecordDict({"c": ConfigRecord({"x": 1})}), dst_node_id=5, message_type="train")
    number_message(sent)
    got = received(sent)
    got.content["c"]["x"] = 2
    got.content["d"] = ConfigRecord()
    assert sent.content == RecordDict({"c": ConfigRecord({"x": 1})})
    assert got.metadata is sent.metadata


class Calls:
    """The SuperLink's answers to the calls of `Network`, and what it was asked."""

    def __init__(self, **answers):
        self.asked, self.answers = [], answers

    def __getattr__(self, name):
        return lambda request: self.asked.append(request) or self.answers.get(name)


def network(**answers):
    become_server()
    grid = HttpGrid(token="x")
    grid._client, grid._run = Calls(**answers), SimpleNamespace(run_id=7)
    return Network(grid), grid._client.asked


def test_a_reply_is_announced_once_the_superlink_has_one_to_that_message():
    def named(answered, message_id):
        found = PullAppMessagesResponse()
        found.messages_list.add().metadata.reply_to_message_id = answered
        found.messages_list[0].metadata.message_id = message_id
        found.message_object_trees.add().object_id = message_id
        return found

    found, asked = network(PullMessages=named("q", "r"))
    assert found.announced("q") == "r"
    assert asked_of(asked[0]) == ["q"]
    assert network(PullMessages=named("another", "r"))[0].announced("q") is None
    assert network(PullMessages=PullAppMessagesResponse())[0].announced("q") is None


def test_an_object_is_there_or_not_yet_or_will_never_be():
    def answer(**found):
        return network(PullObject=PullObjectResponse(**found))

    here, asked = answer(object_found=True, object_available=True, object_content=b"x")
    assert here.content("o") == b"x"
    assert (asked[0].object_id, asked[0].run_id) == ("o", 7)
    assert answer(object_found=True, object_available=False)[0].content("o") is None
    with pytest.raises(LookupError, match="does not know"):
        answer(object_found=False)[0].content("o")


def test_what_has_been_read_is_confirmed_by_its_id():
    found, asked = network()
    found.confirm("r")
    assert (asked[0].message_object_id, asked[0].run_id) == ("r", 7)


def test_objects_that_are_no_message_are_named():
    record = ConfigRecord({"x": 1})
    with pytest.raises(TypeError, match="a ConfigRecord"):
        network()[0].message(record.object_id, {record.object_id: record.deflate()})
