"""Statistics of the data take no momentum: a running variance stays one."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from flwr_resam import WorkerMomentum, momentum_mod
from flwr_resam.wire.flower import become_server
from flwr_resam.wire.instruction import stamp


def roll(worker, start, target, rounds):
    """Let the server take the worker's word with learning rate 1; return the values."""
    value, values = np.array([start, start]), []
    for server_round in range(1, rounds + 1):
        local = value + 0.65 * (target - value)
        value = value - worker.step({"norm.running_var": value - local}, server_round=server_round)[
            "norm.running_var"
        ].numpy()
        values.append(float(value.min()))
    return values


def test_a_buffer_goes_straight_to_its_value_and_a_parameter_swings():
    straight = roll(WorkerMomentum(0.9, RecordDict()), 1.0, 0.01, 12)
    assert straight == sorted(straight, reverse=True)
    assert straight[-1] == pytest.approx(0.01, abs=1e-4)
    swinging = roll(WorkerMomentum(0.9, RecordDict(), buffers=()), 1.0, 0.01, 12)
    assert min(swinging) < -0.3


def step(mod, state, sent, local, server_round=1):
    """Send one instruction through a mod; return the reply's momentum."""
    become_server()
    content = RecordDict({"arrays": sent, "config": ConfigRecord({"server-round": server_round})})
    message = Message(content, 2, "train")
    message.metadata.__dict__["_message_id"] = "1"
    stamp([message], "a", server_round)
    context = Context(run_id=1, node_id=2, node_config={}, state=state, run_config={})

    def handler(message, _):
        return Message(RecordDict({"arrays": local}), reply_to=message)

    return mod(message, context, handler).content["momentum"]


def record(**arrays):
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def test_integers_and_named_buffers_pass_and_only_parameters_are_remembered():
    sent = record(w=[1.0, 2.0], v=[1.0, 1.0], count=7)
    local = record(w=[0.0, 0.0], v=[0.5, 0.25], count=9)
    state = RecordDict()
    sends = step(momentum_mod(0.75, buffers=["v"]), state, sent, local)
    np.testing.assert_allclose(sends["w"].numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(sends["v"].numpy(), [0.5, 0.75])
    assert sends["count"].numpy() == 9
    (memory,) = state.array_records.values()
    assert set(memory) == {"w"}


def test_a_nameless_variance_on_its_way_below_zero_is_pointed_out(caplog):
    state = RecordDict()
    value = np.array([1.0, 1.0])
    for server_round in range(1, 8):
        local = 0.35 * value + 0.65 * 0.01
        momentum = step(
            momentum_mod(0.9), state, ArrayRecord([value]), ArrayRecord([local]), server_round
        )
        value = value - momentum["0"].numpy()
        if value.min() < 0:
            break
    assert math.isfinite(value.min())
    assert value.min() < 0
    assert "takes `0` below zero" in caplog.text
