"""The row of the server's own, from `Resam(root=...)` to the rule."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid, Resam, parse_rule
from flwr_resam.aggregators import FLTrust, Median

START = np.arange(6.0, dtype=np.float32).reshape(2, 3)
STEPS = [np.full((2, 3), size, np.float32) for size in (1.0, 2.0, 3.0, -50.0, -50.0, -50.0)]


def app():
    app = ClientApp()

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        step = STEPS[context.node_config["partition-id"]]
        record = ArrayRecord({"w": Array(arrays["w"].numpy() - step)})
        return Message(RecordDict({"arrays": record, "m": MetricRecord({"a": 1.0})}), reply_to=message)

    return app


def train(root, rounds=2):
    strategy = Resam(
        2, parse_rule("fltrust"), root=root, min_available_nodes=6, fraction_evaluate=0.0
    )
    model = ArrayRecord({"w": Array(START)})
    return strategy.start(InProcessGrid(app(), 6), model, num_rounds=rounds).arrays["w"].numpy()


def test_half_of_the_nodes_lie_and_the_servers_own_row_decides():
    seen = []

    def root(server_round, model):
        seen.append((server_round, float(model["w"].numpy()[0, 0])))
        return ArrayRecord({"w": Array(np.full((2, 3), 0.5, np.float32))})

    np.testing.assert_allclose(train(root), START - 1.0, rtol=1e-6)
    assert seen == [(1, 0.0), (2, -0.5)]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, TypeError, "`root` must return an ArrayRecord. Found None"),
        (ArrayRecord({"v": Array(START)}), ValueError, "in its names, shapes and dtypes. Found .*'v'"),
        (ArrayRecord({"w": Array(START.astype(np.float64))}), ValueError, "names, shapes and dtypes"),
        (ArrayRecord({"w": Array(START * np.nan)}), ValueError, "`root` must be finite"),
    ],
)
def test_what_is_no_update_of_the_model_is_said(given, error, message):
    with pytest.raises(error, match=message):
        train(lambda server_round, model: given)


def test_a_root_is_given_just_where_the_rule_needs_it():
    with pytest.raises(ValueError, match=r"`root` must be given for `fltrust`.*fltrust\(trusted=0\)"):
        Resam(1, FLTrust())
    with pytest.raises(ValueError, match="`root` must be left out for `cwmed`"):
        Resam(1, Median(), root=lambda server_round, model: model)
    with pytest.raises(TypeError, match="`root` must be a function"):
        Resam(1, FLTrust(), root=ArrayRecord())
    Resam(1, FLTrust(trusted=0))
