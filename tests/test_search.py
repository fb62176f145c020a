"""The search for the worst rows: its moves, its climbs, the shapes that it begins with."""

from itertools import pairwise

import numpy as np
import pytest

from flwr_resam import search, starts
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.resilience import audit


class Scripted:
    """A generator that draws what it is told."""

    def __init__(self, *fractions, rows=(0,)):
        self._fractions = list(fractions)
        self._rows = list(rows)

    def random(self):
        return self._fractions.pop(0)

    def integers(self, *limits):
        return 1

    def choice(self, *_, **options):
        return np.array(self._rows)

    def standard_normal(self, shape):
        return np.arange(1.0, 1 + np.prod(shape)).reshape(shape)


ROWS = np.array([[0.0], [2.0], [1.0], [50.0], [70.0]])  # the last two Byzantine


def test_a_move_is_as_large_as_the_honest_rows_are_wide():
    moved = search.move(ROWS, 2, 0.5, Scripted(0.9, 0.9, 0.1))
    np.testing.assert_array_equal(moved - ROWS, [[0.5 * 2.0], [0.0], [0.0], [0.0], [0.0]])


def test_the_byzantine_rows_move_together():
    moved = search.move(ROWS, 2, 0.5, Scripted(0.1, 0.9, 0.1))
    np.testing.assert_array_equal((moved - ROWS).ravel(), [0.0, 0.0, 0.0, 1.0, 2.0])
    moved = search.move(ROWS, 2, 0.5, Scripted(0.1, 0.9, 0.9))
    np.testing.assert_array_equal((moved - ROWS).ravel(), [0.0, 0.0, 0.0, 1.0, 1.0])
    moved = search.move(ROWS, 2, 0.5, Scripted(0.1, 0.1))  # onto row 1
    np.testing.assert_array_equal(moved.ravel(), [0.0, 2.0, 1.0, 2.0, 2.0])


def test_rows_that_agree_are_moved_apart():
    rows = np.ones((5, 1))
    moved = search.move(rows, 2, 0.5, Scripted(0.9, 0.9, 0.1))
    assert moved[0, 0] == 1.5


def test_one_to_four_rows_move_at_a_time():
    rows = np.random.default_rng(0).standard_normal((6, 2))
    generator = np.random.default_rng(1)
    moved = [search.move(rows, 0, 1.0, generator) != rows for _ in range(200)]
    assert {int(each.any(axis=1).sum()) for each in moved} >= {1, 2, 3, 4}
    assert max(int(each.any(axis=1).sum()) for each in moved) == 4


def climbs(trials, monkeypatch, rule="mean", f=0):
    """The sizes of the moves of each climb, and how often the rule was evaluated."""
    sizes, told = [], []
    monkeypatch.setattr(
        search, "move", lambda rows, f, size, generator: sizes.append(size) or rows
    )
    audit(rule, 7, f, 2, trials=trials, on_trial=lambda: told.append(1))
    begins = [i for i, size in enumerate(sizes) if size == 1.0] + [len(sizes)]
    return [sizes[a:b] for a, b in pairwise(begins)], len(told)


@pytest.mark.parametrize(("trials", "count"), [(1, 0), (399, 1), (400, 2), (4000, 20), (9001, 20)])
def test_a_search_climbs_once_in_two_hundred_trials_at_most_twenty_times(
    trials, count, monkeypatch
):
    found, told = climbs(trials, monkeypatch)
    assert (len(found), told) == (count, trials)
    for sizes in found:
        steps = len(sizes) + 1
        assert sizes == pytest.approx([10 ** (-6 * t / steps) for t in range(steps - 1)])


def test_half_of_the_trials_go_to_rows_of_a_structure(monkeypatch):
    found, told = climbs(4000, monkeypatch, "cwtm", 2)
    assert told == 4000
    assert 2000 <= sum(len(sizes) + 1 for sizes in found) < 4000
    assert climbs(30, monkeypatch, "cwtm", 2)[1] == 30


def test_a_start_may_have_honest_rows_on_two_points_and_no_other_row_there():
    starts = [search.random_rows((7, 2), 3, np.random.default_rng(seed)) for seed in range(40)]
    honest, others = (
        [{tuple(row) for row in start[part]} for start in starts]
        for part in (slice(4), slice(4, None))
    )
    assert {len(points) for points in honest} >= {2, 4}
    assert not any(points & away for points, away in zip(honest, others, strict=True))


def test_a_length_is_sought_up_to_where_the_rule_gives_up():
    """Two liars at distance 2 of one honest row score 4, as honest rows do."""
    family = starts.Family(
        starts.simplex(3, 3), lambda length: np.tile([1.0 + length, 0.0, 0.0], (2, 1)),
        (0.0, 1.0, 5.0),
    )
    rule = AGGREGATORS["krum*"]()

    def ratio(vector, honest):
        return float(np.linalg.norm(vector - honest.mean(axis=0)))

    counted = search._Rule(rule, 2, ratio, 100, lambda: None)
    reached, rows = search._along(counted, family)
    assert counted.left == 100 - 3 - search._HALVINGS
    assert 1.99 < rows[3, 0] - 1.0 < 2.0
    assert reached == np.linalg.norm(rows[3] - rows[:3].mean(axis=0))


@pytest.mark.parametrize(("h", "d", "ones"), [(12, 12, 3), (8, 10, 4), (21, 60, 9), (5, 1, 2)])
def test_columns_of_a_code_have_their_ones_and_rows_nearly_one_distance(h, d, ones, monkeypatch):
    def distances():
        rows = starts.code(h, d, ones, np.random.default_rng(0))
        assert set(np.unique(rows)) == {0.0, 1.0}
        np.testing.assert_array_equal(rows.sum(axis=0), ones)
        return (rows[:, None] != rows[None]).sum(axis=2)[~np.eye(h, dtype=bool)]

    apart = distances()
    assert apart.mean() == pytest.approx(2 * d * ones * (h - ones) / (h * (h - 1)))
    if d >= h:
        monkeypatch.setattr(starts, "_SWAPS", 0)
        assert apart.std() < 0.6 * distances().std()


def test_families_have_all_rows_and_liars_that_one_length_places():
    for n, f, d in [(3, 1, 1), (5, 2, 3), (9, 4, 2), (8, 1, 8), (2, 0, 2)]:
        found = list(starts.families(n, f, d, np.random.default_rng(0)))
        assert found
        for family in found:
            rows = family.rows(1.5)
            assert rows.shape == (n, d)
            assert np.isfinite(rows).all()
            np.testing.assert_array_equal(rows[: n - f], family.honest)
            assert list(family.lengths) == sorted(family.lengths)
            if f > 0:
                assert (family.rows(0.3)[n - f :] != rows[n - f :]).any()
