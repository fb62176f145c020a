"""What is wrong with messages: none comes, or two, or one that is of another or for another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from clients.bad_replies.objects import Hostile
from clients.bad_replies.records import filled
from clients.bad_replies.reply import BadReply, Level, Messages, Verdict, altered, readdressed

SILENCE = "silence"
SUPERLINK = 1  # the node id under which Flower's SuperLink and ServerApp write


def _from(source: object) -> Messages:
    """The honest reply, under another sender's number."""
    return lambda honest, _: [readdressed(honest, src_node_id=source)]


def _answering(message_id: object) -> Messages:
    """The honest reply, in answer to something else."""
    return lambda honest, _: [readdressed(honest, reply_to_message_id=message_id)]


def _for_another(honest: Message, others: Sequence[Message]) -> list[object]:
    return [readdressed(honest, reply_to_message_id=others[0].metadata.reply_to_message_id)]


def _twice(honest: Message, _: Sequence[Message]) -> list[object]:
    return [honest, altered(honest, content=filled(1e9)(honest.content))]


def _unavailable(honest: Message, _: Sequence[Message]) -> list[object]:
    """As the SuperLink says it of a node that is gone."""
    gone = Error(ErrorCode.NODE_UNAVAILABLE, "Node Unavailable")
    return [readdressed(altered(honest, content=None, error=gone), src_node_id=SUPERLINK)]


def _raise(_: RecordDict) -> object:
    raise RuntimeError("this client raises")


_message = partial(BadReply, level=Level.MESSAGE, verdict=Verdict.SILENCE)

MESSAGES = [
    _message("an exception", "The ClientApp raises; Flower answers with an error.", tabled=True,
             verdict=Verdict.UNPROVEN, from_device=True, content=_raise),
    _message(SILENCE, "Nothing comes, or too late.", from_device=True,
             messages=lambda honest, others: []),  # noqa: ARG005
    _message("node gone", "The SuperLink says that the node is not there.",
             messages=_unavailable),
    _message("sent twice", "Two different replies come.", verdict=Verdict.UNPROVEN,
             messages=_twice),
    _message("late", "A reply to an instruction of an earlier round.",
             messages=_answering("earlier")),
    _message("for nobody", "A reply to no instruction.", messages=_answering("")),
    _message("for another node", "A reply to the instruction of another node.",
             messages=_for_another),
    _message("under another number", "A reply of a node that was not asked.", messages=_from(99)),
    _message("as the server", "A reply of the SuperLink itself.", messages=_from(SUPERLINK)),
    _message("sender 10**5000", "A reply of a node with a number of 5001 digits.",
             messages=_from(10**5000)),
    _message("sender -1", "A reply of a node with a number below zero.", messages=_from(-1)),
    _message("sender 2**64", "A reply of a node with a number of 65 bits.",
             messages=_from(1 << 64)),
    _message("sender of an odd type", "A reply whose sender and question are lists.",
             messages=lambda honest, _: [
                 readdressed(honest, src_node_id=[], reply_to_message_id=[])]),
    _message("text for metadata", "A reply whose metadata are text.",
             messages=lambda honest, _: [altered(honest, metadata="x")]),
    _message("hostile metadata", "A reply whose metadata raise whatever is done with them.",
             messages=lambda honest, _: [altered(honest, metadata=Hostile())]),
    _message("no message", "Text, None and a number in place of a message.",
             messages=lambda *_: ["hello", None, 3]),
    _message("hostile message", "An object that raises whatever is done with it.",
             messages=lambda *_: [Hostile()]),
]
