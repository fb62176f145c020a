"""What a run knows between two calls of its strategy: all of it, and in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, Message

from ..wire.exchange import Deadline
from ..wire.layout import Layout
from .intake import Rejection
from .ledger import Ledger
from .settings import Settings, checked_timeout


@dataclass
class RunState:
    """One run of a strategy.

    Attributes
    ----------
    rule_state : object
        What the rule remembers.
    asked, questions : list of Message
        What went out last, for training and for evaluation.
    model : ArrayRecord or None
        The one that was sent; None before the first round.
    layout : Layout or None
        Of the model.
    deadline : Deadline
        Until when the replies that come in now are waited for.
    timeout : float
        Seconds to wait for the replies of a round.
    skipped : int
        How many rounds in a row had no quorum.
    rejections : list of Rejection
        Those of the last round.
    faults : int or None
        The f of the last round; None where it had no quorum.
    met : bool
        Whether as many nodes as wanted have been there together.
    ledger : Ledger or None
        None until something is written.
    """

    rule_state: Any
    asked: list[Message] = field(default_factory=list)
    questions: list[Message] = field(default_factory=list)
    model: ArrayRecord | None = None
    layout: Layout | None = None
    deadline: Deadline = field(default_factory=Deadline)
    timeout: float = 3600.0
    skipped: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    faults: int | None = None
    met: bool = False
    ledger: Ledger | None = None

    @classmethod
    def of(cls, settings: Settings, timeout: float | None = None) -> RunState:
        """The state before the first round."""
        seconds = settings.timeout if timeout is None else checked_timeout(timeout)
        return cls(settings.aggregator.start(), timeout=seconds)

    def sent(self, model: ArrayRecord, asked: Iterable[Message], settings: Settings) -> None:
        """Note what went out for training, whoever wrote it."""
        if self.layout is None or self.model is not model:
            self.layout = Layout.of(model, settings.buffers)
        self.model, self.asked = model, list(asked)
