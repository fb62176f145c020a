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

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..wire.exchange import Deadline, exchange
from ..wire.flower import logger
from ..wire.instruction import PARTITION, partition_answer, partition_question
from ..wire.replies import match
from ._wrapper import GridWrapper

_ACTION = "partition"


def answer_partition(app: ClientApp) -> None:
    """Let the nodes of ``app`` answer which data partition they hold (``partition-id``)."""

    @app.query(_ACTION)
    def _answer(message: Message, context: Context) -> Message:
        return partition_answer(message, context)


class PartitionedGrid(GridWrapper):
    """A grid that asks its nodes once for their partitions and lists them in that order.

    A node that lies can claim the partition of an honest one, and which of the two holds it can't
    be told. Such nodes are listed after those that hold a partition of their own, by what they
    claim; then those that name none, those that do not answer, and those that connect later,
    each by id. All of them are asked to train: which of their rows make a quorum is for the
    strategy to say.

    Parameters
    ----------
    grid : Grid
        Any Flower grid whose ClientApp answers: by `momentum_mod`, or by `answer_partition`.
    num_nodes : int
        How many nodes to wait for.
    timeout : float
        Seconds to wait for the nodes to connect, and again for their answers.
    least : int or None (default: None)
        How many nodes will do when the time is over, as for a run that resumes; None is all.

    Raises
    ------
    TimeoutError
        If fewer nodes connect in time, or none of them answers.
    ValueError
        If the nodes must have been set up wrong: none that answers names a partition, or half of
        all nodes or more would have to be liars. Where k nodes claim one partition, at least
        k - 1 of them lie, and so does a node that names none. Fewer such nodes, and silent ones,
        are logged.
    """

    def __init__(
        self, grid: Grid, num_nodes: int, timeout: float = 60.0, *, least: int | None = None
    ) -> None:
        super().__init__(grid)
        nodes = _connected(grid, num_nodes, timeout, num_nodes if least is None else least)
        said = _ask(grid, nodes, RecordDict(), f"{MessageType.QUERY}.{_ACTION}", timeout)
        unsaid = [node for node, partition in said.items() if partition is None]
        if unsaid:  # an app that does not know the query may have the mod
            said |= _ask(grid, unsaid, partition_question(), MessageType.TRAIN, timeout)
        if not said:
            raise TimeoutError(
                f"None of {len(nodes)} connected nodes said within {timeout:g} s which partition "
                "it holds. See the log of a node; where the machine was too busy, start again or "
                "raise the `timeout`."
            )
        claims = Counter(said.values())
        if 2 * _fewest_liars(claims) >= len(nodes) or set(claims) == {None}:
            raise ValueError(
                f"Each of the {len(nodes)} nodes must hold its own partition. Found "
                f"{sorted(claims.elements(), key=str)}. Put momentum_mod into the "
                "ClientApp, or call answer_partition(app), and give every SuperNode another "
                "`partition-id` in --node-config."
            )

        def place(node: int) -> tuple[int, int, int]:
            if node not in said:
                return 3, 0, node
            partition = said[node]
            if partition is None:
                return 2, 0, node
            return int(claims[partition] > 1), partition, node

        order = sorted(nodes, key=place)
        self._order = {node: index for index, node in enumerate(order)}
        self._partitions: dict[int, int] = {}
        for node in order:
            partition = said.get(node)
            if partition is not None and claims[partition] == 1:
                self._partitions[partition] = node
            else:
                what = f"did not say its partition within {timeout:g} s"
                if node in said:
                    also = "" if partition is None else f" (others claim {partition}, too)"
                    what = f"holds no partition of its own{also}"
                logger.log(WARNING, "Node %d %s: it is listed last", node, what)

    @property
    def by_partition(self) -> list[int]:
        """The nodes that hold a partition of their own, in the order of the partitions.

        Entry i is the node of partition i only where each partition is held: see `partitions`.
        """
        return list(self._partitions.values())

    @property
    def partitions(self) -> dict[int, int]:
        """The node that holds each partition, by partition id; without those that several claim."""
        return dict(self._partitions)

    def get_node_ids(self) -> Iterable[int]:
        """List the connected nodes in the order of their partitions; late comers last."""
        last = len(self._order)
        nodes = list(self._grid.get_node_ids())
        return sorted(nodes, key=lambda node: (self._order.get(node, last), node))


def _ask(
    grid: Grid, nodes: list[int], question: RecordDict, message_type: str, timeout: float
) -> dict[int, int | None]:
    """What those nodes say that answer in time."""
    questions = [
        Message(question, dst_node_id=node, message_type=message_type) for node in nodes
    ]
    answers = match(questions, exchange(grid, questions, Deadline(timeout)))
    return {node: _partition(content) for node, content in answers.items()}


def _fewest_liars(claims: Counter[int | None]) -> int:
    """How many nodes lie at least: those that name no partition, and all but one of each other."""
    return sum(count - (partition is not None) for partition, count in claims.items())


def _partition(content: Any) -> int | None:
    """The partition that a node says it holds; None where it does not say one."""
    try:
        partition = content.metric_records["node"][PARTITION]
    except Exception:  # an error, or whatever a faulty node sends
        return None
    return partition if type(partition) is int and partition >= 0 else None


def _connected(grid: Grid, num_nodes: int, timeout: float, least: int) -> list[int]:
    deadline = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < num_nodes:
        if time.monotonic() > deadline:
            if len(nodes) >= least:
                logger.log(
                    WARNING, "Going on with %d of %d nodes: no more connected within %g s",
                    len(nodes), num_nodes, timeout,
                )
                break
            raise TimeoutError(
                f"`num-nodes` is {num_nodes}, but only {len(nodes)} node(s) connected within "
                f"{timeout:g} s. Start more nodes; in simulation pass "
                f'--federation-config "num-supernodes={num_nodes} client-resources-num-cpus=1".'
            )
        time.sleep(0.2)
    return nodes
