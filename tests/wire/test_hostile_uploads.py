"""What one node uploads, or never ends uploading, costs its own reply only."""

import json
import threading
import time

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
)
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse
from flwr.supercore.inflatable.inflatable_object import get_object_tree

from flwr_resam.grids._wrapper import GridWrapper
from tests.wire.superlink import (
    SuperLink,
    answering,
    federation,
    its_own,
    messages_for,
    momentum,
    start,
)


@pytest.mark.parametrize("wrap", [lambda grid: grid, GridWrapper])
@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("forger", [None, 2, 6])
def test_an_upload_that_is_no_reply_costs_its_own_node_only(
    wrap, spilled, forger, caplog, tmp_path
):
    result = start(wrap(federation(SuperLink(5, forger))), spill=tmp_path if spilled else None)
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-rejected"]) == ((5, 0) if forger is None else (4, 1))
    assert metrics["f-effective"] == 1  # nothing is proven: who uploads half a reply may be honest
    np.testing.assert_allclose(result.arrays["w"].numpy(), -1.0)
    if forger is not None:
        assert f"The reply of node {forger} can't be read (DecodeError)" in caplog.text


def test_flower_itself_ends_there():
    """Else the above shows nothing."""
    grid = federation(SuperLink(5, 4))
    with pytest.raises(Exception, match="Error parsing message"):
        list(grid.send_and_receive(messages_for(grid), timeout=30.0))


class Hostile(SuperLink):
    """A SuperLink of which some nodes announce a reply that never comes, or never ends."""

    def __init__(self, count, hostile, attack):
        super().__init__(count)
        self.hostile, self.attack, self.pulled, self.confirmed = set(hostile), attack, {}, []
        self.held = set()
        self.began = time.monotonic()

    def _reply(self, number, node):
        if node not in self.hostile:
            return super()._reply(number, node)
        contents, root = CONTENTS.get(self.attack, its_own)(number, node)
        self.objects |= contents
        tree = get_object_tree(root)
        if self.attack == "deep":  # as flwr's client says of a tree that protobuf can't read
            raise ValueError("Invalid protobuf response payload")
        if self.attack == "tree":  # 3 kB of objects that are listed 2^14 times
            for _ in range(14):
                tree = ObjectTree(object_id=tree.object_id, children=[tree, tree])
        if self.attack == "part":  # of a record, which is nowhere: the SuperLink believes it
            for record in tree.children[0].children:
                record.children.append(ObjectTree(object_id="f" * 64))
        if self.attack in ("stall", "drip"):
            self.held |= set(contents)
        return message_to_proto(remove_content_from_message(root)), tree

    def PullObject(self, request):
        self.pulled[request.object_id] = self.pulled.get(request.object_id, 0) + 1
        if request.object_id in self.held:
            late = self.attack == "drip" and self.pulled[request.object_id] > 3
            if not late:
                return PullObjectResponse(object_found=True, object_available=False)
        return super().PullObject(request)

    def ConfirmMessageReceived(self, request):
        self.confirmed.append(request.message_object_id)


def flood(number, node):
    big = ArrayRecord({"x": Array(np.zeros(1_500_000))})  # 12 MB that nobody asked for
    return answering(number, node, momentum(extra=big))


def text(number, node):
    return answering(number, node, momentum(extra=ConfigRecord({"x": 5_000_000 * "a"})))


def chunk_bomb(number, node):
    """An array that lists its one chunk a million times: 3 MB on the wire, terabytes in memory."""
    contents, message = answering(
        number, node, momentum(extra=ArrayRecord({"x": Array(np.zeros(500_000))}))
    )
    key = next(k for k, v in contents.items() if v.startswith(b"Array ") and b"500000" in v)
    head, body = contents[key].split(b"\0", 1)
    listed = json.loads(body)
    listed["arraychunk_ids"] = [0] * 1_000_000
    body = json.dumps(listed).encode()
    kind, children, _ = head.split(b" ")
    contents[key] = b" ".join([kind, children, str(len(body)).encode()]) + b"\0" + body
    return contents, message


CONTENTS = {"flood": flood, "text": text, "chunks": chunk_bomb}


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("flood", "is larger than the model"),
        ("text", "is larger than the model"),
        ("chunks", "is larger than the model"),
        ("deep", "can't be read (ValueError)"),
    ],
)
def test_a_flood_is_cut_off_and_costs_its_own_reply_only(attack, said, caplog):
    link = Hostile(5, [6], attack)
    result = start(federation(link))
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-rejected"], metrics["n-silent"]) == (4, 1, 0)
    np.testing.assert_allclose(result.arrays["w"].numpy(), -1.0)
    assert f"The reply of node 6 {said}" in caplog.text
    # The SuperLink may drop the flood, too; of what it can't be asked for no name is known.
    assert len(link.confirmed) == (4 if attack == "deep" else 5)


@pytest.mark.parametrize("attack", ["tree", "part"])
def test_what_the_superlink_says_that_a_reply_consists_of_is_not_looked_at(attack):
    """It believes whoever names an object first, be it one that honest nodes send as well."""
    result = start(federation(Hostile(5, [6], attack)))
    assert result.train_metrics_clientapp[1]["n-valid"] == 5


@pytest.mark.parametrize("count", [5, 100])
@pytest.mark.parametrize("attack", ["stall", "drip"])
def test_who_stalls_holds_up_its_own_reply_only(attack, count):
    hostile = list(range(2, 2 + (count - 1) // 4))
    link = Hostile(count, hostile, attack)
    changes = {"num_malicious_nodes": len(hostile), "min_available_nodes": count, "timeout": 3.0}
    result = start(federation(link), **changes)
    metrics = result.train_metrics_clientapp[1]
    assert metrics["n-valid"] == (count if attack == "drip" else count - len(hostile))
    assert metrics["f-effective"] == len(hostile)
    assert time.monotonic() - link.began < 10.0


def test_no_thread_is_left_of_a_run():
    start(federation(Hostile(5, [6], "stall")), timeout=0.5)
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and any(
        each.name.startswith("resam-replies") for each in threading.enumerate()
    ):
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("resam-replies")]


def test_a_silent_node_is_not_waited_for_once_the_rest_bears_all_faults(monkeypatch):
    monkeypatch.setattr("flwr_resam.server.loop._LEAST_PATIENCE", 0.3)
    link = Hostile(5, [6], "stall")
    result = start(federation(link), timeout=60.0)
    assert time.monotonic() - link.began < 20.0
    assert result.train_metrics_clientapp[1]["n-silent"] == 1


def test_a_quorum_that_would_lose_an_f_waits_for_the_timeout(monkeypatch):
    """Four of five answer, f = 2: without the fifth the rows bear one fault only."""
    monkeypatch.setattr("flwr_resam.server.loop._LEAST_PATIENCE", 0.1)
    link = Hostile(5, [6], "stall")
    start(federation(link), num_malicious_nodes=2, timeout=3.0)
    assert time.monotonic() - link.began >= 3.0
