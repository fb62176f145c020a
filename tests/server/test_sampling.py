"""Who is waited for: a fresh run for all it wants, and not for ever; later rounds for a quorum."""

import random
import time

import numpy as np
import pytest

from flwr_resam import Resam
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.server import sampling
from flwr_resam.server.loop import RunState
from flwr_resam.server.sampling import connected, sample
from flwr_resam.server.settings import Settings
from tests.support import content, record

MODEL = record(w=np.zeros(2, np.float32))


class Late(GridWrapper):
    """A grid whose nodes connect one by one, or are gone from a round on."""

    def __init__(self, grid, connected):
        super().__init__(grid)
        self._connected = connected

    def get_node_ids(self):
        return list(super().get_node_ids())[: self._connected()]


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


# ------------------------------------------------------------------ on a clock of its own


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.undo()
    found = Clock()
    monkeypatch.setattr(sampling, "time", found)
    return found


class Counting:
    """A grid of which only the number of connected nodes is asked."""

    def __init__(self, connected):
        self.connected = connected

    def get_node_ids(self):
        return range(2, 2 + self.connected())


def state(**changes):
    run = RunState.of(Settings(0))
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def test_nodes_are_looked_for_each_second_and_every_ten_seconds_it_is_said(clock, caplog):
    caplog.set_level("INFO", logger="flwr")
    settings, run = Settings(0, min_available_nodes=3, connect_timeout=25.5), state()
    with pytest.raises(TimeoutError, match=r"but 2 node\(s\) connected within 25\.5 s \(2, 3\)"):
        connected(Counting(lambda: 2), settings, run)
    assert clock.slept == [1.0] * 25 + [0.5]
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 3  # at once, after 10 and after 20 seconds
    assert set(said) == {
        'Waiting for nodes: 2 of 3 are connected (in simulation: --federation-config '
        '"num-supernodes=3")'
    }
    assert not run.met


def test_of_many_nodes_twenty_are_named_and_of_none_that_there_is_none(clock):
    settings = Settings(0, min_available_nodes=30, connect_timeout=1.0)
    names = ", ".join(map(str, range(2, 22)))
    with pytest.raises(TimeoutError, match=rf"but 25 node\(s\) .* \({names}\)\."):
        connected(Counting(lambda: 25), settings, state())
    with pytest.raises(TimeoutError, match=r"but 0 node\(s\) .* \(none\)\."):
        connected(Counting(lambda: 0), settings, state())


def test_a_first_round_begins_once_all_are_there_and_nobody_is_waited_for_again(clock):
    settings, run = Settings(0, min_available_nodes=3), state()
    grid = Counting(lambda: 3 if clock.now >= 104.0 else 1)
    assert connected(grid, settings, run) == [2, 3, 4]
    assert clock.slept == [1.0] * 4
    assert run.met
    grid.connected = lambda: 1  # a quorum, for f = 0
    assert connected(grid, settings, run) == [2]
    assert len(clock.slept) == 4


def test_the_first_round_waits_for_all_that_it_trains():
    """Who changes the settings of a strategy may ask more than there need be."""
    settings = Settings(0, min_available_nodes=3, min_train_nodes=4, connect_timeout=0.01)
    with pytest.raises(TimeoutError, match="is 4, but 3"):
        connected(Counting(lambda: 3), settings, state())


def test_a_later_round_waits_for_a_quorum_as_long_as_a_round_may_take(clock):
    settings = Settings(0, min_available_nodes=3, connect_timeout=99.0)
    assert connected(Counting(lambda: 0), settings, state(met=True, timeout=4.0)) == []
    assert sum(clock.slept) == 4.0


# ------------------------------------------------------------------ who is drawn


@pytest.mark.parametrize(
    ("nodes", "fraction", "least", "size"),
    [(10, 0.5, 2, 5), (11, 0.5, 2, 5), (10, 0.1, 3, 3), (2, 0.5, 3, 2), (10, 1.0, 3, 10)],
)
def test_as_many_are_drawn_as_fedavg_draws(nodes, fraction, least, size):
    ids = list(range(100, 100 + nodes))[::-1]
    found = sample(ids, fraction, least, seed=1, server_round=1)
    assert len(found) == size
    assert found == [node for node in ids if node in set(found)]  # in the grid's order


def test_a_seed_and_a_round_choose_and_without_a_seed_chance_does():
    def drawn(seed, number):
        return sample(list(range(50)), 0.2, 1, seed=seed, server_round=number)

    assert drawn(0, 1) == drawn(0, 1)
    assert drawn(0, 1) != drawn(0, 2)
    assert drawn(0, 1) != drawn(1, 1)
    random.seed(3)
    first = drawn(None, 1)
    assert first != drawn(None, 1)
    random.seed(3)
    assert drawn(None, 1) == first
