"""The rows of a round become one vector: the rule's, and the median of the buffers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from flwr_resam.aggregators import MDA, Mean
from flwr_resam.rows.source import Segments
from flwr_resam.rule import Aggregate, Round
from flwr_resam.server import aggregation
from flwr_resam.server.aggregation import aggregate, on_device, result_of, to_numpy
from flwr_resam.server.loop import RunState
from flwr_resam.server.settings import Settings
from tests.support import record

AT = Round(1, (2, 3, 4), np.random.default_rng(0), lambda: np.zeros(3), (2, 3, 4))


def rows_of(values, dtype=np.float64):
    return [Segments([np.array(value, dtype)], None) for value in values]


def combined(values, learnt, rule=None, f=1, device=None):
    at = replace(AT, nodes=AT.nodes[: len(values)] + tuple(range(90, 87 + len(values))))
    done = aggregate(
        rule or Mean(), rows_of(values), learnt=learnt, f=f, state=None, at=at, device=device
    )
    return to_numpy(done.vector).tolist()


@pytest.mark.parametrize("device", [None, "cpu"])
def test_parameters_go_by_the_rule_and_buffers_by_the_median(device):
    values = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [8.0, 8.0, 8.0]]
    assert combined(values, 3, device=device) == [3.0, 3.0, 3.0]
    assert combined(values, 2, device=device) == [3.0, 3.0, 1.0]
    assert combined(values, 1, device=device) == [3.0, 1.0, 1.0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_rule_that_takes_any_f_has_a_median_all_the_same(count):
    values = [[1.0, 1.0]] * count
    assert combined(values, 1, f=count) == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_come_to_a_device_whole_in_one_dtype(monkeypatch, dtype):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(aggregation, "_CHUNK", 4)
    values = np.arange(20.0).reshape(2, 10)
    found = on_device(rows_of(values, dtype), "cpu")
    assert found.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
    np.testing.assert_array_equal(found.numpy(), values)
    rows = rows_of(values)
    assert on_device(rows, None) is rows


class Odd(Mean):
    """A rule that raises, or returns what it is told."""

    def __init__(self, found):
        self.__dict__["found"] = found

    def _step(self, updates, f, state, at):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def found_by(rule, rows=3, asked=3, **others):
    settings = Settings(0, min_available_nodes=3, seed=1, **others)
    object.__setattr__(settings, "aggregator", rule)
    model = record(w=np.zeros(2))
    run = RunState.of(Settings(0))
    run.sent(model, [], settings)
    intake = SimpleNamespace(
        rows=dict(enumerate(rows_of([[1.0, 3.0]] * rows), start=2)),
        asked=tuple(range(2, 2 + asked)),
    )
    return result_of(intake, 0, run, settings, 1), run


def test_a_result_comes_with_its_norm_and_the_rules_memory():
    (done, size), run = found_by(Odd(Aggregate(np.array([3.0, 4.0]), None, "kept")))
    assert done.vector.tolist() == [3.0, 4.0]
    assert (size, run.rule_state) == (5.0, "kept")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_result_that_is_not_finite_is_none_and_is_not_remembered(bad, caplog):
    found, run = found_by(Odd(Aggregate(np.array([bad, 0.0]), None, "spoilt")))
    assert found is None
    assert run.rule_state != "spoilt"
    assert "is not finite" in caplog.text


@pytest.mark.parametrize(
    ("error", "asked", "raises"),
    [
        (ValueError("a wrong setting"), 3, True),
        (ValueError("a row is missing"), 4, False),
        (ZeroDivisionError("0"), 3, False),
        (np.linalg.LinAlgError("no convergence"), 3, False),
    ],
)
def test_what_a_rule_raises_is_the_users_where_nothing_is_missing_and_no_number_is_odd(
    error, asked, raises, caplog
):
    if raises:
        with pytest.raises(ValueError, match="a wrong setting"):
            found_by(Odd(error), asked=asked)
        return
    assert found_by(Odd(error), asked=asked)[0] is None
    assert f"found no result: {error}" in caplog.text


@pytest.mark.parametrize("reproducible", [False, True])
def test_rows_are_added_up_reproducibly_where_asked(reproducible):
    class Asks(Mean):
        def _step(self, updates, f, state, at):
            found = float(updates.geometry().reproducible)
            return Aggregate(np.full(updates.d, found), None, None)

    (done, _), _ = found_by(Asks(), reproducible=reproducible)
    assert done.vector.tolist() == [float(reproducible)] * 2
    parts = aggregate(
        Asks(), rows_of([[1.0, 2.0]] * 3), learnt=1, f=1, state=None, at=AT, device=None,
        reproducible=reproducible,
    )
    assert parts.vector.tolist() == [float(reproducible), 2.0]


def test_what_a_rule_remarks_is_logged(caplog):
    vector = np.zeros(2)
    found_by(Odd(Aggregate(vector, None, None, note="one row stands alone")))
    assert "one row stands alone" in caplog.text
    caplog.clear()
    found_by(Odd(Aggregate(vector, None, None)))
    assert caplog.text == ""


def test_the_rows_that_the_rule_sees_are_the_nodes_of_the_round():
    seen = []

    class Watching(MDA):
        def _step(self, updates, f, state, at):
            seen.append((at.number, at.nodes, at.asked, at.model().tolist(), at.random().random()))
            return super()._step(updates, f, state, at)

    for _ in range(2):
        found_by(Watching(), rows=3, asked=4)
    assert seen[0] == seen[1]  # with a seed, every draw again
    assert seen[0][:2] == (1, (2, 3, 4))
    assert seen[0][2] == (2, 3, 4, 5)
