"""Each attack against a plain loop over its definition, and what each promises."""

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flwr_resam import parse_attack
from flwr_resam.aggregators import MDA, Mean, Median, TrimmedMean
from flwr_resam.attacks import (
    ALIE,
    ATTACKS,
    FOE,
    AntiCGE,
    Gaussian,
    Huge,
    Mimic,
    MinMax,
    MinSum,
    NonFinite,
    OptimisedALIE,
    OptimisedFOE,
    Replay,
    SignFlip,
    Straggler,
)
from flwr_resam.attacks.attack import Attack, MemorylessAttack
from flwr_resam.errors import LARGEST
from flwr_resam.rule import Aggregate, Aggregator, Round
from flwr_resam.testing import ATTACK_PROPERTIES, PropertyError, check_attack

HONEST = np.random.default_rng(3).normal(1.0, 0.5, (7, 5))
matrices = st.integers(2, 6).flatmap(
    lambda h: arrays(
        np.float64, st.tuples(st.just(h), st.integers(1, 4)),
        elements=st.floats(-1e3, 1e3, allow_subnormal=False),
    )
)


def ready(name):
    """The attack with a defender, where it needs one."""
    return ATTACKS[name]().against(TrimmedMean(), 3)


def mean_and_sigma(honest):
    """Column by column, in plain Python."""
    h = len(honest)
    columns = honest.T.tolist()
    means = [sum(column) / h for column in columns]
    sigmas = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / (h - 1))
        for column, mean in zip(columns, means, strict=True)
    ]
    return np.array(means), np.array(sigmas)


SMALL = {"alie": ALIE(z=1.0)}
"""Of few honest rows the published z is no number above 0."""


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("prop", ATTACK_PROPERTIES)
def test_every_attack_has_every_property(name, prop):
    if prop != "scale" or name not in SIZELESS:
        ATTACK_PROPERTIES[prop](SMALL.get(name) or ATTACKS[name]())


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_check_attack_passes_the_attacks_that_there_are(name):
    lacks = ["scale"] if name in SIZELESS else []
    check_attack(SMALL.get(name) or ATTACKS[name](), lacks=lacks)


@dataclass(frozen=True)
class Rounds(MemorylessAttack):
    """What ``check_attack`` is to find: each breaks one property."""

    breaks: str
    name: ClassVar[str] = "rounds"
    knowledge: ClassVar[str] = "alone"
    finite: ClassVar[bool] = True

    def rows(self, honest, count, at):
        if self.breaks == "form":
            return np.zeros((2, 5))
        if self.breaks == "alone" and len(honest) == 1:
            return np.zeros((2, 5))
        if self.breaks == "rounds" and at.number == 3:
            return np.zeros((5, 5))
        return np.ones((1, honest.shape[1])) if self.breaks == "scale" else -honest[:1]


@pytest.mark.parametrize("prop", ["form", "scale", "alone", "rounds"])
def test_check_attack_names_what_is_lacking(prop):
    with pytest.raises(PropertyError, match=f"lacks the property `{prop}`: "):
        check_attack(Rounds(prop))


@dataclass(frozen=True)
class Given(MemorylessAttack):
    given: Any
    name: ClassVar[str] = "given"

    def rows(self, honest, count, at):
        return self.given


@dataclass(frozen=True)
class GivenByColumn(Given):
    columnwise: ClassVar[bool] = True


@dataclass(frozen=True)
class Stateless(Attack):
    name: ClassVar[str] = "stateless"

    def _step(self, honest, count, state, at):
        return -honest[:1]


@pytest.mark.parametrize("kind", [Given, GivenByColumn])
@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (np.ones((1, 10)), r"float64 of shape \(1, 10\)"),
        (np.ones(5), r"float64 of shape \(5,\)"),
        (np.ones((2, 5)), r"float64 of shape \(2, 5\)"),
        (np.ones((4, 5)), r"float64 of shape \(4, 5\)"),
        (np.ones((1, 5)) * 1j, r"complex128 of shape \(1, 5\)"),
        (-3.0, "float"),
        (None, "NoneType"),
    ],
)
def test_an_attacks_rows_are_as_many_and_as_wide_as_asked_for(kind, rows, found):
    expected = r"`rows` must be real numbers of shape \(3, 5\) or \(1, 5\) in (?s:`given.*) Found "
    with pytest.raises(TypeError, match=expected + found):
        kind(rows)(HONEST, 3)


