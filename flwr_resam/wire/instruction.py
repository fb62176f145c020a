"""What an instruction says besides the model: the round, and whether its server takes momentum."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ConfigRecord, Message

from ..errors import requirement

_RECORD, _TRAINING, _ROUND = "resam", "training", "server-round"


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
        if message.has_content() and message.content.get(_RECORD) is not said:
            message.content[_RECORD] = said


def training_of(message: Message) -> str | None:
    """The training that a message is of; None where its server does not take momentum."""
    record = message.content.config_records.get(_RECORD)
    training = None if record is None else record.get(_TRAINING)
    return training if isinstance(training, str) else None


def server_round_of(message: Message) -> int:
    """The round that the strategy wrote into the instruction, under ``server-round``."""
    for config in message.content.config_records.values():
        number = config.get(_ROUND)
        if isinstance(number, int) and number >= 1:
            return number
    raise requirement(
        "server-round", "be in the instruction's ConfigRecord", "none",
        "Use a strategy that sends it, as FedAvg and all built on it do",
    )
