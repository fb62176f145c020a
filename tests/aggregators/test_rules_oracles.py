"""Every rule against a naive loop of its definition."""

import numpy as np
import pytest

from flwr_resam.aggregators import AGGREGATORS, CGE
from flwr_resam.aggregators.robust_gradient import _interval
from flwr_resam.preaggregators import ARC, PREAGGREGATORS, Clipping
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Round
from tests import oracles, oracles_memory
from tests.oracles import ORACLES
from tests.rules import SIZES, cases, draw, make

MEMORY = {"cc", "byzantine-sgd", "safeguard", "foolsgold"}
"""Their oracles run over several rounds: `test_rules_memory`."""

LEAST = 1.5e-45
"""The step between float32 numbers around 0, to which results of tiny rows are rounded."""


def test_every_registry_entry_has_an_oracle():
    assert set(ORACLES) | MEMORY == set(AGGREGATORS)
    assert all(hasattr(oracles, name) for name in PREAGGREGATORS)


def rows_of(kind, n, f, d, seed):
    rows = draw(n, d, seed)
    if kind == "far from the origin":
        return rows * 1e-3 + 1000.0
    if kind == "tiny float32":
        return (rows * 1e-40).astype(np.float32)  # some of them denormal
    faulty = np.random.default_rng(seed).choice(n, f, replace=False)
    if kind == "with huge faulty rows":
        rows[faulty] *= 1e30 * np.random.default_rng(seed).uniform(1, 9, size=(f, 1))
    if kind == "far float32 with faulty rows at its end":
        rows = (rows * 1e-3 + 1000.0).astype(np.float32)
        rows[faulty] = 3e38 * np.sign(draw(f, d, seed))
    if kind == "identical but the faulty":
        rows[:] = rows[0]
        rows[faulty] += draw(f, d, seed)
    return rows


KINDS = [
    "plain", "far from the origin", "with huge faulty rows", "tiny float32",
    "far float32 with faulty rows at its end", "identical but the faulty",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "n", "f"), [case for case in cases() if case[0] not in MEMORY | {"gm", "gmom"}]
)
def test_agrees_with_the_oracle(name, n, f, kind):
    if name in {"mda", "smea"} and n > 8:
        n, f = 9, 3
    for d in (1, 6):
        rows = rows_of(kind, n, f, d, seed=n + d)
        expected = ORACLES[name](rows.astype(np.float64), f)
        got = make(name)(rows, f=f)
        if name == "mda":  # of several subsets of least diameter any will do
            subsets = oracles.all_mda(rows.astype(np.float64), f)
            expected = min(subsets, key=lambda mean: np.linalg.norm(mean - got))
        rtol = 1e-9 if rows.dtype == np.float64 else 3e-7
        atol = 1e-7 * spread(rows) + LEAST
        if name == "mean":  # the faulty rows are in its sum, and may cancel there up to rounding
            atol += n * np.finfo(np.float64).eps * float(np.abs(rows).max())
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def test_of_equal_intervals_the_one_of_the_first_rows_counts():
    values = np.array([[1.0], [1.5], [3.0], [2.5], [90.0], [2.0]])  # n - f = 4: keep 3 of 4
    for order in ([0, 1, 2, 3, 4, 5], [2, 3, 0, 1, 4, 5]):
        rows = values[order]
        expected = oracles.rge(rows, 2)
        for mirrored in (1.0, -1.0):
            got = make("rge")(mirrored * rows, f=2)
            np.testing.assert_allclose(mirrored * got, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1.0, 2.0, 3.0, -1.0, -3.0])
@pytest.mark.parametrize(
    ("name", "values", "f", "expected"),
    [
        # Five zeros and three of 0.5 are one half wide, whichever are left out.
        ("rge", [0.5, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0], 2, 0.4),
        # Three rows of -1 with the first one that is 1 away, of three.
        ("smea", [0.0, -1.0, -2.0, 2.0, -1.0, -1.0, 0.0], 3, -0.75),
    ],
)
def test_rounding_and_direction_decide_no_tie(name, values, f, expected, size):
    rows = size * np.array(values)[:, None]
    np.testing.assert_allclose(make(name)(rows, f=f), [size * expected], rtol=1e-12)


def test_an_interval_is_the_same_from_either_end():
    values = np.array([[0.0866], [-0.05], [0.0866], [0.0866], [0.0866], [-0.05]])
    assert _interval(values, 5).mean() == -_interval(-values, 5).mean()


def test_of_equal_subsets_in_different_chunks_the_first_is_taken(monkeypatch):
    rows = np.array([[0.0], [-1.0], [-2.0], [2.0], [-1.0], [-1.0], [0.0]])
    monkeypatch.setattr("flwr_resam.aggregators.smea._AT_ONCE", 1)
    np.testing.assert_allclose(make("smea")(rows, f=3), [-0.75], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "n", "f"), [case for case in cases() if case[0] == "gm"])
def test_the_geometric_median_agrees_with_the_oracle(name, n, f, kind):
    for d in (1, 6):
        rows = rows_of(kind, n, f, d, seed=n + d)
        got = make("gm")(rows, f=f)
        rows = rows.astype(np.float64)
        if kind in KINDS[:3]:
            assert oracles.is_gm(rows, got)
        if d > 1 or n % 2:  # else every point between the middle two is a median
            np.testing.assert_allclose(
                got, ORACLES["gm"](rows, f), rtol=1e-7, atol=1e-6 * spread(rows) + LEAST
            )


