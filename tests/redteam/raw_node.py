"""A node of a real federation, call by call: what a SuperNode does, and what a hostile one could."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from simulations.deployment.federation import Federation

_HEARTBEAT = 30.0
_POLL = 0.3


class RawNode:
    """A node of a federation: Flower's Fleet calls under its own key.

    Parameters
    ----------
    federation : Federation
        Started, with TLS.
    partition : int
        Which of its keys the node holds.
    address : str
        Where it connects; "" is where devices do.

    Attributes
    ----------
    id : int
        What the SuperLink calls the node.
    client : FleetHttpClient
        For calls that have no method here.
    stop : threading.Event
        Set when the node is to end.
    """

    def __init__(self, federation: Federation, partition: int, address: str = "") -> None:
        assert federation.keys is not None
        key = load_ssh_private_key(federation.keys.node(partition).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.partition = partition
        self.stop = threading.Event()
        self.client = FleetHttpClient.from_server_address(
            address or federation.door, False, federation.keys.ca.read_bytes(),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
            ],
        )
        public = public_key_to_bytes(key.public_key())
        self.id = int(self.client.ActivateNode(
            ActivateNodeRequest(public_key=public, heartbeat_interval=_HEARTBEAT)
        ).node_id)
        self.node = Node(node_id=self.id)

    def __enter__(self) -> RawNode:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the SuperLink is not told."""
        self.stop.set()
        self.client.close()

    def beat(self) -> None:
        """Tell the SuperLink every ten seconds that the node is there, until it is to stop."""
        while not self.stop.wait(10.0):
            self.client.SendNodeHeartbeat(
                SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=_HEARTBEAT)
            )

    def pull(self) -> tuple[Message, ObjectTree] | None:
        """The next instruction, without its content, and the tree of its objects."""
        answer = self.client.PullMessages(PullMessagesRequest(node=self.node))
        if not answer.messages_list:
            return None
        return message_from_proto(answer.messages_list[0]), answer.message_object_trees[0]

    def asked(self) -> Iterator[tuple[Message, ObjectTree]]:
        """What `pull` finds, one after another, until the node is to stop."""
        while not self.stop.is_set():
            found = self.pull()
            if found is None:
                self.stop.wait(_POLL)
            else:
                yield found

    def content(self, asked: Message, tree: ObjectTree) -> RecordDict:
        """Fetch an instruction's objects: the model, and its configuration."""
        objects: dict[str, bytes] = {}
        for branch in iterate_object_tree(tree):
            while branch.object_id not in objects and not self.stop.is_set():
                answer = self.client.PullObject(PullObjectRequest(
                    node=self.node, run_id=asked.metadata.run_id, object_id=branch.object_id
                ))
                if answer.object_available:
                    objects[branch.object_id] = answer.object_content
                else:
                    time.sleep(_POLL)
        message = inflate_object_from_contents(tree.object_id, objects)
        assert isinstance(message, Message)
        return message.content

    def reply(
        self, asked: Message, answer: RecordDict | Error, *, source: int = 0, reply_to: str = ""
    ) -> Message:
        """Make a reply to an instruction.

        Parameters
        ----------
        asked : Message
            From `pull`.
        answer : RecordDict or Error
            Its content.
        source : int
            The node that the reply says it is from; 0 is this one.
        reply_to : str
            The id of the message that it says it answers; "" is that of ``asked``.
        """
        told, now = asked.metadata, time.time()
        metadata = Metadata(
            run_id=told.run_id, message_id="", src_node_id=source or self.id,
            dst_node_id=told.src_node_id, reply_to_message_id=reply_to or told.message_id,
            group_id=told.group_id, created_at=now,
            ttl=max(1.0, told.created_at + told.ttl - now - 1.0), message_type=told.message_type,
            dst_task_id=told.src_task_id,
        )
        if isinstance(answer, Error):
            message = make_message(metadata, error=answer)
        else:
            message = make_message(metadata, content=answer)
        message.metadata.__dict__["_message_id"] = message.object_id
        return message

    def announce(self, message: Message) -> PushMessagesResponse:
        """Send a reply without its objects; the answer names those which the SuperLink wants."""
        return self.announce_tree(message, get_object_tree(message))

    def announce_tree(
        self, message: Message, tree: ObjectTree, *, sender: int = 0
    ) -> PushMessagesResponse:
        """Send a reply without its objects, and say that they are these, and who sends it."""
        bare = remove_content_from_message(message) if message.has_content() else message
        said = message_to_proto(bare)
        said.metadata.src_node_id = sender or said.metadata.src_node_id
        return self.client.PushMessages(PushMessagesRequest(
            node=self.node, messages_list=[said],
            message_object_trees=[tree], clientapp_runtime_list=[0.1],
        ))

    def push(self, message: Message, *, sender: int = 0) -> PushMessagesResponse:
        """Send a reply as a SuperNode does: announce it, then upload its objects.

        ``sender`` is who announces it; 0 is who it is from.
        """
        answer = self.announce_tree(message, get_object_tree(message), sender=sender)
        nested = get_all_nested_objects(message)
        for object_id in answer.objects_to_push:
            self.push_object(message, answer.session_id, nested[object_id])
        return answer

    def push_object(
        self, message: Message, session: str, thing: InflatableObject | bytes, object_id: str = ""
    ) -> bool:
        """Upload one object of an announced reply; return whether the SuperLink took it."""
        data = thing if isinstance(thing, bytes) else thing.deflate()
        name = object_id if isinstance(thing, bytes) else thing.object_id
        return bool(self.client.PushObject(PushObjectRequest(
            node=self.node, run_id=message.metadata.run_id, session_id=session,
            object_id=name, object_content=data,
        )).stored)
