"""Lambda and kappa against rows that are listed or drawn, for every S: whatever is proven holds.

The searches that try harder are in tests/test_resilience.py.
"""

import math
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS
from tests.rules import make

CHAINS = ["nnm | cwtm", "nnm | krum*", "nnm | multikrum", "nnm | gm", "nnm | sever", "nnm | nnm | cwmed"]
OTHERS = [*CHAINS, "multikrum(m=1)", "multikrum(m=2)", "sever(rounds=5)"]


def rule_of(name):
    return make(name) if name in AGGREGATORS else parse_rule(name)


def proven(n, f, d):
    """The rules that admit n and f, with what is proven of them."""
    for name in [*AGGREGATORS, *OTHERS]:
        rule = rule_of(name)
        if rule.admits(n, f) and rule.kappa(n, f, d) not in {None, math.inf}:
            yield name, rule, rule.coefficient(n, f, d), rule.kappa(n, f, d)


def worst(rule, rows, f):
    """The largest ratios of both criteria over all S."""
    n = len(rows)
    vector = rule(rows, f=f)
    sets = rows[np.array(list(combinations(range(n), n - f)))]
    means = sets.mean(axis=1, keepdims=True)
    errors = ((vector - means[:, 0]) ** 2).sum(axis=1)
    spreads = ((sets - means) ** 2).sum(axis=(1, 2)) / (n - f)
    diameters = ((sets[:, :, None] - sets[:, None]) ** 2).sum(axis=3).max(axis=(1, 2))
    same = diameters == 0.0
    assert (errors[same] <= 1e-12 * (1.0 + (rows**2).max())).all()
    if same.all():
        return 0.0, 0.0
    ratios = (errors / np.where(same, 1.0, diameters))[~same]
    return math.sqrt(ratios.max()), float((errors[~same] / spreads[~same]).max())


@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 1), (5, 2), (7, 2)])
def test_of_all_rows_on_a_grid_none_breaks_a_bound(n, f):
    values = (0.0, 1.0, 2.0, 5.0) if n < 7 else (0.0, 1.0, 3.0)
    order = np.random.default_rng(0)
    rows = [
        order.permutation(row)[:, None] for row in combinations_with_replacement(values, n)
    ]
    for name, rule, value, kappa in proven(n, f, 1):
        found = np.array([worst(rule, row, f) for row in rows]).max(axis=0)
        assert (found <= np.array([value, kappa]) * (1 + 1e-7)).all(), (name, found, value, kappa)
        if (n, f) == (3, 1) and name in {"mda", "cwtm", "cwmed", "meamed", "phocas", "smea", "sever"}:
            assert found == pytest.approx([value, kappa]), name  # they are exact


@settings(max_examples=60)
@given(data=st.data())
def test_of_rows_of_small_numbers_none_breaks_a_bound(data):
    n, f = data.draw(st.sampled_from([(4, 1), (5, 1), (5, 2), (7, 2), (7, 3)]))
    d = data.draw(st.integers(1, 4))
    numbers = st.integers(-3, 3) | st.sampled_from([-40, 17, 1000])
    row = st.lists(numbers, min_size=d, max_size=d)
    rows = np.array(data.draw(st.lists(row, min_size=n, max_size=n)), dtype=float)
    for name, rule, value, kappa in proven(n, f, d):
        found = worst(rule, rows, f)
        assert found[0] <= value * (1 + 1e-6) + 1e-9, name
        assert found[1] <= kappa * (1 + 1e-6) + 1e-9, name


@pytest.mark.parametrize(("n", "f", "rounds"), [(5, 2, 1), (9, 4, 2), (15, 7, 4), (9, 4, 3)])
def test_a_pass_of_sever_that_drops_several_leaves_liars_however_far(n, f, rounds):
    for far in (1e3, 1e5):
        rows = np.array([0.0, *np.ones(n - f - 1), *np.full(f - 1, far), far**2])[:, None]
        assert parse_rule(f"sever(rounds={rounds})")(rows, f=f)[0] >= far / (n - f)
        assert parse_rule("sever")(rows, f=f)[0] <= 1.0
