"""The worker's half: momentum over what the worker would have sent, kept in Context.state.

    m <- beta * m + (1 - beta) * u,   m = 0 at the start

u is the worker's gradient (the paper's form) or, for local training, theta_sent - theta_local.
Statistics of the data, such as a batch norm's running mean and variance, are sent as u: momentum
is for parameters (see `buffers`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from logging import INFO, WARNING
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from numpy.typing import NDArray

from .errors import IN_RANGE, out_of_range, real, requirement
from .wire.flower import logger
from .wire.layout import buffer_names, checked_buffers
from .wire.npy import pack, record_of, unpack

MOMENTUM_KEY = "momentum"
"""The ArrayRecord of a reply that holds a momentum; any other name says: these are weights."""

_STATE_KEY = "resam-momentum"
_STEPS_KEY = "resam-momentum-steps"


class WorkerMomentum:
    """Momentum of one worker, with its memory in a `RecordDict` such as ``Context.state``.

    A worker that has taken k steps of its own by round t, because it was restarted, joined
    late or was not sampled, sends ``m * (1 - beta**t) / (1 - beta**k)``. That is the paper's
    vector exactly when k = t, and else a momentum of the same size as everybody's.

    Parameters
    ----------
    beta : float
        Momentum coefficient, 0 <= beta < 1. 0 sends the update itself.
    state : RecordDict
        Where momentum, steps and round are kept between calls.
    buffers : collection of str, optional
        The float arrays that are statistics of the data, not parameters; None finds those of
        PyTorch, Keras and Flax by their names.

    Raises
    ------
    ValueError
        If beta is not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> worker = WorkerMomentum(0.9, RecordDict())
    >>> worker.step({"w": np.array([1.0, 2.0])}, server_round=1)["w"].numpy().round(6)
    array([0.1, 0.2])
    """

    def __init__(
        self, beta: float, state: RecordDict, buffers: Collection[str] | None = None
    ) -> None:
        self._beta = checked_beta(beta)
        self._state = state
        self._buffers = checked_buffers(buffers)

    def step(self, update: Mapping[str, NDArray[Any]], *, server_round: int) -> ArrayRecord:
        """Take one step and return the record to send under the key `momentum`.

        Parameters
        ----------
        update : mapping of arrays
            u by name. Integer and boolean arrays and buffers go through as they are.
        server_round : int
            The server's round t, from 1.

        Returns
        -------
        ArrayRecord
            m by name, in the dtypes of ``update``.

        Raises
        ------
        ValueError
            If the update holds a NaN, an infinity or a float64 number that makes a momentum
            beyond 1e140. The momentum stays as it was, so that one bad batch costs a node one
            round; in a momentum it would stay for good.
        """
        buffers = buffer_names(update, self._buffers)
        parameters = {
            name: value for name, value in update.items()
            if name not in buffers and value.dtype.kind == "f"
        }
        memory, steps = self._recall(parameters, server_round)
        momentum: dict[str, Array] = {}
        for name, value in parameters.items():
            wide = np.result_type(value.dtype, np.float32)
            fresh = np.asarray(np.multiply(1.0 - self._beta, value, dtype=wide))
            if memory is not None and self._beta > 0.0:
                fresh += np.multiply(self._beta, unpack(memory[name]), dtype=wide)
            if (wrong := out_of_range(fresh)) is not None:
                raise requirement(
                    "update", IN_RANGE, f"{wrong} in `{name}`",
                    "Lower the rate of the local training, or clip gradients; the momentum "
                    "stays as it was",
                )
            momentum[name] = pack(fresh)
        steps += 1
        if self._beta > 0.0:
            self._state[_STATE_KEY] = record_of(momentum)
        self._state[_STEPS_KEY] = ConfigRecord({"steps": steps, "round": server_round})
        scale = self._catch_up(steps, server_round)
        return record_of({
            name: _scaled(momentum[name], scale, value.dtype) if name in momentum else pack(value)
            for name, value in update.items()
        })

    def _recall(
        self, parameters: Mapping[str, NDArray[Any]], server_round: int
    ) -> tuple[ArrayRecord | None, int]:
        """Momentum and own steps so far; nothing where the memory is of another training."""
        memory = self._state.get(_STATE_KEY)
        past = self._state.get(_STEPS_KEY)
        if not isinstance(memory, ArrayRecord) or not isinstance(past, ConfigRecord):
            return None, 0
        same_model = set(memory) == set(parameters) and all(
            tuple(memory[name].shape) == parameters[name].shape for name in parameters
        )
        if not same_model or cast(int, past["round"]) >= server_round:
            return None, 0
        return memory, cast(int, past["steps"])

    def _catch_up(self, steps: int, server_round: int) -> float:
        if self._beta == 0.0 or steps >= server_round:
            return 1.0
        scale = float((1.0 - self._beta**server_round) / (1.0 - self._beta**steps))
        if steps == 1:
            logger.log(
                INFO, "Momentum starts anew in round %d; it is sent %.3g times as large",
                server_round, scale,
            )
        return scale


def momentum_mod(
    beta: float = 0.9, *of_a_mod: Any, buffers: Collection[str] | None = None
) -> Mod:
    """Return a Flower mod that makes any ClientApp send momentum: ``ClientApp(mods=[...])``.

    It wraps the TRAIN handler: with theta_sent from the instruction and theta_local from the
    handler's reply it forms u = theta_sent - theta_local, updates the momentum in
    ``Context.state``, and sends that in place of the weights, under the key `momentum`.
    Messages of other types and error replies pass untouched. Put it first in the list, so that
    it is the last to see the reply: a mod after it changes the weights that u is taken of. Only
    a mod that plays a Byzantine node stands before it, since what a Byzantine node sends in
    place of the momentum is its own choice.

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
        if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        # The handler may empty the record it is given, so its arrays are noted down before.
        sent = dict(_only_record(message, "instruction")[1])
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        key, local = _only_record(reply, "reply")
        if key == MOMENTUM_KEY:
            raise requirement(
                "mods", "leave momentum to one place", "a reply that holds momentum already",
                "Remove momentum_mod, or send the weights from the handler",
            )
        if set(local) != set(sent):
            raise requirement(
                "reply", "hold the arrays that were sent", f"{sorted(set(local) ^ set(sent))[:3]} "
                "on one side only", "Return the whole state of the model that came in",
            )
        update = {name: _difference(sent[name], local[name]) for name in sent}
        momentum = WorkerMomentum(beta, context.state, buffers)
        record = momentum.step(update, server_round=server_round_of(message))
        if buffers is None and not buffer_names(sent):
            _warn_of_variances(sent, local, record)
        del reply.content[key]
        reply.content[MOMENTUM_KEY] = record
        return reply

    return mod


