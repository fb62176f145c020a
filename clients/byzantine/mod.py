"""A Flower mod that makes any ClientApp Byzantine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType
from flwr.clientapp.typing import ClientAppCallable, Mod

from clients.seeds import generator
from flwr_resam.attacks import Attack
from flwr_resam.grids._forgery import Form
from flwr_resam.momentum import server_round_of
from flwr_resam.parse import Plan
from flwr_resam.rule import Round
from flwr_resam.spelling import Named
from flwr_resam.wire.records import noted_arrays

_MEMORY_KEY = "byzantine-memory"


class Conduct(Named, ABC):
    """What a device does that is no function of the vector it would send."""

    knowledge: ClassVar[str] = "alone"

    @abstractmethod
    def answer(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answer TRAIN."""


def misconduct(plan: Plan[Attack | Conduct], seed: int = 0) -> Mod:
    """Return the mod that does what is planned, in the planned rounds.

    An attack that one device does alone is given the row that the handler inside makes, and
    its memory is kept in ``Context.state``. The row is what passes through the mod, so its
    place in the list matters:

    * ``mods=[byzantine, momentum_mod(0.9)]`` attacks the momentum that is sent;
    * ``mods=[momentum_mod(0.9), byzantine]`` attacks the update that momentum is taken of.

    The experiments do the first, as the paper's workers do.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        number = server_round_of(message)
        if not plan.schedule.active(number, generator(seed, "schedule", server_round=number)):
            return call_next(message, context)
        if not isinstance(plan.what, Attack):
            return plan.what.answer(message, context, call_next)
        node = int(context.node_config.get("partition-id", context.node_id))
        draw = generator(seed, "byzantine", server_round=number, partition=node)
        return _attacked(plan.what, Round(number, (), draw), message, context, call_next)

    return mod


def _attacked(
    attack: Attack, at: Round, message: Message, context: Context, call_next: ClientAppCallable
) -> Message:
    """Send what the attack makes of the row that the honest handler would have sent."""
    sent = noted_arrays(message.content)
    reply = call_next(message, context)
    form = Form.of([reply], *sent.values())
    row = None if form is None else form.row(reply)
    if form is None or row is None:
        return reply  # an error, or a model that has diverged: there is nothing to make worse
    memory = context.state.get(_MEMORY_KEY)
    state = tuple(a.numpy() for a in memory.values()) if isinstance(memory, ArrayRecord) else ()
    rows, state = attack.step(row[np.newaxis], 1, state=state, at=at)
    if state is not None:
        arrays: dict[str, Array] = {str(index): Array(rows) for index, rows in enumerate(state)}
        context.state[_MEMORY_KEY] = ArrayRecord(arrays)
    return form.reply(message, rows[0])
