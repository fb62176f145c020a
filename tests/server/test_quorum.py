"""Who may be trusted to be how many: the table, and its proof in every world of up to 12 nodes."""

from itertools import product

import numpy as np
import pytest
from flwr.app import Message
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from flwr_resam import InProcessGrid, QuorumLostError, Resam, parse_rule
from flwr_resam.aggregators import MDA, Bulyan, Mean
from flwr_resam.rule import Aggregator
from flwr_resam.server.gate import Rejection
from flwr_resam.server.quorum import effective_faults, silent_faults_assumed
from simulations.experiment import PROJECT
from tests.support import content, record

SKIP = None


@pytest.mark.parametrize(
    ("n", "f", "malformed", "silent", "expected", "assumed"),
    [
        (15, 5, 0, 0, 5, 0),  # nothing new
        (15, 0, 0, 0, 0, 0),
        (15, 5, 1, 0, 5, 0),  # 14 rows carry all 5, and to tolerate more costs no safety
        (15, 5, 4, 0, 5, 0),
        (15, 5, 5, 0, 4, 0),  # 10 rows carry 4, and each malformed reply is a fault that is out
        (3, 1, 1, 0, 0, 0),
        (15, 2, 3, 0, 2, 0),  # more malformed than f, which prove nothing, and 12 rows that carry f
        (15, 5, 6, 0, SKIP, 0),  # 9 rows can't, and all 5 faults may be among them
        (15, 5, 14, 0, SKIP, 0),
        (8, 2, 3, 0, 2, 0),
        (15, 5, 0, 4, 5, 0),  # 11 > 10: the silent may all be honest
        (15, 5, 0, 5, 4, 1),  # 10 rows carry 4: safe if one of the 5 silent is faulty
        (15, 7, 0, 1, 6, 1),
        (15, 7, 0, 7, 3, 4),
        (15, 5, 0, 6, SKIP, 0),  # 9 rows carry 4, and more are silent than can be faulty
        (15, 5, 0, 8, SKIP, 0),
        (15, 3, 0, 8, 3, 0),  # 7 > 6, whoever they are
        (15, 3, 0, 9, SKIP, 0),
        (15, 0, 0, 14, 0, 0),  # nobody is faulty
        (15, 0, 14, 0, 0, 0),
        (15, 5, 2, 3, 4, 0),  # both: 10 rows carry 4, and 3 can be faulty
        (15, 5, 2, 6, 3, 0),
        (15, 5, 2, 7, SKIP, 0),  # 6 rows carry 2, and 9 are missing
        (15, 7, 3, 3, 4, 0),
        (15, 7, 3, 4, 3, 1),  # 8 rows carry 3; with the malformed out 4 can be faulty
        (8, 2, 3, 1, SKIP, 0),  # as if silent, the malformed are more than f
        (15, 5, 0, 15, SKIP, 0),  # nothing to aggregate
        (15, 5, 15, 0, SKIP, 0),
        (1, 0, 0, 1, SKIP, 0),
    ],
)
def test_the_table(n, f, malformed, silent, expected, assumed):
    valid = n - malformed - silent
    found = effective_faults(MDA(), asked=n, valid=valid, malformed=malformed, f=f)
    assert found == expected
    if found is not None:
        assert silent_faults_assumed(found, malformed=malformed, f=f) == assumed


def test_a_rule_with_another_need_is_asked():
    def faults(valid, f, malformed=0, n=11):
        return effective_faults(Bulyan(), asked=n, valid=valid, malformed=malformed, f=f)

    assert faults(11, 2) == 2  # n >= 4f + 3
    assert faults(10, 2) == 1  # 10 < 11: safe if the silent node is faulty
    assert faults(10, 2, malformed=1) == 1
    assert faults(8, 2) is SKIP
    assert faults(8, 2, malformed=2) == 1
    assert faults(8, 2, malformed=3) is SKIP
    assert effective_faults(Mean(), asked=5, valid=3, malformed=0, f=5) == 5  # the baseline


MOST = 12
RULES = ("mda", "bulyan", "bucketing | krum")


def cases(rule: Aggregator):
    """What can come of up to 12 nodes, of which the rule admits f: (f, valid, malformed, silent)."""
    for n, f in product(range(1, MOST + 1), range(MOST + 1)):
        if rule.admits(n, f):
            for malformed in range(n + 1):
                for silent in range(n + 1 - malformed):
                    yield f, n - malformed - silent, malformed, silent


def worlds(f, valid, malformed, silent):
    """How many of the rows, the malformed and the silent are faulty, in every way to be f at most.

    Who of them it is makes no difference to any count.
    """
    for placed in product(range(valid + 1), range(malformed + 1), range(silent + 1)):
        if sum(placed) <= f:
            yield placed


def slow(world, f, malformed):
    """The silent may be honest. The malformed are faulty, unless not all of them can be."""
    return malformed > f or world[1] == malformed


def papers(world, malformed, silent):
    """A node that gives no row is a faulty one."""
    return world[1:] == (malformed, silent)


def worst(found):
    """The most faulty rows; None where what came refutes the reading."""
    return max((world[0] for world in found), default=None)


