"""The places where the public API of flwr does not reach: everything private is here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity

from .objects import Content, take_arrays
from .records import copied

if TYPE_CHECKING:  # workers import this file, too
    from flwr.serverapp import Grid

SUPERLINK_NODE_ID = 1
_HTTP_GRID, _ENGINE_GRID = "flwr.superlink.grid.http_grid", "flwr.superlink.grid.inmemory_grid"

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
