"""Lambda: the table, the floor, and what a search finds of it."""

import math

import numpy as np
import pytest

from flwr_resam import resilience
from flwr_resam.aggregators import AGGREGATORS, MDA, Mean, Median, TrimmedMean
from flwr_resam.preaggregators import NNM
from flwr_resam.resilience import audit, largest_f, lower_bound, resilience_coefficient

PROVEN = {  # RESAM, Table 1, and Delta = min(sqrt(d), 2 sqrt(n - f))
    "mda": lambda n, f, d: 2 * f / (n - f),
    "cwtm": lambda n, f, d: f / (n - f) * min(math.sqrt(d), 2 * math.sqrt(n - f)),
    "cwmed": lambda n, f, d: n / (2 * (n - f)) * min(math.sqrt(d), 2 * math.sqrt(n - f)),
    "krum*": lambda n, f, d: 1 + math.sqrt((n - f) / (n - 2 * f)),
    "gm": lambda n, f, d: 1 + math.sqrt((n - f) ** 2 / (n * (n - 2 * f))),
    "mean": lambda n, f, d: math.inf if f else 0.0,
}


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize(("n", "f", "d"), [(8, 3, 1), (25, 5, 10**6), (3, 1, 4), (5, 0, 2)])
def test_the_table(name, n, f, d):
    assert resilience_coefficient(name, n, f, d) == pytest.approx(PROVEN[name](n, f, d))


def test_nothing_is_proven_of_chains():
    assert resilience_coefficient(NNM() | TrimmedMean(), 8, 3, 10) is None


def test_no_rule_promises_less_than_the_floor():
    for rule in PROVEN:
        for n, f in [(3, 1), (8, 3), (100, 49)]:
            assert resilience_coefficient(rule, n, f, 1) >= lower_bound(n, f)


@pytest.mark.parametrize(("n", "f"), [(2, 1), (4, 2), (5, 3), (9, 8)])
def test_no_rule_has_a_lambda_without_an_honest_majority(n, f):
    assert lower_bound(n, f) == math.inf
    assert lower_bound(2 * f + 1, f) == f / (f + 1)


def test_the_largest_f():
    assert largest_f("mda", 15) == 7
    assert largest_f("mda", 1) == 0
    assert largest_f("nnm | cwtm", 16) == 7
    assert largest_f(Mean(), 9) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="`f` must satisfy n > 2f for `mda`"):
        resilience_coefficient("mda", 4, 2, 1)
    with pytest.raises(ValueError, match="`d` must be a whole number, at least 1"):
        resilience_coefficient("mda", 4, 1, 0)
    with pytest.raises(ValueError, match="`f` must be below n"):
        lower_bound(3, 3)
    with pytest.raises(ValueError, match="`n` must be a whole number"):
        largest_f("mda", 0)
    with pytest.raises(ValueError, match="`trials` must be"):
        audit("mda", 3, 1, trials=0)
    with pytest.raises(ValueError, match="`d` must be at most 1e8 / n"):
        audit("mda", 8, 3, 10**13)


@pytest.mark.parametrize(
    ("rule", "least", "most"),
    [
        (MDA(), 1.19, 1.2),
        (TrimmedMean(), 0.599, 0.6),
        (Median(), 0.599, 0.8),
    ],
)
def test_a_search_comes_near_what_is_proven(rule, least, most):
    found = audit(rule, 8, 3, 1, trials=1600)
    assert least <= found.ratio <= most * (1 + 1e-6)


def test_what_a_search_finds_is_what_the_rule_does():
    found = audit("krum*", 5, 2, 2, trials=300, seed=1)
    honest = found.rows[list(found.honest)]
    off = np.linalg.norm(AGGREGATORS["krum*"]()(found.rows, f=2) - honest.mean(axis=0))
    diameter = np.linalg.norm(honest[:, None] - honest[None, :], axis=2).max()
    assert len(honest) == 3
    assert found.ratio == pytest.approx(off / diameter)
    again = audit("krum*", 5, 2, 2, trials=300, seed=1)
    assert again.ratio == found.ratio
    np.testing.assert_array_equal(again.rows, found.rows)


