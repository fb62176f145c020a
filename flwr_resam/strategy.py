"""The server's half: one round of RESAM as a Flower strategy, readable from top to bottom.

``theta <- theta - gamma_t * F(m_1, ..., m_n)``
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from logging import ERROR, INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from numpy.typing import NDArray

from .aggregators import MDA
from .device import checked_device, on_device
from .errors import requirement
from .flower import logger
from .intake import Rejection, read_reply
from .layout import Layout, Segments
from .metrics import robust_metrics
from .quorum import effective_faults
from .rule import Aggregator, Chain, PreAggregator, Round, checked_f
from .updates import Updates

Schedule = Callable[[int], float]


class QuorumLostError(RuntimeError):
    """Too many rounds in a row had too few valid replies to aggregate."""


class Resam(FedAvg):
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
    fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes, \
    min_available_nodes, arrayrecord_key, configrecord_key, train_metrics_aggr_fn, \
    evaluate_metrics_aggr_fn
        As for FedAvg, except for two defaults: the first round waits for the least number of
        nodes that the rule admits with f faults, or for ``min_available_nodes``; and metrics
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
        self.aggregator = _checked_aggregator(aggregator)
        self.learning_rate = _checked_rate(learning_rate)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        self.device = checked_device(device)
        self.seed = seed
        self.max_skipped_rounds = max_skipped_rounds
        nodes = min_available_nodes or min_train_nodes or self._least_nodes()
        self.aggregator.check(min_train_nodes or nodes, self.num_malicious_nodes)
        super().__init__(
            fraction_train=fraction_train,
            fraction_evaluate=fraction_evaluate,
            min_train_nodes=min_train_nodes or nodes,
            min_evaluate_nodes=min_evaluate_nodes,
            min_available_nodes=nodes,
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn or self._robust_metrics,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn or self._robust_metrics,
        )
        self._asked: list[Message] = []
        self._model: ArrayRecord | None = None
        self._layout: Layout | None = None
        self._rule_state: Any = self.aggregator.start()
        self._skipped = 0

    def _least_nodes(self) -> int:
        f = self.num_malicious_nodes
        tried = range(2, 8 * f + 64)
        # Where none will do, what is wrong shows when the rule checks this one.
        return next((n for n in tried if self.aggregator.admits(n, f)), 2 * f + 1)

    def summary(self) -> None:
        """Log summary configuration of the strategy."""
        rate = self.learning_rate
        logger.log(INFO, "\t├──> Resilient averaging of momentums:")
        logger.log(INFO, "\t│\t├── Aggregator: %s", self.aggregator)
        logger.log(INFO, "\t│\t├── Malicious nodes tolerated: %d", self.num_malicious_nodes)
        logger.log(INFO, "\t│\t├── Learning rate: %s", "scheduled" if callable(rate) else rate)
        logger.log(INFO, "\t│\t├── Weight decay: %s", self.weight_decay)
        logger.log(INFO, "\t│\t└── Device: %s", self.device or "NumPy")
        super().summary()

    def start(self, grid: Grid, initial_arrays: ArrayRecord, *args: Any, **kwargs: Any) -> Result:
        """Run the training, as `flwr.serverapp.strategy.Strategy.start` does."""
        Layout.of(initial_arrays)  # raises for a model that can't be aggregated, before any work
        self._rule_state = self.aggregator.start()
        self._skipped = 0
        return super().start(grid, initial_arrays, *args, **kwargs)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample nodes as FedAvg does, in a repeatable order, and note what goes to whom."""
        with _seeded_sampling(self.seed, server_round):
            messages = list(super().configure_train(server_round, arrays, config, grid))
        order = {node: index for index, node in enumerate(grid.get_node_ids())}
        messages.sort(key=lambda message: order.get(message.metadata.dst_node_id, len(order)))
        self._asked = messages
        self._model = arrays
        self._layout = Layout.of(arrays)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Turn this round's replies into the next model; None keeps the model."""
        if self._model is None or self._layout is None or not self._asked:
            return None, None
        layout, model = self._layout, self._model
        sent = layout.views(model)
        rows, contents, rejections = self._receive(replies, layout, sent)
        f = effective_faults(
            self.aggregator,
            asked=len(self._asked),
            valid=len(rows),
            malformed=len(rejections),
            f=self.num_malicious_nodes,
        )
        self._log_round(len(rows), rejections, f)
        metrics = MetricRecord(
            {
                "n-asked": len(self._asked),
                "n-valid": len(rows),
                "n-rejected": len(rejections),
                "n-silent": len(self._asked) - len(rows) - len(rejections),
            }
        )
        if f is None:
            self._skip()
            return None, metrics
        self._skipped = 0
        updates = Updates(on_device(list(rows.values()), self.device))
        round = Round(
            server_round, tuple(rows), np.random.default_rng([self.seed or 0, server_round]),
            model=lambda: np.concatenate(sent),
        )
        done = self.aggregator.step(updates, f=f, state=self._rule_state, round=round)
        self._rule_state = done.state
        new_model = self._step(sent, done.vector, server_round)
        metrics["f-effective"] = f
        metrics["update-norm"] = float(np.linalg.norm(_host(done.vector).astype(np.float64)))
        reported = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        metrics.update({key: value for key, value in reported.items() if key not in metrics})
        return new_model, metrics

    def _receive(
        self, replies: Iterable[Message], layout: Layout, sent: list[NDArray[Any]]
    ) -> tuple[dict[int, Segments], list[RecordDict], list[Rejection]]:
        """Match replies to instructions and let them through the gate, in the rows' order."""
        asked = {m.metadata.message_id: m.metadata.dst_node_id for m in self._asked}
        answers: dict[int, Message] = {}
        rejected: dict[int, Rejection] = {}
        for reply in replies:
            node = asked.get(reply.metadata.reply_to_message_id)
            if node is None:
                logger.log(WARNING, "\t> Ignored a reply to nothing that was asked")
            elif node in answers:
                rejected[node] = Rejection(node, "more than one reply")
            else:
                answers[node] = reply
        rows: dict[int, Segments] = {}
        contents: list[RecordDict] = []
        for node in asked.values():
            if node not in answers or node in rejected:
                continue
            row = read_reply(answers[node], node, layout, sent)
            if isinstance(row, Rejection):
                rejected[node] = row
            else:
                rows[node] = row
                contents.append(answers[node].content)
        return rows, contents, list(rejected.values())

    def _step(self, sent: list[NDArray[Any]], direction: Any, server_round: int) -> ArrayRecord:
        """``theta <- (1 - gamma wd) theta - gamma R``, in float64, back in the dtypes sent."""
        assert self._layout is not None
        assert self._model is not None
        rate = self.learning_rate(server_round) if callable(self.learning_rate) else (
            self.learning_rate
        )
        theta = np.concatenate(sent)
        step = rate * _host(direction).astype(np.float64)
        moved = (1.0 - rate * self.weight_decay) * theta.astype(np.float64) - step
        limit = np.finfo(theta.dtype).max
        return self._layout.record(
            np.clip(moved, -limit, limit).astype(theta.dtype), integers=self._model
        )

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped >= self.max_skipped_rounds:
            raise QuorumLostError(
                f"{self._skipped} rounds in a row had too few valid replies for `"
                f"{self.aggregator}` with num_malicious_nodes = {self.num_malicious_nodes}. "
                "The model is the one of the last good round. See the rejections logged above; "
                "ask more nodes or lower `num_malicious_nodes`."
            )

    def _log_round(self, valid: int, rejections: list[Rejection], f: int | None) -> None:
        silent = len(self._asked) - valid - len(rejections)
        logger.log(
            INFO, "aggregate_train: %d valid, %d rejected, %d silent of %d nodes; f = %s",
            valid, len(rejections), silent, len(self._asked), f,
        )
        for rejection in rejections:
            logger.log(WARNING, "\t> Rejected node %d: %s", rejection.node, rejection.reason)
        if f is None:
            logger.log(
                ERROR, "\t> Round skipped, the model stays: `%s` can't tolerate %d faults so",
                self.aggregator, self.num_malicious_nodes,
            )

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]  # noqa: ARG002
    ) -> MetricRecord | None:
        """Aggregate what nodes report of their evaluation; a liar ends and moves nothing."""
        contents = [reply.content for reply in replies if reply.has_content()]
        if not contents:
            return None
        return self.evaluate_metrics_aggr_fn(contents, self.weighted_by_key)

    def _robust_metrics(self, contents: list[RecordDict], _weighted_by: str) -> MetricRecord:
        return robust_metrics(contents, self.num_malicious_nodes)


