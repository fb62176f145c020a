"""What the benchmarks race computes the same thing."""

import numpy as np
import pytest

from benchmarks import strategies
from benchmarks.crowd import measure


@pytest.mark.parametrize("rule", ["mean", "cwmed", "cwtm", "krum"])
def test_strategies_are_raced_on_the_same_replies_to_the_same_model(rule):
    found = strategies.candidates(rule, strategies.Replies(7, 50, 2))
    models = [np.concatenate(found[name]()) for name in (strategies.OURS, "Flower")]
    assert np.allclose(*models, atol=1e-6)
    assert np.abs(models[0]).max() > 0.1
    again = np.concatenate(found["Flower"]())  # which takes replies apart
    assert np.array_equal(again, models[1])


def test_a_crowd_is_measured_from_its_first_round_to_its_last():
    found = measure("cwtm", 25, 5)
    assert found["mib-after-round"].keys() == {0, 1, 2, 3, 4, 5}
    assert 0.0 < found["cpu-seconds-a-round"] < 10.0
