"""What a bad reply is: its name, what makes it of an honest one, and what a server should find."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode

Content = Callable[[RecordDict], object]
"""Makes of an honest reply's content what goes out; raises where the ClientApp would."""

Messages = Callable[[Message, Sequence[Message]], list[object]]
"""Makes of a node's honest reply, and of the other nodes' replies, what comes in its place."""


class Level(Enum):
    """Where a bad reply acts, which says who can send it."""

    BYTES = "the bytes of an array, and what it claims of them"
    RECORD = "the arrays, metrics and records of a reply"
    OBJECT = "Python objects that Flower does not serialise: in one process only"
    MESSAGE = "whether a message comes, how often, from whom, in answer to what"


class Verdict(Enum):
    """What a server should make of a bad reply."""

    FAULT = "no row, and proof of a fault: no honest program sends it"
    UNPROVEN = "no row, and no proof: it befalls honest nodes too"
    SILENCE = "nothing: the node counts as silent"
    ROW = "a row: what is odd is not looked at, or is an update as good as another"


@dataclass(frozen=True)
class BadReply:
    """One kind of bad reply.

    Attributes
    ----------
    name : str
        By which run-configs, tables and tests know it; it stays.
    what : str
        What is wrong with it, in one sentence.
    level : Level
        Where it acts.
    verdict : Verdict
        What a server should make of it.
    content : callable
        What makes it, where it is a matter of one reply's content; else None.
    messages : callable
        What makes it, where it is a matter of messages; else None.
    from_device : bool
        Whether a ClientApp can do this, and Flower carries it over a network.
    tabled : bool
        Whether it is a row of the robustness table.
    """

    name: str
    what: str
    level: Level
    verdict: Verdict = Verdict.FAULT
    content: Content | None = None
    messages: Messages | None = None
    from_device: bool = False
    tabled: bool = False

    def arriving(self, honest: Message, others: Sequence[Message] = ()) -> list[object]:
        """What reaches the server in place of one node's honest reply.

        Parameters
        ----------
        honest : Message
            The reply.
        others : sequence of Message
            The honest replies of other nodes; a kind that borrows from them needs one.
        """
        if self.messages is not None:
            return self.messages(honest, others)
        assert self.content is not None
        try:
            return [altered(honest, content=self.content(honest.content))]
        except Exception as error:
            failed = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error))
            return [altered(honest, content=None, error=failed)]


def altered(message: Message, **fields: object) -> Message:
    """A copy of a message with another ``content`` or ``error``, whatever these are."""
    made = copy.copy(message)
    made.__dict__.update({f"_{name}": value for name, value in fields.items()})
    return made


def readdressed(message: Message, **fields: object) -> Message:
    """A copy of a message with other metadata, such as ``src_node_id``."""
    metadata = copy.copy(message.metadata)
    metadata.__dict__.update({f"_{name}": value for name, value in fields.items()})
    return altered(message, metadata=metadata)


def forced(holder: Any, key: object, value: object) -> Any:
    """Put anything into a Flower record, unchecked; return the record."""
    holder.__dict__["_data"][key] = value
    return holder
