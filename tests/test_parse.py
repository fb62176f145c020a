"""The name grammar of run-configs."""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from flwr_resam import parse_attack, parse_rule
from flwr_resam.aggregators import AGGREGATORS, MDA, TrimmedMean
from flwr_resam.attacks import ALIE, FOE
from flwr_resam.preaggregators import NNM, PREAGGREGATORS
from flwr_resam.rule import CoordinateRule
from flwr_resam.spelling import usage
from tests.rules import ARGUMENTS, make


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_every_rule_reads_back_what_it_prints(name):
    rule = make(name)
    assert parse_rule(str(rule)) == rule
    assert parse_rule(f"nnm | {rule}") == NNM() | rule


@pytest.mark.parametrize("name", sorted(PREAGGREGATORS))
def test_every_preaggregator_reads_back_what_it_prints(name):
    assert parse_rule(f"{make(name)} | mda") == make(name) | MDA()


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_a_rule_that_needs_an_argument_says_which(name):
    missing = ARGUMENTS[name].partition("=")[0]
    with pytest.raises(ValueError, match=rf"`{name}` needs `{missing}`: write"):
        parse_rule(f"{name} | mda" if name in PREAGGREGATORS else name)


def test_chains_compose_left_to_right_however_they_are_bracketed():
    assert parse_rule("nnm|nnm | cwtm") == NNM() | NNM() | TrimmedMean()
    assert NNM() | (NNM() | TrimmedMean()) == (NNM() | NNM()) | TrimmedMean()


def test_an_aggregator_ends_a_chain():
    with pytest.raises(TypeError, match=r"`mda \| nnm`: an aggregator ends a chain"):
        MDA() | NNM()
    with pytest.raises(TypeError, match="an aggregator ends a chain"):
        (NNM() | MDA()) | NNM()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mad", "Did you mean `mda`"),
        ("median", "Did you mean `cwmed`"),
        ("Trimmed_Mean", "Did you mean `cwtm`"),
        ("multi-krum", "Did you mean `multikrum`"),
        ("", "can't be read as a rule"),
        ("nnm |", "can't be read as a rule"),
        ("nnm", "ends with a pre-aggregator"),
        ("mda | nnm", "ends with a pre-aggregator"),
        ("nnm|bucketing(s=2)", r"as in `nnm \| bucketing\(s=2\) \| mda`\.$"),
        ("mda | nnm", r"as in `nnm \| mda`\.$"),
        ("monna(trusted=1) | bucketing", r"as in `bucketing \| mda`\.$"),
        ("arc | cwtm | krum | nnm", r"as in `arc \| nnm \| krum`\.$"),
        ("mda | cwtm", "aggregator before its end"),
        ("mda(x=1)", "no argument `x`"),
        ("mda(1)", "form key=value"),
        ("__import__('os')", "can't be read|is no rule|form key=value"),
    ],
)
def test_bad_rules_are_one_clear_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(text)


def test_attacks_take_arguments():
    assert parse_attack("foe(epsilon=1.1)") == FOE(epsilon=1.1)
    assert parse_attack("ALIE") == ALIE()
    assert str(parse_attack("alie(z=1.5)")) == "alie(z=1.5)"
    with pytest.raises(ValueError, match="given `z` twice"):
        parse_attack("alie(z=1, z=2)")
    with pytest.raises(ValueError, match="can't be read as an attack"):
        parse_attack("alie(")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("FedMedian", "cwmed"), ("CenteredClipping", "cc"), ("TrMean", "cwtm"),
        ("Multi-Krum", "multikrum"), ("FedTrimmedAvg", "cwtm"), ("GeometricMedian", "gm"),
        ("trimmed_mean", "cwtm"), ("static_clipping", "clipping"),
    ],
)
def test_what_other_libraries_call_a_rule_is_told(written, meant):
    with pytest.raises(ValueError, match=f"Did you mean `{re.escape(meant)}`"):
        parse_rule(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ipm", "foe"), ("InnerProductManipulation", "foe"), ("ALittleIsEnough", "alie"),
        ("SignFlipping", "sign-flip"), ("sign_flip", "sign-flip"), ("Inf", "non-finite"),
    ],
)
def test_what_other_libraries_call_an_attack_is_told(written, meant):
    with pytest.raises(ValueError, match=f"Did you mean `{meant}`"):
        parse_attack(written)


@pytest.mark.parametrize("written", ["nnm, cwtm", "nnm + cwtm", "nnm -> cwtm", "nnm>cwtm"])
def test_rules_that_are_joined_by_something_else_are_told_the_bar(written):
    with pytest.raises(ValueError, match=r"Write `nnm \| cwtm`, with a bar between rules"):
        parse_rule(written)


def test_a_rule_of_ones_own_without_dataclass_is_written_by_its_name():
    class Own(CoordinateRule):
        name = "own"

        def columns(self, block, f):
            return block.mean(axis=0)

    assert str(Own()) == "own"
    assert str(NNM() | Own()) == "nnm | own"
    np.testing.assert_array_equal(Own()(np.ones((3, 2)), f=1), 1.0)


def test_a_rule_of_ones_own_without_a_name_is_called_what_its_class_is():
    @dataclass(frozen=True)
    class Towards(CoordinateRule):
        point: np.ndarray
        far: np.ndarray = field(default_factory=lambda: np.zeros(2))

        def columns(self, block, f):
            return block.mean(axis=0)

    rule = Towards(np.ones(2))
    assert str(rule) == "Towards(point=[1. 1.])"
    assert str(NNM() | Towards(np.ones(2), np.ones(2))) == "nnm | Towards(point=[1. 1.], far=[1. 1.])"
    assert usage(Towards) == "Towards(point=...)"
    with pytest.raises(ValueError, match=r"`f` must satisfy n > 2f for `Towards\(point="):
        rule(np.ones((3, 2)), f=2)
    with pytest.raises(TypeError, match=r"Put pre-aggregators to its left, as in `nnm \| Towards`"):
        rule | NNM()
