"""The replies of one round, taken as they come: rows, metrics, and who sent neither.

What a single reply is, the gate says; here is whose it was, and in which order rows stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median_low
from typing import Any, ClassVar, TypeVar

from flwr.app import Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from ..rows.source import Row
from ..rows.spilled import SpilledRow
from ..scratch import Scratch
from ..wire.instruction import said_beta
from ..wire.layout import Layout
from ..wire.replies import Matcher, Stray
from .gate import Rejection, printable, read_reply
from .metrics import metrics_of

__all__ = ["Intake", "Rejection", "printable", "read_reply"]  # the gate's, by the name they had

T = TypeVar("T")


class Intake:
    """What the gate made of the replies of one round, taken as they come.

    Of a reply that is let in its row and its metrics are kept, and everything else is dropped.

    Parameters
    ----------
    asked : iterable of Message
        The instructions of the round.
    layout : Layout
        Of the model that was sent.
    sent : sequence of 1-d arrays
        Its parameters, for replies that hold weights.
    scratch : Scratch, optional
        Where rows are kept; left out, they stay in memory.

    Attributes
    ----------
    asked : tuple of int
        The nodes, in the order in which they were asked.
    looked_at : int
        How many messages all of them in this process were given: where none were, no rule was
        applied.
    """

    looked_at: ClassVar[int] = 0

    def __init__(
        self, asked: Iterable[Message], layout: Layout, sent: Sequence[NDArray[Any]],
        scratch: Scratch | None = None,
    ) -> None:
        messages = list(asked)
        self.asked = tuple(message.metadata.dst_node_id for message in messages)
        self._layout, self._sent, self._scratch = layout, sent, scratch
        self._matcher = Matcher(messages)
        self._rows: dict[int, Row] = {}
        self._momentums: set[int] = set()
        self._metrics: dict[int, RecordDict] = {}
        self._rejections: dict[int, Rejection] = {}
        self._betas: dict[int, float] = {}

    def take(self, reply: object) -> None:
        """Let one reply through the gate; what a node sends never raises.

        Raises
        ------
        ScratchError
            Where the file can't take its row.
        """
        Intake.looked_at += 1
        answer = self._matcher.take(reply)
        if answer is None:
            return
        row = read_reply(answer.content, answer.node, self._layout, self._sent)
        if isinstance(row, Rejection):
            self._rejections[answer.node] = row
        else:
            if row.is_given:
                self._momentums.add(answer.node)
            scratch = self._scratch
            self._rows[answer.node] = row if scratch is None else SpilledRow(row, scratch)
            if (beta := said_beta(answer.content)) is not None:
                self._betas[answer.node] = beta
            self._metrics[answer.node] = metrics_of(answer.content, answer.node)

    def take_all(self, replies: Iterable[object], then: Callable[[], None]) -> None:
        """Let replies through the gate as they come, and call ``then`` after each.

        While the gate is at work on one, the next are on their way.
        """
        reply: object = None
        for reply in replies:
            self.take(reply)
            reply = None  # before the next one is here
            then()

    def forget_rows(self) -> None:
        """Let the rows go: they have become a vector."""
        self._rows.clear()

    @property
    def rows(self) -> dict[int, Row]:
        """The valid rows by node, in the order in which the nodes were asked."""
        return self._in_order(self._rows)

    @property
    def valid(self) -> int:
        """How many rows are valid."""
        return len(self._rows) - sum(node in self._rows for node in self._matcher.repeated)

    @property
    def momentums(self) -> int:
        """How many of the rows came as momentum, and not as weights."""
        return len(self._momentums - self._matcher.repeated)

    @property
    def beta(self) -> float | None:
        """The median of the betas that nodes name, where most of them do."""
        betas = self._in_order(self._betas).values()
        return median_low(betas) if 2 * len(betas) > self.valid else None

    @property
    def metrics(self) -> list[RecordDict]:
        """The metrics that came with the rows."""
        return list(self._in_order(self._metrics).values())

    @property
    def rejections(self) -> list[Rejection]:
        """The replies that gave no row."""
        twice = {
            node: Rejection(node, "more than one reply", proven=False)
            for node in self._matcher.repeated
        }
        found = self._rejections | twice
        return [found[node] for node in self.asked if node in found]

    @property
    def strays(self) -> list[Stray]:
        """Messages that answered nothing."""
        return self._matcher.strays

    @property
    def proven(self) -> int:
        """How many nodes proved themselves faulty."""
        repeated = self._matcher.repeated
        return sum(each.proven for node, each in self._rejections.items() if node not in repeated)

    def counts(self, expected: int) -> MetricRecord:
        """How many of the expected nodes sent what, as a round's metrics name it."""
        valid, rejected = self.valid, len(self.rejections)
        return MetricRecord({
            "n-asked": expected, "n-valid": valid, "n-rejected": rejected,
            "n-silent": expected - valid - rejected, "n-momentum": self.momentums,
        })

    def _in_order(self, found: dict[int, T]) -> dict[int, T]:
        repeated = self._matcher.repeated
        return {node: found[node] for node in self.asked if node in found and node not in repeated}
