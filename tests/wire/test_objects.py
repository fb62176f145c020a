"""Flower's objects, taken apart and put together."""

import json
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from flwr_resam.scratch import Scratch, Stored
from flwr_resam.wire.objects import array_bytes, children_of, is_chunk, take_arrays


def test_what_an_object_consists_of_stands_in_its_head():
    array = Array(np.ones(3))
    assert children_of(array.deflate()) == list(array.children)
    assert children_of(ConfigRecord({"a": 1}).deflate()) == []
    with pytest.raises(ValueError, match="without a head"):
        children_of(b"ConfigRecord  0")


def test_the_bytes_of_an_array_are_those_of_its_chunks_as_often_as_it_lists_them():
    contents = {
        "1": b"ArrayChunk  3\0abc", "2": b"ArrayChunk  1\0d", "m": b"MetricRecord  9\0{}",
        "a": b'Array 1,2 9\0{"arraychunk_ids": [0, 1, 0]}',
    }
    sizes = [len(contents["1"]), len(contents["2"])]
    assert array_bytes(contents) == 2 * sizes[0] + sizes[1]
    assert array_bytes({"m": contents["m"], "1": contents["1"]}) == 0
    assert [is_chunk(contents[key]) for key in "12am"] == [True, True, False, False]


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
