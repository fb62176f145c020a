"""A SuperLink in this process, of which nodes may upload what is no reply."""

import hashlib
from types import SimpleNamespace

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Metadata,
    MetricRecord,
    RecordDict,
)
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

from flwr_resam import Resam
from flwr_resam.aggregators import TrimmedMean
from flwr_resam.wire.flower import become_server
from tests.support import asked_of, record


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
        for number in asked_of(request):
            self.polls[number] = self.polls.get(number, 0) + 1
            if self.polls[number] == 2:
                proto, tree = self._reply(number, self.asked[number])
                found.messages_list.append(proto)
                found.message_object_trees.append(tree)
        return found

    def PullObject(self, request):
        return PullObjectResponse(
            object_found=True,
            object_available=True,
            object_content=self.objects[request.object_id],
        )

    def PushObject(self, request):
        return PushObjectResponse(stored=True)

    def ConfirmMessageReceived(self, request):
        pass

    def _reply(self, number, node):
        own, message = answering(number, node, momentum(metrics=MetricRecord({"loss": 1.0})))
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
        "num_malicious_nodes": 1,
        "aggregator": TrimmedMean(),
        "min_available_nodes": 5,
        "fraction_evaluate": 0.0,
    }
    strategy = Resam(**{**arguments, **changes})
    return strategy.start(grid, record(w=np.zeros(3)), num_rounds=1)


def messages_for(grid):
    strategy = Resam(0, min_available_nodes=5, fraction_evaluate=0.0)
    return list(strategy.configure_train(1, record(w=np.zeros(3)), ConfigRecord(), grid))


def answering(number, node, content):
    message = make_message(
        Metadata(
            run_id=1,
            message_id="",
            src_node_id=node,
            dst_node_id=1,
            reply_to_message_id=number,
            group_id="",
            created_at=1.8e9,
            ttl=3600.0,
            message_type="train",
        ),
        content=content,
    )
    message.metadata.__dict__["_message_id"] = message.object_id
    return {key: each.deflate() for key, each in get_all_nested_objects(message).items()}, message


def momentum(**more):
    return RecordDict({"momentum": ArrayRecord({"w": Array(np.ones(3))}), **more})


def its_own(number, node):
    own = RecordDict({"momentum": ArrayRecord({"w": Array(np.ones(3) + 1e-9 * node)})})
    return answering(number, node, own)