class _seeded_sampling:
    """FedAvg samples from the global `random`: seed it for one call, then put it back."""

    def __init__(self, seed: int | None, server_round: int) -> None:
        self._seed = None if seed is None else f"{seed}-{server_round}"

    def __enter__(self) -> None:
        self._kept = random.getstate()
        if self._seed is not None:
            random.seed(self._seed)

    def __exit__(self, *exception: object) -> None:
        if self._seed is not None:
            random.setstate(self._kept)


def _host(vector: Any) -> NDArray[Any]:
    return np.asarray(vector.cpu() if hasattr(vector, "cpu") else vector)


def _checked_aggregator(aggregator: Aggregator | None) -> Aggregator:
    if aggregator is None:
        return MDA()
    if not isinstance(aggregator, Aggregator):
        raise requirement(
            "aggregator", "be an aggregator", repr(aggregator),
            f'Write parse_rule("{aggregator}")' if isinstance(aggregator, str)
            else "Choose one of flwr_resam.aggregators", error=TypeError,
        )
    if isinstance(aggregator, Chain) and isinstance(aggregator.last, PreAggregator):
        raise requirement(
            "aggregator", "end with a rule that leaves one vector", f"`{aggregator}`",
            f"Add one at the right, as in `{aggregator} | mda`",
        )
    return aggregator


def _checked_rate(rate: float | Schedule) -> float | Schedule:
    if callable(rate):
        return rate
    if not (np.isfinite(rate) and rate > 0):
        raise requirement(
            "learning_rate", "be a finite number above 0", f"learning_rate = {rate}",
            "Use 1.0 for updates of local training, or the rate of the paper's form",
        )
    return float(rate)


def _at_least_zero(name: str, value: float) -> float:
    if not (np.isfinite(value) and value >= 0):
        raise requirement(name, "be a finite number, at least 0", f"{name} = {value}", "Use 0.0")
    return float(value)
