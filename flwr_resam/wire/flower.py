"""The places where the public API of flwr does not reach: everything private is here."""

from __future__ import annotations

import io
import json
import logging
import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast
from uuid import uuid4

from flwr.app import Array, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from ..scratch import Part
from .records import copied

if TYPE_CHECKING:  # workers import this file, too
    from flwr.serverapp import Grid

SUPERLINK_NODE_ID = 1
_HTTP_GRID, _ENGINE_GRID = "flwr.superlink.grid.http_grid", "flwr.superlink.grid.inmemory_grid"

_HEAD = 256  # bytes, in which the head of a chunk ends: a name and a length

Content: TypeAlias = bytes | Part
"""An object's bytes, in memory or, where it is a chunk, in a file."""

logger = logging.getLogger("flwr")
"""Flower's own logger, so that what Resam says stands among what Flower says."""


def become_server(run_id: int = 1) -> None:
    """Let this process make messages outside a run that Flower started."""
    TaskIdentity.run_id = run_id
    TaskIdentity.task_id = 1
    TaskIdentity.node_id = SUPERLINK_NODE_ID


def number_message(message: Message) -> str:
    """Give a message the id that a Flower grid would give it when it is pushed."""
    if not message.metadata.message_id:
        message.metadata.__dict__["_message_id"] = str(uuid4())
    return message.metadata.message_id


_SEALED = "resam-"


def seal(message: Message) -> None:
    """Make the id of a message unguessable, and number it.

    Over the network the id is a hash of the message's own fields, and whoever can guess them
    can answer in the receiver's name. A secret in the group id is seen by the receiver alone.
    """
    group = message.metadata.group_id
    if not group.startswith(_SEALED):
        message.metadata.group_id = f"{_SEALED}{secrets.token_hex(16)}{group and '-'}{group}"
    number_message(message)


class _FreshConfig(ConfigRecord):
    """A ConfigRecord that no other is equal to, byte by byte, on the wire."""

    def deflate(self) -> bytes:
        return _with_secret(super().deflate(), self.__dict__)

    def __reduce__(self) -> Any:
        return ConfigRecord, (dict(self),)


class _FreshMetrics(MetricRecord):
    """A MetricRecord that no other is equal to, byte by byte, on the wire."""

    def deflate(self) -> bytes:
        return _with_secret(super().deflate(), self.__dict__)

    def __reduce__(self) -> Any:
        return MetricRecord, (dict(self),)


_FreshConfig.__qualname__, _FreshMetrics.__qualname__ = "ConfigRecord", "MetricRecord"
_UNUSED_FIELD = b"\xfa\x01"  # number 31, some bytes: readers pass over what they don't know


def fresh(content: RecordDict) -> RecordDict:
    """The same records as objects that nobody can guess; who reads them gets what was given.

    A SuperLink keeps each object once, under the hash of its bytes, and believes whoever names it
    first about what it consists of. A node that knows what will be sent next could name for it a
    part that never comes, so that nobody could fetch it. Arrays stay as they are: a model that was
    trained on is no more predictable than the others' updates.
    """
    made = RecordDict()
    for key, record in content.items():
        if isinstance(record, ConfigRecord):
            made[key] = _FreshConfig(dict(record))
        elif isinstance(record, MetricRecord):
            made[key] = _FreshMetrics(dict(record))
        else:
            made[key] = record
    return made


def _with_secret(content: bytes, remembered: dict[str, Any]) -> bytes:
    """An object of protobuf's with a field that nobody reads; the same whenever it is asked for."""
    secret = remembered.setdefault("_secret", secrets.token_bytes(16))
    head, _, body = content.partition(b"\0")
    kind, children, _ = head.split(b" ")
    body += _UNUSED_FIELD + bytes([len(secret)]) + secret
    return b"%s %s %d\0%s" % (kind, children, len(body), body)


def received(message: Message) -> Message:
    """The message as its receiver gets it: records of its own, the same metadata.

    Arrays are values, which nobody changes in place, and are shared.
    """
    content = copied(message.content)
    metadata = message.metadata
    copy = Message(content, metadata.dst_node_id, metadata.message_type)
    copy.__dict__["_metadata"] = metadata
    return copy