def spread(rows):
    """The size of a typical difference between rows, whatever single rows do."""
    rows = rows.astype(np.float64)
    return float(np.median(abs(rows - np.median(rows, axis=0))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 2), (15, 3)])
def test_gmom_agrees_with_the_oracle(n, f, kind):
    rows = rows_of(kind, n, f, 6, seed=n)
    got = make("gmom")(rows, f=f)
    expected = ORACLES["gmom"](rows.astype(np.float64), f)
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-6 * spread(rows) + LEAST)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "f"), [size for size in SIZES if size[0] > 2 * size[1]])
@pytest.mark.parametrize("name", PREAGGREGATORS)
def test_preaggregators_agree_with_the_oracle(name, n, f, kind):
    rows = rows_of(kind, n, f, 6, seed=n)
    if name == "bucketing":
        order = np.random.default_rng(5).permutation(n)
        s = n if f == 0 else max(1, (n - 1) // (2 * f))
        expected = oracles.bucketing(rows, f, order, s)
        got = make(name)(rows, f=f, at=Round(generator=np.random.default_rng(5)))
        assert make(name).rows_out(n, f) == len(expected)
    else:
        expected = getattr(oracles, name)(rows.astype(np.float64), f)
        got = make(name)(rows, f=f)
    rtol = 1e-9 if rows.dtype == np.float64 else 3e-7
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-12 * spread(rows) + LEAST)


@pytest.mark.parametrize("k", [3, 4, 9])
def test_gmom_with_given_groups_is_the_median_of_their_means(k):
    rows = draw(9, 4)
    means = [np.mean(part, axis=0) for part in np.array_split(rows, k)]
    rule = AGGREGATORS["gmom"](k=k)
    np.testing.assert_allclose(rule(rows, f=1), oracles.gm(means, 1), rtol=1e-7)


def test_multikrum_of_one_is_krum():
    rows = draw(9, 4)
    np.testing.assert_array_equal(
        AGGREGATORS["multikrum"](m=1)(rows, f=2), AGGREGATORS["krum"]()(rows, f=2)
    )


@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
def test_sever_drops_f_in_all_over_any_number_of_passes(rounds):
    rows = draw(15, 6)
    rule = AGGREGATORS["sever"](rounds=rounds)
    np.testing.assert_allclose(rule(rows, f=5), oracles.sever(rows, 5, rounds), rtol=1e-8)


def test_bulyan_chooses_one_at_a_time():
    """Rows for which one shot of scores and a choice at a time differ."""
    for seed in range(50):
        rows = draw(11, 3, seed)
        at_once = sorted(oracles.krum_order(rows, 11 - 2 - 2)[:7])
        one_by_one = AGGREGATORS["bulyan"]()(rows, f=2)
        np.testing.assert_allclose(one_by_one, oracles.bulyan(rows, 2), rtol=1e-9)
        chosen = rows[at_once]
        centre = np.median(chosen, axis=0)
        nearest = np.argsort(abs(chosen - centre), axis=0)[:3]
        if not np.allclose(np.take_along_axis(chosen, nearest, axis=0).mean(axis=0), one_by_one):
            return
    pytest.fail("no rows tell the two apart")


def test_oracle_of_memory_rules_agrees_on_the_first_round():
    rows = draw(7, 3)
    got = make("cc")(rows, f=2)
    np.testing.assert_allclose(got, oracles_memory.cc([dict(enumerate(rows))], 2)[0], rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_were_made_equally_long_are_equally_long_to_cge(seed):
    """ARC shortens rows to one norm, which float64 sums give back to the last digit or so."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(9, 200))
    rows *= (2.0 / np.linalg.norm(rows, axis=1))[:, None]
    rows[[1, 4]] *= 0.5
    weights = CGE().weights(Updates(rows).geometry(), 3)
    assert np.flatnonzero(weights).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 30_000), (25, 500)])
@pytest.mark.parametrize("size", [1e-5, 1.0, 1e8])
def test_of_rows_clipped_to_one_norm_cge_keeps_the_first(shape, size, dtype):
    rows = (size * (draw(*shape) + 1.0)).astype(dtype)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    f = 3
    kept = len(rows) - f
    for stage in (ARC(), Clipping(0.01 * norms.min()), Clipping(float(np.median(norms)))):
        updates = Updates(rows)
        mixing = stage.mixing(updates.geometry(), f, Round())
        limit = (norms * np.diag(mixing)).max()
        shorter, equal = (np.flatnonzero(x) for x in (norms < 0.999999 * limit, norms >= 0.999999 * limit))
        expected = sorted([*shorter, *equal[: kept - len(shorter)]])
        weights = CGE().weights(updates.mix(mixing).geometry(), f)
        assert np.flatnonzero(weights).tolist() == expected


def test_a_norm_that_is_shorter_by_little_is_no_tie():
    rows = np.array([[1.0 + 1e-10], [1.0], [-1.0], [1.0], [9.0]])
    weights = CGE().weights(Updates(rows).geometry(), 2)
    assert np.flatnonzero(weights).tolist() == [1, 2, 3]
