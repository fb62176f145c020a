"""One registered node of four attacks a run over a real SuperLink, f = 1: it costs its own reply."""

import numpy as np
import pytest

from tests.redteam.attacks import ATTACKS
from tests.redteam.harness import attacked

pytestmark = pytest.mark.slow
TIMEOUT = 10.0

# What a round counts of the hostile node; one that is valid sends a lie, which the rule outvotes, and
# on a busy machine comes too late.
COUNTED = {
    "answers-for-others": {"n-valid", "n-silent"},
    "frames-others": {"n-rejected"},  # the SuperLink takes no reply that another signed for
    "announces-only": {"n-silent"},
    "uploads-drop-by-drop": {"n-silent"},
    "announces-a-tree": {"n-silent"},
    "nests-deeply": {"n-rejected"},
    "poisons-replies": {"n-silent"},
    "poisons-instructions": {"n-silent"},
    "names-another-inside": {"n-rejected"},
    "only-heartbeats": {"n-silent"},
    "floods": {"n-rejected", "n-silent"},
    "floods-with-metrics": {"n-valid", "n-silent"},
    "multiplies-a-chunk": {"n-rejected", "n-silent"},
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_it_costs_its_own_reply_and_no_more(name, tmp_path):
    found = attacked(
        ATTACKS[name], folder=tmp_path, rounds=2, timeout=TIMEOUT, delay=1.0, limit=200.0
    )
    assert found.end == "completed", found.log[-20:]
    assert max(found.seconds) < TIMEOUT + 10.0
    np.testing.assert_allclose(found.models[-1], -2.0, atol=0.1)
    for metrics in found.metrics.values():
        counted = {name: metrics[name] for name in ("n-valid", "n-rejected", "n-silent")}
        counted["n-valid"] -= 3  # the honest ones
        assert sorted(counted.values()) == [0, 0, 1]
        assert {name for name, number in counted.items() if number} <= COUNTED[name]
        assert metrics["f-effective"] == 1
    assert max(map(len, found.log)) < 5000
