"""The worker's half: momentum over what the worker would have sent, kept in Context.state.

    m <- beta * m + (1 - beta) * u,   m = 0 at the start;   sent is m / (1 - beta^k)

u is the worker's gradient (the paper's form) or, for local training, theta_sent - theta_local.
Statistics of the data, such as a batch norm's running mean and variance, are sent as u: momentum
is for parameters (`flwr_resam.wire.buffers` says why).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextvars import ContextVar
from logging import INFO, WARNING
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from numpy.typing import NDArray

from .errors import IN_RANGE, out_of_range, real, requirement
from .wire.buffers import buffer_names, checked_buffers
from .wire.flower import logger
from .wire.instruction import (
    asks_partition,
    partition_answer,
    say_beta,
    server_round_of,
    training_of,
    unstamped,
)
from .wire.layout import MOMENTUM_KEY
from .wire.npy import dtype_name, pack, record_of, unpack
from .wire.records import noted_arrays, of_kind
from .wire.update import update_of

__all__ = [
    "MOMENTUM_KEY", "WorkerMomentum", "exits_are_errors", "momentum_mod", "server_round_of",
    "training_of",
]

_outer: ContextVar[str | None] = ContextVar("momentum_mod", default=None)  # the message it has

_STATE_KEY = "resam-momentum"
_STEPS_KEY = "resam-momentum-steps"


class WorkerMomentum:
    """Momentum of one worker, with its memory in a `RecordDict` such as ``Context.state``.

    What is sent is the weighted average of the worker's own k updates,
    ``m_k / (1 - beta**k)``: of the size of an update from the first round on, so that the first
    rounds do not lag, and whether or not the worker was asked in every round or lost its memory.

    Without ``bias_correction`` it is the vector of the paper, ``(1 - beta**t)`` times that in
    round t: m_t itself for a worker that took part in every round. A run of the paper's form with
    learning rate gamma is one of averages with ``gamma (1 - beta**t)``.

    Parameters
    ----------
    beta : float
        Momentum coefficient, 0 <= beta < 1. 0 sends the update itself.
    state : RecordDict
        Where momentum, steps and round are kept between calls.
    buffers : collection of str, optional
        The float arrays that are statistics of the data, not parameters; None finds those of
        PyTorch, Keras and Flax by their names.
    bias_correction : bool (default: True)
        False is the form of the paper's experiments.

    Raises
    ------
    ValueError
        If beta is not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> worker = WorkerMomentum(0.9, RecordDict())
    >>> worker.step({"w": np.array([1.0, 2.0])}, server_round=1)["w"].numpy().round(6)
    array([1., 2.])
    >>> worker.step({"w": np.array([3.0, 2.0])}, server_round=2)["w"].numpy().round(6)
    array([2.052632, 2.      ])
    """

    def __init__(
        self, beta: float, state: RecordDict, buffers: Collection[str] | None = None, *,
        bias_correction: bool = True,
    ) -> None:
        self._beta = checked_beta(beta)
        self._state = state
        self._buffers = checked_buffers(buffers)
        self._bias_correction = bias_correction

    def step(
        self, update: Mapping[str, NDArray[Any]], *, server_round: int, training: str | None = None
    ) -> ArrayRecord:
        """Take one step and return the record to send under the key `momentum`.

        Parameters
        ----------
        update : mapping of arrays
            u by name. Integer and boolean arrays and buffers go through as they are.
        server_round : int
            The server's round t, from 1. One that is not above the last begins anew.
        training : str, optional
            Names the training, as `training_of` reads it from an instruction. A worker whose
            memory is of another training begins anew.

        Returns
        -------
        ArrayRecord
            The momentum by name, in the dtypes of ``update``.

        Raises
        ------
        ValueError, TypeError
            If the update is no mapping of NumPy arrays, or holds a NaN, an infinity or a float64
            number beyond 1e140. The momentum stays as it was, so that one bad batch costs a node
            one round; in a momentum it would stay for good.
        """
        _check_update(update)
        buffers = buffer_names(update, self._buffers)
        parameters = {
            name: value for name, value in update.items()
            if name not in buffers and value.dtype.kind == "f"
        }
        memory, steps = self._recall(parameters, server_round, training)
        momentum: dict[str, Array] = {}
        for name, value in parameters.items():
            if (wrong := out_of_range(value)) is not None:
                raise requirement(
                    "update", IN_RANGE, f"{wrong} in `{name}`",
                    "Lower the rate of the local training, or clip gradients; the momentum "
                    "stays as it was",
                )
            wide = np.result_type(value.dtype, np.float32)
            fresh = np.asarray(np.multiply(1.0 - self._beta, value, dtype=wide))
            if memory is not None and self._beta > 0.0:
                fresh += np.multiply(self._beta, unpack(memory[name]), dtype=wide)
            momentum[name] = pack(fresh)
        steps += 1
        if steps == 1 < server_round and self._beta > 0.0:
            logger.log(INFO, "Momentum starts anew in round %d", server_round)
        if self._beta > 0.0:
            self._state[_STATE_KEY] = record_of(momentum)
        self._state[_STEPS_KEY] = ConfigRecord(
            {"steps": steps, "round": server_round, "training": training or ""}
        )
        scale = self._scale(steps, server_round)
        return record_of({
            name: _scaled(momentum[name], scale, value.dtype) if name in momentum else pack(value)
            for name, value in update.items()
        })

    def _recall(
        self, parameters: Mapping[str, NDArray[Any]], server_round: int, training: str | None
    ) -> tuple[ArrayRecord | None, int]:
        """Momentum and own steps so far; nothing where the memory is of another training."""
        memory = self._state.get(_STATE_KEY)
        past = self._state.get(_STEPS_KEY)
        if not isinstance(memory, ArrayRecord) or not isinstance(past, ConfigRecord):
            return None, 0
        same_model = set(memory) == set(parameters) and all(
            tuple(memory[name].shape) == parameters[name].shape for name in parameters
        )
        same_training = past.get("training", "") == (training or "")
        if not same_model or not same_training or cast(int, past["round"]) >= server_round:
            return None, 0
        return memory, cast(int, past["steps"])

    def _scale(self, steps: int, server_round: int) -> float:
        """What makes an average of the momentum, or the paper's vector."""
        own = 1.0 - self._beta**steps
        if self._bias_correction:
            return 1.0 / own
        return 1.0 if steps >= server_round else (1.0 - self._beta**server_round) / own


