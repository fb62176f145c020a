"""The top direction of many rows, by some products with their table, is that of the decomposition."""

from itertools import product

import numpy as np
import pytest

from flwr_resam.aggregators import CAF, Sever, _spectrum
from flwr_resam.aggregators._spectrum import Directions, centred, top_direction

N = 600


def rows_of(kind):
    rows = np.random.default_rng(0).standard_normal((N, 900))
    if kind == "one way":
        rows[:100] += 0.5
    elif kind == "giants":
        rows[:50] *= 10.0 ** np.linspace(1, 30, 50)[:, None]
    elif kind == "few dimensions":
        rows[:, 3:] = 0.0
    elif kind == "two ways alike":
        rows[:60, 0] += 30.0
        rows[60:120, 1] += 30.0
    return rows


KINDS = ["all ways", "one way", "giants", "few dimensions", "two ways alike"]


@pytest.fixture
def decomposed(monkeypatch):
    """Run something as for few rows."""

    def run(action):
        with monkeypatch.context() as patch:
            patch.setattr(_spectrum, "_FEW", 10**9)
            return action()

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_that_of_the_decomposition_whatever_the_weights(kind):
    rows = rows_of(kind)
    gram = rows @ rows.T
    directions, draw = Directions(gram), np.random.default_rng(1)
    for _ in range(4):  # each found from the last
        weights = draw.uniform(size=N) * (draw.uniform(size=N) > 0.2)
        value, projections = directions.top(weights)
        there = np.flatnonzero(weights)
        own = weights[there]
        expected, other = top_direction(centred(gram[np.ix_(there, there)], own), own)
        assert value == pytest.approx(expected, rel=1e-6)
        # Nearly as long a direction is as good; the variance along it says so.
        assert own @ projections[there] ** 2 == pytest.approx(expected, rel=1e-5)
        if kind == "one way":
            np.testing.assert_allclose(abs(projections[there]), abs(other), rtol=1e-4, atol=1e-4)


def test_a_direction_across_the_last_one_is_seen():
    """Whoever stood out last is gone, and nobody else has anything in that direction."""
    rows = np.zeros((N, 3))
    rows[:, 2] = np.random.default_rng(2).standard_normal(N)
    rows[0] = [1e6, 0.0, 0.0]
    rows[1] = [0.0, 1e3, 0.0]
    directions, weights = Directions(rows @ rows.T), np.ones(N)
    for expected in (0, 1):
        _, projections = directions.top(weights)
        assert np.argmax(abs(projections)) == expected
        weights[expected] = 0.0
    value, _ = directions.top(weights)
    assert value == pytest.approx(np.var(rows[2:, 2]) * (N - 2), rel=1e-9)


def test_rows_that_coincide_have_no_direction():
    value, projections = Directions(np.zeros((N, N))).top(np.ones(N))
    assert value == 0.0
    assert not projections.any()


@pytest.mark.parametrize(
    ("kind", "rule"),
    # Beside giants what others measure along their direction is noise: one goes at a time.
    [("giants", Sever()), *product(["one way", "two ways alike"], [Sever(), Sever(rounds=4), CAF()])],
)
def test_rules_come_to_the_same(kind, rule, decomposed):
    rows = rows_of(kind)[:, :300]
    found = rule(rows, f=60)
    expected = decomposed(lambda: rule(rows, f=60))
    spread = np.linalg.norm(rows[60:].std(axis=0))
    assert np.linalg.norm(found - expected) <= 1e-4 * spread


def test_where_it_takes_long_the_rows_are_decomposed(monkeypatch):
    monkeypatch.setattr(_spectrum, "_STEPS", 10)
    rows = rows_of("all ways")
    value, _ = Directions(rows @ rows.T).top(np.ones(N))
    expected, _ = top_direction(centred(rows @ rows.T))
    assert value == pytest.approx(expected, rel=1e-12)
