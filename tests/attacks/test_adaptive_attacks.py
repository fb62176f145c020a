"""Attacks that know the rule, remember rounds or hide in one coordinate: against plain loops."""

import itertools
import math

import numpy as np
import pytest

from flwr_resam import parse_attack
from flwr_resam.aggregators import MDA, CenteredClipping, Krum, Mean, Sever, TrimmedMean
from flwr_resam.attacks import (
    ROP,
    AGRTailored,
    Decoys,
    Drift,
    FangKrum,
    FangTrimmedMean,
    HiddenVulnerability,
    MinMax,
    MinSum,
    SignFlip,
)
from flwr_resam.rule import Round

DIRECTIONS = {
    "std": lambda honest: honest.std(axis=0, ddof=1),
    "sign": lambda honest: np.sign(honest.mean(axis=0)),
    "unit": lambda honest: honest.mean(axis=0) / np.linalg.norm(honest.mean(axis=0)),
}


def draw(seed, h=6, d=8, mean=0.3):
    return np.random.default_rng(seed).normal(mean, 1.0, (h, d))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_min_max_and_min_sum_go_as_far_as_they_may_in_each_direction(direction, seed):
    honest = draw(seed)
    mean, off = honest.mean(axis=0), DIRECTIONS[direction](honest)
    widest = max(math.dist(a, b) for a, b in itertools.combinations(honest, 2))
    largest = max(sum(math.dist(a, b) ** 2 for b in honest) for a in honest)
    hides = {
        MinMax: lambda row: max(math.dist(row, x) for x in honest) <= widest,
        MinSum: lambda row: sum(math.dist(row, x) ** 2 for x in honest) <= largest,
    }
    for attack, hidden in hides.items():
        (row,) = attack(direction=direction)(honest, 1)
        gamma = np.linalg.norm(row - mean) / np.linalg.norm(off)
        np.testing.assert_allclose(row, mean - gamma * off, rtol=1e-9)
        assert hidden(mean - 0.999999 * gamma * off)
        assert not hidden(mean - 1.000001 * gamma * off)


def test_a_direction_that_there_is_not_is_refused():
    for text in ("min-max(direction=signs)", "min-sum(direction=signs)", "agr(perturbation=signs)"):
        with pytest.raises(ValueError, match=r"`signs` is no direction\. Did you mean `sign`"):
            parse_attack(text)


def test_without_a_mean_there_is_no_way_to_push():
    honest = np.array([[1.0, -2.0], [-1.0, 2.0]])
    for direction in ("sign", "unit"):
        assert not MinMax(direction=direction)(honest, 1).any()
        assert not MinSum(direction=direction)(honest, 1).any()


@pytest.mark.parametrize("rule", [Mean(), MDA(), TrimmedMean()])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_agr_moves_the_rule_about_as_far_as_a_dense_search(rule, direction):
    honest = draw(1)
    mean, off = honest.mean(axis=0), DIRECTIONS[direction](honest)
    off = off / np.linalg.norm(off) * np.linalg.norm(honest.std(axis=0, ddof=1))

    def damage(rows):
        return np.linalg.norm(rule(np.vstack([honest, rows]), f=2) - mean)

    dense = max(damage(np.tile(mean - t * off, (2, 1))) for t in np.geomspace(0.1, 128, 200))
    rows = AGRTailored(rule, perturbation=direction)(honest, 2)
    assert damage(rows) >= 0.9 * dense
    steps = (mean - rows[0]) / off
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)


@pytest.mark.parametrize("b", [2.0, 5.0])
def test_fang_draws_just_beyond_the_honest_values_against_their_mean(b):
    honest = draw(2, d=40, mean=0.0) + np.repeat([0.0, 3.0, -3.0, 0.5], 10)
    generator = np.random.default_rng(5)
    rows = FangTrimmedMean(b=b)(honest, 300, at=Round(1, (), generator))
    for j in range(40):
        column = honest[:, j]
        if column.mean() > 0:
            edge = column.min()
            ends = (edge / b, edge) if edge > 0 else (b * edge, edge)
        else:
            edge = column.max()
            ends = (edge, b * edge) if edge > 0 else (edge, edge / b)
        assert (ends[0] <= rows[:, j]).all()
        assert (rows[:, j] <= ends[1]).all()
        assert np.ptp(rows[:, j]) > 0.95 * (ends[1] - ends[0])
    again = FangTrimmedMean(b=b)(honest, 300, at=Round(1, (), np.random.default_rng(5)))
    np.testing.assert_array_equal(rows, again)


