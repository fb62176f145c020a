"""Metrics of nodes, some of which lie: at most an honest extreme, and nothing ends."""

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from flwr_resam.server.metrics import robust_metrics


def reply(**metrics):
    return RecordDict({"m": MetricRecord(metrics)})


def forced(**metrics):
    record = MetricRecord()
    record.__dict__["_data"] = metrics
    return RecordDict({"m": record})


LIES = [
    1e300, -1e300, 0, -1, float("nan"), float("inf"), 10**5000, True, None, "text", b"x",
    [1.0], [1.0, float("nan")], [], ["a", "b"], [1e300, -1e300], np.float64(7.0), {}, object(),
]
number = st.one_of(st.floats(allow_nan=True), st.integers(), st.sampled_from(LIES))


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=9), st.lists(number, max_size=4),
    st.randoms(),
)
def test_no_lie_leaves_the_honest_range(honest, lies, random):
    f = len(lies)
    contents = [reply(x=value, pair=[value, -value]) for value in honest]
    contents += [forced(x=lie, pair=[lie, lie], extra=lie) for lie in lies]
    random.shuffle(contents)
    result = robust_metrics(contents, f)
    if f:
        assert "extra" not in result
    if len(honest) > 2 * f:
        assert min(honest) <= result["x"] <= max(honest)
        assert min(honest) <= result["pair"][0] <= max(honest)
        assert -max(honest) <= result["pair"][1] <= -min(honest)


@pytest.mark.parametrize("lie", range(len(LIES)))
def test_any_value_in_any_place_ends_nothing(lie):
    honest = [reply(loss=float(i), curve=[1.0 * i, 2.0 * i]) for i in range(5)]
    for liar in (
        forced(loss=LIES[lie], curve=LIES[lie]), forced(**{"x" * 100_000: LIES[lie]}), LIES[lie],
        RecordDict(), RecordDict({"a": MetricRecord({"loss": 1e9}), "b": MetricRecord()}),
    ):
        result = robust_metrics([*honest, liar], 1)
        assert 1.0 <= result["loss"] <= 3.0
        assert 1.0 <= result["curve"][0] <= 3.0
        assert 2.0 <= result["curve"][1] <= 6.0
        assert set(result) == {"loss", "curve"}


def test_lists_of_another_length_do_not_count():
    honest = [reply(curve=[1, 2, 3])] * 3
    assert robust_metrics([*honest, reply(curve=[9, 9])], 1) == {"curve": [1.0, 2.0, 3.0]}
    assert robust_metrics([*honest[:2], reply(curve=[9, 9])], 1) == {}


def test_whole_numbers_stay_whole_and_numpys_count():
    assert robust_metrics([reply(n=3), reply(n=5), reply(n=4)], 1) == {"n": 4}
    result = robust_metrics([reply(x=np.float64(2.0))] * 3, 1)
    assert type(result["x"]) is float
