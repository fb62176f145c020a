"""The server's half: one round of RESAM as a Flower strategy, readable from top to bottom.

``theta <- theta - gamma_t * F(m_1, ..., m_n)``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from logging import ERROR, INFO, WARNING
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result

from .aggregators import Median
from .errors import check_whole, requirement
from .optimizers import Optimizer
from .rule import Aggregator
from .scratch import Scratch
from .server.aggregation import result_of
from .server.checkpoint import Saver
from .server.configured import Configured
from .server.descent import descend
from .server.intake import Intake
from .server.ledger import Ledger, round_lines
from .server.lineage import check_bases
from .server.log import (
    log_assumed,
    log_beta,
    log_constants,
    log_limits,
    log_round,
    log_sample,
    log_settings,
    log_start,
    log_sunk,
    quorum_lost,
)
from .server.loop import EvaluateFn, Plan, RunState, check_unasked, run_rounds
from .server.metrics import MetricsFn, evaluations, reported, robust_metrics
from .server.quorum import effective_faults
from .server.root import Root
from .server.rounds import OnRound, Rounds, told
from .server.sampling import connected, instructions
from .server.settings import Rate, Settings, check_keys, check_model
from .wire.flower import logger
from .wire.layout import Layout


class Resam(Configured, FedAvg):
    """Resilient averaging of momentums, in place of `flwr.serverapp.strategy.FedAvg`.

    Each round the momentums that the nodes return are aggregated by a rule that up to
    ``num_malicious_nodes`` arbitrary ones among them move only so far, and the model takes one
    step: ``theta <- (1 - gamma wd) theta - gamma F(m_1, ..., m_n)``. Malformed replies are
    dropped, counted and logged; what nodes report of themselves, ``num-examples`` above all,
    weights nothing.

    Nodes send momentum where their ClientApp has `momentum_mod` or uses `WorkerMomentum`.
    Of a node that replies with weights, ``theta_sent - theta_local`` is taken, so that
    ``Resam(aggregator=Mean())`` with its default learning rate is unweighted FedAvg.

    Parameters
    ----------
    num_malicious_nodes : int
        f: how many of the sampled nodes may be Byzantine; must be given. The rule must admit it
        (n > 2f). A node that is merely slow does not count, but s slow ones cost safety unless
        n > 2f + s.
    aggregator : Aggregator or None (default: None)
        F, such as ``parse_rule("nnm | cwtm")``; None is `MDA`.
    learning_rate : float or callable (default: 1.0)
        gamma, or a function of the round (from 1) that returns it.
    weight_decay : float (default: 0.0)
        wd, decoupled from the momentum.
    optimizer : Optimizer or None (default: None)
        Makes the step of the aggregate: `Momentum`, `Adam`, `Yogi` or `Adagrad` of
        `flwr_resam.optimizers`, in place of Flower's FedAvgM, FedAdam, ...; each has a rate of its
        own, which ``learning_rate`` multiplies. None goes straight along the aggregate.
    device : str or None (default: None)
        None aggregates with NumPy; "cpu", "cuda", ... with torch there.
    seed : int or None (default: None)
        Makes node sampling and random rules repeatable. Flower's simulation engine draws new node
        ids in every run: there, start on ``PartitionedGrid(grid, num_nodes)``, so that the same
        seed chooses the same nodes.
    max_skipped_rounds : int (default: 10)
        The run ends with an error after this many rounds in a row without enough valid
        replies.
    timeout : float (default: 3600.0)
        Seconds to wait for the replies of one round; later ones count as silence. `start` has
        Flower's argument of this name, which wins for that run.
    patience : float (default: 10.0)
        Once the replies in hand tolerate all ``num_malicious_nodes`` faults, the rest is waited
        for this many times as long as they took (at least 10 s), so that a node that says nothing
        does not cost a whole ``timeout`` in each round; infinity always waits.
    connect_timeout : float (default: 600.0)
        Seconds to wait for ``min_available_nodes`` to connect before the first round.
    reproducible : bool (default: False)
        Aggregate the same rows to the same bits on every processor, for rules that take no
        eigenvectors and keep no sums; those that compare rows pairwise take several times as long.
    output_dir : str, Path or None (default: None)
        A folder for ``ledger.jsonl``, which says what each node did in each round
        (``flwr-resam report FOLDER`` shows it), and for checkpoints.
    checkpoint_every : int (default: 0)
        Rounds between checkpoints in ``output_dir``; 0 writes none.
    buffers : collection of str, optional
        The arrays that hold statistics, as for `momentum_mod`; aggregated by `Median`.
    on_round : callable or None (default: None)
        Called after each round with a `RoundReport`, which has what the ledger and the metrics
        have, for a tracker of yours. What it raises is logged, and the run goes on.
    spill : str, Path or None (default: None)
        A folder on a local disk for rows that do not fit in memory: each is written to a file as it
        is admitted, and read back in blocks of columns; the result is the same, bit for bit. About
        4 models are in memory then, for any number of nodes; a rule that keeps a vector a node, as
        `Safeguard` does, is refused. The file needs room for a row a
        node, has no name, and is gone when the round ends, also by an error or a kill.
    root : callable or None (default: None)
        For `FLTrust`, which compares rows with one of the server's own: a function of the round and
        the model (an ArrayRecord) that returns the server's update as an ArrayRecord of the same
        names, shapes and dtypes, such as ``weights before - weights after`` training on data that
        the server trusts; a momentum of it where nodes send momentum.
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
    TimeoutError
        Where too few nodes have connected after ``connect_timeout`` seconds.

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
        num_malicious_nodes: int | None = None,
        aggregator: Aggregator | None = None,
        learning_rate: float | Rate = 1.0,
        weight_decay: float = 0.0,
        device: str | None = None,
        seed: int | None = None,
        max_skipped_rounds: int = 10,
        timeout: float = 3600.0,
        output_dir: str | Path | None = None,
        checkpoint_every: int = 0,
        buffers: Collection[str] | None = None,
        *,
        spill: str | Path | None = None,
        optimizer: Optimizer | None = None,
        patience: float = 10.0,
        connect_timeout: float = 600.0,
        reproducible: bool = False,
        on_round: OnRound | None = None,
        root: Root | None = None,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int | None = None,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int | None = None,
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        train_metrics_aggr_fn: MetricsFn | None = None,
        evaluate_metrics_aggr_fn: MetricsFn | None = None,
        weighted_by_key: None = None,
    ) -> None:
        if weighted_by_key is not None:
            raise requirement(
                "weighted_by_key", "be left out", repr(weighted_by_key), "What a node reports of "
                "itself weighs nothing, for a liar would report the most", error=TypeError,
            )
        check_keys(arrayrecord_key, configrecord_key)
        self.settings = settings = Settings.of(
            aggregator, output_dir, buffers, min_train_nodes, min_available_nodes,
            num_malicious_nodes=num_malicious_nodes, learning_rate=learning_rate,
            weight_decay=weight_decay, optimizer=optimizer, device=device, seed=seed,
            max_skipped_rounds=max_skipped_rounds, timeout=timeout, patience=patience,
            connect_timeout=connect_timeout, checkpoint_every=checkpoint_every, spill=spill,
            root=root,
            fraction_train=fraction_train, fraction_evaluate=fraction_evaluate,
            min_evaluate_nodes=min_evaluate_nodes, on_round=on_round, reproducible=reproducible,
        )
        super().__init__(
            fraction_train, fraction_evaluate, settings.min_train_nodes, min_evaluate_nodes,
            settings.min_available_nodes, arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn or self._resam_median,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn or self._resam_median,
        )
        self._resam_run = RunState.of(settings)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Refuse `class Mine(FedAdam, Resam)` where it is written."""
        super().__init_subclass__(**kwargs)
        check_bases(cls)

    def summary(self) -> None:
        """Log summary configuration of the strategy."""
        log_settings(self.settings, self.arrayrecord_key, self.configrecord_key)

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
        settings = self.settings
        layout = Layout.of(initial_arrays, settings.buffers)
        layout.check_finite(initial_arrays)
        self._resam_run = run = RunState.of(settings, timeout)
        run.ours, run.rounds = True, num_rounds
        if settings.output_dir is not None:
            run.ledger = Ledger(settings.output_dir)
        try:
            saver = Saver(settings, layout, grid)
            arrays, done = saver.begin(resume, initial_arrays, run)
            rounds = None
            if run.ledger is not None and settings.output_dir is not None:
                run.ledger.begin(done, resume=resume)
                rounds = Rounds(settings.output_dir, run.ledger.run, done)
            log_start(type(self).__name__, done, num_rounds)
            self.summary()
            log_constants(layout)
            result = run_rounds(self, settings, run, grid, arrays, Plan(
                done, num_rounds, train_config or ConfigRecord(),
                evaluate_config or ConfigRecord(), evaluate_fn, partial(saver.after_round, run),
                partial(told, rounds, settings.on_round),
            ))
        finally:
            run.ours = False
            if run.ledger is not None:
                run.ledger.close()
        if 0 < num_rounds <= run.skipped:
            raise quorum_lost(
                run.skipped, run.rejections, settings,
                asked=len(run.asked), missing=run.missing, valid=run.valid,
                no_result=run.no_result,
            )
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Sample nodes as FedAvg does, in the grid's order.

        The first round waits for ``min_available_nodes``, and a resumed run and later rounds only
        where the nodes that are there can't be a quorum.
        """
        self._resam_run.asked, self._resam_run.missing = [], 0
        settings = self.settings
        if settings.fraction_train == 0.0:
            return []
        first = not self._resam_run.met
        if first:
            log_limits(settings, grid, ours=self._resam_run.ours)
        nodes = connected(grid, settings, self._resam_run)
        asked = self._resam_messages(
            MessageType.TRAIN, server_round, arrays, config, nodes,
            settings.fraction_train, settings.min_train_nodes,
        )
        if first:
            self._resam_run.share = len(asked) / max(1, len(nodes))
            log_sample(
                settings, nodes=len(nodes), asked=len(asked), rounds=self._resam_run.rounds
            )
        self._resam_run.asked = asked
        self._resam_run.missing = max(0, settings.min_train_nodes - len(asked))
        if not self._resam_run.ours:
            self._resam_run.sent(arrays, asked, settings)
        return asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Turn this round's replies into the next model; None keeps the model.

        A round in which nobody was to be asked is none that was skipped.

        Raises
        ------
        RuntimeError
            For replies to what neither `configure_train` nor `start` has sent.
        """
        run, settings = self._resam_run, self.settings
        run.took = True
        if not run.asked and not run.missing:
            check_unasked(replies, "train")
            return None, None
        with run.scratch_in(settings) as scratch:
            return self._resam_aggregate(server_round, replies, run, scratch)

    def _resam_aggregate(
        self, server_round: int, replies: Iterable[Message], run: RunState, scratch: Scratch | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        settings, layout, sent = self.settings, run.layout, run.model
        assert layout is not None
        assert sent is not None
        intake = Intake(run.asked, layout, layout.views(sent), scratch)
        # Nodes that are gone and could not be asked any more are silent ones.
        expected = len(intake.asked) + run.missing
        intake.take_all(replies, lambda: run.wait_less(
            settings.aggregator, settings, asked=expected, valid=intake.valid,
            malformed=intake.proven,
        ))
        if scratch is not None:
            scratch.settle()
        f = run.faults = effective_faults(
            settings.aggregator, asked=expected, valid=intake.valid, malformed=intake.proven,
            f=settings.num_malicious_nodes,
        )
        run.valid, run.rejections = intake.valid, intake.rejections
        log_round(intake, expected, f, settings)
        if not run.beta_said and f is not None:
            run.beta_said = True
            log_beta(intake.beta, share=run.share, rounds=run.rounds)
        metrics = intake.counts(expected)
        found = None if f is None else result_of(intake, f, run, settings, server_round)
        if settings.output_dir is not None or settings.on_round is not None:
            run.lines = round_lines(server_round, intake, found and found[0])
        if settings.output_dir is not None:
            run.ledger_in(settings.output_dir).add(run.lines)
        run.no_result = f is not None and found is None
        intake.forget_rows()
        if f is None or found is None:
            return self._resam_skip(metrics)
        run.skipped = 0
        done, metrics["update-norm"] = found
        metrics["f-effective"] = f
        of_nodes = reported(self.train_metrics_aggr_fn, intake.metrics, self.weighted_by_key)
        metrics.update({key: value for key, value in of_nodes.items() if key not in metrics})
        model = descend(
            layout, sent, done.vector, settings.rate(server_round), settings.weight_decay,
            settings.optimizer, run.moments_of(settings.optimizer, layout),
        )
        log_sunk(layout, sent, model, run.sunk)
        return model, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Sample among the nodes that are connected."""
        self._resam_run.questions = []
        settings = self.settings
        if settings.fraction_evaluate == 0.0:
            return []
        self._resam_run.questions = self._resam_messages(
            MessageType.EVALUATE, server_round, arrays, config, list(grid.get_node_ids()),
            settings.fraction_evaluate, settings.min_evaluate_nodes,
        )
        return self._resam_run.questions

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Aggregate what nodes report of their evaluation; a liar ends and moves nothing.

        Replies are matched to questions as in training. Silent nodes count as `effective_faults`
        counts them; where the rest can't outvote the faults, nothing is reported.
        """
        run = self._resam_run
        asked = len({message.metadata.dst_node_id for message in run.questions})
        if not asked:
            check_unasked(replies, "evaluate")
            return None
        run.answerers, contents = evaluations(run.questions, replies, lambda valid: run.wait_less(
            Median(), self.settings, asked=asked, valid=valid, malformed=0
        ))
        answered = len(set(run.answerers))
        logger.log(INFO, "aggregate_evaluate: %d of %d nodes answered", answered, asked)
        if not contents:
            return None
        run.faults = effective_faults(
            Median(), asked=asked, valid=answered, malformed=0,
            f=self.settings.num_malicious_nodes,
        )
        log_assumed(run.faults, 0, self.settings)
        metrics = reported(self.evaluate_metrics_aggr_fn, contents, self.weighted_by_key)
        run.answerers = []
        return metrics

    def _resam_messages(
        self, message_type: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord,
        nodes: list[int], fraction: float, least: int,
    ) -> list[Message]:
        """The model and the config for each of the nodes that are drawn for this round."""
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return instructions(
            record, message_type, nodes, fraction, least, seed=self.settings.seed,
            server_round=server_round,
        )

    def _resam_skip(self, metrics: MetricRecord) -> tuple[None, MetricRecord]:
        run = self._resam_run
        logger.log(ERROR, "\t> Round skipped, the model stays")
        run.skipped += 1
        if run.skipped >= self.settings.max_skipped_rounds:
            raise quorum_lost(
                run.skipped, run.rejections, self.settings,
                asked=len(run.asked), missing=run.missing, valid=run.valid,
                no_result=run.no_result,
            )
        return None, metrics

    def _resam_median(self, contents: list[RecordDict], _weighted_by: str) -> MetricRecord:
        run = self._resam_run
        if run.faults is None:
            logger.log(
                WARNING, "\t> No metrics of the nodes: more than 2f must report them, and f = %d",
                self.settings.num_malicious_nodes,
            )
            return MetricRecord()
        nodes = run.answerers if len(run.answerers) == len(contents) else None
        metrics = robust_metrics(contents, run.faults, nodes)
        metrics.pop(self.weighted_by_key, None)  # it counts data, and measures nothing
        return metrics
