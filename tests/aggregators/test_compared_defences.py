"""The defences that users compare with: what their generic tests do not show."""

import sys

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN

from flwr_resam import parse_rule
from flwr_resam.aggregators import FLAME, DnC, FLTrust, FoolsGold, SignGuard
from flwr_resam.aggregators.flame import majority_cluster
from flwr_resam.preaggregators import NNM
from flwr_resam.rule import Round
from tests import oracles, oracles_memory
from tests.rules import draw


@pytest.mark.parametrize("seed", range(30))
def test_flames_cluster_is_that_of_hdbscan(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(4, 25))
    rows = generator.normal(size=(n, 3)) + generator.choice([0.0, 2.0, 5.0]) * np.eye(3)[0]
    rows[: n // 3] -= 4.0 * generator.normal(size=3)
    apart = np.array([[oracles.cosine_distance(x, y) for y in rows] for x in rows])
    labels = HDBSCAN(
        metric="precomputed", min_cluster_size=n // 2 + 1, min_samples=1,
        allow_single_cluster=True, copy=True,
    ).fit(apart).labels_
    np.testing.assert_array_equal(majority_cluster(apart), labels == 0)


def test_flames_noise_is_in_units_of_the_median_norm_and_drawn_anew():
    rows = np.ones((5, 20_000), np.float32) * np.array([[1.0], [1.0], [2.0], [3.0], [3.0]], np.float32)
    still = FLAME(noise=0.0)(rows, f=2)
    typical = 2.0 * np.sqrt(20_000)
    noisy = [FLAME(noise=0.01).step(rows, f=2, at=Round(t)).vector for t in (1, 1, 2)]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    assert (noisy[0] - still).std() == pytest.approx(0.01 * typical, rel=0.02)
    assert noisy[0].dtype == np.float32
    other = FLAME(noise=0.01)(torch.tensor(rows), f=2)
    np.testing.assert_allclose(other.numpy(), noisy[0], rtol=1e-5)


@pytest.mark.parametrize("width", [50, 70_000])
@pytest.mark.parametrize(("iterations", "filtered"), [(1, 1.0), (3, 1.0), (2, 1.5)])
def test_dnc_drops_what_stands_out_in_the_coordinates_drawn(iterations, filtered, width):
    rows = draw(13, width)
    rows[[2, 5]] += 1.0
    generator = np.random.default_rng(4)
    columns = [np.sort(generator.choice(width, 20, replace=False)) for _ in range(iterations)]
    expected = oracles.dnc(rows, 2, iterations, filtered, columns)
    rule = DnC(iterations=iterations, coordinates=20, filter=filtered)
    at = Round(generator=np.random.default_rng(4))
    np.testing.assert_allclose(rule.step(rows, f=2, at=at).vector, expected, rtol=1e-9)
    at = Round(generator=np.random.default_rng(4))
    tensor = rule.step(torch.tensor(rows), f=2, at=at).vector
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-9)


def test_dnc_needs_a_row_to_be_left():
    assert DnC(iterations=3).admits(7, 2)
    assert not DnC(iterations=3).admits(6, 2)
    with pytest.raises(ValueError, match=r"n > iterations ceil\(filter f\).*n = 6, f = 2"):
        DnC(iterations=3)(draw(6, 2), f=2)


def test_dnc_has_no_lambda_where_a_far_liar_hides_a_near_one():
    for size in (1e3, 1e6):
        rows = np.zeros((9, 1))
        rows[:2, 0] = size, size**2
        assert DnC()(rows, f=2)[0] == pytest.approx(size / 7)
    assert DnC().coefficient(9, 2, 1) == float("inf")
    assert DnC().coefficient(9, 1, 20_000) == float("inf")
    assert DnC().coefficient(9, 1, 1) is None


def test_fltrust_takes_the_servers_own_row():
    rows, own = draw(7, 5), draw(1, 5, seed=3)[0]
    expected = oracles.fltrust(rows, 2, own)
    for given, root in ((rows, own), (torch.tensor(rows), own), (rows, torch.tensor(own))):
        got = FLTrust().step(given, f=2, at=Round(root=root)).vector
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-9)
    chain = NNM() | FLTrust()
    assert chain.needs_root
    mixed = chain.step(rows, f=2, at=Round(root=own)).vector
    np.testing.assert_allclose(mixed, oracles.fltrust(oracles.nnm(rows, 2), 2, own), rtol=1e-9)
    assert not FLTrust(trusted=0).needs_root
    assert not parse_rule("nnm | cwtm").needs_root
    with pytest.raises(ValueError, match=r"`root` must be given for `fltrust`.*Resam\(root=...\)"):
        FLTrust()(rows, f=2)


