"""Who is waited for: a fresh run for all it wants, and not for ever; later rounds for a quorum."""

import time

import numpy as np
import pytest

from flwr_resam import Resam
from flwr_resam.server import sampling
from tests.support import content, record

MODEL = record(w=np.zeros(2, np.float32))


class Late:
    """A grid whose nodes connect one by one, or are gone from a round on."""

    def __init__(self, grid, connected):
        self._grid, self._connected = grid, connected

    def __getattr__(self, name):
        return getattr(self._grid, name)

    def get_node_ids(self):
        return list(self._grid.get_node_ids())[: self._connected()]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sampling, "_POLL", 0.01)


def grid_of(federation, connected, n=7):
    def reply(message, i):
        return content(record(w=np.ones(2, np.float32)), key="momentum")

    return Late(federation(reply, n), connected)


def test_the_first_wait_ends_and_says_who_is_there_and_what_to_do(federation):
    strategy = Resam(2, min_available_nodes=7, connect_timeout=0.2, fraction_evaluate=0.0)
    with pytest.raises(TimeoutError) as caught:
        strategy.start(grid_of(federation, lambda: 3), MODEL, num_rounds=1)
    said = str(caught.value)
    assert said.startswith(
        "`min_available_nodes` is 7, but 3 node(s) connected within 0.2 s (2, 3, 4). "
    )
    assert '--federation-config "num-supernodes=7"' in said
    assert "raise `connect_timeout`" in said


def test_nodes_that_connect_in_time_are_waited_for(federation):
    began = time.monotonic()
    grid = grid_of(federation, lambda: 7 if time.monotonic() > began + 0.1 else 3)
    strategy = Resam(2, min_available_nodes=7, fraction_evaluate=0.0)
    result = strategy.start(grid, MODEL, num_rounds=1)
    assert result.train_metrics_clientapp[1]["n-valid"] == 7


def test_a_resumed_run_waits_for_the_least_quorum_only(federation, tmp_path):
    """A node died, and the server starts again: n = 7, f = 2, and five are a quorum."""
    def start(connected, **changes):
        strategy = Resam(
            2, min_available_nodes=7, fraction_evaluate=0.0, output_dir=tmp_path,
            checkpoint_every=1, connect_timeout=0.2, timeout=60.0,
        )
        return strategy.start(grid_of(federation, lambda: connected), MODEL, **changes)

    start(7, num_rounds=1)
    began = time.monotonic()
    result = start(6, num_rounds=2, resume=True)
    assert time.monotonic() - began < 10.0
    metrics = result.train_metrics_clientapp[2]
    assert (metrics["n-valid"], metrics["n-silent"], metrics["f-effective"]) == (6, 1, 2)
