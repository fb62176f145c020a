"""Bad input: one clear error each, with the parameter, the need, what was found and the cure."""

import re

import numpy as np
import pytest

from flwr_resam import Resam, parse_rule
from flwr_resam.aggregators import (
    AGGREGATORS,
    SMEA,
    ByzantineSGD,
    CenteredClipping,
    GeometricMedianOfMeans,
    MoNNA,
    MultiKrum,
    Safeguard,
    Sever,
)
from flwr_resam.preaggregators import NNM, PREAGGREGATORS, Bucketing, Clipping
from tests.rules import draw, make, smallest

EVERY = [*AGGREGATORS, *PREAGGREGATORS]


def sentence(parameter, must, found):
    """The form of every error, parameter to cure."""
    return rf"^`{re.escape(parameter)}` must {must}.*\. Found .*{re.escape(found)}.*\. .+\.$"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", EVERY)
def test_what_is_not_finite(name, value):
    rows = draw(9, 3)
    rows[4, 1] = value
    with pytest.raises(ValueError, match=sentence("updates", "be finite", "row 4")):
        make(name)(rows, f=1)


@pytest.mark.parametrize("name", EVERY)
def test_f_below_zero(name):
    with pytest.raises(ValueError, match=sentence("f", "be at least 0", "f = -1")):
        make(name)(draw(9, 3), f=-1)


@pytest.mark.parametrize("f", [1.5, 1.0, "1", None, True])
@pytest.mark.parametrize("name", EVERY)
def test_f_that_is_no_whole_number(name, f):
    with pytest.raises(TypeError, match=sentence("f", "be a whole number", repr(f))):
        make(name)(draw(9, 3), f=f)


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_one_dimension(name):
    with pytest.raises(ValueError, match=sentence("updates", "be a 2-d array", "1 dimension")):
        make(name)(np.ones(9), f=1)


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_several_lengths(name):
    ragged = [[1.0, 2.0]] * 8 + [[1.0]]
    with pytest.raises(ValueError, match=sentence("updates", "be n rows of one length", "")):
        make(name)(ragged, f=1)


@pytest.mark.parametrize("name", EVERY)
def test_no_rows(name):
    with pytest.raises(ValueError, match=sentence("updates", "have at least one row", "no row")):
        make(name)(np.ones((0, 3)), f=0)


@pytest.mark.parametrize("dtype", [complex, object, str])
@pytest.mark.parametrize("name", EVERY)
def test_rows_that_are_no_real_numbers(name, dtype):
    with pytest.raises(TypeError, match=sentence("updates", "hold real numbers", "dtype")):
        make(name)(np.ones((9, 2)).astype(dtype), f=1)


NEED_NOTHING = {"mean", "bucketing", "clipping"}


@pytest.mark.parametrize("f", [1, 2, 5])
@pytest.mark.parametrize("name", [name for name in AGGREGATORS if name not in NEED_NOTHING])
def test_a_need_that_is_not_met(name, f):
    n = smallest(name, f)
    rule = make(name)
    assert rule(draw(n, 2), f=f).shape == (2,)
    with pytest.raises(ValueError, match=sentence("f", "", f"n = {n - 1}, f = {f}")):
        rule(draw(n - 1, 2), f=f)
    with pytest.raises(ValueError, match=re.escape(rule.need)):
        rule(draw(n - 1, 2), f=f)


LEAST = {"krum": 5, "multikrum": 5, "bulyan": 7, "mean": 1}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_least_n_for_one_fault_is_the_published_one(name):
    assert smallest(name, 1) == LEAST.get(name, 3)


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_a_preaggregators_need(name):
    with pytest.raises(ValueError, match=sentence("f", "satisfy n > 2f", "n = 4, f = 2")):
        make(name)(draw(4, 2), f=2)


def test_too_many_subsets_for_smea():
    assert SMEA().admits(19, 9)
    assert not SMEA().admits(21, 10)
    message = r"leave at most 100000 subsets to list for `smea`. Found n = 21, f = 10, with 352716"
    with pytest.raises(ValueError, match=message):
        SMEA()(draw(21, 2), f=10)
    with pytest.raises(ValueError, match="Use `caf`"):
        Resam(num_malicious_nodes=10, aggregator=SMEA())


def test_a_chain_counts_the_rows_that_reach_each_stage():
    with pytest.raises(ValueError, match=sentence("f", "satisfy n > 2f for `gm`", "n = 4, f = 2")):
        parse_rule("bucketing(s=2) | gm")(draw(8, 3), f=2)
    with pytest.raises(ValueError, match=r"n >= 4f \+ 3 for `bulyan`. Found n = 5, f = 1"):
        Resam(
            num_malicious_nodes=1, min_available_nodes=10,
            aggregator=parse_rule("bucketing(s=2) | bulyan"),
        )


