"""A device that trains honestly and sends a bad reply: any of the catalogue that it can send."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from clients.bad_replies import BAD_REPLIES, BadReply
from clients.bad_replies.messages import SILENCE
from clients.byzantine.mod import Conduct
from flwr_resam.errors import requirement
from flwr_resam.momentum import server_round_of
from flwr_resam.registry import unknown_name

ALL = "all"

KINDS: dict[str, BadReply] = {
    name: reply for name, reply in BAD_REPLIES.items() if reply.from_device
}
"""What a device can send."""

_IN_TURN = [reply for name, reply in KINDS.items() if name != SILENCE]

_RENAMED = {  # what kinds were called before there was one catalogue
    "shapes": "one element more", "axes": "one axis more", "dtypes": "float64",
    "missing-keys": "array missing", "extra-keys": "array added", "other-keys": "array renamed",
    "header": "lying header", "claims": "false claims", "serialisation": "odd stype",
    "objects": "pickled objects", "truncated": "truncated npy", "trailing": "one byte more",
    "garbage": "corrupt npy", "empty": "empty npy", "no-records": "nothing",
    "two-models": "two array records", "no-metrics": "no metrics",
    "extra-metrics": "metric added", "num-examples-huge": "num-examples 1e30",
    "num-examples-nan": "num-examples NaN", "num-examples-negative": "num-examples -1e9",
    "num-examples-list": "num-examples a list", "exception": "an exception",
}  # fmt: skip


@dataclass(frozen=True)
class Malformed(Conduct):
    """Trains honestly and then spoils the reply.

    Attributes
    ----------
    kind : str
        One of `KINDS`, as in ``malformed(kind=truncated npy)``. "an exception" raises instead of
        answering, "silence" answers too late; "all" takes another kind in each round and on each
        node, silence left out.
    seconds : float
        How long a silence is.
    """

    kind: str = ALL
    seconds: float = 7200.0
    name: ClassVar[str] = "malformed"

    def __post_init__(self) -> None:
        if self.kind in _RENAMED:
            raise requirement(
                "kind", "be the name of a bad reply", f"`{self.kind}`, as it was called before",
                f"Write malformed(kind={_RENAMED[self.kind]})",
            )
        if self.kind != ALL and self.kind not in KINDS:
            raise unknown_name(self.kind, [ALL, *KINDS], "kind of malformed reply")
        if not 0.0 <= self.seconds < np.inf:
            raise requirement("seconds", "be at least 0 and finite", self.seconds, "Use 7200")

    def answer(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answer TRAIN in this kind."""
        reply = call_next(message, context)
        if self.kind == SILENCE:
            time.sleep(self.seconds)
            return reply
        if self.kind == ALL:
            partition = int(context.node_config.get("partition-id", 0))
            kind = _IN_TURN[(server_round_of(message) + partition) % len(_IN_TURN)]
        else:
            kind = KINDS[self.kind]
        if not reply.has_error() and kind.content is not None:
            reply.content = cast(RecordDict, kind.content(reply.content))
        return reply
