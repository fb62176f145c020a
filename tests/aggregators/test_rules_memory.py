"""Rules that remember earlier rounds: against their oracles, and by node."""

import numpy as np
import pytest

from flwr_resam.aggregators import ByzantineSGD, CenteredClipping, Mean, MoNNA, Safeguard
from flwr_resam.preaggregators import ARC, NNM, Bucketing, Clipping
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Round
from tests import oracles_memory as oracles
from tests.rules import draw


def run(rule, rounds, f, models=None):
    """The outputs and the last state of a rule over rounds of {node: row}."""
    state, out = rule.start(), []
    for number, rows in enumerate(rounds):
        model = None if models is None else (lambda m=models[number]: m)
        done = rule.step(
            np.array(list(rows.values())), f=f, state=state,
            at=Round(number + 1, tuple(rows), model=model),
        )
        state = done.state
        out.append(done.vector)
    return out, state


def honest(nodes, rounds, d, noise=1.0, centre=0.0, seed=0):
    generator = np.random.default_rng(seed)
    return [
        {node: centre + noise * generator.normal(size=d) for node in nodes} for _ in range(rounds)
    ]


@pytest.mark.parametrize("centre", [0.0, 1000.0])
@pytest.mark.parametrize(("radius", "steps"), [(0.5, 1), (2.0, 3), (1e4, 5)])
def test_centred_clipping_agrees_with_its_oracle(radius, steps, centre):
    rounds = honest(range(7), 5, 4, centre=centre)
    for rows in rounds:
        rows[3] = rows[3] * 1e9
    expected = oracles.cc(rounds, 2, radius, steps)
    got, state = run(CenteredClipping(radius, steps), rounds, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(state["vector"], got[-1])


def test_centred_clipping_near_far_and_huge_rows():
    """Close rows far out keep their digits; rows of 1e30 pull by the radius."""
    rounds = [
        {i: 1000.0 + 1e-3 * row for i, row in rows.items()} for rows in honest(range(9), 4, 5)
    ]
    for rows in rounds:
        rows[8] = np.full(5, -1e30)
    expected = oracles.cc(rounds, 2, 1e4, 1)
    got, _ = run(CenteredClipping(1e4, 1), rounds, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("unit", [2.0**460, 2.0**-460])
def test_radii_are_in_the_units_of_the_rows(unit):
    rounds = honest(range(7), 3, 4)
    scaled = [{i: row * unit for i, row in rows.items()} for rows in rounds]
    for rule, same in (
        (CenteredClipping(0.5), CenteredClipping(0.5 * unit)),
        (Safeguard(2, 4, 1.0, 1.0), Safeguard(2, 4, unit, unit)),
        (ByzantineSGD(0.5, 1.0, 10), ByzantineSGD(0.5 * unit, 1.0, 10)),
        (Clipping(0.5) | Mean(), Clipping(0.5 * unit) | Mean()),
    ):
        models = np.zeros((3, 4))
        plain, _ = run(rule, rounds, 2, models)
        big, _ = run(same, scaled, 2, models)
        np.testing.assert_allclose(np.array(big) / unit, plain, rtol=1e-9)


@pytest.mark.parametrize("thresholds", [(None, None), (0.6, 1.5), (None, 0.7)])
def test_safeguard_agrees_with_its_oracle(thresholds):
    rounds = honest(range(9), 12, 3)
    for t, rows in enumerate(rounds):
        rows[2] = rows[2] + 0.7  # a little each round
        rows[5] = rows[5] + (9.0 if t == 4 else 0.0)  # once
    got, state = run(Safeguard(3, 7, *thresholds), rounds, 3)
    expected = oracles.safeguard(rounds, 3, 3, 7, *thresholds)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert 5 in state["dropped"]


def test_safeguard_drops_a_slow_drift_for_good():
    rounds = honest(range(10), 60, 8, noise=1.0)
    for rows in rounds[:50]:
        rows[4] = rows[4] + 1.0  # within the noise of one round, whose length is about 2.8
    for rows in rounds[50:]:
        rows[4] = np.zeros(8)
    _, after_one = run(Safeguard(10, 50), rounds[:1], 3)
    assert after_one["dropped"] == ()
    _, state = run(Safeguard(10, 50), rounds, 3)
    assert state["dropped"] == (4,)


@pytest.mark.parametrize("width", [1, 1000])
def test_safeguard_drops_nobody_for_rounding(width):
    row = honest([0], 1, width)[0][0].astype(np.float32)
    rounds = [dict.fromkeys(range(10), row) for _ in range(9)]
    for rows in rounds:
        rows[4] = np.nextafter(row, np.float32(9.0))
    _, state = run(Safeguard(3, 7), rounds, 3)
    assert state["dropped"] == ()
    rounds = [dict.fromkeys(range(10), row.astype(np.float64) / 3.0) for _ in range(9)]
    for node in (4, 7):
        del rounds[node % 4][node]  # silent once
    _, state = run(Safeguard(3, 7), rounds, 3)
    assert state["dropped"] == ()


def test_safeguard_drops_whom_more_than_rounding_tells_apart():
    rounds = [{i: 100.0 + rows[i] for i in rows} for rows in honest(range(9), 12, 3, noise=1e-9)]
    for rows in rounds:
        rows[1] = rows[1] * (1.0 + 1e-6)
        rows[2] = rows[2] * (1.0 + 5e-6)
    got, state = run(Safeguard(3, 7), rounds, 3)
    np.testing.assert_allclose(got, oracles.safeguard(rounds, 3, 3, 7), rtol=1e-12)
    assert state["dropped"] == (2,)


def test_byzantine_sgd_agrees_with_its_oracle():
    rounds = honest(range(7), 30, 3, noise=0.3)
    models = np.cumsum(np.random.default_rng(1).normal(size=(30, 3)) * 0.1, axis=0) + 50.0
    for t, rows in enumerate(rounds):
        rows[2] = rows[2] + (8.0 if t == 6 else 0.0)
        rows[4] = rows[4] + 1.5
    rule = ByzantineSGD(1.0, 0.05, 30)
    got, state = run(rule, rounds, 2, models)
    np.testing.assert_allclose(
        got, oracles.byzantine_sgd(rounds, 2, models, 1.0, 0.05, 30), rtol=1e-9, atol=1e-12
    )
    assert state["dropped"] == (2, 4)


def test_byzantine_sgd_sees_what_no_single_round_shows():
    rounds = honest(range(7), 120, 2, noise=0.1)
    for rows in rounds:
        rows[1] = np.array([3.0, 0.0])  # within 4 V of the median row
    still, moved = np.zeros((120, 2)), np.array([[0.0, 0.0]] + [[1.0, 0.0]] * 119)
    tolerant, strict = ByzantineSGD(1.0, 1e9, 120), ByzantineSGD(1.0, 0.2, 120)
    assert run(tolerant, rounds[:40], 2, still)[1]["dropped"] == ()
    assert run(tolerant, rounds, 2, still)[1]["dropped"] == (1,), "its sum gives it away"
    assert run(strict, rounds[:40], 2, moved)[1]["dropped"] == (1,), "its sum along the model"
    assert run(strict, rounds[:40], 2, still)[1]["dropped"] == ()


def test_byzantine_sgd_needs_the_model_from_the_second_round_on():
    rounds = honest(range(5), 2, 2, noise=0.1)
    with pytest.raises(ValueError, match=r"`at` must hold the model from the first round on"):
        run(ByzantineSGD(1.0, 1.0, 10), rounds, 1)


RULES = [Safeguard(3, 7), ByzantineSGD(1.0, 0.5, 20), MoNNA(trusted=2)]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_memory_is_kept_by_node_not_by_row(rule):
    rounds = honest(range(7), 8, 3, noise=0.5)
    for rows in rounds:
        rows[5] = rows[5] + 0.8
    generator = np.random.default_rng(0)
    shuffled = rounds[:1] + [
        {int(i): rows[int(i)] for i in generator.permutation(7)} for rows in rounds[1:]
    ]
    models = draw(8, 3)
    plain, state = run(rule, rounds, 2, models)
    other, same = run(rule, shuffled, 2, models)
    np.testing.assert_allclose(other, plain, rtol=1e-9, atol=1e-12)
    assert same.get("dropped") == state.get("dropped")


@pytest.mark.parametrize("rule", RULES[:2], ids=str)
def test_a_node_that_is_silent_or_late_stands_where_the_aggregate_stands(rule):
    rounds = honest(range(7), 10, 3, noise=0.3, centre=20.0)
    for t, rows in enumerate(rounds):
        if t in (2, 3, 4, 7):
            del rows[6]  # silent
        if t < 5:
            del rows[0]  # late
    _, state = run(rule, rounds, 2, draw(10, 3))
    assert state["dropped"] == ()


def test_the_trusted_node_is_followed_and_missed():
    rounds = honest((11, 22, 33, 44), 3, 2)
    del rounds[1][11]
    del rounds[2][22]
    got, _ = run(MoNNA(trusted=1), rounds, 1)
    np.testing.assert_allclose(got, oracles.monna_rounds(rounds, 1, trusted=1))
    assert not got[2].any()


@pytest.mark.parametrize("rule", [Safeguard(2, 3), ByzantineSGD(1.0, 1.0, 10)], ids=str)
def test_a_round_of_dropped_nodes_only_gives_zero(rule):
    rows = honest(range(5), 1, 2, noise=0.1)[0]
    rows[3] = np.array([1e30, 1e30])
    out, state = run(rule, [rows, {3: np.ones(2)}], 0, np.zeros((2, 2)))
    assert state["dropped"] == (3,)
    assert abs(out[0]).max() < 1.0
    assert not out[1].any()


@pytest.mark.parametrize("rule", [*RULES, CenteredClipping(1.0)], ids=str)
def test_rows_of_any_size_in_range_leave_the_rest_as_it_is(rule):
    """Sums of huge float64 rows must neither overflow nor drown the honest ones."""
    rounds = honest(range(7), 6, 3, noise=0.1)
    for rows in rounds:
        rows[6] = np.full(3, 1e140)
    out, _ = run(rule, rounds, 2, np.zeros((6, 3)))
    assert abs(np.array(out)).max() < 1.0


@pytest.mark.parametrize("stage", [Clipping(0.5), ARC()], ids=str)
def test_rows_of_any_size_in_range_are_clipped(stage):
    rows = draw(7, 3)
    rows[6] = np.full(3, 1e140)
    assert np.linalg.norm(stage(rows, f=2), axis=1).max() <= np.linalg.norm(rows[:6], axis=1).max()


@pytest.mark.parametrize("rule", [*RULES, CenteredClipping(1.0)], ids=str)
def test_states_are_plain_and_not_changed_in_place(rule):
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) for key in value) and all(map(plain, value.values()))
        if isinstance(value, tuple):
            return all(map(plain, value))
        return value is None or isinstance(value, int | float | np.ndarray)

    rounds = honest(range(7), 4, 3)
    models = np.zeros((4, 3))
    _, state = run(rule, rounds[:3], 2, models)
    assert plain(state)
    kept = repr(state)
    last = np.array(list(rounds[3].values()))
    again = [
        rule.step(
            last, f=2, state=state, at=Round(4, tuple(range(7)), model=lambda: models[3])
        ).vector
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)
    assert repr(state) == kept