@pytest.mark.parametrize("text", RULES)
def test_every_round_is_safe_in_the_readings_that_it_says_and_none_is_skipped_that_could_be(text):
    rule = parse_rule(text)
    for f, valid, malformed, silent in cases(rule):
        of = f"f = {f}: {valid} valid, {malformed} malformed, {silent} silent"
        possible = list(worlds(f, valid, malformed, silent))
        where_slow = [world for world in possible if slow(world, f, malformed)]
        in_slow = worst(where_slow)
        in_papers = worst(world for world in possible if papers(world, malformed, silent))
        admitted = [k for k in range(f + 1) if valid and rule.admits(valid, k)]
        found = effective_faults(
            rule, asked=valid + malformed + silent, valid=valid, malformed=malformed, f=f
        )
        if found is None:
            assert all(k < in_slow for k in admitted), of
            assert in_papers is None or all(k < in_papers for k in admitted), of
            continue
        assert found == max(admitted), of
        assumed = silent_faults_assumed(found, malformed=malformed, f=f)
        if not assumed:
            assert found >= in_slow, of
            continue
        # Then it is the paper's reading that it rests on, and on no more of it than it says.
        assert in_papers is not None, of
        assert found >= in_papers, of
        assert all(found >= world[0] for world in where_slow if world[2] >= assumed), of
        assert any(found < world[0] for world in where_slow if world[2] == assumed - 1), of


def counted(rule: Aggregator) -> list[int]:
    """Cases in all; safe whoever sent no row; if the malformed are faulty; if silent ones are."""
    counts = [0] * 5
    for f, valid, malformed, silent in cases(rule):
        asked = valid + malformed + silent
        found = effective_faults(rule, asked=asked, valid=valid, malformed=malformed, f=f)
        counts[0] += 1
        if found is None:
            counts[4] += 1
        elif found >= worst(worlds(f, valid, malformed, silent)):
            counts[1] += 1
        elif silent_faults_assumed(found, malformed=malformed, f=f):
            counts[3] += 1
        else:
            counts[2] += 1
    return counts


def in_markdown() -> str:
    """What becomes of every case, as docs/guarantee.md shows it."""
    lines = [
        "| of all that can come of up to 12 nodes | "
        + " | ".join(f"`{text}`".replace("|", "\\|") for text in RULES) + " |",
        "|---" * (len(RULES) + 1) + "|",
    ]
    columns = [counted(parse_rule(text)) for text in RULES]
    rows = {
        "cases": [column[0] for column in columns],
        "safe whoever sent no row": [column[1] for column in columns],
        "safe if the malformed are faulty, also where all silent nodes are honest":
            [column[2] for column in columns],
        "safe only if enough of the silent are faulty, as in the paper; logged":
            [column[3] for column in columns],
        "skipped": [column[4] for column in columns],
    }
    lines += [f"| {what} | {' | '.join(map(str, counts))} |" for what, counts in rows.items()]
    return "\n".join(lines) + "\n"


def test_the_guarantee_counts_the_cases_as_they_are():
    for text in RULES:
        total, *parts = counted(parse_rule(text))
        assert total == sum(parts)
        assert all(parts)
    assert in_markdown() in (PROJECT / "docs" / "guarantee.md").read_text(encoding="utf-8")


def test_a_slow_node_costs_safety_unless_n_is_above_2f_and_the_slow():
    for f, valid, malformed, silent in cases(MDA()):
        n = valid + silent
        if malformed or not valid:
            continue
        found = effective_faults(MDA(), asked=n, valid=valid, malformed=0, f=f)
        safe = found is not None and not silent_faults_assumed(found, malformed=0, f=f)
        assert safe == (n > 2 * f + silent)


counts = st.tuples(*[st.integers(0, 12)] * 4)


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


def trained(n, f, *, old=0, down=0, liars=1):
    """Train one round with nodes that send float64 for float32, that fail, and that lie."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        node = context.node_config["partition-id"]
        if old <= node < old + down:
            raise RuntimeError("no memory left")
        update = np.ones(4, np.float64 if node < old else np.float32)
        return Message(
            content(record(w=update * (1e6 if node >= n - liars else 1)), key="momentum"),
            reply_to=message,
        )

    strategy = Resam(f, min_available_nodes=n, fraction_evaluate=0.0, max_skipped_rounds=1)
    result = strategy.start(InProcessGrid(app, n), record(w=np.zeros(4, np.float32)), num_rounds=1)
    return result.train_metrics_clientapp[1]["f-effective"], result.arrays["w"].numpy()


@pytest.mark.parametrize(
    ("n", "f", "old", "liars", "used"),
    [(8, 2, 3, 2, 2), (15, 5, 5, 1, 4), (15, 5, 5, 4, 4), (15, 2, 9, 2, 2), (15, 2, 10, 2, 2)],
)
def test_honest_nodes_with_an_old_app_do_not_hand_the_model_to_the_liars(n, f, old, liars, used):
    found, model = trained(n, f, old=old, liars=liars)
    assert found == used
    np.testing.assert_allclose(model, -1.0)


@pytest.mark.parametrize("liars", [1, 5])
def test_more_old_apps_than_the_rest_can_bear_skip_the_round(liars, caplog):
    with pytest.raises(QuorumLostError):
        trained(15, 5, old=6, liars=liars)
    assert "6 malformed replies, more than num_malicious_nodes = 5" in caplog.text


@pytest.mark.parametrize(
    ("down", "old", "said"),
    [(4, 0, None), (5, 0, "f = 4, not 5, is safe only if at least 1 of the nodes"), (1, 4, None)],
)
def test_what_a_round_assumes_of_silent_nodes_is_logged(down, old, said, caplog):
    _, model = trained(15, 5, old=old, down=down)
    np.testing.assert_allclose(model, -1.0)
    assert ("safe only if" in caplog.text) == (said is not None)
    assert (said or "") in caplog.text


@pytest.mark.parametrize(
    ("reasons", "diverged"),
    [
        ([], False),
        (["out of memory"], False),
        (["out of memory", "a NaN or an infinity in `w`"], True),
        (["a number beyond 1e140 in the update of `w`"], True),
    ],
)
def test_a_run_that_went_astray_is_told_from_one_that_lost_its_nodes(reasons, diverged):
    rejections = [Rejection(node, reason) for node, reason in enumerate(reasons)]
    assert QuorumLostError("", rejections).diverged == diverged
