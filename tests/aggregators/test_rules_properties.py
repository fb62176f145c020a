"""Every registry entry has every property, but for the exceptions that `EXCEPTIONS` lists."""

import sys
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import pytest
import torch  # noqa: F401  so that the property of that name is tried

from flwr_resam.aggregators import AGGREGATORS, Mean, Median
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rule import Aggregate, Aggregator, Round
from flwr_resam.testing import (
    PREAGGREGATOR_PROPERTIES,
    RULE_PROPERTIES,
    PropertyError,
    check_rule,
)
from flwr_resam.testing.rules import check_bound
from tests.rules import cases, draw, make, smallest

EXCEPTIONS = {
    ("gmom", "permutation"): "groups are runs of neighbouring rows",
    ("monna", "permutation"): "the trusted row is given by its place",
    ("cge", "translation"): "norms are taken about the origin",
    ("cc", "translation"): "the first round starts at the origin",
    ("cc", "scale"): "the radius is a length",
    ("cc", "identical"): "steps are clipped to the radius",
    ("byzantine-sgd", "scale"): "the deviation is a length",
    ("signmajority", "translation"): "signs are taken about the origin",
    ("signmajority", "scale"): "signs have no size",
    ("signmajority", "identical"): "signs have no size",
    ("mean", "bounded"): "one row moves it anywhere",
    ("dnc", "bounded"): "several rows go at once, so that a far one hides a near one",
    ("fltrust", "permutation"): "the trusted row is given by its place",
    ("fltrust", "translation"): "angles are taken about the origin",
    ("flame", "translation"): "angles and norms are taken about the origin",
    ("foolsgold", "translation"): "angles are taken about the origin",
    ("foolsgold", "identical"): "whoever sends what others send counts nothing",
    ("foolsgold", "bounded"): "a liar that no other resembles counts fully",
    ("signguard", "translation"): "signs and norms are taken about the origin",
    ("bucketing", "permutation"): "the shuffle is drawn, not taken from the rows",
    ("arc", "translation"): "norms are taken about the origin",
    ("clipping", "translation"): "norms are taken about the origin",
    ("clipping", "scale"): "the radius is a length",
    ("clipping", "identical"): "rows are clipped to the radius",
}

TIES = {
    "mda": "several subsets have the least diameter where one far pair sets it",
    "bulyan": "of the last few rows some are each other's nearest",
    "krum*": "of three rows the two nearest have equal scores",
    "byzantine-sgd": "of three rows the two nearest are both the median point",
    "safeguard": "of three rows the two nearest are both the median point",
}
"""Ties that no noise breaks, and that the order of rows does: small n only, but for mda."""

ALL_CASES = cases()


def the(claim, entries=ALL_CASES):
    """The cases of all rules but those that an exception or a tie names."""
    kept = [case for case in entries if (case[0], claim) not in EXCEPTIONS]
    if claim == "permutation" and entries is ALL_CASES:
        tied = {case for case in kept if case[0] in TIES and case[2] > 0}
        kept = [c for c in kept if c not in tied or (c[1] > 3 and c[0] not in {"mda", "bulyan"})]
    return kept


def test_exceptions_name_rules_and_properties_that_there_are():
    known = {"permutation", "translation", "scale", "identical", "bounded"}
    for (name, claim), reason in EXCEPTIONS.items():
        assert name in {**AGGREGATORS, **PREAGGREGATORS}
        assert claim in known
        assert reason


@pytest.mark.parametrize(("name", "claim"), EXCEPTIONS)
def test_exceptions_are_exceptions(name, claim):
    """A rule that has the property after all must leave the list."""
    assert any(breaks(name, claim, draw(9, 3, seed) + 2.0, f=2) for seed in range(20))


@pytest.mark.parametrize(("name", "n"), [("krum*", 3), ("safeguard", 3)])
def test_ties_are_broken_by_the_order_of_rows(name, n):
    assert any(breaks(name, "permutation", draw(n, 3, seed), f=1) for seed in range(20))


def breaks(name, claim, rows, f):
    rule = make(name)

    def apply(x):
        if name in AGGREGATORS:
            return rule(x, f=f)
        return rule(x, f=f, at=Round(generator=np.random.default_rng(1)))

    if claim == "permutation":
        expected, got = apply(rows), apply(rows[::-1])
    elif claim == "translation":
        expected, got = apply(rows) - 5.0, apply(rows - 5.0)
    elif claim == "scale":
        expected, got = apply(rows) * 100.0, apply(rows * 100.0)
    elif claim == "identical":
        expected = np.array([2.0, 3.0, 9.0])
        got = apply(np.tile(expected, (len(rows), 1)))
    else:
        for faulty in (1e30,), (-1e30,), (1e30, 1e28):  # of two the far one may hide the near one
            rows[: len(faulty)] = np.array(faulty)[:, None]
            if np.linalg.norm(apply(rows)) > 1e20:
                return True
        return False
    return not np.allclose(got, expected, rtol=1e-6)


def of_rules():
    """Each property with the cases that have it, but for exceptions and ties."""
    return [(prop, *case) for prop in RULE_PROPERTIES for case in the(prop)]


