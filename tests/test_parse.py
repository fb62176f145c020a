"""The name grammar of run-configs."""

import pytest

from flwr_resam import Schedule, parse_attack, parse_rule
from flwr_resam.aggregators import AGGREGATORS, MDA, TrimmedMean
from flwr_resam.attacks import ALIE, ATTACKS, FOE
from flwr_resam.parse import Plan, parse_plans, shares
from flwr_resam.preaggregators import NNM


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_every_rule_reads_back_what_it_prints(name):
    rule = parse_rule(name)
    assert parse_rule(str(rule)) == rule
    assert parse_rule(f"nnm | {name}") == NNM() | rule


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
        ("", "can't be read as a rule"),
        ("nnm |", "can't be read as a rule"),
        ("nnm", "ends with a pre-aggregator"),
        ("mda | nnm", "ends with a pre-aggregator"),
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


@pytest.mark.parametrize(
    ("text", "plans"),
    [
        ("alie", [Plan(ALIE())]),
        ("2 alie(z=1e+0) + FOE", [Plan(ALIE(z=1.0), 2), Plan(FOE())]),
        (" foe( epsilon = 2 )when( start=3 ,every=2) ", [Plan(FOE(2), None, Schedule(3, 2))]),
        ("1 foe when(probability=0.5)+3 alie",
         [Plan(FOE(), 1, Schedule(probability=0.5)), Plan(ALIE(), 3)]),
    ],
)
def test_plans_say_what_how_many_and_when(text, plans):
    assert parse_plans(text, ATTACKS) == tuple(plans)
    back = " + ".join(
        f"{plan.count or ''} {plan.what} {plan.schedule}" for plan in plans
    )
    assert parse_plans(back, ATTACKS) == tuple(plans)


@pytest.mark.parametrize(
    "text", ["", "+", "alie +", "2", "alie foe", "alie when(start=3) foe", "2 2 alie", "alie(z=1"]
)
def test_plans_that_cannot_be_read_are_one_clear_sentence(text):
    with pytest.raises(ValueError, match=r"Write `|is no attack"):
        parse_plans(text, ATTACKS)


def test_the_last_plan_without_a_number_takes_the_rest():
    assert shares(parse_plans("foe + 2 alie", ATTACKS), 7) == [5, 2]
    with pytest.raises(ValueError, match="of each attack but one"):
        shares(parse_plans("foe + alie", ATTACKS), 7)
    with pytest.raises(ValueError, match="num-malicious-nodes = 2 nodes"):
        shares(parse_plans("2 foe + alie", ATTACKS), 2)
