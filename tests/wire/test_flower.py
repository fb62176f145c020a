"""Where Flower's private parts are used."""

import copy
import json
import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    validate_object_content,
)
from flwr.superlink.grid.http_grid import HttpGrid

from flwr_resam.scratch import Scratch, Stored
from flwr_resam.wire.exchange import Deadline, exchange
from flwr_resam.wire.flower import (
    Network,
    array_bytes,
    become_server,
    children_of,
    fresh,
    is_chunk,
    number_message,
    received,
    take_arrays,
)
from tests.support import asked_of, record
from tests.wire.superlink import SuperLink, federation, messages_for


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


def test_what_an_object_consists_of_stands_in_its_head():
    array = Array(np.ones(3))
    assert children_of(array.deflate()) == list(array.children)
    assert children_of(ConfigRecord({"a": 1}).deflate()) == []
    with pytest.raises(ValueError, match="without a head"):
        children_of(b"ConfigRecord  0")


def test_fresh_records_are_other_objects_and_read_as_the_same():
    given = RecordDict({
        "arrays": ArrayRecord({"w": Array(np.ones(3))}), "empty": ConfigRecord(),
        "config": ConfigRecord({"lr": 0.1, "server-round": 3, "b": b"x", "l": [1, 2], "s": "é"}),
        "metrics": MetricRecord({"loss": 0.5, "n": [1, 2]}),
    })
    first, second = fresh(given), fresh(given)
    assert first == given
    assert first.object_id == first.object_id
    ids = [{each[key].object_id for key in given} for each in (given, first, second)]
    assert ids[0] & ids[1] == ids[1] & ids[2] == {given["arrays"].object_id}
    contents = {key: each.deflate() for key, each in get_all_nested_objects(first).items()}
    for content in contents.values():
        validate_object_content(content)
    again = fresh(first)  # what was sent once is sent under other secrets
    assert again.object_id != first.object_id
    for key in ("config", "metrics"):
        assert pickle.loads(pickle.dumps(first[key])) == copy.deepcopy(first[key]) == given[key]
    assert first["config"].copy().object_id not in ids[1]
    read = inflate_object_from_contents(first.object_id, contents)
    assert read == given
    assert [type(record) for record in read.values()] == [type(record) for record in given.values()]


def test_what_the_server_sends_nobody_can_know_before():
    """Two runs send the same model in the same round, and share no object but its arrays."""
    link = SuperLink(5)
    pushed = []
    link.PushMessages = lambda request: pushed.append(request) or SuperLink.PushMessages(link, request)
    for _ in range(2):
        grid = federation(link)
        list(exchange(grid, messages_for(grid), Deadline(5.0)))
    first, second = (
        {each.object_id for tree in request.message_object_trees for each in iterate_object_tree(tree)}
        for request in pushed
    )
    arrays = record(w=np.zeros(3))
    assert first & second == set(get_all_nested_objects(arrays))


def test_the_bytes_of_an_array_are_those_of_its_chunks_as_often_as_it_lists_them():
    contents = {
        "1": b"ArrayChunk  3\0abc", "2": b"ArrayChunk  1\0d", "m": b"MetricRecord  9\0{}",
        "a": b'Array 1,2 9\0{"arraychunk_ids": [0, 1, 0]}',
    }
    sizes = [len(contents["1"]), len(contents["2"])]
    assert array_bytes(contents) == 2 * sizes[0] + sizes[1]
    assert array_bytes({"m": contents["m"], "1": contents["1"]}) == 0
    assert [is_chunk(contents[key]) for key in "12am"] == [True, True, False, False]


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


def test_arrays_are_put_together_as_flower_does_and_their_chunks_leave(monkeypatch, tmp_path):
    monkeypatch.setattr("flwr.app.message.array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 100)
    same = np.zeros(60)  # chunks of zeros are one object
    record = ArrayRecord({
        "a": Array(same), "b": Array(np.arange(50.0)), "c": Array(np.arange(50.0)),
        "d": Array(np.empty(0)), "e": Array("float32", (0,), "numpy.ndarray", b""),
    })
    contents = {key: each.deflate() for key, each in get_all_nested_objects(record).items()}
    chunks = [key for key, content in contents.items() if is_chunk(content)]
    assert len(chunks) < sum(len(array.slice_array()) for array in record.values())
    with Scratch(tmp_path) as scratch:
        stored = Stored(scratch)
        away = dict(contents)
        for key in chunks:
            start = len(stored)
            stored.append(contents[key])
            away[key] = stored.part(start, len(stored))
        assert array_bytes(away) == array_bytes(contents) > 0
        for each in (contents, away):
            found = take_arrays(each)
            assert found == {array.object_id: array for array in record.values()}
            assert not set(each) & set(chunks)


@pytest.mark.parametrize(("chunk", "order"), [
    (b"ArrayChunk  3\0abc", [1]),  # one that is not listed
    (b"ArrayChunk  3\0abc", []),  # none, where one is listed
    (b"MetricRecord  3\0abc", [0]),
    (b"ArrayChunk " + b"a" * 64 + b" 3\0abc", [0]),  # a chunk with a child
    (b"ArrayChunk  " + b"3" * 300 + b"\0abc", [0]),  # a head without an end
])
def test_an_array_of_something_else_is_refused(chunk, order):
    said = json.dumps({
        "dtype": "float32", "shape": [3], "stype": "numpy.ndarray", "arraychunk_ids": order
    })
    array = f"Array 1 {len(said)}\0{said}".encode()
    with pytest.raises((ValueError, IndexError)):
        take_arrays({"1": chunk, "a": array})


def test_what_is_held_while_a_reply_is_put_together_is_little_more_than_the_reply():
    size = 40_000_000
    record = ArrayRecord({
        str(seed): Array(np.random.default_rng(seed).random(size // 40)) for seed in range(5)
    })
    contents = {key: each.deflate() for key, each in get_all_nested_objects(record).items()}
    root = record.object_id
    del record
    tracemalloc.start()
    take_arrays(contents)
    assert root in contents
    # The contents were there before, so that what is counted is above them.
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.01 * size
