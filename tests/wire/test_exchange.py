"""Replies over the network: what a node uploads that is no reply costs its own reply only."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import (
    GetNodesResponse,
    PullAppMessagesResponse,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.superlink.grid.http_grid import HttpGrid

from flwr_resam import QuorumLostError, Resam
from flwr_resam.aggregators import Mean, TrimmedMean
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.wire import exchange as module
from flwr_resam.wire.exchange import exchange
from flwr_resam.wire.flower import become_server
from tests.support import record

FIRST_PAUSE = module._FIRST_PAUSE


class SuperLink:
    """What `HttpGrid` speaks to, with nodes that answer at the second call."""

    def __init__(self, count, forger=None, up=True):
        self.nodes = range(2, 2 + count)
        self.forger = forger
        self.up = up
        self.asked, self.objects, self.polls = {}, {}, {}

    def GetNodes(self, request):
        if not self.up:
            raise ConnectionError("no SuperLink")
        return GetNodesResponse(nodes=[NodeInfo(node_id=node) for node in self.nodes])

    def PushMessages(self, request):
        for message in request.messages_list:
            self.asked[message.metadata.message_id] = message.metadata.dst_node_id
        return PushAppMessagesResponse(
            message_ids=[message.metadata.message_id for message in request.messages_list]
        )

    def PullMessages(self, request):
        found = PullAppMessagesResponse()
        for number in request.message_ids:
            self.polls[number] = self.polls.get(number, 0) + 1
            if self.polls[number] == 2:
                proto, tree = self._reply(number, self.asked[number])
                found.messages_list.append(proto)
                found.message_object_trees.append(tree)
        return found

    def PullObject(self, request):
        return PullObjectResponse(
            object_found=True, object_available=True,
            object_content=self.objects[request.object_id],
        )

    def PushObject(self, request):
        return PushObjectResponse(stored=True)

    def ConfirmMessageReceived(self, request):
        pass

    def _reply(self, number, node):
        content = RecordDict({
            "momentum": ArrayRecord({"w": Array(np.ones(3))}),
            "metrics": MetricRecord({"loss": 1.0}),
        })
        message = make_message(
            Metadata(
                run_id=1, message_id="", src_node_id=node, dst_node_id=1,
                reply_to_message_id=number, group_id="", created_at=1.8e9, ttl=3600.0,
                message_type="train",
            ),
            content=content,
        )
        message.metadata.__dict__["_message_id"] = message.object_id
        own = {key: each.deflate() for key, each in get_all_nested_objects(message).items()}
        proto = message_to_proto(remove_content_from_message(message))
        tree = get_object_tree(message)
        if node == self.forger:
            names = self._forge(own, proto.metadata.message_id)
            proto.metadata.message_id = names[proto.metadata.message_id]
            return proto, renamed(tree, names)
        self.objects |= own
        return proto, tree

    def _forge(self, own, root):
        """Make the metrics no protobuf; every hash is right, so that Flower takes the upload."""
        metrics = next(key for key, value in own.items() if value.startswith(b"MetricRecord"))
        head, body = own[metrics].split(b"\x00", 1)
        own[metrics] = head + b"\x00" + b"\xff" * len(body)
        names = {}

        def add(key):
            value = own[key]
            for child in value.split(b"\x00", 1)[0].decode().split(" ")[1].split(","):
                if child:
                    value = value.replace(child.encode(), add(child).encode())
            validate_object_content(value)
            names[key] = hashlib.sha256(value).hexdigest()
            self.objects[names[key]] = value
            return names[key]

        add(root)
        return names


def renamed(tree, names):
    return ObjectTree(
        object_id=names[tree.object_id], children=[renamed(child, names) for child in tree.children]
    )


def federation(link):
    become_server(1)
    grid = HttpGrid(token="x")
    grid._client, grid._run = link, SimpleNamespace(run_id=1)
    return grid


def start(grid, **changes):
    arguments = {
        "num_malicious_nodes": 1, "aggregator": TrimmedMean(), "min_available_nodes": 5,
        "fraction_evaluate": 0.0,
    }
    strategy = Resam(**{**arguments, **changes})
    return strategy.start(grid, record(w=np.zeros(3)), num_rounds=1)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)


@pytest.mark.parametrize("wrap", [lambda grid: grid, GridWrapper])
@pytest.mark.parametrize("forger", [None, 2, 6])
def test_an_upload_that_is_no_reply_is_a_silent_node(wrap, forger, caplog):
    result = start(wrap(federation(SuperLink(5, forger))))
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-silent"]) == ((5, 0) if forger is None else (4, 1))
    np.testing.assert_allclose(result.arrays["w"].numpy(), -1.0)
    if forger is not None:
        assert f"The reply of node {forger} can't be read (DecodeError)" in caplog.text


def test_flower_itself_ends_there():
    """Else the above shows nothing."""
    grid = federation(SuperLink(5, 4))
    with pytest.raises(Exception, match="Error parsing message"):
        list(grid.send_and_receive(messages_for(grid), timeout=30.0))


def test_a_superlink_that_is_gone_ends_the_run():
    link = SuperLink(5, 4)
    grid = federation(link)
    asked = messages_for(grid)
    link.up = False
    with pytest.raises(ConnectionError, match="no SuperLink"):
        exchange(grid, asked, timeout=5.0)


def test_nobody_is_waited_for_longer_than_the_timeout():
    link = SuperLink(5)
    link.PullMessages = lambda request: PullAppMessagesResponse()
    with pytest.raises(QuorumLostError):
        start(federation(link), aggregator=Mean(), num_malicious_nodes=0, timeout=0.2)


def test_the_pauses_between_looks_double_up_to_the_longest(monkeypatch):
    clock, pauses = [0.0], []

    def sleep(seconds):
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(module, "_FIRST_PAUSE", FIRST_PAUSE)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    grid = federation(link := SuperLink(5))
    link.PullMessages = lambda request: PullAppMessagesResponse()
    assert exchange(grid, messages_for(grid), timeout=10.0) == []
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])


def messages_for(grid):
    strategy = Resam(min_available_nodes=5, fraction_evaluate=0.0)
    return list(strategy.configure_train(1, record(w=np.zeros(3)), ConfigRecord(), grid))