def test_a_state_of_another_model_is_refused():
    rule = CenteredClipping(1.0)
    state = rule.step(draw(4, 3), f=1, state=rule.start()).state
    with pytest.raises(ValueError, match=r"shape \(3,\) for 5 coordinates"):
        rule.step(draw(4, 5), f=1, state=state)


def test_joined_rows_are_read_behind_a_mixing_too():
    rows, vector = draw(5, 4), np.arange(4.0)
    mixing = np.array([[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0, 0.0]])  # one to the origin
    joined = Updates(rows).mix(mixing).with_vector(vector)
    expected = np.concatenate([mixing @ rows, vector[None]])
    np.testing.assert_allclose(joined.combine(np.array([1.0, 2.0, 3.0])), expected.T @ [1, 2, 3])
    apart = ((expected[:, None] - expected[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(joined.geometry().squared_distances, apart, atol=1e-12)
    np.testing.assert_array_equal(joined.combine(np.array([0.0, 0.0, 1.0])), vector)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_that_follow_nodes_refuse_rows_that_are_nobodys(rule):
    with pytest.raises(ValueError, match="be given one row a node, since it remembers nodes"):
        Bucketing() | rule
    with pytest.raises(ValueError, match="Leave `bucketing` out"):
        NNM() | (Bucketing() | (NNM() | rule))
    chain = NNM() | rule
    rounds = honest((5, 6, 7, 8, 9), 2, 3, noise=0.1)
    rounds[0][7] = np.full(3, 1e3)
    _, state = run(chain, rounds, 1, np.zeros((2, 3)))
    assert state.get("trusted", 5) in (5, 7)
    assert set(state.get("dropped", ())) <= {7}


def test_who_is_trusted_does_not_depend_on_who_answers_first():
    rule, rows = MoNNA(trusted=1), np.array([[2.0], [3.0], [50.0]])
    first = rule.step(rows, f=0, at=Round(1, (12, 13, 14), asked=(10, 11, 12, 13, 14)))
    assert first.state == {"trusted": 11}
    np.testing.assert_array_equal(first.vector, [0.0])
    assert "trusted node 11" in first.note
    again = rule.step(
        rows, f=1, state=first.state, at=Round(2, (11, 12, 14), asked=(10, 11, 12, 13, 14))
    )
    np.testing.assert_array_equal(again.vector, [2.5])
    assert again.note is None


def test_nodes_that_come_under_new_ids_each_round_do_not_fill_the_memory():
    rule, state = ByzantineSGD(1e9, 1e9, 100), None
    for number in range(1, 40):
        nodes = (0, 1, 2, 1000 + 2 * number, 1001 + 2 * number)
        done = rule.step(
            np.ones((5, 8)) * number, f=1, state=state if state is not None else rule.start(),
            at=Round(number, nodes, model=lambda: np.zeros(8)),
        )
        state = done.state
    held = [value for value in _arrays(state) if value.ndim == 2]
    assert held
    assert all(len(value) <= 10 for value in held)


def _arrays(value):
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [array for part in parts for array in _arrays(part)]


@pytest.mark.parametrize("giant", [1e30, 1e140])
def test_mixed_giants_pull_a_centre_by_the_radius(giant):
    rows = np.random.default_rng(0).normal(1.0, 0.1, size=(15, 4))
    rows[0] = [giant, 0.0, 0.0, 0.0]
    rule = NNM() | CenteredClipping(1.0, 3)
    state = rule.start()
    for number in range(1, 4):
        done = rule.step(rows, f=3, state=state, at=Round(number))
        state = done.state
        assert np.abs(done.vector).max() < 3.0 * number + 1.0