def test_fang_moves_the_trimmed_mean_farther_than_an_honest_row_does():
    honest = draw(3, h=10, d=200)
    rows = FangTrimmedMean()(honest, 4)
    trimmed = TrimmedMean()
    moved = trimmed(np.vstack([honest, rows]), f=4) - honest.mean(axis=0)
    usual = trimmed(np.vstack([honest, draw(4, h=4, d=200)]), f=4) - honest.mean(axis=0)
    assert np.linalg.norm(moved) > 2.0 * np.linalg.norm(usual)
    assert moved @ honest.mean(axis=0) < 0.0


def krum_takes(honest, t, f):
    """Whether the first Byzantine row of -t sign(mu) has the least score, in plain loops."""
    signs = np.sign(honest.mean(axis=0))
    rows = [*honest, *np.tile(-t * signs, (f, 1))]
    scores = []
    for i, row in enumerate(rows):
        others = sorted(math.dist(row, x) ** 2 for j, x in enumerate(rows) if j != i)
        scores.append(sum(others[: len(rows) - f - 2]))
    return min(scores[len(honest) :]) < min(scores[: len(honest)])


@pytest.mark.parametrize("seed", range(5))
def test_fang_goes_as_far_as_krum_still_chooses(seed):
    honest = draw(seed, h=8, d=5)
    rows = FangKrum()(honest, 3)
    signs = np.sign(honest.mean(axis=0))
    t = float(-rows[0, 0] * signs[0])
    np.testing.assert_allclose(rows, np.tile(-t * signs, (3, 1)))
    assert t > 0.0
    assert krum_takes(honest, t, 3)
    assert not krum_takes(honest, 1.001 * t, 3)
    np.testing.assert_array_equal(Krum()(np.vstack([honest, rows]), f=3), rows[0])


def test_fang_sends_next_to_nothing_where_krum_chooses_no_such_row():
    honest = 5.0 + 0.01 * draw(0, h=8, d=5)
    assert np.abs(FangKrum()(honest, 3)).max() < 1e-4
    assert not FangKrum()(np.zeros((8, 5)), 3).any()


def test_hidden_moves_one_coordinate_and_krum_follows():
    honest = draw(5, h=12, d=1000)
    rule = Krum()
    for coordinate in (-1, 7):
        rows = HiddenVulnerability(rule, coordinate=coordinate)(honest, 3)
        off = rows[0] - honest.mean(axis=0)
        assert np.flatnonzero(np.abs(off) > 1e-12).tolist() == [coordinate % 1000]
        assert off[coordinate] * honest.mean(axis=0)[coordinate] < 0.0
        out = rule(np.vstack([honest, rows]), f=3)
        farthest = np.abs(honest - honest.mean(axis=0))[:, coordinate].max()
        assert abs(out - honest.mean(axis=0))[coordinate] > 3.0 * farthest
    with pytest.raises(ValueError, match=r"`coordinate` must be in -1000 \.\. 999"):
        HiddenVulnerability(rule, coordinate=1000)(honest, 3)


def test_decoys_are_what_their_formula_says():
    honest = draw(6, h=10)
    rows = Decoys(near=2.0, far=50.0, decoys=2)(honest, 5)
    mean, reach = honest.mean(axis=0), np.linalg.norm(honest.std(axis=0, ddof=1))
    expected = [mean - s * reach * mean / np.linalg.norm(mean) for s in (2, 2, 2, 50, 50)]
    np.testing.assert_allclose(rows, expected)
    np.testing.assert_allclose(Decoys(near=2.0, decoys=9)(honest, 1), expected[:1])


