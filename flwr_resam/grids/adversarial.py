"""The paper's omniscient adversary, in front of any Flower grid and for any strategy."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..attacks import Attack
from ..errors import requirement
from ..flower import number_message
from ..layout import Layout, Segments
from ..momentum import MOMENTUM_KEY, server_round_of
from ..rule import Round
from .wrapper import GridWrapper


class AdversarialGrid(GridWrapper):
    """Answer training instructions in place of the Byzantine nodes, knowing all honest replies.

    The strategy in front and the nodes behind stay as they are. Byzantine nodes train nothing:
    the attack makes their rows from the honest ones, in the form in which these came, momentum
    or weights (then the difference from what was sent is attacked). Evaluation and query
    messages pass untouched.

    Parameters
    ----------
    grid : Grid
        The grid to the nodes.
    attack : Attack
        What the Byzantine nodes send.
    nodes : collection of int
        The ids of the Byzantine nodes.

    Raises
    ------
    ValueError
        If a node is not connected, or in a round, where too few honest nodes answered for
        the attack.

    Examples
    --------
    >>> from flwr_resam import InProcessGrid
    >>> from flwr_resam.attacks import FOE
    >>> from flwr.clientapp import ClientApp
    >>> nodes = InProcessGrid(ClientApp(), num_nodes=3)
    >>> grid = AdversarialGrid(nodes, FOE(epsilon=1.1), nodes=list(nodes.get_node_ids())[-1:])
    """

    def __init__(self, grid: Grid, attack: Attack, nodes: Collection[int]) -> None:
        super().__init__(grid)
        self._attack = attack
        self._nodes = frozenset(nodes)
        unknown = self._nodes - set(grid.get_node_ids())
        if unknown:
            raise requirement(
                "nodes", "be connected nodes", f"{sorted(unknown)[:3]}",
                "Choose among list(grid.get_node_ids())",
            )

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send to the honest nodes and put the adversary's replies among theirs."""
        instructions = list(messages)
        byzantine = [message for message in instructions if self._is_byzantine(message)]
        if not byzantine:
            return self._grid.send_and_receive(instructions, timeout=timeout)
        honest = [message for message in instructions if not self._is_byzantine(message)]
        replies = list(self._grid.send_and_receive(honest, timeout=timeout))
        return replies + self._forge(byzantine, replies)

    def _is_byzantine(self, message: Message) -> bool:
        category = message.metadata.message_type.split(".")[0]
        return category == MessageType.TRAIN and message.metadata.dst_node_id in self._nodes

    def _forge(self, byzantine: list[Message], replies: list[Message]) -> list[Message]:
        models = [reply for reply in replies if _holds_model(reply)]
        if not models:
            return []  # nobody honest answered: there is nothing to know, and nothing to bend
        order = {node: index for index, node in enumerate(self._grid.get_node_ids())}
        models.sort(key=lambda reply: order.get(reply.metadata.src_node_id, len(order)))
        example = models[0].content
        (key, _), = example.array_records.items()
        (sent,) = byzantine[0].content.array_records.values()
        layout = Layout.of(sent)
        base = None if key == MOMENTUM_KEY else layout.views(sent)
        honest = np.empty((len(models), layout.size), dtype=layout.dtype)
        for row, reply in zip(honest, models, strict=True):
            (record,) = reply.content.array_records.values()
            Segments(layout.views(record), base).read(0, layout.size, row)
        number = server_round_of(byzantine[0])
        rows = self._attack(honest, len(byzantine), round=Round(number))
        forged = []
        for instruction, row in zip(byzantine, rows, strict=True):
            number_message(instruction)
            vector = row if base is None else np.concatenate(base) - row
            content = RecordDict(dict(example.items()))
            content[key] = layout.record(vector, integers=sent)
            reply = Message(content, reply_to=instruction)
            number_message(reply)
            forged.append(reply)
        return forged


def _holds_model(reply: Message) -> bool:
    if reply.has_error():
        return False
    records = list(reply.content.array_records.values())
    return len(records) == 1 and isinstance(records[0], ArrayRecord)
