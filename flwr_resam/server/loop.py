"""The rounds of a run, from the first or from a checkpoint, and what it knows between them.

It is what `flwr.serverapp.strategy.Strategy.start` does, with a beginning that need not be
round 1, replies that are taken as they come, and a step after each round.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result

from ..errors import requirement
from ..optimizers import Optimizer
from ..rule import Aggregator
from ..scratch import Scratch
from ..wire.exchange import Deadline, exchange
from ..wire.flower import logger
from ..wire.instruction import holds_momentum, model_of, stamp
from ..wire.layout import Layout, is_model, same_shapes
from .gate import Rejection
from .intake import Intake
from .ledger import Ledger, Line
from .log import log_metrics
from .quorum import effective_faults
from .rounds import RoundReport, model_hash
from .settings import Settings, checked_timeout

_PACKAGE = __name__.partition(".")[0]
_LEAST_PATIENCE = 10.0  # seconds

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass
class RunState:
    """What one run of a strategy knows between two calls: all of it.

    Attributes
    ----------
    rule_state : object
        What the rule remembers.
    moments : dict or None
        What the optimizer remembers; None before its first step.
    training : str
        Names the training, so that workers tell it from another; lasts over a resumption.
    asked, questions : list of Message
        What went out last, for training and for evaluation.
    answerers : list of int
        Whose the metrics are that are being aggregated; empty where each is another node's.
    missing : int
        How many fewer nodes were there than have to be asked.
    models_differ : bool
        Whether it was said that nodes got models that no momentum can step from.
    took : bool
        Whether the strategy's own `Resam.aggregate_train` has been called in this round.
    came, momentums : int
        How many messages came in this round, and how many of them hold momentum.
    bypassed : bool
        Whether it was said that models come from elsewhere.
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
    valid : int
        How many replies of the last round gave a row.
    no_result : bool
        Whether these were enough, and the rule found no result.
    rejections : list of Rejection
        Those of the last round.
    faults : int or None
        The f of the last round; None where it had no quorum.
    ours : bool
        Whether `Resam.start` runs it, and not another's loop.
    met : bool
        Whether as many nodes as wanted have been there together.
    rounds : int
        How many the run has; 0 where another's loop runs it.
    share : float
        Which part of the connected nodes the first round asked.
    beta_said : bool
        Whether the nodes' beta was looked at.
    sunk : set of str
        The arrays of which was said that they went below zero.
    ledger : Ledger or None
        None until something is written.
    lines : list of Line
        What each node did in the last round.
    scratch : Scratch or None
        The file for what comes in within a round; None where there is none.
    """

    rule_state: Any
    training: str
    moments: dict[str, Any] | None = None
    asked: list[Message] = field(default_factory=list)
    questions: list[Message] = field(default_factory=list)
    answerers: list[int] = field(default_factory=list)
    missing: int = 0
    models_differ: bool = False
    took: bool = False
    came: int = 0
    momentums: int = 0
    bypassed: bool = False
    model: ArrayRecord | None = None
    layout: Layout | None = None
    deadline: Deadline = field(default_factory=Deadline)
    timeout: float = 3600.0
    skipped: int = 0
    valid: int = 0
    no_result: bool = False
    rejections: list[Rejection] = field(default_factory=list)
    faults: int | None = None
    ours: bool = False
    met: bool = False
    rounds: int = 0
    share: float = 1.0
    beta_said: bool = False
    sunk: set[str] = field(default_factory=set)
    ledger: Ledger | None = None
    lines: list[Line] = field(default_factory=list)
    scratch: Scratch | None = None

    @classmethod
    def of(cls, settings: Settings, timeout: float | None = None) -> RunState:
        """The state before the first round."""
        seconds = settings.timeout if timeout is None else checked_timeout(timeout)
        return cls(settings.aggregator.start(), secrets.token_hex(8), timeout=seconds)

    def sent(self, model: ArrayRecord, asked: Iterable[Message], settings: Settings) -> None:
        """Note what went out for training, whoever wrote it."""
        if self.layout is None or not self.layout.is_of(model):
            if self.layout is not None:  # another model than the one that the rule remembers
                self.rule_state, self.moments = settings.aggregator.start(), None
            named = settings.buffers  # of the whole model, of which this may be a part
            self.layout = Layout.of(
                model, None if named is None else [name for name in named if name in model]
            )
        self.model, self.asked = model, list(asked)

    def counted(self, replies: Iterable[Message]) -> Iterator[Message]:
        """The replies; how many there are, and how many hold momentum, is noted."""
        for reply in replies:
            self.came += 1
            self.momentums += holds_momentum(reply)
            yield reply

    def wait_less(
        self, rule: Aggregator, settings: Settings, *, asked: int, valid: int, malformed: int
    ) -> None:
        """Bring the deadline forward once what is there tolerates all the faults."""
        f = settings.num_malicious_nodes
        if effective_faults(rule, asked=asked, valid=valid, malformed=malformed, f=f) == f:
            self.deadline.within(max(_LEAST_PATIENCE, settings.patience * self.deadline.spent))

    def open_scratch(self, settings: Settings) -> Scratch | None:
        """Make the file for the replies of a round, where rows are not kept in memory.

        Raises
        ------
        ValueError
            Where there is no room for a row a node.
        """
        self.close_scratch()
        if settings.spill is not None and self.layout is not None:
            self.scratch = Scratch(settings.spill)
            row = self.layout.size * max(4, self.layout.dtype.itemsize)
            # A reply of a faulty node may be twice as large before it is refused.
            count, f = len(self.asked), settings.num_malicious_nodes
            self.scratch.check_room((count + min(count, f) + 1) * row, f"{count} rows")
        return self.scratch

    def close_scratch(self) -> None:
        """Give its room back."""
        if self.scratch is not None:
            self.scratch.close()
            self.scratch = None

    @contextmanager
    def scratch_in(self, settings: Settings) -> Iterator[Scratch | None]:
        """The file of this round, made now where nobody has made it yet; closed at the end."""
        try:
            yield self.scratch or self.open_scratch(settings)
        finally:
            self.close_scratch()

    def moments_of(self, optimizer: Optimizer, layout: Layout) -> dict[str, Any]:
        """What the optimizer remembers; it begins anew in place of one that kept less."""
        kept = self.moments is not None and self.moments.keys() >= set(optimizer.moments)
        if self.moments is None or not kept or self._of_another_size(layout.learnt):
            self.moments = optimizer.start(layout.learnt, layout.dtype)
        return self.moments

    def _of_another_size(self, learnt: int) -> bool:
        """Whether the moments, of a checkpoint say, are of another part of the model."""
        return any(np.size(moment) not in (1, learnt) for moment in (self.moments or {}).values())

    def ledger_in(self, folder: Path) -> Ledger:
        """The ledger; where another's loop runs the rounds, one that begins now."""
        if self.ledger is None:
            self.ledger = Ledger(folder)
            self.ledger.begin(0, resume=False)
        return self.ledger