def server_round_of(message: Message) -> int:
    """The round that the strategy wrote into the instruction, under ``server-round``."""
    for config in message.content.config_records.values():
        number = config.get("server-round")
        if isinstance(number, int) and number >= 1:
            return number
    raise requirement(
        "server-round", "be in the instruction's ConfigRecord", "none",
        "Use a strategy that sends it, as FedAvg and all built on it do",
    )


def checked_beta(beta: float) -> float:
    """Return beta, or raise what is wrong with it."""
    if not 0.0 <= real(beta) < 1.0:
        raise requirement("beta", "satisfy 0 <= beta < 1", f"beta = {beta!r}", "Use 0.9, say")
    return float(beta)


def _only_record(message: Message, which: str) -> tuple[str, ArrayRecord]:
    records = message.content.array_records
    if len(records) != 1:
        raise requirement(
            which, "hold one ArrayRecord", f"{len(records)}", "Put the whole model into one"
        )
    return next(iter(records.items()))


def _scaled(momentum: Array, scale: float, dtype: np.dtype[Any]) -> Array:
    """The momentum to send; the one that is kept serves where it is just that."""
    if scale == 1.0 and momentum.dtype == str(dtype):
        return momentum
    return pack(np.asarray(unpack(momentum) * scale, dtype=dtype))


def _warn_of_variances(
    sent: Mapping[str, Array], local: Mapping[str, Array], momentum: Mapping[str, Array]
) -> None:
    """Say so where momentum takes an array that looks like a variance below zero."""
    for name, before in sent.items():
        if len(before.shape) != 1 or before.shape[0] < 2:
            continue
        value, trained = unpack(before), unpack(local[name])
        if not (np.issubdtype(value.dtype, np.floating) and (value > 0).all()):
            continue
        if (trained > 0).all() and (value < unpack(momentum[name])).any():
            logger.log(
                WARNING, "Momentum takes `%s` below zero, which was positive here and at the "
                "server. If it is a running variance, name it: momentum_mod(buffers=[...])", name,
            )


def _difference(sent: Array, local: Array) -> NDArray[Any]:
    before, after = unpack(sent), unpack(local)
    if before.shape != after.shape:
        raise requirement(
            "reply", "keep the shapes that were sent", f"{after.shape} for {before.shape}",
            "Return the model that came in, trained",
        )
    if np.issubdtype(before.dtype, np.floating):  # NumPy easily makes float64 of float32
        return np.asarray(before - after, dtype=before.dtype)
    if before.dtype != after.dtype:
        raise requirement(
            "reply", "keep the dtypes that were sent", f"{after.dtype} for {before.dtype}",
            f"Return it as {before.dtype}",
        )
    return after
