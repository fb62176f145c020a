"""Lambda: the table, the floor, and what a search finds of it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS, MDA, Mean, Median, TrimmedMean
from flwr_resam.criteria import kappa_from_lambda, lambda_from_kappa
from flwr_resam.preaggregators import NNM
from flwr_resam.resilience import audit, largest_f, lower_bound, resilience_coefficient
from flwr_resam.rule import CoordinateRule
from tests.rules import make

PUBLISHED = {  # RESAM, Table 1, and Delta = min(sqrt(d), 2 sqrt(n - f))
    "mda": lambda n, f, d: 2 * f / (n - f),
    "cwtm": lambda n, f, d: f / (n - f) * min(math.sqrt(d), 2 * math.sqrt(n - f)),
    "cwmed": lambda n, f, d: n / (2 * (n - f)) * min(math.sqrt(d), 2 * math.sqrt(n - f)),
    "meamed": lambda n, f, d: 2 * f / (n - f) * min(math.sqrt(d), 2 * math.sqrt(n - f)),
    "krum*": lambda n, f, d: 1 + math.sqrt((n - f) / (n - 2 * f)),
    "gm": lambda n, f, d: 1 + math.sqrt((n - f) ** 2 / (n * (n - 2 * f))),
    "mean": lambda n, f, d: math.inf if f else 0.0,
}
KAPPA = {  # Allouah et al., 2023, by r = f / (n - 2f)
    "cwtm": lambda r: 6 * r * (1 + r),
    "krum*": lambda r: 6 * (1 + r),
    "gm": lambda r: 4 * (1 + r) ** 2,
    "cwmed": lambda r: 4 * (1 + r) ** 2,
}
SIZES = [(8, 3, 1), (25, 5, 10**6), (3, 1, 4), (5, 0, 2), (15, 7, 10), (41, 20, 60), (100, 1, 9)]


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("n", "f", "d"), SIZES)
def test_what_is_proven_here_is_never_more_than_what_is_published(name, n, f, d):
    found = resilience_coefficient(name, n, f, d)
    assert found <= PUBLISHED[name](n, f, d) * (1 + 1e-12)
    if name in {"mda", "mean"} or (name == "cwtm" and d == 1):
        assert found == pytest.approx(PUBLISHED[name](n, f, d))


@pytest.mark.parametrize("name", KAPPA)
@pytest.mark.parametrize(("n", "f", "d"), SIZES)
def test_kappa_is_never_more_than_what_is_published(name, n, f, d):
    found = resilience_coefficient(name, n, f, d, "kappa")
    assert found <= KAPPA[name](f / (n - 2 * f)) + 1e-12


@pytest.mark.parametrize(("n", "f", "d"), SIZES)
def test_kappa_in_numbers(n, f, d):
    r = f / (n - 2 * f)
    expected = {
        "cwtm": r, "phocas": 4 * r, "smea": 4 * r, "gm": 1 + 2 * r,
        "cwmed": (math.ceil(n / 2) - 1) / (n // 2 + 1 - f),
        "krum*": (math.sqrt(2 + 2 * r) + math.sqrt(r)) ** 2,
        "caf": r * (2 * math.sqrt(1 + r) + math.sqrt(3)) ** 2,
        "mda": (f * math.sqrt(2 / (n - f)) + math.sqrt(r)) ** 2,
        "mean": math.inf if f else 0.0,
    }
    expected["meamed"] = 4 * f / (n - f) * (1 + expected["cwmed"])
    expected["nnm | cwtm"] = 8 * f / (n - f) * (1 + r)
    for name, value in expected.items():
        if parse_rule(name).admits(n, f):
            assert resilience_coefficient(name, n, f, d, "kappa") == pytest.approx(value), name


def test_lambda_in_numbers():
    found = {
        name: round(resilience_coefficient(name, 25, 5, 10**6), 3)
        for name in ("cwtm", "krum", "multikrum", "sever", "smea", "gm", "caf", "nnm | cwtm")
    }
    assert found == {
        "cwtm": 0.398, "krum": 1.585, "multikrum": 0.832, "sever": 0.613, "smea": 0.577,
        "gm": 0.89, "caf": 1.167, "nnm | cwtm": 0.699,
    }


@pytest.mark.parametrize(("n", "f"), [(7, 2), (15, 5), (25, 11), (100, 10)])
def test_krum_and_nnm_are_within_the_simpler_formulas(n, f):
    simple = 1 + math.sqrt((n - f - 2) / (n - 2 * f - 1))
    krum = resilience_coefficient("krum", n, f, 10)
    assert resilience_coefficient("multikrum", n, f, 10) <= krum <= simple
    assert resilience_coefficient("multikrum(m=1)", n, f, 10) == krum
    for name in ("cwtm", "gm", "krum", "mda"):
        alone = resilience_coefficient(name, n, f, 10)
        behind = resilience_coefficient(f"nnm | {name}", n, f, 10)
        assert behind <= 2 * f / (n - f) * (1 + alone) + 1e-12
        assert behind <= 2 * f / (n - f) * (1 + 2 * alone)


def test_a_kappa_says_a_lambda_and_the_other_way_round():
    assert lambda_from_kappa(2.0, 10, 0) == pytest.approx(math.sqrt(0.9))
    assert kappa_from_lambda(0.5, 10, 2) == 4.0
    # Of rows equally far apart and of one row apart these are the exact values.
    for rows in (np.eye(6), np.eye(6)[:1] * np.ones((2, 1))):
        rows = np.concatenate([rows, np.zeros((6 - len(rows), 6))])
        off = rows - rows.mean(axis=0)
        spread = (off**2).sum() / 6
        diameter = np.linalg.norm(rows[:, None] - rows[None], axis=2).max()
        assert spread <= 5 / 12 * diameter**2 * (1 + 1e-12)
        assert diameter**2 <= 12 * spread * (1 + 1e-12)


def test_of_a_chain_that_is_one_bound_only_where_each_stage_has_one():
    assert resilience_coefficient(NNM() | TrimmedMean(), 8, 3, 1) == pytest.approx(1.2 * 1.6)
    twice = resilience_coefficient("nnm | nnm | cwtm", 8, 3, 1)
    assert twice == pytest.approx(1.2 * (1 + 1.2 * 1.6))
    for chain in ("bucketing | gm", "nnm | arc | gm", "nnm | bulyan", "nnm | mean", "nnm | cge"):
        for criterion in ("lambda", "kappa"):
            assert resilience_coefficient(chain, 9, 1, 1, criterion) is None


def test_a_rule_of_ones_own_has_the_kappa_that_its_lambda_says():
    class Own(Mean):
        def coefficient(self, n, f, d):
            return 0.5

    assert Own().kappa(10, 2, 1) == 4.0
    assert AGGREGATORS["rge"]().kappa(10, 2, 1) is None


def test_no_rule_promises_less_than_the_floor():
    for rule in AGGREGATORS:
        for n, f in [(3, 1), (8, 3), (11, 2), (100, 49)]:
            if not make(rule).admits(n, f):
                continue
            for criterion in ("lambda", "kappa"):
                found = resilience_coefficient(make(rule), n, f, 1, criterion)
                assert found is None or found >= lower_bound(n, f, criterion)


def test_no_rule_has_less_than_the_least_kappa():
    """f ones and n - f zeros: where the zeros are honest the answer is 0, and then the ones may be."""
    n, f = 8, 3
    rows = np.array([0.0] * (n - f) + [1.0] * f)
    honest = rows[f:]
    spread = ((honest - honest.mean()) ** 2).mean()
    assert honest.mean() ** 2 / spread == pytest.approx(lower_bound(n, f, "kappa")) == 1.5


@pytest.mark.parametrize(("n", "f"), [(2, 1), (4, 2), (5, 3), (9, 8)])
def test_no_rule_has_a_lambda_without_an_honest_majority(n, f):
    assert lower_bound(n, f) == lower_bound(n, f, "kappa") == math.inf
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
    with pytest.raises(ValueError, match="`criterion` must be `lambda` or `kappa`"):
        audit("mda", 8, 3, criterion="mu")


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
    assert found.rows.shape == (5, 2)
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
    assert audit("mean", 5, 1, 1, trials=800, criterion="kappa").ratio > 100


@pytest.mark.parametrize("criterion", ["lambda", "kappa"])
def test_a_vector_that_is_not_finite_is_as_bad_as_can_be(criterion):
    @dataclass(frozen=True)
    class Loses(CoordinateRule):
        value: float
        name: ClassVar[str] = "loses"

        def columns(self, block, f):
            return np.where(block.max(axis=0) > 5.0, self.value, block[0])

    for value in (math.nan, math.inf):
        assert audit(Loses(value), 5, 1, 2, trials=300, criterion=criterion).ratio == math.inf


def test_what_a_search_finds_for_kappa_is_what_the_rule_does():
    found = audit("krum*", 5, 2, trials=300, criterion="kappa")
    assert found.rows.shape == (5, 5)
    honest = found.rows[list(found.honest)]
    mean = honest.mean(axis=0)
    off = ((AGGREGATORS["krum*"]()(found.rows, f=2) - mean) ** 2).sum()
    assert found.ratio == pytest.approx(off / ((honest - mean) ** 2).sum(axis=1).mean())


STRUCTURED = [  # what rows of a structure reach, found with a search of their own
    ("cwtm", 15, 7, 10, 1.64), ("meamed", 15, 7, 10, 3.03), ("krum*", 15, 7, 10, 3.30),
    ("cwtm", 30, 1, 40, 0.131), ("cwtm", 41, 20, 60, 3.02), ("krum*", 41, 20, 60, 5.13),
    ("phocas", 15, 3, 12, 0.63),
]


def reaches(rule, n, f, d, least):
    found = audit(rule, n, f, d).ratio
    assert 0.9 * least <= found <= resilience_coefficient(rule, n, f, d) * (1 + 1e-6)


@pytest.mark.parametrize(("rule", "n", "f", "d", "least"), [STRUCTURED[2], STRUCTURED[6]])
def test_a_search_finds_what_structure_finds(rule, n, f, d, least):
    reaches(rule, n, f, d, least)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "n", "f", "d", "least"), STRUCTURED)
def test_a_search_finds_what_structure_finds_in_every_case(rule, n, f, d, least):
    reaches(rule, n, f, d, least)


@pytest.mark.parametrize("rule", ["cwtm", "cwmed", "phocas", "gm"])
def test_a_search_comes_to_the_exact_kappa(rule):
    found = audit(rule, 8, 3, trials=2000, criterion="kappa").ratio
    assert found == pytest.approx(resilience_coefficient(rule, 8, 3, 8, "kappa"), rel=0.01)


@pytest.mark.parametrize(("n", "f"), [(15, 5), (15, 6), (15, 7), (25, 11)])
@pytest.mark.parametrize("before", ["", "nnm | "])
def test_liars_at_two_scales_bend_sever_where_a_pass_drops_several(n, f, before):
    honest = np.linspace(-0.5, 0.5, n - f)
    rows = np.concatenate([honest, np.full(f - 1, 1e5), [1e7]])[:, None]
    one = parse_rule(f"{before}sever")
    assert abs(one(rows, f=f)[0]) <= resilience_coefficient(one, n, f, 1)
    assert abs(parse_rule(f"{before}sever(rounds=4)")(rows, f=f)[0]) > 1e3
    assert resilience_coefficient("sever(rounds=4)", n, f, 1) == math.inf
    assert resilience_coefficient("sever(rounds=4)", n, f, 1, "kappa") == math.inf
    assert resilience_coefficient("sever(rounds=9)", 25, 9, 1) < math.inf


@pytest.mark.parametrize("n", [True, 2.5, 0, "3"])
def test_what_is_no_number_of_rows_is_refused(n):
    with pytest.raises(ValueError, match="`n` must be a whole number, at least 1"):
        largest_f("mda", n)


CHAINS = ["nnm | cwtm", "nnm | krum*", "nnm | gm", "nnm | sever", "nnm | nnm | cwmed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(AGGREGATORS), "multikrum(m=2)", *CHAINS])
@pytest.mark.parametrize(
    ("n", "f", "d"), [(3, 1, 1), (5, 2, 1), (7, 2, 7), (8, 3, 8), (12, 2, 12)],
)
@pytest.mark.parametrize("criterion", ["lambda", "kappa"])
def test_no_search_exceeds_what_is_proven(name, n, f, d, criterion):
    rule = make(name) if name in AGGREGATORS else parse_rule(name)
    if not rule.admits(n, f):
        pytest.skip(f"needs {rule.need}")
    proven = resilience_coefficient(rule, n, f, d, criterion)
    if proven is None or proven == math.inf:
        pytest.skip("nothing is proven")
    assert audit(rule, n, f, d, trials=500, criterion=criterion).ratio <= proven * (1 + 1e-6)
