"""An instruction: the model, and what goes with it; and the question for a partition."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from ..errors import requirement
from .records import of_kind

RESERVED = "resam"  # the record that stands beside the user's
_TRAINING, _ROUND, _BETA, _SECRET = "training", "server-round", "beta", "secret"
_QUESTION, PARTITION = "question", "partition-id"


def stamp(messages: Iterable[Message], training: str, server_round: int) -> None:
    """Say in each message that momentum is wanted, in which training and in which round.

    Parameters
    ----------
    messages : iterable of Message
        Instructions, whoever made them; several may share their content.
    training : str
        Names the training, so that a worker which remembers another begins anew.
    server_round : int
        From 1.
    """
    said = ConfigRecord({_TRAINING: training, _ROUND: server_round})
    for message in messages:
        if message.has_content() and message.content.get(RESERVED) is not said:
            message.content[RESERVED] = said


def model_of(messages: Sequence[Message], key: str) -> ArrayRecord | None:
    """The model that all of the messages hold under ``key``; None where they hold different ones.

    Raises
    ------
    LookupError
        Where there is no message with a model.
    """
    found = [
        message.content[key] for message in messages
        if message.has_content() and isinstance(message.content.get(key), ArrayRecord)
    ]
    if not found:
        raise LookupError(key)
    first = found[0]
    assert isinstance(first, ArrayRecord)
    return first if all(each is first or each == first for each in found) else None


def training_of(message: Message) -> str | None:
    """The training that a message is of; None where its server does not take momentum."""
    record = message.content.get(RESERVED)
    training = record.get(_TRAINING) if isinstance(record, ConfigRecord) else None
    return training if isinstance(training, str) else None


def server_round_of(message: Message) -> int:
    """The round of an instruction: as it is stamped, or as the strategy wrote it in a config."""
    configs = of_kind(message.content, ConfigRecord)
    stamped = [configs.pop(RESERVED)] if RESERVED in configs else []
    for config in (*stamped, *configs.values()):
        number = config.get(_ROUND)
        if isinstance(number, int) and number >= 1:
            return number
    raise requirement(
        "server-round", "be in the instruction's ConfigRecord", "none",
        "Use a strategy that sends it, as FedAvg and all built on it do",
    )


def without_stamp(message: Message) -> RecordDict:
    """Give a message a content of its own without the stamp, which no handler expects.

    Returns
    -------
    RecordDict
        The content that it had.
    """
    content = message.content
    message.content = RecordDict(
        {key: record for key, record in content.items() if key != RESERVED}
    )
    return content


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
