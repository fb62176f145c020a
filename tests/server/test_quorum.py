"""Who may be trusted to be how many: the table, and what must hold for any counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_resam import parse_rule
from flwr_resam.aggregators import MDA, Mean
from flwr_resam.rule import CoordinateRule
from flwr_resam.server.quorum import effective_faults

SKIP = None


@pytest.mark.parametrize(
    ("n", "f", "malformed", "silent", "expected"),
    [
        (15, 5, 0, 0, 5),  # nothing new
        (15, 0, 0, 0, 0),
        (15, 5, 1, 0, 4),  # each malformed reply is a fault that is out
        (15, 5, 5, 0, 0),
        (3, 1, 1, 0, 0),
        (15, 5, 6, 0, 0),  # more than f: no fault is known of the rest
        (15, 5, 14, 0, 0),
        (15, 5, 0, 4, 5),  # 11 > 10: the silent may all be honest
        (15, 5, 0, 5, 0),  # 10 <= 10: so they count as faults
        (15, 7, 0, 1, 6),
        (15, 7, 0, 7, 0),
        (15, 5, 0, 6, SKIP),  # 9 rows, and more silent than faults
        (15, 5, 0, 8, SKIP),
        (15, 3, 0, 8, 3),  # 7 > 6, whoever they are
        (15, 3, 0, 9, SKIP),
        (15, 0, 0, 14, 0),  # nobody is faulty
        (15, 5, 2, 3, 3),  # both: 10 > 6
        (15, 5, 2, 6, 3),  # 7 > 6
        (15, 5, 2, 7, SKIP),  # 6 <= 6, and 7 silent > 3
        (15, 7, 3, 3, 4),  # 9 > 8
        (15, 7, 3, 4, 0),  # 8 <= 8: 4 silent of 4 faults
        (15, 5, 0, 15, SKIP),  # nothing to aggregate
        (15, 5, 15, 0, SKIP),
        (1, 0, 0, 1, SKIP),
    ],
)
def test_the_table(n, f, malformed, silent, expected):
    valid = n - malformed - silent
    assert effective_faults(MDA(), asked=n, valid=valid, malformed=malformed, f=f) == expected


class Demanding(CoordinateRule):
    """A rule with Bulyan's need."""

    name = "demanding"

    def admits(self, n, f):
        return n >= 4 * f + 3

    def columns(self, block, f):
        return block[0]


def test_a_rule_with_another_need_is_asked():
    def faults(valid, f, malformed=0, n=11):
        return effective_faults(Demanding(), asked=n, valid=valid, malformed=malformed, f=f)

    assert faults(11, 2) == 2
    assert faults(10, 2) == 1  # 10 < 11, one silent node counts as a fault
    assert faults(10, 2, malformed=1) == 1
    assert faults(8, 2) is SKIP
    assert effective_faults(Mean(), asked=5, valid=3, malformed=0, f=5) == 5  # the baseline


counts = st.tuples(*[st.integers(0, 12)] * 4)


@given(counts)
def test_a_round_that_goes_on_outvotes_every_fault_that_can_be_left(args):
    valid, malformed, silent, f = args
    found = effective_faults(
        MDA(), asked=valid + malformed + silent, valid=valid, malformed=malformed, f=f
    )
    left = max(0, f - malformed)
    if found is None:
        assert valid <= 2 * left
        return
    assert valid > 2 * found
    # Safe if the silent are honest, or else if each of them is one of the faults.
    assert found == left or (silent <= left and found == left - silent)


@given(counts, st.integers(0, 3))
def test_one_more_silent_node_never_raises_f(args, more):
    valid, malformed, silent, f = args
    n = valid + malformed + silent
    if valid <= more or n <= 2 * f:
        return
    before = effective_faults(MDA(), asked=n, valid=valid, malformed=malformed, f=f)
    after = effective_faults(MDA(), asked=n, valid=valid - more, malformed=malformed, f=f)
    if before is None:
        assert after is None
    elif after is not None:
        assert after <= before


@pytest.mark.parametrize("rule", ["bucketing | krum", "bucketing | multikrum", "bucketing | mda"])
@pytest.mark.parametrize("gone", range(6))
def test_fewer_faults_make_larger_buckets_which_must_not_become_too_few(rule, gone):
    """A rule that admits f need not admit f - 1."""
    chain = parse_rule(rule)
    tolerated = effective_faults(chain, asked=20, valid=20 - gone, malformed=gone, f=5)
    assert 5 - gone <= tolerated <= 5
    assert chain.admits(20 - gone, tolerated)
    silent = effective_faults(chain, asked=20, valid=20 - gone, malformed=0, f=5)
    assert silent is not None
    assert chain.admits(20 - gone, silent)