def momentum_mod(
    beta: float = 0.9, *of_a_mod: Any, buffers: Collection[str] | None = None
) -> Mod:
    """Return a Flower mod that makes any ClientApp send momentum: ``ClientApp(mods=[...])``.

    It wraps the TRAIN handler: with theta_sent from the instruction and theta_local from the
    handler's reply it forms u = theta_sent - theta_local, updates the momentum in
    ``Context.state``, and sends that in place of the weights, under the key `momentum`. It does
    so for a server that asks for momentum, as `Resam.start` does; another server gets the weights
    as they are, so that an app can be run with FedAvg and compared. Messages of other types, TRAIN
    messages without arrays and error replies pass untouched. A handler that ends its process by
    ``sys.exit`` gives an error reply. It also tells a `PartitionedGrid` which partition its node
    holds.

    Put it first in the list, so that it is the last to see the reply: a mod after it changes the
    weights that u is taken of. Only a mod that plays a Byzantine node stands before it, since what
    a Byzantine node sends in place of the momentum is its own choice. ``@app.train(mods=[...])``
    takes it as well.

    Parameters
    ----------
    beta : float
        Momentum coefficient, 0 <= beta < 1; the paper's experiments use 0.9 to 0.99.
    buffers : collection of str, optional
        The float arrays that are statistics of the data, such as the running variance of a
        batch norm, and take no momentum. None finds those of PyTorch, Keras and Flax by their
        names. Give them where arrays have numbers for names, as in
        ``ArrayRecord(model.get_weights())``: ``buffers=["2", "3"]``.

    Raises
    ------
    ValueError
        If beta is not in [0, 1); and within a round, where the handler's reply does not hold
        the arrays that it was sent.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp(mods=[momentum_mod(beta=0.9)])
    """
    if of_a_mod:
        raise requirement(
            "mods", "hold what momentum_mod returns", "momentum_mod itself",
            "Write mods=[momentum_mod(beta=0.9)]", error=TypeError,
        )
    checked_beta(beta)
    checked_buffers(buffers)

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if asks_partition(message):
            return partition_answer(message, context)
        _refuse_second(message)
        training = training_of(message)
        of_training = message.metadata.message_type.split(".")[0] == MessageType.TRAIN
        if not of_training or training is None or not of_kind(message.content, ArrayRecord):
            with unstamped(message):
                return exits_are_errors(message, context, call_next)
        # The handler may empty what it is given, so that all is noted down before.
        instruction = noted_arrays(message.content)
        number = server_round_of(message)
        kept = context.state.get(_STEPS_KEY)
        with unstamped(message):
            reply = _call_inside(message, context, call_next)
        if reply.has_error():
            return reply
        key, local = _only_record(reply)
        sent = _sent_of(instruction, key)
        if key == MOMENTUM_KEY:
            raise requirement(
                "mods", "leave momentum to one place", "a reply that holds momentum already",
                "Remove momentum_mod, or send the weights from the handler",
            )
        if kept is not None and _STEPS_KEY not in context.state:
            logger.log(
                WARNING, "The handler replaced `context.state`, and the momentum in it is gone: "
                "add to the state that is there",
            )
        momentum = WorkerMomentum(beta, context.state, buffers)
        record = momentum.step(
            update_of(sent, local), server_round=number, training=training
        )
        if buffers is None and not buffer_names(sent):
            _warn_of_variances(sent, local, record)
        del reply.content[key]
        reply.content[MOMENTUM_KEY] = record
        say_beta(reply.content, float(beta))
        return reply

    return mod


