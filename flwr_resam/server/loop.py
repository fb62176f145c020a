"""The rounds of a run, from the first or from a checkpoint: train, evaluate, save.

It is what `flwr.serverapp.strategy.Strategy.start` does, with a beginning that need not be
round 1 and a step after each round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from ..wire.exchange import exchange
from ..wire.flower import logger

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class Plan:
    """What `run_rounds` needs besides the strategy, the grid and the model.

    Attributes
    ----------
    done : int
        Rounds that an earlier process has done.
    num_rounds : int
        The last round.
    timeout : float
        Seconds to wait for the replies of one round.
    train_config, evaluate_config : ConfigRecord
        As Flower's strategies take them.
    evaluate_fn : callable or None
        Evaluation at the server.
    after_round : callable
        Called with the round and the model when a round is over.
    """

    done: int
    num_rounds: int
    timeout: float
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    evaluate_fn: EvaluateFn | None
    after_round: Callable[[int, ArrayRecord], None]


def run_rounds(strategy: Strategy, grid: Grid, arrays: ArrayRecord, plan: Plan) -> Result:
    """Run the rounds after ``plan.done``; the result holds the model and these rounds' metrics."""
    result = Result(arrays=arrays)
    started = time.monotonic()

    def evaluate_here(number: int) -> None:
        if plan.evaluate_fn is None:
            return
        metrics = plan.evaluate_fn(number, result.arrays)
        if metrics is not None:
            logger.log(INFO, "\t└──> Evaluation at the server: %s", metrics)
            result.evaluate_metrics_serverapp[number] = metrics

    if plan.done == 0:
        evaluate_here(0)
    for number in range(plan.done + 1, plan.num_rounds + 1):
        logger.log(INFO, "")
        logger.log(INFO, "[ROUND %s/%s]", number, plan.num_rounds)
        instructions = strategy.configure_train(number, result.arrays, plan.train_config, grid)
        replies = exchange(grid, instructions, timeout=plan.timeout)
        model, metrics = strategy.aggregate_train(number, replies)
        del replies
        if model is not None:
            result.arrays = model
        if metrics is not None:
            logger.log(INFO, "\t└──> Training: %s", metrics)
            result.train_metrics_clientapp[number] = metrics
        questions = strategy.configure_evaluate(
            number, result.arrays, plan.evaluate_config, grid
        )
        reported = strategy.aggregate_evaluate(
            number, exchange(grid, questions, timeout=plan.timeout)
        )
        if reported is not None:
            logger.log(INFO, "\t└──> Evaluation: %s", reported)
            result.evaluate_metrics_clientapp[number] = reported
        evaluate_here(number)
        plan.after_round(number, result.arrays)
    logger.log(INFO, "")
    logger.log(
        INFO, "%d round(s) in %.2f s", max(0, plan.num_rounds - plan.done),
        time.monotonic() - started,
    )
    return result