@dataclass(frozen=True)
class Plan:
    """What `run_rounds` needs besides the strategy, its run, the grid and the model.

    Attributes
    ----------
    done : int
        Rounds that an earlier process has done.
    num_rounds : int
        The last round.
    train_config, evaluate_config : ConfigRecord
        As Flower's strategies take them.
    evaluate_fn : callable or None
        Evaluation at the server.
    after_round : callable
        Called with the round and the model when a round is over, after ``told``.
    told : callable
        Called with what is known of the round.
    """

    done: int
    num_rounds: int
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    evaluate_fn: EvaluateFn | None
    after_round: Callable[[int, ArrayRecord], None]
    told: Callable[[RoundReport], None]


def run_rounds(
    strategy: FedAvg, settings: Settings, run: RunState, grid: Grid, arrays: ArrayRecord, plan: Plan
) -> Result:
    """Run the rounds after ``plan.done``; the result holds the model and these rounds' metrics.

    What was asked is what ``configure_train`` and ``configure_evaluate`` return, whoever wrote
    them.
    """
    result = Result(arrays=arrays)
    started = time.monotonic()

    def evaluate_here(number: int) -> None:
        if plan.evaluate_fn is None:
            return
        metrics = plan.evaluate_fn(number, result.arrays)
        if metrics is not None:
            log_metrics("Evaluation at the server", metrics)
            result.evaluate_metrics_serverapp[number] = metrics

    def replies(
        messages: list[Message], method: str, scratch: Scratch | None = None
    ) -> Iterable[Message]:
        if not messages:
            return []
        run.deadline = Deadline(run.timeout, scratch)
        stream = run.counted(exchange(grid, messages, run.deadline))
        # Another's method may go through the replies twice, as it can through Flower's; not so
        # where they do not fit in memory.
        own = _is_ours(getattr(strategy, method))
        return stream if own or scratch is not None else list(stream)

    if plan.done == 0:
        evaluate_here(0)
    for number in range(plan.done + 1, plan.num_rounds + 1):
        logger.log(INFO, "")
        logger.log(INFO, "[ROUND %s/%s]", number, plan.num_rounds)
        began = time.monotonic()
        run.lines, run.asked, run.missing, run.took = [], [], 0, False
        run.came = run.momentums = 0
        asked = list(strategy.configure_train(number, result.arrays, plan.train_config, grid))
        _note(asked, strategy.arrayrecord_key, result.arrays, run, settings, number)
        before = Intake.looked_at
        try:
            model, metrics = strategy.aggregate_train(
                number, replies(asked, "aggregate_train", run.open_scratch(settings))
            )
        finally:
            run.close_scratch()
        if model is not None:
            applied = run.took or Intake.looked_at > before  # by this strategy or one within it
            if asked and not applied:
                _check_bypass(run, model, result.arrays)
            result.arrays = model
        if metrics is not None:
            log_metrics("Training", metrics)
            result.train_metrics_clientapp[number] = metrics
        run.questions = list(
            strategy.configure_evaluate(number, result.arrays, plan.evaluate_config, grid)
        )
        reported = strategy.aggregate_evaluate(
            number, replies(run.questions, "aggregate_evaluate")
        )
        if reported is not None:
            log_metrics("Evaluation", reported)
            result.evaluate_metrics_clientapp[number] = reported
        evaluate_here(number)
        # Before the checkpoint: a run that goes on from there says it no more.
        plan.told(RoundReport(
            number, dict(metrics or {}), dict(reported or {}),
            dict(result.evaluate_metrics_serverapp.get(number) or {}), tuple(run.lines),
            time.monotonic() - began,
            model=model_hash(result.arrays) if settings.output_dir is not None else "",
        ))
        plan.after_round(number, result.arrays)
    logger.log(INFO, "")
    logger.log(
        INFO, "%d round(s) in %.2f s", max(0, plan.num_rounds - plan.done),
        time.monotonic() - started,
    )
    return result