def test_an_attacks_rows_may_be_lists_or_tensors():
    for rows in ([[1, 2, 3, 4, 5]], torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])):
        np.testing.assert_array_equal(Given(rows)(HONEST, 2), [[1, 2, 3, 4, 5]] * 2)


def test_an_attack_gives_no_nan_of_finite_rows_unless_it_says_so():
    attack = Given(np.full((1, 5), np.nan))
    with pytest.raises(ValueError, match=r"(?s)`rows` must be finite in `given.* Found a NaN"):
        attack(HONEST, 2)
    assert np.isnan(attack(HONEST * np.nan, 2)).all()  # a fault of the honest, which ends no run


def test_an_attack_with_memory_gives_its_state_too():
    with pytest.raises(TypeError, match="`_step` must return the rows and the next state in `st"):
        Stateless()(HONEST, 2)


def test_what_is_lacking_is_a_property_and_what_is_checked_an_attack():
    with pytest.raises(ValueError, match=r"`scael` is no property\. Did you mean `scale`"):
        check_attack(Huge(), lacks=["scael"])
    with pytest.raises(TypeError, match="`attack` must be an Attack"):
        check_attack(Huge)


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"non-finite"}))
def test_rows_stay_finite_for_any_finite_float32(name):
    honest = np.array([[3e38, -3e38], [-3e38, 1.0], [3e38, 3e38], [1e-38, 0.0]], np.float32)
    assert np.isfinite(ATTACKS[name]().against(MDA(), 3)(honest, 3)).all()


SIZELESS = {"gaussian", "huge", "non-finite"}
"""Attacks whose rows have a size of their own."""


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - SIZELESS))
@pytest.mark.parametrize("size", [2.0**-400, 2.0**400, 5e139])
@pytest.mark.parametrize("width", [1, 20_000])
def test_attacks_are_the_same_at_any_size_of_float64(name, size, width):
    """Up to the end of the range of rows; wide rows take compiled loops."""
    honest = np.tile([[1.0, 2.0], [1.5, 1.0], [0.5, 1.7], [1.2, 1.3]], width)
    attack = (ALIE(z=1.0) if name == "alie" else ATTACKS[name]()).against(TrimmedMean(), 1)
    if width > 1 and (name.endswith("-opt") or name in {"agr", "hidden"}):
        honest = honest[:, :200]
    rows = attack(honest * size, 1, at=Round(2))
    np.testing.assert_allclose(rows / size, attack(honest, 1, at=Round(2)), rtol=1e-9)
    assert name != "mimic" or (rows[0] == honest * size).all(axis=1).any()


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"non-finite"}))
@given(rows=st.integers(3, 5).flatmap(
    lambda h: arrays(
        np.float64, st.tuples(st.just(h), st.integers(1, 3)),
        elements=st.floats(-LARGEST, LARGEST),
    )
))
@settings(max_examples=20)
def test_rows_stay_finite_for_any_float64_in_range(name, rows):
    attack = (ALIE(z=3.0) if name == "alie" else ATTACKS[name]()).against(TrimmedMean(), 1)
    assert np.isfinite(attack(rows, 1, at=Round(2))).all()


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_names_read_back(name):
    attack = ATTACKS[name]()
    assert attack.name == name
    assert parse_attack(str(attack)) == attack
    assert attack.knowledge in ("alone", "knows the rule", "omniscient")


COLUMNWISE = [name for name in sorted(ATTACKS) if ATTACKS[name].columnwise]


@pytest.mark.parametrize("name", COLUMNWISE)
def test_rows_made_a_few_columns_at_a_time_are_those_made_at_once(name, monkeypatch):
    whole = ready(name)(HONEST, 3)
    monkeypatch.setattr("flwr_resam.attacks.attack._COLUMNS", 2)
    np.testing.assert_allclose(ready(name)(HONEST, 3), whole, rtol=1e-12)
    assert len(COLUMNWISE) >= 4


