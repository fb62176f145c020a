"""Nodes in the order of their data partitions, whatever ids an engine gave them.

Flower's simulation engine draws node ids at random in every run. Rows, samples and Byzantine
nodes that go by partition are the same in every run and on every engine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from logging import WARNING
from typing import Any

from flwr.app import Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..wire.exchange import Deadline, exchange
from ..wire.flower import logger
from ..wire.replies import match
from ._wrapper import GridWrapper

_ACTION = "partition"
_KEY = "partition-id"


def answer_partition(app: ClientApp) -> None:
    """Let the nodes of ``app`` answer which data partition they hold (``partition-id``)."""

    @app.query(_ACTION)
    def _answer(message: Message, context: Context) -> Message:
        partition = context.node_config.get(_KEY, -1)
        content = RecordDict({"node": MetricRecord({_KEY: int(partition)})})
        return Message(content, reply_to=message)


class PartitionedGrid(GridWrapper):
    """A grid that asks its nodes once for their partitions and lists them in that order.

    Parameters
    ----------
    grid : Grid
        Any Flower grid whose ClientApp answers (see `answer_partition`).
    num_nodes : int
        How many nodes to wait for.
    timeout : float
        Seconds to wait for the nodes to connect, and again for their answers.

    Raises
    ------
    TimeoutError
        If fewer nodes connect in time, or half of them or more don't answer.
    ValueError
        If half of the nodes or more hold no partition that is theirs alone. Fewer such nodes,
        and fewer silent ones, are logged, and listed last.
    """

    def __init__(self, grid: Grid, num_nodes: int, timeout: float = 60.0) -> None:
        super().__init__(grid)
        nodes = _connected(grid, num_nodes, timeout)
        questions = [
            Message(RecordDict(), dst_node_id=node, message_type=f"{MessageType.QUERY}.{_ACTION}")
            for node in nodes
        ]
        answers = match(questions, exchange(grid, questions, Deadline(timeout)))
        said = {node: _partition(content) for node, content in answers.items()}
        if 2 * len(said) <= len(nodes):
            raise TimeoutError(
                f"Only {len(said)} of {len(nodes)} connected nodes said within {timeout:g} s "
                "which partition they hold. See the log of a node that didn't; where the machine "
                "was too busy, start again or raise the `timeout`."
            )
        claims = Counter(said.values())
        partitions = {
            node: partition for node, partition in said.items()
            if partition is not None and claims[partition] == 1
        }
        others = sorted(set(nodes) - set(partitions))
        if len(others) >= len(partitions):  # not a few liars, but how the nodes were set up
            raise ValueError(
                f"Each of the {len(nodes)} nodes must hold its own partition. Found "
                f"{sorted(claims.elements(), key=str)}. Call answer_partition(app) on the "
                "ClientApp, and give every SuperNode another `partition-id` in --node-config."
            )
        for node in others:
            what = "holds no partition of its own" if node in said else "did not say its partition"
            logger.log(WARNING, "Node %d %s: it is listed last", node, what)
        self._order = sorted(partitions, key=partitions.__getitem__)
        self._partitions = partitions

    @property
    def by_partition(self) -> list[int]:
        """Node ids, in the order of their partitions."""
        return list(self._order)

    @property
    def partitions(self) -> dict[int, int]:
        """The node that holds each partition, by partition id."""
        return {self._partitions[node]: node for node in self._order}

    def get_node_ids(self) -> Iterable[int]:
        """List the connected nodes in the order of their partitions; late comers last."""
        rank = {node: index for index, node in enumerate(self._order)}
        nodes = list(self._grid.get_node_ids())
        return sorted(nodes, key=lambda node: (rank.get(node, len(rank)), node))


def _partition(content: Any) -> int | None:
    """The partition that a node says it holds; None where it does not say one."""
    try:
        partition = content.metric_records["node"][_KEY]
    except Exception:  # an error, or whatever a faulty node sends
        return None
    return partition if type(partition) is int and partition >= 0 else None


def _connected(grid: Grid, num_nodes: int, timeout: float) -> list[int]:
    deadline = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < num_nodes:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"`num-nodes` is {num_nodes}, but only {len(nodes)} node(s) connected within "
                f"{timeout:g} s. Start more nodes; in simulation pass "
                f'--federation-config "num-supernodes={num_nodes} client-resources-num-cpus=1".'
            )
        time.sleep(0.2)
    return nodes
