"""The rounds of a run, from the first or from a checkpoint: train, evaluate, save.

It is what `flwr.serverapp.strategy.Strategy.start` does, with a beginning that need not be
round 1, replies that are taken as they come, and a step after each round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result

from ..wire.exchange import Deadline, exchange
from ..wire.flower import logger
from .log import log_metrics
from .settings import Settings
from .state import RunState

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


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
        Called with the round and the model when a round is over.
    """

    done: int
    num_rounds: int
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    evaluate_fn: EvaluateFn | None
    after_round: Callable[[int, ArrayRecord], None]


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

    def replies(messages: list[Message], method: str) -> Iterable[Message]:
        run.deadline = Deadline(run.timeout)
        stream = exchange(grid, messages, run.deadline)
        # Another's method may go through the replies twice, as it can through Flower's.
        own = getattr(type(strategy), method).__module__.partition(".")[0] == _PACKAGE
        return stream if own else list(stream)

    if plan.done == 0:
        evaluate_here(0)
    for number in range(plan.done + 1, plan.num_rounds + 1):
        logger.log(INFO, "")
        logger.log(INFO, "[ROUND %s/%s]", number, plan.num_rounds)
        asked = list(strategy.configure_train(number, result.arrays, plan.train_config, grid))
        run.sent(result.arrays, asked, settings)
        model, metrics = strategy.aggregate_train(number, replies(asked, "aggregate_train"))
        if model is not None:
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
        plan.after_round(number, result.arrays)
    logger.log(INFO, "")
    logger.log(
        INFO, "%d round(s) in %.2f s", max(0, plan.num_rounds - plan.done),
        time.monotonic() - started,
    )
    return result


_PACKAGE = __name__.partition(".")[0]
