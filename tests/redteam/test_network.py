"""One registered node of four attacks a run over a real SuperLink, f = 1: it costs its own reply."""

import numpy as np
import pytest

from tests.redteam.attacks import ATTACKS
from tests.redteam.harness import attacked

pytestmark = pytest.mark.slow
TIMEOUT = 10.0

# What a round counts of the hostile node: whether it is valid, rejected or silent.
COUNTS = {
    "answers-for-others": "n-valid",  # its own lie, which the rule outvotes
    "frames-others": "n-rejected",  # the SuperLink takes no reply that another signed for
    "announces-only": "n-silent",
    "uploads-drop-by-drop": "n-silent",
    "announces-a-tree": "n-rejected",
    "only-heartbeats": "n-silent",
    "floods": "n-rejected",
    "floods-with-metrics": "n-valid",
    "multiplies-a-chunk": "n-rejected",
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
        honest = 3 + (COUNTS[name] == "n-valid")
        assert (metrics["n-valid"], metrics["f-effective"]) == (honest, 1)
        assert metrics[COUNTS[name]] == (4 if COUNTS[name] == "n-valid" else 1)
    assert max(map(len, found.log)) < 5000
