"""However rows lie in memory, a rule gives the same vector and leaves them as they were."""

import numpy as np
import pytest

from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.aggregators._cosines import cosine_distances
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rows.source import Segments
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Round
from tests.rules import make

N, F = 70, 12  # more rows than the networks that sort few of them take
RULES = [name for name in [*AGGREGATORS, *PREAGGREGATORS] if name != "smea"]  # too many subsets
LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every second column": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
    "segments": lambda rows: Updates([Segments([row]) for row in rows]),
}


def rule_of(name):
    made = make(name)
    return made | make("gm") if name in PREAGGREGATORS else made


def drawn(width, dtype):
    rows = np.random.default_rng(width).normal(size=(N, width)).astype(dtype)
    rows[-F:] -= 1e6
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [1, 5, (1 << 17) // N + 1])  # the last ends in a block of one column
@pytest.mark.parametrize("name", RULES)
def test_the_layout_of_the_rows_changes_nothing(name, width, layout):
    rule, rows = rule_of(name), drawn(width, np.float32)
    given = LAYOUTS[layout](rows)
    before = rows.copy()
    if isinstance(given, np.ndarray):
        given.flags.writeable = False
    at = Round(asked=tuple(range(N)), nodes=tuple(range(N)))
    found = rule.step(given, f=F, state=rule.start(), at=at).vector
    np.testing.assert_array_equal(rows, before)
    expected = rule.step(before.copy(), f=F, state=rule.start(), at=at).vector
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mda", "krum*", "gm", "cwtm"])
def test_one_coordinate_of_many_rows_is_bounded_by_honest_ones(name):
    rows = drawn(1, np.float32)
    found = make(name)(Updates([Segments([row]) for row in rows]), f=F)
    assert abs(found[0]) < np.abs(rows[:-F]).max()


def test_what_clipping_remembers_is_not_what_it_returns():
    rule = make("cc")
    rows = np.full((5, 2), 50.0)
    first = rule.step(rows, f=1, state=rule.start())
    expected = rule.step(rows, f=1, state={"vector": first.vector.copy()}).vector
    first.vector[:] = 0.0
    np.testing.assert_array_equal(rule.step(rows, f=1, state=first.state).vector, expected)


@pytest.mark.parametrize("name", ["safeguard", "foolsgold"])
def test_a_memory_of_another_model_is_refused(name):
    rule = make(name)
    kept = rule.step(drawn(5, np.float64), f=F, state=rule.start()).state
    for width in (4, 6, 1):
        with pytest.raises(ValueError, match="`state` must hold a sum of"):
            rule.step(drawn(width, np.float64), f=F, state=kept)


def test_nodes_that_are_not_the_rows_are_refused():
    with pytest.raises(ValueError, match="`at` must name the node of each row"):
        make("safeguard").step(drawn(4, np.float64), f=F, at=Round(1, (4, 1, 7)))


def test_noise_leaves_rows_at_the_end_of_the_range_finite():
    rows = np.full((9, 50), np.finfo(np.float32).max, np.float32)
    assert np.isfinite(parse_rule("flame").step(rows, f=2).vector).all()


def test_a_way_that_the_model_went_is_measured_from_a_copy():
    rule = parse_rule("byzantine-sgd(deviation=1.0, diameter=10.0, rounds=20)")
    theta = np.zeros(4)
    at = Round(1, tuple(range(N)), model=lambda: theta)
    kept = rule.step(drawn(4, np.float64), f=F, state=rule.start(), at=at).state
    theta += 1.0
    np.testing.assert_array_equal(kept["origin"], np.zeros(4))


def test_reproducible_rows_leave_the_matrix_that_they_are_of_as_it_is():
    matrix = Updates(drawn(4, np.float64))._source
    Updates(matrix, reproducible=True)
    assert not matrix.reproducible


def test_reproducible_rows_of_one_direction_are_at_no_angle():
    way = np.random.default_rng(0).normal(size=300)
    rows = np.outer([1.0, 2.0, 3.0, 5.0, 7.0], way)
    for reproducible in (False, True):
        found = cosine_distances(Updates(rows, reproducible=reproducible).geometry())
        np.testing.assert_array_equal(found, np.zeros((5, 5)))


@pytest.mark.parametrize("name", ["cwmed", "meamed"])
def test_more_rows_than_a_network_pays_for_are_sorted(name):
    rows = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    median = np.median(rows, axis=0)
    nearest = np.argsort(abs(rows - median), axis=0)[:4900]
    expected = median if name == "cwmed" else np.take_along_axis(rows, nearest, axis=0).mean(axis=0)
    np.testing.assert_allclose(make(name)(rows, f=100), expected, atol=1e-5)


@pytest.mark.parametrize("name", PREAGGREGATORS)
def test_a_pre_aggregator_takes_lists_as_a_rule_does(name):
    rows = drawn(3, np.float64)[:9].tolist()
    np.testing.assert_array_equal(make(name)(rows, f=2), make(name)(np.array(rows), f=2))
