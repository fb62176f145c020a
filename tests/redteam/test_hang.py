"""A node that takes its instructions, goes on saying that it is there, and never answers."""

import pytest

from tests.redteam.harness import attacked

pytestmark = pytest.mark.slow


def test_a_node_that_hangs_costs_a_round_its_timeout_and_no_more(tmp_path):
    took = []

    def hang(node, _):
        for asked, tree in node.asked():
            node.content(asked, tree)
            took.append(asked.metadata.group_id)

    found = attacked(hang, folder=tmp_path, rounds=3, timeout=10.0)
    assert (found.end, found.failures) == ("completed", [])
    assert len(took) >= 1  # else it did not hang but was never asked
    assert all(seconds < 10.0 + 5.0 for seconds in found.seconds)
    assert max(found.seconds) > 9.0
    metrics = found.metrics.values()
    assert all((m["n-valid"], m["n-rejected"]) == (3, 0) for m in metrics)
    assert found.metrics["1"]["n-silent"] == 1
    # Rows of 1.00, 1.01 and 1.02.
    assert found.models[-1] == pytest.approx([-3.03] * 6, abs=1e-3)
