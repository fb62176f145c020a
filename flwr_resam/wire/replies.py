"""Who answered what: the messages that come in, matched to the instructions that went out.

A reply names an instruction of this round and comes from the node which was asked. Whatever else
comes is set aside with a reason, and proves nothing against anybody: a late reply, a replayed one,
one for another node. Where a node answered more than once, none of its replies counts, since
which came first must not matter; nor is that held against it. On a grid that does not
authenticate its senders, a Byzantine node could frame an honest one with such messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from flwr.app import Error, Message, Metadata

from .flower import SUPERLINK_NODE_ID

_STRAYS = 1000  # of a round at most


class Stray(NamedTuple):
    """A message that answers nothing of this round; ``node`` is who it says it is from."""

    node: int
    reason: str


class Answer(NamedTuple):
    """What a node answered: a RecordDict, an Error, or whatever a sender put there; and to what."""

    node: int
    content: object
    question: str


class Matcher:
    """Takes the replies of a round one by one; nothing that a sender made is called.

    Parameters
    ----------
    asked : iterable of Message
        The instructions of the round. Their ids are read when a reply comes, since some grids
        give them when they send.

    Attributes
    ----------
    repeated : set of int
        The nodes that answered a message more than once: what came first is to be dropped.
    strays : list of Stray
        The messages set aside, the first thousand of them.
    """

    def __init__(self, asked: Iterable[Message]) -> None:
        self._asked = list(asked)
        self._open: dict[str, int] = {}
        self._answered: set[str] = set()
        self.repeated: set[int] = set()
        self.strays: list[Stray] = []

    def take(self, reply: object) -> Answer | None:
        """The answer that a message is; None for what is none, or is not the node's first.

        Nodes of which the SuperLink says that they are gone or too late are silent.
        """
        if type(reply) is not Message:
            self._stray(0, "no Flower message")
            return None
        source, answered = _addresses(reply.__dict__.get("_metadata"))
        node = self._node_asked_by(answered)
        error = reply.__dict__.get("_error")
        if node is None:
            self._stray(source, "late, replayed or unasked")
        elif source == SUPERLINK_NODE_ID != node and type(error) is Error:
            pass  # the SuperLink's word that the node is gone or too late
        elif source != node:
            self._stray(source, f"answered for node {node}")
        elif answered in self._answered:
            self.repeated.add(node)
        else:
            self._answered.add(answered)
            content = reply.__dict__.get("_content") if error is None else error
            return Answer(node, content, answered)
        return None

    def _stray(self, node: int, reason: str) -> None:
        if len(self.strays) < _STRAYS:
            self.strays.append(Stray(node, reason))

    def _node_asked_by(self, message_id: str) -> int | None:
        if not self._open:
            self._open = {m.metadata.message_id: m.metadata.dst_node_id for m in self._asked}
        return self._open.get(message_id)


def match(asked: Iterable[Message], replies: Iterable[Message]) -> dict[int, object]:
    """What each node answered that answered once, by node."""
    matcher = Matcher(asked)
    answers = {answer.node: answer.content for answer in map(matcher.take, replies) if answer}
    return {node: content for node, content in answers.items() if node not in matcher.repeated}


def _addresses(metadata: Any) -> tuple[int, str]:
    """Source node and answered message; 0 and an empty id, which match nothing, if malformed."""
    if type(metadata) is not Metadata:
        return 0, ""
    source = metadata.__dict__.get("_src_node_id")
    answered = metadata.__dict__.get("_reply_to_message_id")
    if type(source) is not int or not 0 <= source < 1 << 64:
        source = 0
    return source, (answered if type(answered) is str else "")
