"""The places where the public API of flwr does not reach: everything private is here."""

from __future__ import annotations

import logging
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

SUPERLINK_NODE_ID = 1

logger = logging.getLogger("flwr")
"""Flower's own logger, so that what Resam says stands among what Flower says."""


def become_server(run_id: int = 1) -> None:
    """Let this process make messages outside a run that Flower started."""
    TaskIdentity.run_id = run_id
    TaskIdentity.task_id = 1
    TaskIdentity.node_id = SUPERLINK_NODE_ID


def over_network(grid: Grid) -> bool:
    """Whether it sends and receives as Flower's ServerApps do in a federation of machines."""
    return type(grid).send_and_receive is HttpGrid.send_and_receive


def number_message(message: Message) -> str:
    """Give a message the id that a Flower grid would give it when it is pushed."""
    if not message.metadata.message_id:
        message.metadata.__dict__["_message_id"] = str(uuid4())
    return message.metadata.message_id


def received(message: Message) -> Message:
    """The message as its receiver gets it: records of its own, the same metadata.

    Arrays are values, which nobody changes in place, and are shared.
    """
    content = RecordDict({key: record.copy() for key, record in message.content.items()})
    metadata = message.metadata
    copy = Message(content, metadata.dst_node_id, metadata.message_type)
    copy.__dict__["_metadata"] = metadata
    return copy