@pytest.mark.parametrize(("n", "f"), [(n, f) for n in range(1, 30) for f in range((n + 1) // 2)])
def test_default_buckets_leave_what_every_later_rule_needs(n, f):
    left = Bucketing().rows_out(n, f)
    assert left > 2 * f
    if f:
        size = max(1, (n - 1) // (2 * f))
        assert -(-n // (size + 1)) <= 2 * f, "a larger bucket would not do"


@pytest.mark.parametrize(
    ("build", "parameter"),
    [
        (lambda: MultiKrum(m=0), "m"),
        (lambda: MultiKrum(m=1.5), "m"),
        (lambda: GeometricMedianOfMeans(k=0), "k"),
        (lambda: CenteredClipping(radius=0.0), "radius"),
        (lambda: CenteredClipping(radius=float("nan")), "radius"),
        (lambda: CenteredClipping(radius="far"), "radius"),
        (lambda: CenteredClipping(radius=1.0, steps=0), "steps"),
        (lambda: Clipping(radius=-1.0), "radius"),
        (lambda: Clipping(radius=float("inf")), "radius"),
        (lambda: Bucketing(s=0), "s"),
        (lambda: Bucketing(s=2.0), "s"),
        (lambda: Sever(rounds=0), "rounds"),
        (lambda: MoNNA(trusted=-1), "trusted"),
        (lambda: MoNNA(trusted=9)(draw(9, 2), f=1), "trusted"),
        (lambda: Safeguard(short=10, long=10), "short"),
        (lambda: Safeguard(short=0), "short"),
        (lambda: Safeguard(long_threshold=0.0), "long_threshold"),
        (lambda: ByzantineSGD(deviation=0.0, diameter=1.0, rounds=1), "deviation"),
        (lambda: ByzantineSGD(deviation=1.0, diameter=-1.0, rounds=1), "diameter"),
        (lambda: ByzantineSGD(deviation=1.0, diameter=1.0, rounds=0), "rounds"),
        (lambda: ByzantineSGD(1.0, 1.0, 1, delta=1.0), "delta"),
        (lambda: parse_rule("byzantine-sgd(deviation=far, diameter=1, rounds=9)"), "deviation"),
        (lambda: parse_rule("multikrum(m=true)"), "m"),
    ],
)
def test_arguments_out_of_range(build, parameter):
    with pytest.raises(ValueError, match=sentence(parameter, "", "")):
        build()


@pytest.mark.parametrize(
    ("rule", "n", "f", "cure"),
    [
        (MultiKrum(m=7), 9, 1, "Lower `m`, leave it out, or ask more nodes"),
        (MultiKrum(m=90), 9, 1, "Lower `m`, leave it out, or ask more nodes"),
        (MultiKrum(m=2), 9, 4, "Lower `num_malicious_nodes` or ask more nodes"),
        (MultiKrum(), 9, 4, "Lower `num_malicious_nodes` or ask more nodes"),
        (GeometricMedianOfMeans(k=4), 9, 2, "Raise `k`, leave it out, or lower `num_malicious_"),
        (GeometricMedianOfMeans(k=2), 7, 3, "Raise `k`, leave it out, or lower `num_malicious_"),
        (GeometricMedianOfMeans(k=90), 9, 2, "Lower `k`, leave it out, or ask more nodes"),
        (GeometricMedianOfMeans(), 9, 5, "Lower `num_malicious_nodes` or ask more nodes"),
    ],
)
def test_arguments_that_do_not_fit_n_and_f(rule, n, f, cure):
    with pytest.raises(ValueError, match=re.escape(f"satisfy {rule.need} for `{rule}`")) as caught:
        rule(draw(n, 2), f=f)
    assert f". {cure}" in str(caught.value)
    with pytest.raises(ValueError, match=re.escape(cure)):
        Resam(num_malicious_nodes=f, min_available_nodes=n, aggregator=NNM() | rule)


def test_an_argument_that_fits_no_number_of_nodes_is_named_where_none_is_given():
    with pytest.raises(ValueError, match=r"^`m` must .*Found m = 90, n = 1, f = 0\. Lower `m`"):
        Resam(0, aggregator=MultiKrum(m=90))
    with pytest.raises(ValueError, match=r"^`k` must .*Found k = 2, n = 7, f = 3\. Raise `k`"):
        Resam(num_malicious_nodes=3, aggregator=GeometricMedianOfMeans(k=2))


@pytest.mark.parametrize("name", EVERY)
def test_a_masked_array_is_refused_since_its_mask_would_be_passed_over(name):
    rows = np.ma.masked_greater(np.arange(27.0).reshape(9, 3), 20.0)
    with pytest.raises(ValueError, match=sentence("updates", "have a value", "a masked array")):
        make(name)(rows, f=1)