@pytest.mark.parametrize(
    ("n", "f", "z"), [(50, 24, 1.4261), (25, 11, 1.0676), (15, 5, 0.5244), (51, 24, 1.4461)]
)
def test_alie_takes_the_published_z(n, f, z):
    supporters = math.floor(n / 2 + 1) - f
    assert z == pytest.approx(NormalDist().inv_cdf((n - f - supporters) / (n - f)), abs=5e-5)
    honest = np.random.default_rng(n).normal(size=(n - f, 3))
    mean, sigma = mean_and_sigma(honest)
    assert ALIE()(honest, f) == pytest.approx(np.tile(mean - z * sigma, (f, 1)), abs=2e-4)


@pytest.mark.parametrize("value", ["1.1", None, True])
def test_a_factor_that_is_no_number_is_told_so(value):
    with pytest.raises(ValueError, match=r"`epsilon` must be finite\. Found .*Give a number"):
        FOE(epsilon=value)


@pytest.mark.parametrize(("honest", "count"), [(10, 1), (10, 2), (14, 1), (19, 1)])
def test_alie_is_refused_where_its_published_z_would_send_the_honest_mean(honest, count):
    with pytest.raises(ValueError, match=r"no value above 0. Found n = .* Write alie\(z=1.5\)"):
        ALIE().check(honest, count)
    ALIE(z=1.5).check(honest, count)


def test_alie_beside_other_attacks_counts_all_byzantine_workers():
    honest = np.random.default_rng(0).normal(size=(10, 3))
    alone = ALIE()(honest, 5)[:2]
    assert ALIE().against(Mean(), 5)(honest, 2) == pytest.approx(alone)
    assert ALIE(z=1.0).against(Mean(), 5) == ALIE(z=1.0)


@given(matrices, st.floats(-3, 3), st.integers(1, 3))
def test_alie_and_foe_are_their_formulas(honest, factor, count):
    mean, sigma = mean_and_sigma(honest)
    scale = 1.0 + np.abs(honest).max()
    assert ALIE(z=factor)(honest, count) == pytest.approx(
        np.tile(mean - factor * sigma, (count, 1)), abs=1e-9 * scale
    )
    assert FOE(epsilon=factor)(honest, count) == pytest.approx(
        np.tile(-factor * mean, (count, 1)), abs=1e-9 * scale
    )


def bisected(honest, keeps):
    """The largest gamma for which ``keeps(mu - gamma sigma)`` holds."""
    mean, sigma = mean_and_sigma(honest)
    low, high = 0.0, 1.0
    while keeps(mean - high * sigma):
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if keeps(mean - middle * sigma) else (low, middle)
    return mean - low * sigma