def _note(
    asked: list[Message], key: str, arrays: ArrayRecord, run: RunState, settings: Settings,
    server_round: int,
) -> None:
    """Note what was asked, and ask for momentum where a model was sent that all can step from.

    It need not be the one that ``configure_train`` was given. Where nodes got different ones, or
    one in other dtypes than the server's, weights are taken.
    """
    if run.asked and not asked:
        run.missing = 0  # nobody was to be asked, whoever was there
    _check_asked_once(asked)
    try:
        sent = model_of(asked, key)
    except LookupError:
        sent = arrays
    known = run.layout is not None and sent is not None and run.layout.is_of(sent)
    model = arrays
    if sent is not None and not same_shapes(sent, arrays) and (known or is_model(sent)):
        model = sent  # a part of the model, such as its adapters, is what comes back
    run.sent(model, asked, settings)
    assert run.layout is not None
    if sent is not None and run.layout.is_of(sent):
        run.model = sent
        stamp(asked, run.training, server_round)
    elif not run.models_differ:
        run.models_differ = True
        logger.log(
            WARNING, "`configure_train` sent %s: nodes are asked for weights, and the rule works "
            "without momentum. Send all of them one model in the server's dtypes for momentum",
            "different models" if sent is None else "a model of other dtypes",
        )


def _check_asked_once(asked: Iterable[Message]) -> None:
    """Raise where a node was to be asked twice: a Byzantine one would have two rows."""
    for node, times in Counter(message.metadata.dst_node_id for message in asked).items():
        if times > 1:
            raise requirement(
                "configure_train", "ask each node once a round", f"node {node} asked {times} times",
                "Put what a node is to do into one message",
            )


def _check_bypass(run: RunState, model: ArrayRecord, before: ArrayRecord) -> None:
    """Raise or warn where another model was made of replies without a rule."""
    if run.bypassed or model == before:
        return
    if 2 * run.momentums > run.came:
        raise requirement(
            "aggregate_train", "call super().aggregate_train(...), which alone knows what to do "
            "with momentums", "a model that was made without it", "Change the replies before you "
            "hand them on, or the model that it returns; a rule of your own is an Aggregator",
            error=RuntimeError,
        )
    run.bypassed = True
    logger.log(
        WARNING, "`aggregate_train` returned a model without calling that of Resam: no rule was "
        "applied, and one Byzantine node can do anything",
    )


def check_unasked(replies: Iterable[Message], what: str) -> None:
    """Raise a RuntimeError where there are replies, though nothing is known to have been asked."""
    for _ in replies:
        raise RuntimeError(
            f"`aggregate_{what}` must be given replies to what `configure_{what}` of Resam, or "
            f"`Resam.start`, has sent. Found replies to other messages. Call super().configure_"
            f"{what}(...) within your own, or let `start` of Resam run the rounds."
        )


def _is_ours(method: Callable[..., object]) -> bool:
    """Whether a method is this package's, and not one that was put in its place or around it."""
    function = getattr(method, "__func__", method)
    module = getattr(function, "__globals__", {}).get("__name__", "")
    return bool(module.partition(".")[0] == _PACKAGE)