@pytest.mark.parametrize(("prop", "name", "n", "f"), of_rules())
def test_every_rule_has_every_property(prop, name, n, f):
    RULE_PROPERTIES[prop](make(name), n, f)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_half_precision_integers_and_strides_are_taken_at_the_smallest_size(name):
    RULE_PROPERTIES["kinds"](make(name), smallest(name, 1), 1)


@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 2), (7, 1), (8, 3)])
def test_the_lambda_of_monna_holds_for_sets_with_the_trusted_row(n, f):
    sets = [s for s in combinations(range(n), n - f) if 0 in s]
    check_bound(make("monna"), n, f, 2 * f / (n - f), sets)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("mean", [0.0, 0.0, 1e9]),
        ("cge", [1.0, 1.0, 0.0]),
        ("cc", [9.0, 9.0, 9.0]),
        ("byzantine-sgd", [0.0, 0.0, 3.0]),
        ("signmajority", [9.0, 9.0, 9.0]),
        ("fltrust", [1.0, 9.0, 9.0]),
        ("flame", [9.0, 9.0, 1.0]),
        ("foolsgold", [9.0, 9.0, 9.0]),
        ("signguard", [9.0, 9.0, 1.0]),
        ("monna", [5.0, 0.0, 0.0]),
    ],
)
def test_infinite_lambda_means_that_none_exists(name, rows):
    rule, rows = make(name), np.array(rows)[:, None]
    assert rule.coefficient(3, 1, 1) == rule.kappa(3, 1, 1) == float("inf")
    values = rows.ravel()
    twice = max(values, key=lambda value: (values == value).sum())
    assert abs(rule(rows, f=1)[0] - twice) > 0.1


@pytest.mark.parametrize("name", AGGREGATORS)
def test_coefficients_are_numbers_or_none(name):
    for n in range(1, 40):
        for f in range(n):
            if make(name).admits(n, f):
                value, kappa = make(name).coefficient(n, f, 10), make(name).kappa(n, f, 10)
                assert value is None or value >= f / (n - f) - 1e-12
                assert kappa is None or 2 * f >= n or kappa >= f / (n - 2 * f) - 1e-12
                assert (value is None) == (kappa is None)


@pytest.mark.parametrize(
    ("prop", "name"),
    [(prop, case[0]) for prop in PREAGGREGATOR_PROPERTIES
     for case in the(prop, [(name,) for name in PREAGGREGATORS])],
)
@pytest.mark.parametrize(("n", "f"), [(5, 2), (7, 2), (8, 3)])
def test_every_preaggregator_has_every_property(prop, name, n, f):
    PREAGGREGATOR_PROPERTIES[prop](make(name), n, f)


def lacking(name):
    """What `check_rule` is told of a rule: its exceptions, and a tie at the smallest sizes."""
    tied = ["permutation"] if name in TIES else []
    return [prop for other, prop in EXCEPTIONS if other == name] + tied


@pytest.mark.parametrize("name", [*AGGREGATORS, *PREAGGREGATORS])
def test_check_rule_passes_the_rules_that_there_are(name):
    check_rule(make(name), lacks=lacking(name))


@dataclass(frozen=True)
class Wrong(Aggregator):
    """The median of each coordinate, with a fault that rounds or sizes show."""

    fault: str
    name: ClassVar[str] = "wrong"

    def admits(self, n, f):
        return n > (12 if self.fault == "many" else 2) * f and not (f and self.fault == "faultless")

    def start(self):
        return {"nested": ({"sum": np.zeros(5)},), "n": 0}

    def _step(self, updates, f, state, at):
        if self.fault == "many":
            return Mean()._step(updates, f, state, at)
        if self.fault == "missing" and state["n"] not in (0, updates.n):
            raise IndexError("another n")
        memory = state["nested"][0]["sum"]
        if self.fault == "in place":
            memory += 1.0
        else:
            memory = memory + 1.0
        state = {"nested": ({"sum": memory},), "n": updates.n}
        state = {**state, "seen": {1, 2}} if self.fault == "set" else state
        weights = np.ones(3) if self.fault == "weights" else None
        return Aggregate(Median()(updates, f=f), weights, state)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("set", r"`rounds` with n = 1, f = 0: (?s:.*)Found set"),
        ("in place", r"`rounds` with n = 1, f = 0: (?s:.*)the state of round 0 is another now"),
        ("missing", r"`rounds` with n = 7, f = 1: (?s:.*)another n"),
        ("weights", r"`form` with n = 1, f = 0: (?s:.*)`weights` must be real numbers"),
        ("many", r"`bounded` with n = 13, f = 1: "),
    ],
)
def test_check_rule_sees_what_rounds_and_large_n_show(fault, message, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    check_rule(Wrong(""))
    with pytest.raises(PropertyError, match=f"lacks the property {message}"):
        check_rule(Wrong(fault))


def test_a_rule_that_admits_no_fault_is_not_tried_with_any():
    with pytest.raises(ValueError, match=r"`rule` must admit n <= 8f \+ 64 .* it lacks `bounded`"):
        check_rule(Wrong("faultless"))
    check_rule(Wrong("faultless"), lacks=["bounded", "torch"])


@pytest.mark.parametrize(("name", "prop"), EXCEPTIONS)
def test_check_rule_names_what_is_lacking(name, prop):
    lacks = [other for other in lacking(name) if other != prop]
    with pytest.raises(PropertyError, match=f"lacks the property `{prop}` with n = "):
        check_rule(make(name), lacks=lacks)