# Ray sends a mod to its workers by value, with the globals that its own body names: a variable of
# the context can't travel so, and stands behind these two functions.
def _refuse_second(message: Message) -> None:
    if _outer.get() == message.metadata.message_id:
        raise requirement(
            "mods", "hold momentum_mod once", "it twice",
            "Remove one, also from @app.train(mods=[...])",
        )


def _call_inside(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    token = _outer.set(message.metadata.message_id)
    try:
        return exits_are_errors(message, context, call_next)
    finally:
        _outer.reset(token)


def exits_are_errors(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Call what is inside; a mod that turns the end of the process into an error reply.

    On Flower's simulation engine many nodes share a process, and one that ends it takes the
    others with it.

    Raises
    ------
    RuntimeError
        In place of SystemExit.
    """
    try:
        return call_next(message, context)
    except SystemExit as end:
        raise RuntimeError(f"the ClientApp called sys.exit({end.code!r})") from end


def checked_beta(beta: float) -> float:
    """Return beta, or raise what is wrong with it."""
    if not 0.0 <= real(beta) < 1.0:
        raise requirement("beta", "satisfy 0 <= beta < 1", f"beta = {beta!r}", "Use 0.9, say")
    return float(beta)


def _only_record(reply: Message) -> tuple[str, ArrayRecord]:
    records = of_kind(reply.content, ArrayRecord)
    if len(records) != 1:
        raise requirement(
            "reply", "hold one ArrayRecord", f"{len(records)}", "Put the whole model into one"
        )
    return next(iter(records.items()))


def _sent_of(instruction: dict[str, ArrayRecord], key: str) -> ArrayRecord:
    """The model of an instruction, which may hold other arrays, such as control variates."""
    if key not in instruction and len(instruction) > 1:
        raise requirement(
            "reply", "name its ArrayRecord as the model is named, for several were sent",
            f"{key!r}, where {sorted(instruction)} were sent", "Return it under the name that it "
            "came by",
        )
    return instruction[key] if key in instruction else next(iter(instruction.values()))


def _scaled(momentum: Array, scale: float, dtype: np.dtype[Any]) -> Array:
    """The momentum to send; the one that is kept serves where it is just that."""
    if scale == 1.0 and momentum.dtype == dtype_name(dtype):
        return momentum
    with np.errstate(over="ignore"):  # an average of numbers in range, but for rounding
        values = unpack(momentum) * scale
    limit = np.finfo(dtype).max
    return pack(np.clip(values, -limit, limit).astype(dtype, copy=False))


def _warn_of_variances(
    sent: Mapping[str, Array], local: Mapping[str, Array], momentum: Mapping[str, Array]
) -> None:
    """Say so where momentum takes an array that looks like a variance below zero."""
    for name, after in local.items():
        if len(after.shape) != 1 or after.shape[0] < 2:
            continue
        value, trained = unpack(sent[name]), unpack(after)
        if not (np.issubdtype(value.dtype, np.floating) and (value > 0).all()):
            continue
        if (trained > 0).all() and (value < unpack(momentum[name])).any():
            logger.log(
                WARNING, "Momentum takes `%s` below zero, which was positive here and at the "
                "server. If it is a running variance, name it: momentum_mod(buffers=[...])", name,
            )


def _check_update(update: Any) -> None:
    """Raise a TypeError unless these are NumPy arrays by name."""
    if isinstance(update, ArrayRecord):
        raise requirement(
            "update", "be a mapping of NumPy arrays", "an ArrayRecord",
            "Write {name: array.numpy() for name, array in record.items()}", error=TypeError,
        )
    for name, value in update.items():
        if not isinstance(value, np.ndarray):
            raise requirement(
                "update", "be a mapping of NumPy arrays", f"a {type(value).__name__} in `{name}`",
                "Write tensor.detach().cpu().numpy(), or np.asarray(value)", error=TypeError,
            )
