"""The paper's omniscient adversary, in front of any Flower grid and for any strategy."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MessageType
from flwr.serverapp import Grid
from numpy.typing import NDArray

from ..attacks import Attack
from ..attacks.schedule import ALWAYS, Schedule
from ..errors import check_whole, requirement
from ..rows.threads import in_order, threads_for
from ..rule import Round
from ..wire.exchange import Deadline
from ..wire.flower import logger, number_message
from ..wire.instruction import asks_partition, server_round_of
from ..wire.records import noted_arrays
from ._forgery import Form
from ._wrapper import GridWrapper
from .adversary import Adversary, checked_adversaries


class AdversarialGrid(GridWrapper):
    """Answer training instructions in place of the Byzantine nodes, knowing all honest replies.

    The strategy in front and the nodes behind stay as they are: Resam and Flower's own
    strategies alike. While an attack is on, its nodes train nothing: the attack makes their
    rows from the honest ones, in the form in which these came, momentum or weights (then the
    difference from what was sent is attacked; integer arrays are those of an honest reply).
    Where no honest reply can be read, or too few for the attack, they stay silent. Evaluation
    and query messages pass untouched. What is sent by ``push_messages`` is not attacked;
    strategies use ``send_and_receive``.

    Parameters
    ----------
    grid : Grid
        The grid to the nodes.
    attack : Attack or sequence of Adversary
        What the Byzantine nodes send; or several adversaries, each with an attack, nodes and a
        schedule of its own. Each of these sees the honest rows, and not the others'.
    nodes : collection of int
        The ids of the Byzantine nodes.
    partitions : collection of int
        Byzantine nodes by their data partitions, on a `PartitionedGrid` or `InProcessGrid`.
    schedule : Schedule
        The rounds in which the attack is on.
    seed : int
        For attacks and schedules that draw at random.

    Raises
    ------
    ValueError
        If ``attack`` is none, no node is Byzantine, a node is not connected or has two
        attacks, or the other nodes are too few for an attack.

    Examples
    --------
    >>> from flwr_resam import InProcessGrid, Schedule
    >>> from flwr_resam.attacks import ALIE, FOE
    >>> from flwr.clientapp import ClientApp
    >>> nodes = InProcessGrid(ClientApp(), num_nodes=7)
    >>> grid = AdversarialGrid(nodes, FOE(epsilon=1.1), partitions=[6])
    >>> grid = AdversarialGrid(nodes, [
    ...     Adversary(FOE(), partitions=[4]),
    ...     Adversary(ALIE(z=1.5), partitions=[5, 6], schedule=Schedule(start=10, every=2)),
    ... ])
    """

    def __init__(
        self,
        grid: Grid,
        attack: Attack | Sequence[Adversary],
        nodes: Collection[int] = (),
        *,
        partitions: Collection[int] = (),
        schedule: Schedule = ALWAYS,
        seed: int = 0,
    ) -> None:
        super().__init__(grid)
        check_whole("seed", seed, "Use 0", least=0)
        self._seed = seed
        if isinstance(attack, Attack):
            self._adversaries = [Adversary(attack, nodes, partitions, schedule)]
        else:
            self._adversaries = checked_adversaries(attack)
            if nodes or partitions or schedule != ALWAYS:
                raise requirement(
                    "nodes", "be given with each adversary where there are several",
                    "nodes, partitions or a schedule beside them",
                    "Write Adversary(attack, nodes=..., schedule=...)",
                )
        self._nodes = [adversary.nodes_on(grid) for adversary in self._adversaries]
        self._check()
        self._states: list[Any] = []
        self._round = 0

    def _check(self) -> None:
        connected = set(self._grid.get_node_ids())
        seen: set[int] = set()
        for nodes in self._nodes:
            if nodes & seen:
                raise requirement(
                    "nodes", "have one attack each", f"several for {sorted(nodes & seen)[:3]}",
                    "Leave each node to one adversary",
                )
            if nodes - connected:
                raise requirement(
                    "nodes", "be connected nodes", f"{sorted(nodes - connected)[:3]}",
                    "Choose among list(grid.get_node_ids())",
                )
            seen |= nodes
        for adversary, nodes in zip(self._adversaries, self._nodes, strict=True):
            if not nodes:
                raise requirement(
                    "nodes", f"name at least one Byzantine node for `{adversary.attack}`", "none",
                    "Give nodes or partitions, or leave the AdversarialGrid out",
                )
            adversary.attack.check(len(connected - seen), len(nodes))

    def stream(self, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
        """Send to the honest nodes, and put the adversary's replies behind theirs."""
        instructions = list(messages)
        training = [message for message in instructions if _is_training(message)]
        if not training:
            yield from super().stream(instructions, deadline)
            return
        self._begin(training[0])
        groups = {
            index: [message for message in training if message.metadata.dst_node_id in nodes]
            for index, nodes in enumerate(self._nodes) if self._is_on(index)
        }
        forged = {id(message) for group in groups.values() for message in group}
        honest = [message for message in instructions if id(message) not in forged]
        # One of the records is the model; a node in this process can empty them.
        sent = {index: noted_arrays(group[0].content) for index, group in groups.items() if group}
        if not sent:
            yield from super().stream(instructions, deadline)
            return
        replies = list(super().stream(honest, deadline)) if honest else []
        known = self._in_order(replies)
        asked = tuple(message.metadata.dst_node_id for message in training)
        made = [self._forge(index, groups[index], known, sent[index], asked) for index in sent]
        yield from replies
        for group in made:
            yield from group

    @property
    def memory(self) -> dict[str, Any]:
        """What a checkpoint needs of the attacks: plain values and arrays."""
        own = {"attacks": self._names(), "round": self._round, "states": list(self._states)}
        return super().memory | own

    def recall(self, memory: dict[str, Any]) -> bool:
        """Go on after the round of a `memory`; other attacks than its own begin anew."""
        if memory.get("attacks") == self._names():
            self._round, self._states = memory["round"], list(memory["states"])
        else:
            logger.log(WARNING, "The attacks are others than in the checkpoint: they begin anew")
        return super().recall(memory)

    def _names(self) -> list[str]:
        return [str(adversary.attack) for adversary in self._adversaries]

    def _begin(self, instruction: Message) -> None:
        """Note the round; a round number that comes again begins another training."""
        try:
            number = server_round_of(instruction)
        except ValueError:  # a strategy that does not say: its training messages count
            number = self._round + 1
        if number <= self._round or not self._states:
            self._states = [adversary.attack.start() for adversary in self._adversaries]
        self._round = number

    def _is_on(self, index: int) -> bool:
        schedule = self._adversaries[index].schedule
        return schedule.active(self._round, self._generator(index, "schedule"))

    def _generator(self, index: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng(
            [self._seed, zlib.crc32(purpose.encode()), self._round, index]
        )

    def _forge(
        self,
        index: int,
        instructions: list[Message],
        replies: list[Message],
        sent: dict[str, ArrayRecord],
        asked: tuple[int, ...],
    ) -> list[Message]:
        attack = self._adversaries[index].attack
        form = Form.of(replies, *sent.values())
        if form is None:
            logger.log(WARNING, "`%s` has no honest reply that it can read: silent", attack)
            return []
        honest, nodes = _rows(form, replies)
        byzantine = tuple(message.metadata.dst_node_id for message in instructions)
        at = Round(
            self._round, (*nodes, *byzantine), self._generator(index, "attack"),
            lambda: np.concatenate(form.base), asked,
        )
        try:
            attack.check(len(honest), len(byzantine))
        except ValueError as error:
            logger.log(WARNING, "`%s` is silent: %s", attack, error)
            return []
        rows, self._states[index] = attack.step(
            honest, len(byzantine), state=self._states[index], at=at
        )
        for instruction in instructions:
            number_message(instruction)
        forged = form.replies(instructions, rows)
        for message in forged:
            number_message(message)
        return forged

    def _in_order(self, replies: list[Message]) -> list[Message]:
        """The replies in the order of the nodes, so that nothing depends on who was faster."""
        order = {node: index for index, node in enumerate(self._grid.get_node_ids())}
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        nodes = sorted(by_node, key=lambda node: order.get(node, len(order)))
        return [by_node[node] for node in nodes]


def _rows(form: Form, replies: list[Message]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """The rows that can be read, and whose they are."""
    rows = np.empty((len(replies), form.layout.size), form.layout.dtype)

    def read(index: int) -> bool:
        return form.read(replies[index], rows[index])

    readable = list(in_order(read, range(len(replies)), threads_for(rows.size)))
    nodes = [reply.metadata.src_node_id for reply in replies]
    if all(readable):
        return rows, tuple(nodes)
    return rows[readable], tuple(node for node, good in zip(nodes, readable, strict=True) if good)


def _is_training(message: Message) -> bool:
    if message.has_content() and asks_partition(message):
        return False
    return message.metadata.message_type.split(".")[0] == MessageType.TRAIN