@pytest.mark.parametrize("seed", range(5))
def test_min_max_is_the_farthest_row_within_the_largest_honest_distance(seed):
    honest = np.random.default_rng(seed).normal(size=(5, 4))
    widest = max(math.dist(a, b) for a, b in itertools.combinations(honest, 2))
    expected = bisected(honest, lambda row: max(math.dist(row, x) for x in honest) <= widest)
    assert MinMax()(honest, 2) == pytest.approx(np.tile(expected, (2, 1)), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_min_sum_is_the_farthest_row_within_the_largest_honest_sum(seed):
    honest = np.random.default_rng(seed).normal(size=(5, 4))
    widest = max(sum(math.dist(a, b) ** 2 for b in honest) for a in honest)
    expected = bisected(honest, lambda row: sum(math.dist(row, x) ** 2 for x in honest) <= widest)
    assert MinSum()(honest, 2) == pytest.approx(np.tile(expected, (2, 1)), rel=1e-9)


@given(matrices)
@settings(max_examples=60)
def test_min_max_and_min_sum_keep_their_promise(honest):
    squared = ((honest[:, None] - honest[None]) ** 2).sum(axis=2)
    slack = 1e-9 * (1.0 + np.abs(honest).max()) ** 2
    assert ((MinMax()(honest, 1) - honest) ** 2).sum(axis=1).max() <= squared.max() + slack
    assert ((MinSum()(honest, 1) - honest) ** 2).sum() <= squared.sum(axis=1).max() + slack


@pytest.mark.parametrize("seed", range(5))
def test_mimic_copies_the_row_that_stands_out_along_the_top_direction(seed):
    honest = np.random.default_rng(seed).normal(size=(6, 4)) * [3.0, 1.0, 1.0, 1.0]
    values, vectors = np.linalg.eigh(np.cov(honest.T))
    shares = np.abs((honest - honest.mean(axis=0)) @ vectors[:, values.argmax()])
    assert np.array_equal(Mimic()(honest, 2), np.tile(honest[shares.argmax()], (2, 1)))
    assert np.array_equal(Mimic(row=2)(honest, 1), honest[2:3])


@pytest.mark.parametrize(("h", "f"), [(4, 1), (5, 3), (6, 5)])
def test_cge_keeps_every_row_of_anti_cge(h, f):
    honest = np.random.default_rng(h).normal(1.0, 1.0, (h, 6)).astype(np.float32)
    rows = AntiCGE()(honest, f)
    norms = [(math.hypot(*row), index < f) for index, row in enumerate([*rows, *honest])]
    kept = sorted(norms)[:h]
    assert sum(byzantine for _, byzantine in kept) == f
    first_dropped = sorted(math.hypot(*row) for row in honest)[h - f]
    assert math.hypot(*rows[0]) == pytest.approx(first_dropped, rel=1e-3)
    mean = honest.mean(axis=0)
    assert np.dot(rows[0], mean) == pytest.approx(-math.hypot(*rows[0]) * math.hypot(*mean))


def test_anti_cge_with_as_many_rows_as_honest_ones_takes_the_shortest():
    honest = np.array([[1.0], [2.0]])
    assert AntiCGE()(honest, 2) == pytest.approx(np.full((2, 1), -1.0), rel=1e-3)
    assert not AntiCGE()(np.array([[1.0], [-1.0]]), 1).any()


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_one_row_for_all_is_held_once_and_a_caller_gets_rows_of_its_own(name):
    attack = ready(name)
    rows = attack(HONEST, 3)
    rows[0] = 7.0  # nobody else's
    assert not np.array_equal(rows[1], rows[0])
    step, _ = attack.step(HONEST, 3, state=attack.start())
    assert step.shape == rows.shape
    assert attack(HONEST, 0).shape == (0, HONEST.shape[1])
    assert attack(HONEST[:, :0], 2).shape == (2, 0)


def test_what_a_device_does_alone_works_on_its_own_row():
    own = HONEST[:1]
    for name, attack in ATTACKS.items():
        if attack.knowledge == "alone":
            assert attack()(own, 1).shape == own.shape, name
    assert np.array_equal(SignFlip()(HONEST, 9), -HONEST[[0, 1, 2, 3, 4, 5, 6, 0, 1]])
    assert np.array_equal(Huge(value=-7.0)(own, 1), np.full((1, 5), -7.0))
    assert Huge()(own.astype(np.float16), 1).max() == np.finfo(np.float16).max
    assert not np.isfinite(NonFinite()(own, 1)).any()


def test_gaussian_draws_from_the_rounds_generator():
    rows = Gaussian(std=2.0)(np.zeros((2, 5)), 3, at=Round(1, (), np.random.default_rng(8)))
    assert np.array_equal(rows, np.random.default_rng(8).normal(0.0, 2.0, (3, 5)))


def run(attack, rounds):
    """What the attack sends while worker i's honest vector is 10 t + i in round t."""
    state, sent = attack.start(), []
    for number in range(1, rounds + 1):
        honest = np.array([[10.0 * number], [10.0 * number + 1.0]])
        rows, state = attack.step(honest, 3, state=state, at=Round(number))
        sent.append(rows.ravel().tolist())
    return sent


def test_replay_and_straggler_send_what_was():
    assert [rows[0] for rows in run(Replay(rounds=3), 6)] == [10, 10, 10, 10, 20, 30]
    assert [rows[0] for rows in run(Straggler(every=3), 7)] == [10, 10, 10, 40, 40, 40, 70]
    assert run(Replay(rounds=1), 2)[1] == [10.0, 11.0, 10.0]


@pytest.mark.parametrize("attack", [Replay(rounds=2), Straggler(every=4)])
def test_memory_of_another_model_is_not_used(attack):
    _, state = attack.step(np.ones((2, 3)), 1, state=attack.start(), at=Round(1))
    rows, _ = attack.step(np.zeros((2, 4)), 1, state=state, at=Round(2))
    assert np.array_equal(rows, np.zeros((1, 4)))


@pytest.mark.parametrize("rule", [Mean(), MDA(), TrimmedMean(), Median()])
@pytest.mark.parametrize("attack", [OptimisedALIE, OptimisedFOE])
@pytest.mark.parametrize("seed", range(3))
def test_no_factor_of_a_dense_search_beats_the_optimised_by_much(rule, attack, seed):
    honest = np.random.default_rng(seed).normal(0.3, 1.0, (6, 8))
    mean, sigma = mean_and_sigma(honest)
    direction = -sigma if attack is OptimisedALIE else -mean

    def damage(rows):
        return np.linalg.norm(rule(np.vstack([honest, rows]), f=3) - mean)

    dense = max(damage(np.tile(mean + t * direction, (3, 1))) for t in np.geomspace(0.1, 128, 200))
    found = attack(rule)(honest, 3)
    assert damage(found) >= 0.9 * dense
    steps = (found[0] - mean) / direction
    assert steps == pytest.approx(np.full(8, steps[0]), rel=1e-6)


@dataclass(frozen=True)
class Follower(Aggregator):
    """A rule with memory: the mean of the rows and of its last output; counts its steps."""

    name: ClassVar[str] = "follower"

    def start(self):
        return (0, 0.0)

    def _step(self, updates, f, state, at):
        count, last = state
        vector = 0.5 * updates.combine(np.full(updates.n, 1.0 / updates.n)) + 0.5 * last
        return Aggregate(vector, None, (count + 1, vector))


def test_a_rule_with_memory_is_followed_from_round_to_round_and_trials_leave_no_trace():
    rule = Follower()
    attack = OptimisedFOE(rule)
    state = attack.start()
    defender = rule.start()
    for number in (1, 2, 3):
        rows, state = attack.step(HONEST, 2, state=state, at=Round(number))
        done = rule.step(np.vstack([HONEST, rows]), f=2, state=defender, at=Round(number))
        defender = done.state
        assert state[0] == number
        assert state[1] == pytest.approx(defender[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinMax()(HONEST[:1], 1), "`honest` must hold at least 2 row"),
        (lambda: ALIE()(HONEST[:2], 8), r"`z` must be given.*n = 10, f = 8"),
        (lambda: FOE()(HONEST[0], 1), "must be a 2-d array"),
        (lambda: FOE()(HONEST, -1), "`count` must be at least 0"),
        (lambda: Mimic(row=7)(HONEST, 1), r"`row` must be in 0 \.\. 6"),
        (lambda: OptimisedFOE()(HONEST, 1), "`aggregator` must be the defender's rule"),
        (lambda: OptimisedFOE(MDA())(HONEST, 7), "n > 2f"),
        (lambda: Gaussian(std=0.0), "`std` must be above 0"),
        (lambda: Gaussian(std=math.nan), "`std` must be above 0"),
        (lambda: Huge(value=math.inf), "`value` must be finite"),
        (lambda: Replay(rounds=0), "`rounds` must be at least 1"),
        (lambda: Straggler(every=1), "`every` must be at least 2"),
    ],
)
def test_what_cannot_be_done_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_given_defender_is_kept_and_a_missing_one_filled_in():
    assert OptimisedALIE(MDA()).against(Mean(), 4) == OptimisedALIE(MDA())
    assert OptimisedALIE().against(Mean(), 4) == OptimisedALIE(Mean(), f=4)
    assert OptimisedALIE(f=2).against(Mean(), 4) == OptimisedALIE(Mean(), f=2)
    assert FOE().against(Mean(), 4) == FOE()


def test_whole_numbers_are_attacked_as_numbers():
    rows = FOE(epsilon=0.1)(np.array([[1, 2], [3, 4]]), 1)
    np.testing.assert_allclose(rows, [[-0.2, -0.3]])
