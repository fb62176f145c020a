"""Several attacks, on how many nodes and when, as run-configs write them."""

import pytest

from flwr_resam import Schedule
from flwr_resam.attacks import ALIE, ATTACKS, FOE
from flwr_resam.parse import Plan, parse_plans, shares


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
