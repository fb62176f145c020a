"""The server's half: one round of RESAM as a Flower strategy, readable from top to bottom.

``theta <- theta - gamma_t * F(m_1, ..., m_n)``
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from .errors import check_whole
from .rule import Aggregate, Aggregator, Round, checked_f
from .server.aggregation import aggregate, checked_device, to_numpy
from .server.asking import TolerantFedAvg
from .server.checkpoint import Saver, settings_of
from .server.descent import descend, size_of
from .server.intake import Admitted, Rejection, admit
from .server.ledger import Ledger, round_lines
from .server.loop import EvaluateFn, Plan, run_rounds
from .server.quorum import QuorumLostError, effective_faults
from .server.settings import (
    Schedule,
    at_least_zero,
    check_fraction,
    check_model,
    checked_aggregator,
    checked_least,
    checked_output,
    checked_rate,
    checked_seed,
    checked_timeout,
    finite_rate,
)
from .wire.flower import logger
from .wire.layout import Layout, checked_buffers
from .wire.replies import match


class Resam(TolerantFedAvg):
    """Resilient averaging of momentums, in place of `flwr.serverapp.strategy.FedAvg`.

    Each round the momentums that the nodes return are aggregated by a rule that up to
    ``num_malicious_nodes`` arbitrary ones among them cannot bend, and the model takes one
    step: ``theta <- (1 - gamma wd) theta - gamma F(m_1, ..., m_n)``. Malformed replies are
    dropped, counted and logged; what nodes report of themselves, ``num-examples`` above all,
    weights nothing.

    Nodes send momentum where their ClientApp has `momentum_mod` or uses `WorkerMomentum`.
    Of a node that replies with weights, ``theta_sent - theta_local`` is taken, so that
    ``Resam(aggregator=Mean())`` with its default learning rate is unweighted FedAvg.

    Parameters
    ----------
    num_malicious_nodes : int (default: 0)
        f: how many of the sampled nodes may be Byzantine. The rule must admit it (n > 2f).
    aggregator : Aggregator or None (default: None)
        F, such as ``parse_rule("nnm | cwtm")``; None is `MDA`.
    learning_rate : float or callable (default: 1.0)
        gamma, or a function of the round (from 1) that returns it.
    weight_decay : float (default: 0.0)
        wd, decoupled from the momentum.
    device : str or None (default: None)
        None aggregates with NumPy; "cpu", "cuda", ... with torch there.
    seed : int or None (default: None)
        Makes node sampling and random rules repeatable.
    max_skipped_rounds : int (default: 10)
        The run ends with an error after this many rounds in a row without enough valid
        replies.
    timeout : float (default: 3600.0)
        Seconds to wait for the replies of one round; later ones count as silence. `start` has
        Flower's argument of this name, which wins for that run.
    output_dir : str, Path or None (default: None)
        A folder for ``ledger.jsonl``, which says what each node did in each round
        (``flwr-resam report FOLDER`` shows it), and for checkpoints.
    checkpoint_every : int (default: 0)
        Rounds between checkpoints in ``output_dir``; 0 writes none.
    buffers : collection of str, optional
        The arrays that hold statistics, as for `momentum_mod`; aggregated by `Median`.
    fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes, \
    min_available_nodes, arrayrecord_key, configrecord_key, train_metrics_aggr_fn, \
    evaluate_metrics_aggr_fn
        As for FedAvg, except for three things: the first round waits for the least number of
        nodes that the rule admits with f faults, or for ``min_available_nodes``, and later
        rounds go on with the nodes that are left, as long as they can be a quorum; and metrics
        are aggregated by the median (`robust_metrics`), never by a reported weight.

    Raises
    ------
    ValueError, TypeError
        At construction, where f, the rule and the number of nodes do not fit together, or a
        number is out of range.
    QuorumLostError
        During the run, after ``max_skipped_rounds`` rounds in a row without a quorum.

    Notes
    -----
    Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Byzantine Machine Learning Made Easy by
    Resilient Averaging of Momentums", ICML 2022.

    Examples
    --------
    >>> strategy = Resam(num_malicious_nodes=5, min_available_nodes=15, learning_rate=0.5)
    >>> Resam(num_malicious_nodes=8, min_available_nodes=15)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: `f` must satisfy n > 2f for `mda`. Found n = 15, f = 8. Lower ...
    """

    def __init__(
        self,
        num_malicious_nodes: int = 0,
        aggregator: Aggregator | None = None,
        learning_rate: float | Schedule = 1.0,
        weight_decay: float = 0.0,
        device: str | None = None,
        seed: int | None = None,
        max_skipped_rounds: int = 10,
        timeout: float = 3600.0,
        output_dir: str | Path | None = None,
        checkpoint_every: int = 0,
        buffers: Collection[str] | None = None,
        *,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int | None = None,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int | None = None,
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        train_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord] | None = None,
        evaluate_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord] | None = None,
    ) -> None:
        self.num_malicious_nodes = checked_f(num_malicious_nodes)
        self.aggregator = checked_aggregator(aggregator)
        self.learning_rate = checked_rate(learning_rate)
        self.weight_decay = at_least_zero("weight_decay", weight_decay)
        self.device = checked_device(device)
        self.seed = checked_seed(seed)
        check_whole("max_skipped_rounds", max_skipped_rounds, "Use 10")
        self.max_skipped_rounds = max_skipped_rounds
        check_fraction("fraction_train", fraction_train)
        check_fraction("fraction_evaluate", fraction_evaluate)
        min_train_nodes = checked_least("min_train_nodes", min_train_nodes)
        check_whole("min_evaluate_nodes", min_evaluate_nodes, "Use 2, say", least=0)
        min_available_nodes = checked_least("min_available_nodes", min_available_nodes)
        self.timeout = checked_timeout(timeout)
        self.output_dir, self.checkpoint_every = checked_output(output_dir, checkpoint_every)
        self.buffers = checked_buffers(buffers)
        nodes = min_available_nodes or min_train_nodes or self._least_nodes()
        if not min_train_nodes:
            # Of a fraction as many as FedAvg would sample, if the rule can do with so few.
            share = max(self._least_nodes(), int(fraction_train * nodes))
            min_train_nodes = share if 0.0 < fraction_train < 1.0 else nodes
        self.aggregator.check(min_train_nodes, self.num_malicious_nodes)
        super().__init__(
            fraction_train=fraction_train, fraction_evaluate=fraction_evaluate,
            min_train_nodes=min_train_nodes, min_evaluate_nodes=min_evaluate_nodes,
            min_available_nodes=nodes,
            arrayrecord_key=arrayrecord_key, configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn or self._robust_metrics,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn or self._robust_metrics,
        )
        self._reset()

    def _reset(self) -> None:
        self._reset_asking()
        self._rule_state: Any = self.aggregator.start()
        self._skipped = 0
        self._rejections: list[Rejection] = []
        self._ledger: Ledger | None = None

    def summary(self) -> None:
        """Log summary configuration of the strategy."""
        rate = self.learning_rate
        logger.log(INFO, "\t├──> Resilient averaging of momentums:")
        logger.log(INFO, "\t│\t├── Aggregator: %s", self.aggregator)
        logger.log(INFO, "\t│\t├── Malicious nodes tolerated: %d", self.num_malicious_nodes)
        logger.log(INFO, "\t│\t├── Learning rate: %s", "scheduled" if callable(rate) else rate)
        logger.log(INFO, "\t│\t├── Weight decay: %s", self.weight_decay)
        logger.log(INFO, "\t│\t├── Output folder: %s", self.output_dir or "none")
        logger.log(INFO, "\t│\t└── Device: %s", self.device or "NumPy")
        logger.log(INFO, "\t├──> Sampling:")
        logger.log(
            INFO, "\t│\t├── Fraction: train (%.2f) | evaluate (%.2f)",
            self.fraction_train, self.fraction_evaluate,
        )
        logger.log(
            INFO, "\t│\t├── Minimum nodes: train (%d) | evaluate (%d)",
            self.min_train_nodes, self.min_evaluate_nodes,
        )
        logger.log(INFO, "\t│\t└── Minimum available nodes: %d", self.min_available_nodes)
        logger.log(INFO, "\t└──> Keys in records:")
        logger.log(INFO, "\t\t├── Weighted by: nothing that a node reports")
        logger.log(INFO, "\t\t├── ArrayRecord key: '%s'", self.arrayrecord_key)
        logger.log(INFO, "\t\t└── ConfigRecord key: '%s'", self.configrecord_key)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
        resume: bool = False,
    ) -> Result:
        """Run the training, as Flower's `Strategy.start` does, with two arguments of its own.

        Parameters
        ----------
        timeout : float or None (default: None)
            Seconds to wait for the replies of one round; None is the strategy's ``timeout``.
        resume : bool (default: False)
            Go on after the newest checkpoint in ``output_dir``, or begin where there is none;
            `Saver` says what is restored. The result holds the metrics of the rounds since.

        Raises
        ------
        ValueError, TypeError
            For a model that can't be aggregated, an argument of a wrong type or out of range,
            or a folder with checkpoints where ``resume`` is False.
        CheckpointError
            If the newest checkpoint is damaged, foreign, or of a run with other settings.
        QuorumLostError
            Also where the run ends and not one of its rounds had a quorum.
        """
        check_model(initial_arrays)
        check_whole("num_rounds", num_rounds, "Use 3, say", least=0)
        layout = Layout.of(initial_arrays, self.buffers)
        layout.check_finite(initial_arrays)
        self._reset()
        self._patience = self.timeout if timeout is None else checked_timeout(timeout)
        saver = Saver(self.output_dir, self.checkpoint_every, settings_of(self, layout), grid)
        arrays, done = initial_arrays, 0
        if (checkpoint := saver.begin(resume)) is not None:
            arrays, done = checkpoint.arrays, checkpoint.round
            self._rule_state, self._skipped = checkpoint.rule_state, checkpoint.skipped
        if self.output_dir is not None:
            self._ledger = Ledger(self.output_dir, after=done)
        logger.log(INFO, "Starting %s: rounds %d to %d", type(self).__name__, done + 1, num_rounds)
        self.summary()

        def after_round(number: int, model: ArrayRecord) -> None:
            saver.after_round(number, model, self._rule_state, self._skipped)

        result = run_rounds(self, grid, arrays, Plan(
            done, num_rounds, self._patience, train_config or ConfigRecord(),
            evaluate_config or ConfigRecord(), evaluate_fn, after_round,
        ))
        if 0 < num_rounds <= self._skipped:
            raise self._lost()
        return result

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Turn this round's replies into the next model; None keeps the model."""
        if self._model is None or self._layout is None:
            return None, None
        model, layout = self._model, self._layout
        asked = [message.metadata.dst_node_id for message in self._asked]
        admitted = admit(match(self._asked, replies), asked, layout, layout.views(model))
        # Nodes that are gone and could not be asked any more are silent ones.
        expected = max(len(asked), self.min_train_nodes)
        self._faults = f = effective_faults(
            self.aggregator, asked=expected, valid=len(admitted.rows),
            malformed=admitted.proven, f=self.num_malicious_nodes,
        )
        self._rejections = admitted.rejections
        self._log_round(admitted, expected, f)
        metrics = admitted.counts(expected)
        found = None if f is None else self._aggregate(admitted, f, server_round, layout, model)
        done, size = (None, 0.0) if found is None else found
        if self.output_dir is not None:
            self._ledger = self._ledger or Ledger(self.output_dir)
            self._ledger.add(round_lines(server_round, asked, admitted, done))
        if f is None or done is None:
            return self._skip(metrics)
        self._skipped = 0
        rate = self.learning_rate
        gamma = finite_rate(rate(server_round)) if callable(rate) else rate
        new_model = descend(layout, model, done.vector, gamma, self.weight_decay)
        metrics["f-effective"] = f
        metrics["update-norm"] = size
        reported = self._reported(self.train_metrics_aggr_fn, admitted.contents)
        metrics.update({key: value for key, value in reported.items() if key not in metrics})
        return new_model, metrics

    def _aggregate(
        self, admitted: Admitted, f: int, server_round: int, layout: Layout, model: ArrayRecord
    ) -> tuple[Aggregate, float] | None:
        """Apply the rule; None where the numbers that came leave it without a finite result.

        The number beside the result is its norm.
        """
        rows = list(admitted.rows.values())
        learnt = layout.learnt
        at = Round(
            server_round, tuple(admitted.rows),
            np.random.default_rng(None if self.seed is None else [self.seed, server_round]),
            lambda: layout.flat(model)[:learnt],
            tuple(message.metadata.dst_node_id for message in self._asked),
        )
        try:
            done = aggregate(
                self.aggregator, rows, learnt=learnt, f=f, state=self._rule_state, at=at,
                device=self.device,
            )
        except (ArithmeticError, ValueError) as error:
            numeric = isinstance(error, ArithmeticError | np.linalg.LinAlgError)
            if not numeric and len(rows) == len(self._asked):
                raise  # nothing is missing, so it is the user's to mend
            logger.log(ERROR, "\t> `%s` found no result: %s", self.aggregator, error)
            return None
        done = replace(done, vector=to_numpy(done.vector))
        size = size_of(done.vector)
        if np.isnan(size):
            logger.log(ERROR, "\t> The result of `%s` is not finite", self.aggregator)
            return None
        if done.note:
            logger.log(WARNING, "\t> %s", done.note)
        self._rule_state = done.state
        return done, size

    def _skip(self, metrics: MetricRecord) -> tuple[None, MetricRecord]:
        logger.log(ERROR, "\t> Round skipped, the model stays")
        self._skipped += 1
        if self._skipped >= self.max_skipped_rounds:
            raise self._lost()
        return None, metrics

    def _lost(self) -> QuorumLostError:
        reasons = [f"node {each.node}: {each.reason}" for each in self._rejections[:1]]
        return QuorumLostError(
            f"{self._skipped} round(s) in a row had too few valid replies for `"
            f"{self.aggregator}` with num_malicious_nodes = {self.num_malicious_nodes}. "
            "The model is the one of the last good round. In the last round "
            f"{', '.join([f'{len(self._rejections)} replies were rejected', *reasons])}. "
            "See the log above; mend the ClientApp, ask more nodes or lower "
            "`num_malicious_nodes`.",
            self._rejections,
        )