def over_network(grid: Grid) -> bool:
    """Whether it sends and receives as Flower's ServerApps do in a federation of machines."""
    return _is_flowers(grid, _HTTP_GRID, "HttpGrid")


def on_engine(grid: Grid) -> bool:
    """Whether it sends and receives as Flower's simulation engine does."""
    return _is_flowers(grid, _ENGINE_GRID, "InMemoryGrid")


def _is_flowers(grid: Grid, module: str, name: str) -> bool:
    """Whether the grid is of a class of Flower's, which nobody has made without importing it."""
    found = getattr(sys.modules.get(module), name, None)
    own = getattr(type(grid), "send_and_receive", None)  # what only acts like a grid has none
    return found is not None and own is found.send_and_receive


class UnknownFlowerError(RuntimeError):
    """What is private in this version of flwr is not as we use it; no node's doing."""


def flwr_version() -> str:
    """The version of flwr that is installed, of a nightly build too."""
    from importlib.metadata import PackageNotFoundError, version

    for name in ("flwr-nightly", "flwr"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of an unknown version"


_CHANGED = (AttributeError, ImportError, TypeError, NotImplementedError)


@contextmanager
def private_use(*more: type[Exception]) -> Iterator[None]:
    """Tell a changed API from a bad reply: only our own calls into flwr are made in here.

    Parameters
    ----------
    *more : type of Exception
        What else says that it was changed; `ValueError` where nothing is read that a node sent.

    Raises
    ------
    UnknownFlowerError
        In place of what a missing name, another signature or a message without our fields raises.
    """
    changed: tuple[type[Exception], ...] = (*_CHANGED, *more)
    try:
        yield
    except changed as error:
        raise UnknownFlowerError(
            f"flwr {flwr_version()} fetches replies in a way that this flwr-resam does not know "
            f"({type(error).__name__}: {error}). Install a version of flwr that its metadata "
            "allows, or a newer flwr-resam."
        ) from error


class Network:
    """The calls that one reply takes, one by one, as `HttpGrid.pull_messages` makes them.

    Parameters
    ----------
    grid : HttpGrid

    Raises
    ------
    UnknownFlowerError
        At construction and in each call, where this version of flwr has other ones.
    """

    def __init__(self, grid: Any) -> None:
        with private_use(ValueError):
            from flwr.proto import message_pb2, runtime_pb2
            from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

            self._client, self._node, self._run_id = (
                grid._runtime_client, grid.node, grid._run.run_id
            )
            self._calls = (
                self._client.PullMessages, self._client.PullObject,
                self._client.ConfirmMessageReceived,
            )
            self._pull = runtime_pb2.PullAppMessagesRequest
            self._object = message_pb2.PullObjectRequest
            self._confirm = message_pb2.ConfirmMessageReceivedRequest
            self._inflate: Any = inflate_object_from_contents
            # What it raises later is of what a node sent.
            signature(self._inflate).bind("", {}, objects={})

    def _field(self, asked: str) -> dict[str, Any]:
        """What asks for the reply to one message; flwr 1.43 has another name and form for it."""
        if "reply_to_message_ids" in self._pull.DESCRIPTOR.fields_by_name:
            return {"reply_to_message_ids": {"vals": [asked]}}
        return {"message_ids": [asked]}

    def announced(self, asked: str) -> str | None:
        """The id of the reply to a message, once the SuperLink has one; None before.

        It is that of the reply's outermost object. The tree of its objects, which comes with it, is
        not looked at: a SuperLink keeps for each object the children that were named first,
        whoever named them.

        Raises
        ------
        ValueError
            Where the SuperLink's answer can't be read, as a tree of a hundred levels can't.
        """
        with private_use(ValueError):
            request = self._pull(**self._field(asked))
        with private_use():
            found = self._calls[0](request)
            for message in found.messages_list:
                if message.metadata.reply_to_message_id == asked:
                    return str(message.metadata.message_id)
        return None

    def content(self, object_id: str) -> bytes | None:
        """The bytes of an object; None where they are not there yet.

        Raises
        ------
        LookupError
            Where they never will be.
        """
        with private_use(ValueError):
            request = self._object(node=self._node, run_id=self._run_id, object_id=object_id)
        with private_use():
            found = self._calls[1](request)
            there, now, content = found.object_found, found.object_available, found.object_content
        if not there:
            raise LookupError("an object that the SuperLink does not know")
        return content if now else None

    def confirm(self, message_id: str) -> None:
        """Let the SuperLink drop the objects of a reply."""
        with private_use():
            self._calls[2](self._confirm(
                node=self._node, run_id=self._run_id, message_object_id=message_id
            ))

    def message(self, message_id: str, contents: dict[str, Content]) -> Message:
        """Put a reply together; anything may be raised for what is none.

        The contents are taken apart, so that never more is held than they and a chunk.
        """
        message = self._inflate(message_id, contents, objects=take_arrays(contents))
        if type(message) is not Message:
            raise TypeError(f"a {type(message).__name__}")
        message.metadata.__dict__["_message_id"] = message_id
        return message


def children_of(content: bytes) -> list[str]:
    """The ids of the objects that one consists of besides its own bytes, as its head lists them.

    Raises
    ------
    ValueError, IndexError
        For what is no object.
    """
    head, divider, _ = content.partition(b"\0")
    if not divider:
        raise ValueError("an object without a head")
    return _children(head)


def is_chunk(content: bytes) -> bool:
    """Whether an object holds a part of an array's bytes."""
    return content.startswith(b"ArrayChunk ")


def array_bytes(contents: Mapping[str, Content]) -> int:
    """How many bytes the arrays among these objects have once they are put together.

    An array lists its chunks, and may list one a million times.
    """
    return sum(
        len(contents.get(chunk, b"")) for content in contents.values() if _is_array(content)
        for chunk in _chunks_of(content)
    )


def take_arrays(contents: dict[str, Content]) -> dict[str, Array]:
    """Put the arrays among these objects together, and take their chunks out.

    As Flower's `Array.inflate` does, which holds all of them three times over meanwhile. Anything
    may be raised for what is no array.
    """
    orders = {
        key: _chunks_of(content) for key, content in contents.items() if _is_array(content)
    }
    uses = Counter(chunk for order in orders.values() for chunk in order)
    arrays: dict[str, Array] = {}
    for key, order in orders.items():
        head, _, body = cast(bytes, contents[key]).partition(b"\0")
        if set(order) != set(_children(head)):
            raise ValueError("an array whose chunks are not those that it lists")
        said = json.loads(body)
        arrays[key] = Array(
            dtype=said["dtype"], shape=tuple(said["shape"]), stype=said["stype"],
            data=_joined(contents, order, uses),
        )
    return arrays


def _joined(contents: dict[str, Content], order: list[str], uses: Counter[str]) -> bytes:
    """The bytes of chunks one after the other; a chunk leaves with its last use."""
    file = io.BytesIO()
    file.seek(sum(len(contents[chunk]) for chunk in order))
    file.write(b"\0")  # all of the space at once, since what grows is copied
    file.seek(0)
    for chunk in order:
        content = contents[chunk]
        whole = content if isinstance(content, bytes) else content.read()
        head, divider, _ = whole[:_HEAD].partition(b"\0")
        if not is_chunk(head) or not divider or _children(head):
            raise ValueError("an array of what is no chunk")
        file.write(memoryview(whole)[len(head) + 1 :])
        uses[chunk] -= 1
        if not uses[chunk]:
            del contents[chunk]
    file.truncate()
    return file.getvalue()  # no copy: the bytes are the file's own


def _is_array(content: Content) -> TypeGuard[bytes]:
    return isinstance(content, bytes) and content.startswith(b"Array ")


def _chunks_of(content: bytes) -> list[str]:
    """The ids of an array's chunks, in order."""
    head, _, body = content.partition(b"\0")
    children = _children(head)
    return [children[index] for index in json.loads(body)["arraychunk_ids"]]


def _children(head: bytes) -> list[str]:
    listed = head.split(b" ")[1].decode()
    return listed.split(",") if listed else []