def test_a_filter_that_drops_several_rows_in_a_pass_falls_to_decoys():
    honest = draw(7, h=10, d=3)
    rows = np.vstack([honest, Decoys()(honest, 5)])
    several, one = Sever(rounds=3), Sever(rounds=5)
    off = [np.linalg.norm(rule(rows, f=5) - honest.mean(axis=0)) for rule in (several, one)]
    assert off[0] > 2.0
    assert off[1] < 1e-9


def sent(attack, rounds):
    state, rows = attack.start(), []
    for number, honest in enumerate(rounds, start=1):
        made, state = attack.step(honest, 2, state=state, at=Round(number))
        rows.append(made[0])
    return np.array(rows)


def test_drift_goes_one_way_in_all_rounds():
    rounds = [draw(seed, mean=0.0) for seed in range(6)]
    signs = np.sign(rounds[0].mean(axis=0))
    expected = [x.mean(axis=0) - 1.5 * x.std(axis=0, ddof=1) * signs for x in rounds]
    np.testing.assert_allclose(sent(Drift(z=1.5), rounds), expected)
    other = draw(9, d=3)
    _, state = Drift().step(rounds[0], 1, state=())
    rows, _ = Drift().step(other, 1, state=state)
    np.testing.assert_allclose(rows, Drift()(other, 1), err_msg="of another model")


@pytest.mark.parametrize("settings", [{}, {"z": 3.0, "angle": 150.0, "pi": 0.25, "lam": 0.5}])
def test_rop_is_its_formula_about_the_outputs_of_the_rule(settings):
    rounds = [draw(seed) for seed in range(5)]
    rule = CenteredClipping(radius=1.0)
    attack = ROP(rule, **settings)
    rows = sent(attack, rounds)
    state, last = rule.start(), None
    for honest, row in zip(rounds, rows, strict=True):
        mean = honest.mean(axis=0)
        last = mean if last is None else last
        reference = attack.lam * last + (1 - attack.lam) * mean
        ones = np.ones(8)
        across = ones - (ones @ reference) / (reference @ reference) * reference
        turn = math.radians(attack.angle)
        off = math.cos(turn) * reference / np.linalg.norm(reference)
        off = off + math.sin(turn) * across / np.linalg.norm(across)
        size = attack.z * np.linalg.norm(honest.std(axis=0, ddof=1))
        place = attack.pi * last + (1 - attack.pi) * mean
        np.testing.assert_allclose(row, place + size * off, rtol=1e-9)
        done = rule.step(np.vstack([honest, row, row]), f=2, state=state)
        state, last = done.state, done.vector


def test_rop_leads_centred_clipping_away_round_by_round():
    way = np.tile([1.0, -1.0], 15)  # across to the vector of ones
    rounds = [way + 0.1 * draw(seed, h=9, d=30, mean=0.0) for seed in range(30)]
    rule, attack = CenteredClipping(radius=0.5, steps=1), ROP(CenteredClipping(0.5, steps=1), z=3.0)

    def ends(count):
        state, own = rule.start(), attack.start()
        for number, honest in enumerate(rounds, start=1):
            rows, own = attack.step(honest, count, state=own, at=Round(number))
            done = rule.step(np.vstack([honest, rows]), f=4, state=state, at=Round(number))
            state = done.state
        return np.linalg.norm(done.vector - way)

    assert ends(4) > 1.5 * ends(0)


def test_a_sign_flip_of_any_size():
    honest = draw(8)
    np.testing.assert_allclose(SignFlip(factor=2.5)(honest, 6), -2.5 * honest)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FangTrimmedMean(b=1.0), "`b` must be above 1"),
        (lambda: Decoys(near=0.0), "`near` must be"),
        (lambda: Decoys(decoys=0), "`decoys` must be"),
        (lambda: Drift(z=math.nan), "`z` must be finite"),
        (lambda: ROP(Mean(), pi=1.5), "`pi` must be between 0 and 1"),
        (lambda: ROP()(draw(0), 1), "`aggregator` must be the defender's rule for `rop`"),
        (lambda: SignFlip(factor=math.inf), "`factor` must be finite"),
    ],
)
def test_what_cannot_be_done_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
