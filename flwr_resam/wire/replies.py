"""Who answered what: the messages that came in, matched to the instructions that went out.

A reply names an instruction of this round and comes from the node which was asked. Whatever else
came is set aside with a reason, and proves nothing against anybody: a late reply, a replayed one,
one for another node. Where a node answered more than once, none of its replies counts, since
which came first must not matter; nor is that held against it. On a grid that does not
authenticate its senders, a Byzantine node could frame an honest one with such messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Error, Message, Metadata

from .flower import SUPERLINK_NODE_ID


@dataclass(frozen=True)
class Stray:
    """A message that answers nothing of this round; ``node`` is who it says it is from."""

    node: int
    reason: str


@dataclass(frozen=True)
class Replies:
    """What came back in one round.

    Attributes
    ----------
    answers : dict of int to object
        For each node that answered what its message holds: a RecordDict, an Error, or whatever
        an untrustworthy sender put there. Nodes of which the SuperLink says that they are gone
        or too late are not among them: they are silent.
    repeated : set of int
        The nodes that answered more than once, which are not in ``answers``.
    strays : list of Stray
        The messages set aside.
    """

    answers: dict[int, object] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    strays: list[Stray] = field(default_factory=list)


def match(asked: Iterable[Message], replies: Iterable[Message]) -> Replies:
    """Match replies to the instructions they answer; nothing that a sender made is called.

    Parameters
    ----------
    asked : iterable of Message
        The instructions of the round, with the ids under which they went out.
    replies : iterable of Message
        What the grid handed out.
    """
    open_questions = {m.metadata.message_id: m.metadata.dst_node_id for m in asked}
    found = Replies()
    for reply in replies:
        if type(reply) is not Message:
            found.strays.append(Stray(0, "no Flower message"))
            continue
        source, answered = _addresses(reply.__dict__.get("_metadata"))
        node = open_questions.get(answered)
        error = reply.__dict__.get("_error")
        if node is None:
            found.strays.append(Stray(source, "late, replayed or unasked"))
        elif source == SUPERLINK_NODE_ID != node and type(error) is Error:
            continue  # the SuperLink's word that the node is gone or too late
        elif source != node:
            found.strays.append(Stray(source, f"answered for node {node}"))
        elif node in found.answers or node in found.repeated:
            found.answers.pop(node, None)
            found.repeated.add(node)
        else:
            found.answers[node] = reply.__dict__.get("_content") if error is None else error
    return found


def _addresses(metadata: Any) -> tuple[int, str]:
    """Source node and answered message; 0 and an empty id, which match nothing, if malformed."""
    if type(metadata) is not Metadata:
        return 0, ""
    source = metadata.__dict__.get("_src_node_id")
    answered = metadata.__dict__.get("_reply_to_message_id")
    if type(source) is not int or not 0 <= source < 1 << 64:
        source = 0
    return source, (answered if type(answered) is str else "")

