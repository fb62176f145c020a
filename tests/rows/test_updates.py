"""The two passes over the rows: blocks, mixing, and the geometry about a safe reference."""

from itertools import pairwise

import numpy as np
import pytest

from flwr_resam.aggregators import AGGREGATORS, MDA, TrimmedMean
from flwr_resam.preaggregators import NNM
from flwr_resam.rows.source import Segments
from flwr_resam.rows.updates import Updates
from tests.rules import make

N, D = 9, 300_000  # several blocks wide


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def test_combine_is_the_weighted_sum_across_blocks(matrix):
    weights = np.random.default_rng(1).dirichlet(np.ones(N))
    expected = weights @ matrix.astype(np.float64)
    np.testing.assert_allclose(Updates(matrix).combine(weights), expected, rtol=1e-6, atol=1e-7)


def test_a_row_of_weight_zero_is_not_even_read(matrix):
    rows = matrix.copy()
    rows[3] = np.finfo(np.float32).max
    weights = np.full(N, 1.0 / (N - 1))
    weights[3] = 0.0
    expected = np.delete(matrix, 3, axis=0).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(Updates(rows).combine(weights), expected, rtol=1e-5, atol=1e-6)


def test_distances_and_norms_are_those_of_float64(matrix):
    geometry = Updates(matrix).geometry()
    wide = matrix.astype(np.float64)
    for i in range(N):
        exact = ((wide - wide[i]) ** 2).sum(axis=1)
        np.testing.assert_allclose(geometry.squared_distances[i], exact, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(geometry.squared_norms, (wide**2).sum(axis=1), rtol=1e-9)


def test_giant_rows_do_not_drown_honest_differences():
    generator = np.random.default_rng(2)
    rows = (1000.0 + 1e-3 * generator.normal(size=(9, 5000))).astype(np.float32)
    rows[:4] = 1e30 * generator.normal(size=(4, 5000))
    geometry = Updates(rows).geometry()
    honest = rows[4:].astype(np.float64)
    for i in range(5):
        exact = ((honest - honest[i]) ** 2).sum(axis=1)
        found = geometry.squared_distances[4 + i, 4:]
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-12)


def test_mixing_is_the_product_with_the_rows(matrix):
    mixing = np.random.default_rng(3).dirichlet(np.ones(N), size=4)
    mixed = Updates(matrix).mix(mixing)
    explicit = mixing @ matrix.astype(np.float64)
    assert (mixed.n, mixed.d) == (4, D)
    np.testing.assert_allclose(
        mixed.map_coordinates(lambda block: block.max(axis=0)), explicit.max(axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        mixed.geometry().squared_distances, Updates(explicit).geometry().squared_distances,
        rtol=1e-6, atol=1e-6,
    )


def test_weight_that_mixing_leaves_lies_on_the_origin(matrix):
    halves = Updates(matrix).mix(0.5 * np.eye(N))
    exact = 0.25 * (matrix.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(halves.geometry().squared_norms, exact, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_rows_in_message_parts_give_the_same_bits_as_one_matrix(matrix, name):
    cuts = [0, 1, 7, 131_072, 250_001, D]
    rows = [Segments([row[a:b] for a, b in pairwise(cuts)]) for row in matrix]
    rule, f = make(name), 1
    from_parts = rule.step(Updates(rows), f=f, state=rule.start()).vector
    np.testing.assert_array_equal(from_parts, rule(matrix, f=f))
    assert from_parts.dtype == np.float32


def test_rows_of_weights_become_differences_from_what_was_sent(matrix):
    base = np.random.default_rng(4).normal(size=D).astype(np.float32)
    rows = [Segments([row[:10], row[10:]], [base[:10], base[10:]]) for row in matrix]
    expected = (base.astype(np.float64) - matrix).mean(axis=0)
    found = Updates(rows).combine(np.full(N, 1.0 / N))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_chain_is_the_rule_on_the_mixed_rows(matrix):
    mixed = NNM()(matrix[:, :1000], f=2)
    np.testing.assert_allclose(
        (NNM() | TrimmedMean())(matrix[:, :1000], f=2), TrimmedMean()(mixed, f=2), atol=1e-6
    )


def test_a_chain_reports_the_weights_of_the_nodes_own_rows(matrix):
    done = (NNM() | MDA()).step(matrix, f=2)
    assert done.weights.shape == (N,)
    assert done.weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        done.vector, done.weights @ matrix.astype(np.float64), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_torch_in_torch_out_with_the_same_numbers(matrix, name):
    torch = pytest.importorskip("torch")
    rows = matrix[:, :5000]
    rule, f = make(name), 1
    found = rule(torch.from_numpy(rows), f=f)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), rule(rows, f=f), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("updates", "f", "error", "message"),
    [
        ([[1.0, np.nan], [1.0, 2.0]], 0, ValueError, "NaN or an infinity in row 0"),
        ([1.0, 2.0], 0, ValueError, "2-d array"),
        ([[1.0], [1.0, 2.0]], 0, ValueError, "rows of several lengths"),
        (np.empty((0, 3)), 0, ValueError, "at least one row"),
        ([["a"]], 0, TypeError, "hold real numbers"),
        (np.ones((2, 2), complex), 0, TypeError, "real and imaginary"),
        (np.ones((4, 2)), 2, ValueError, r"n > 2f for `mda`. Found n = 4, f = 2"),
        (np.ones((4, 2)), -1, ValueError, "at least 0. Found f = -1"),
        (np.ones((4, 2)), 1.5, TypeError, "whole number. Found 1.5"),
        (np.ones((4, 2)), True, TypeError, "whole number. Found True"),
    ],
)
def test_bad_input_is_one_clear_error(updates, f, error, message):
    with pytest.raises(error, match=message):
        MDA()(updates, f=f)
