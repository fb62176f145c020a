"""An instruction: the model, and what goes with it; and the question for a partition."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from ..errors import requirement
from .group import Group
from .layout import MOMENTUM_KEY
from .records import of_kind

RESERVED = "resam"  # our record, in a reply and in the question for a partition
_ROUND, _BETA, _SECRET = "server-round", "beta", "secret"
_QUESTION, PARTITION = "question", "partition-id"


def stamp(messages: Iterable[Message], training: str, server_round: int) -> None:
    """Say in each message that momentum is wanted, in which training and in which round.

    Parameters
    ----------
    messages : iterable of Message
        Instructions, whoever made them. Their content stays as it is: a handler of anybody's app
        may go through all of it.
    training : str
        Names the training, so that a worker which remembers another begins anew.
    server_round : int
        From 1.
    """
    for message in messages:
        group = Group.of(message.metadata.group_id)
        message.metadata.group_id = str(
            replace(group, training=training, server_round=server_round)
        )


def model_of(messages: Sequence[Message], key: str) -> ArrayRecord | None:
    """The model that all of the messages hold under ``key``, or else as their only ArrayRecord.

    None where they hold different ones, or one of them several of other names.

    Raises
    ------
    LookupError
        Where there is no message with a model.
    """
    found: list[ArrayRecord] = []
    for message in messages:
        records = of_kind(message.content, ArrayRecord) if message.has_content() else {}
        if key not in records and len(records) > 1:
            return None
        found += [records[key]] if key in records else records.values()
    if not found:
        raise LookupError(key)
    first = found[0]
    return first if all(each is first or each == first for each in found) else None


def training_of(message: Message) -> str | None:
    """The training that a message is of; None where its server does not take momentum."""
    return Group.of(message.metadata.group_id).training


def server_round_of(message: Message) -> int:
    """The round of an instruction: as it is stamped, or as the strategy wrote it in a config."""
    if stamped := Group.of(message.metadata.group_id).server_round:
        return stamped
    for config in of_kind(message.content, ConfigRecord).values():
        number = config.get(_ROUND)
        if isinstance(number, int) and number >= 1:
            return number
    raise requirement(
        "server-round", "be in the instruction's ConfigRecord", "none",
        "Use a strategy that sends it, as FedAvg and all built on it do",
    )


@contextmanager
def unstamped(message: Message) -> Iterator[None]:
    """The message with the group id that its app gave, as its handler expects it."""
    written = message.metadata.group_id
    message.metadata.group_id = Group.of(written).own
    try:
        yield
    finally:
        message.metadata.group_id = written  # a mod outside may look at it, or call again


def say_beta(content: RecordDict, beta: float) -> None:
    """Say in a reply with which beta its momentum was made.

    The secret makes it an object that no other node can have named before (`unguessable.fresh`).
    """
    content[RESERVED] = ConfigRecord({_BETA: beta, _SECRET: secrets.token_hex(16)})


def said_beta(content: object) -> float | None:
    """The beta that a reply names; None where it names none that can be one.

    Of what a node sent nothing is called, and only plain types are read.
    """
    for kind, key in ((RecordDict, RESERVED), (ConfigRecord, _BETA)):
        items = content.__dict__.get("_data") if type(content) is kind else None
        content = items.get(key) if type(items) is dict else None
    return content if type(content) is float and 0.0 <= content < 1.0 else None


def holds_momentum(reply: object) -> bool:
    """Whether a reply has a record of the name under which momentum comes; nothing is called."""
    content = reply.__dict__.get("_content") if type(reply) is Message else None
    items = content.__dict__.get("_data") if type(content) is RecordDict else None
    return type(items) is dict and MOMENTUM_KEY in items


def partition_question() -> RecordDict:
    """What asks `momentum_mod` for the data partition of its node, by a TRAIN message."""
    return RecordDict({RESERVED: ConfigRecord({_QUESTION: PARTITION})})


def asks_partition(message: Message) -> bool:
    """Whether a message is that question, and no training."""
    record = message.content.get(RESERVED)
    return isinstance(record, ConfigRecord) and record.get(_QUESTION) == PARTITION


def partition_answer(message: Message, context: Context) -> Message:
    """The reply to it: ``partition-id`` of the node's config, -1 where it has none."""
    partition = context.node_config.get(PARTITION, -1)
    content = RecordDict({"node": MetricRecord({PARTITION: int(partition)})})
    return Message(content, reply_to=message)
