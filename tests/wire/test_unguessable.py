"""What is sent, as nobody can know it beforehand."""

import copy
import pickle

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    validate_object_content,
)

from flwr_resam.wire.exchange import Deadline, exchange
from flwr_resam.wire.unguessable import fresh
from tests.support import record
from tests.wire.superlink import SuperLink, federation, messages_for


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