def test_each_trial_is_told():
    told = []
    audit("mda", 5, 2, trials=400, on_trial=lambda: told.append(1))
    assert len(told) == 400


def test_without_a_guarantee_a_search_finds_none():
    assert audit("mean", 5, 1, 1, trials=800).ratio > 10


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
    moved = resilience._move(ROWS, 2, 0.5, Scripted(0.9, 0.9, 0.1))
    np.testing.assert_array_equal(moved - ROWS, [[0.5 * 2.0], [0.0], [0.0], [0.0], [0.0]])


def test_the_byzantine_rows_move_together():
    moved = resilience._move(ROWS, 2, 0.5, Scripted(0.1, 0.9, 0.1))
    np.testing.assert_array_equal((moved - ROWS).ravel(), [0.0, 0.0, 0.0, 1.0, 2.0])
    moved = resilience._move(ROWS, 2, 0.5, Scripted(0.1, 0.9, 0.9))
    np.testing.assert_array_equal((moved - ROWS).ravel(), [0.0, 0.0, 0.0, 1.0, 1.0])
    moved = resilience._move(ROWS, 2, 0.5, Scripted(0.1, 0.1))  # onto row 1
    np.testing.assert_array_equal(moved.ravel(), [0.0, 2.0, 1.0, 2.0, 2.0])


def test_rows_that_agree_are_moved_apart():
    rows = np.ones((5, 1))
    moved = resilience._move(rows, 2, 0.5, Scripted(0.9, 0.9, 0.1))
    assert moved[0, 0] == 1.5


def test_one_to_four_rows_move_at_a_time():
    rows = np.random.default_rng(0).standard_normal((6, 2))
    generator = np.random.default_rng(1)
    moved = [resilience._move(rows, 0, 1.0, generator) != rows for _ in range(200)]
    assert {int(each.any(axis=1).sum()) for each in moved} >= {1, 2, 3, 4}
    assert max(int(each.any(axis=1).sum()) for each in moved) == 4


@pytest.mark.parametrize(("trials", "starts"), [(1, 1), (399, 1), (400, 2), (4000, 20), (9000, 20)])
def test_a_search_starts_every_two_hundred_trials_at_most_twenty_times(trials, starts, monkeypatch):
    begun, sizes = [], []
    start = resilience._start
    monkeypatch.setattr(resilience, "_start", lambda *given: begun.append(1) or start(*given))
    monkeypatch.setattr(
        resilience, "_move", lambda rows, f, size, generator: sizes.append(size) or rows
    )
    audit("mean", 3, 0, trials=trials)
    assert len(begun) == starts
    each = trials // starts
    assert len(sizes) == each * starts
    assert sizes[:each] == pytest.approx([10 ** (-6 * t / each) for t in range(each)])


@pytest.mark.parametrize("n", [True, 2.5, 0, "3"])
def test_what_is_no_number_of_rows_is_refused(n):
    with pytest.raises(ValueError, match="`n` must be a whole number, at least 1"):
        largest_f("mda", n)


def test_a_start_may_have_honest_rows_on_two_points_and_no_other_row_there():
    starts = [resilience._start((7, 2), 3, np.random.default_rng(seed)) for seed in range(40)]
    honest, others = (
        [{tuple(row) for row in start[part]} for start in starts]
        for part in (slice(4), slice(4, None))
    )
    assert {len(points) for points in honest} >= {2, 4}
    assert not any(points & away for points, away in zip(honest, others, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(AGGREGATORS))
@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 1), (5, 2), (7, 3), (8, 3)])
@pytest.mark.parametrize("d", [1, 3])
def test_no_search_exceeds_what_is_proven(name, n, f, d):
    try:
        rule = AGGREGATORS[name]()
    except TypeError:
        pytest.skip("needs arguments")
    if not rule.admits(n, f):
        pytest.skip(f"needs {rule.need}")
    proven = resilience_coefficient(rule, n, f, d)
    if proven is None or proven == math.inf:
        pytest.skip("nothing is proven")
    assert audit(rule, n, f, d, trials=400).ratio <= proven * (1 + 1e-6)