def test_fltrust_gives_zero_where_nobody_agrees():
    rows = draw(7, 5)
    found = FLTrust().step(rows, f=2, at=Round(root=np.zeros(5)))
    assert not found.vector.any()
    against = FLTrust().step(np.abs(rows), f=2, at=Round(root=-np.ones(5)))
    assert not against.vector.any()
    assert "No row points the way" in against.note


def test_fltrust_follows_the_trusted_node():
    rule, rows = FLTrust(trusted=1), draw(5, 3)
    first = rule.step(rows, f=1, at=Round(1, (7, 8, 9, 10, 11)))
    np.testing.assert_allclose(first.vector, oracles.fltrust(rows, 1, rows[1]))
    moved = rule.step(rows, f=1, state=first.state, at=Round(2, (9, 10, 11, 8, 7)))
    np.testing.assert_allclose(moved.vector, oracles.fltrust(rows, 1, rows[3]))
    away = rule.step(rows[:4], f=1, state=first.state, at=Round(3, (9, 10, 11, 7)))
    assert not away.vector.any()
    assert "trusted node 8" in away.note
    with pytest.raises(ValueError, match="`trusted` must be less than the number of rows"):
        FLTrust(trusted=5)(rows, f=1)


def test_foolsgold_agrees_with_its_oracle_over_rounds():
    generator = np.random.default_rng(2)
    rounds = []
    for t in range(6):
        rows = {i: 0.3 * generator.normal(size=4) + np.eye(4)[i % 4] for i in range(6)}
        rows[4] = rows[5] + 1e-2 * generator.normal(size=4)
        if t in (2, 3):
            del rows[1]  # silent, and back with its history
        rounds.append(rows)
    rule, state, got = FoolsGold(), None, []
    for number, rows in enumerate(rounds, start=1):
        done = rule.step(
            np.array(list(rows.values())), f=2, state=state, at=Round(number, tuple(rows))
        )
        state = done.state
        got.append(done.vector)
    np.testing.assert_allclose(got, oracles_memory.foolsgold(rounds, 2), rtol=1e-7)


def test_foolsgold_takes_sybils_out_and_leaves_a_lone_liar():
    honest = np.eye(6) + 0.01 * draw(6, 6)
    sybils = np.tile(-5.0 * np.ones(6), (5, 1))
    found = FoolsGold().step(np.vstack([honest, sybils]), f=5)
    assert found.weights[6:].sum() == 0.0
    alone = FoolsGold().step(np.vstack([honest, sybils[:1]]), f=1)
    assert alone.weights[6] >= alone.weights[:6].max()
    same = FoolsGold().step(np.ones((4, 3)), f=1)
    assert not same.vector.any()
    assert "one way" in same.note


@pytest.mark.parametrize("width", [40, 70_000])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_signguard_clusters_the_signs_of_a_run_of_coordinates(share, width):
    rows = draw(11, width) + 0.4
    rows[[3, 7]] *= -1.0
    rows[5] *= 8.0
    size = int(share * width)
    first = int(np.random.default_rng(6).integers(width - size + 1))
    expected = oracles.signguard(rows, 3, share, first)
    rule = SignGuard(share=share)
    done = rule.step(rows, f=3, at=Round(generator=np.random.default_rng(6)))
    np.testing.assert_allclose(done.vector, expected, rtol=1e-9)
    assert done.weights[5] == 0.0
    if size > 10:
        assert done.weights[[3, 7]].sum() == 0.0


def test_signguard_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match=r"have scikit-learn for `signguard`.*pip install"):
        SignGuard()(draw(5, 3), f=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DnC(iterations=0), "`iterations`"),
        (lambda: DnC(coordinates=0), "`coordinates`"),
        (lambda: DnC(filter=0.0), "`filter`"),
        (lambda: FLAME(noise=-1.0), "`noise` must be at least 0"),
        (lambda: SignGuard(low=2.0), "`low` must be between 0 and 1"),
        (lambda: SignGuard(share=0.0), "`share` must be above 0"),
        (lambda: FLTrust(trusted=-1), "`trusted`"),
    ],
)
def test_what_cannot_be_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
