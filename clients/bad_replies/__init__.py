"""The catalogue of bad replies: what a faulty node, or the network, puts in place of a good one.

`clients.byzantine.malformed` sends those that a device can send, the robustness table of
`simulations` measures some against Flower's own strategies, the tests of the gate hold each to
its `Verdict`, and the fuzzer starts from them. A new kind is a new line in one of these files.

The makers need Flower and NumPy, no PyTorch, and only what Flower's own records offer: the gate
is tested with what was made without it.
"""

from __future__ import annotations

from clients.bad_replies.arrays import ARRAYS
from clients.bad_replies.messages import MESSAGES
from clients.bad_replies.npy_bytes import NPY_BYTES
from clients.bad_replies.objects import OBJECTS
from clients.bad_replies.records import RECORDS
from clients.bad_replies.reply import BadReply, Level, Verdict

BAD_REPLIES: dict[str, BadReply] = {
    reply.name: reply for reply in (*ARRAYS, *NPY_BYTES, *RECORDS, *OBJECTS, *MESSAGES)
}
"""All of them, by name."""

__all__ = ["BAD_REPLIES", "BadReply", "Level", "Verdict"]
