"""The conversation with the nodes: what goes out, and what may come of what they say.

No node that is gone, silent or lying holds up, ends or bends a round: nobody is waited for
for ever, and metrics are medians of what came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from logging import ERROR, INFO, WARNING

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from ..aggregators import Median
from ..rule import Aggregator
from ..wire.flower import logger
from ..wire.layout import Layout
from ..wire.replies import match
from .intake import Admitted, printable
from .metrics import robust_metrics
from .quorum import effective_faults
from .sampling import connected, instructions, sample

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]


class TolerantFedAvg(FedAvg):
    """FedAvg's way of asking nodes, which later rounds don't wait for, and tolerant metrics.

    A strategy built on it sets the attributes below, calls `_reset_asking`, and aggregates the
    training replies itself.
    """

    aggregator: Aggregator
    num_malicious_nodes: int
    seed: int | None
    timeout: float
    buffers: Collection[str] | None

    def _reset_asking(self) -> None:
        self._asked: list[Message] = []
        self._questions: list[Message] = []
        self._model: ArrayRecord | None = None
        self._layout: Layout | None = None
        self._faults: int | None = self.num_malicious_nodes
        self._met = False
        self._patience = self.timeout

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample nodes as FedAvg does, in the grid's order, and note what goes to whom.

        The first round waits for ``min_available_nodes``; later ones only, and at most for
        ``timeout`` seconds, where the nodes that are left can't be a quorum.
        """
        self._asked = []
        if self.fraction_train == 0.0:
            return []
        if self._met:
            nodes = connected(grid, self._least_quorum(), self._patience)
        else:
            all_nodes = max(self.min_available_nodes, self.min_train_nodes)
            nodes = connected(grid, all_nodes, float("inf"))
            self._met = True
        chosen = sample(
            nodes, self.fraction_train, self.min_train_nodes,
            seed=self.seed, server_round=server_round,
        )
        self._model, self._layout = arrays, Layout.of(arrays, self.buffers)
        self._asked = self._instructions(server_round, arrays, config, chosen, MessageType.TRAIN)
        logger.log(
            INFO, "configure_train: Sampled %d nodes (out of %d)", len(chosen), len(nodes)
        )
        return list(self._asked)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample among the nodes that are connected, and note what goes to whom."""
        self._questions = []
        if self.fraction_evaluate == 0.0:
            return []
        nodes = list(grid.get_node_ids())
        chosen = sample(
            nodes, self.fraction_evaluate, self.min_evaluate_nodes,
            seed=self.seed, server_round=server_round,
        )
        self._questions = self._instructions(
            server_round, arrays, config, chosen, MessageType.EVALUATE
        )
        logger.log(
            INFO, "configure_evaluate: Sampled %d nodes (out of %d)", len(chosen), len(nodes)
        )
        return list(self._questions)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Aggregate what nodes report of their evaluation; a liar ends and moves nothing.

        Replies are matched to questions as in training. Silent nodes count as `effective_faults`
        counts them; where the rest can't outvote the faults, nothing is reported.
        """
        if not self._questions:
            return None
        answers = match(self._questions, replies).answers
        contents = [content for content in answers.values() if type(content) is RecordDict]
        for node, content in answers.items():
            if type(content) is Error:
                logger.log(
                    WARNING, "\t> No evaluation by node %d: %s", node, printable(content.reason)
                )
        logger.log(
            INFO, "aggregate_evaluate: %d of %d nodes answered",
            len(contents), len(self._questions),
        )
        if not contents:
            return None
        self._faults = effective_faults(
            Median(), asked=len(self._questions), valid=len(contents), malformed=0,
            f=self.num_malicious_nodes,
        )
        return self._reported(self.evaluate_metrics_aggr_fn, contents)

    def _instructions(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord,
        nodes: Sequence[int], message_type: str,
    ) -> list[Message]:
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return instructions(record, nodes, message_type)

    def _least_nodes(self) -> int:
        f = self.num_malicious_nodes
        tried = range(2, 8 * f + 64)
        # Where none will do, what is wrong shows when the rule checks this one.
        return next((n for n in tried if self.aggregator.admits(n, f)), 2 * f + 1)

    def _least_quorum(self) -> int:
        """The least number of connected nodes with which a round need not be skipped."""
        asked, f = self.min_train_nodes, self.num_malicious_nodes
        return next(
            valid for valid in range(asked + 1)
            if valid == asked
            or effective_faults(self.aggregator, asked=asked, valid=valid, malformed=0, f=f)
            is not None
        )

    def _reported(self, aggregate: MetricsFn, contents: list[RecordDict]) -> MetricRecord:
        """Apply a function of the metrics; what a node sent there must not end the run."""
        try:
            return MetricRecord(dict(aggregate(contents, self.weighted_by_key)))
        except Exception as error:
            logger.log(
                ERROR, "\t> No metrics of the nodes this round: the aggregation function raised "
                "%s: %s", type(error).__name__, printable(str(error)),
            )
            return MetricRecord()

    def _robust_metrics(self, contents: list[RecordDict], _weighted_by: str) -> MetricRecord:
        if self._faults is None:
            logger.log(WARNING, "\t> Too few nodes answered to report metrics of them")
            return MetricRecord()
        return robust_metrics(contents, self._faults)

    def _log_round(self, admitted: Admitted, expected: int, f: int | None) -> None:
        valid, rejections = len(admitted.rows), admitted.rejections
        logger.log(
            INFO, "aggregate_train: %d valid, %d rejected, %d silent of %d nodes; %s",
            valid, len(rejections), expected - valid - len(rejections), expected,
            "no quorum" if f is None else f"f = {f}",
        )
        for rejection in rejections:
            logger.log(WARNING, "\t> Rejected node %d: %s", rejection.node, rejection.reason)
        for stray in admitted.strays:
            logger.log(WARNING, "\t> Ignored a message of node %d: %s", stray.node, stray.reason)
        if admitted.proven > self.num_malicious_nodes:
            logger.log(
                ERROR, "\t> %d nodes proved faulty, more than num_malicious_nodes = %d: %s",
                admitted.proven, self.num_malicious_nodes,
                "raise it" if self.aggregator.admits(expected, admitted.proven) else
                "no rule stands so many; where they fail alike, mend the ClientApp",
            )
        if f is None:
            logger.log(
                ERROR, "\t> `%s` can't tolerate %d faults with what came",
                self.aggregator, self.num_malicious_nodes,
            )
