"""Linear algebra in one order is that of the libraries."""

import numpy as np
import pytest

from flwr_resam.aggregators._arithmetic import Arithmetic, InOrder

PLAIN, ORDERED = Arithmetic(), InOrder()


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


@pytest.mark.parametrize(
    ("left", "right"), [(drawn(3, 4), drawn(4, 5)), (drawn(3, 4), drawn(4)), (drawn(4), drawn(4, 5)), (drawn(4), drawn(4))]
)
def test_products(left, right):
    np.testing.assert_allclose(ORDERED.times(left, right), PLAIN.times(left, right), rtol=1e-13)


def test_sums_and_lengths():
    table = drawn(6, 9)
    for name in ("columns", "rows", "lengths"):
        np.testing.assert_allclose(getattr(ORDERED, name)(table), getattr(PLAIN, name)(table), rtol=1e-12)
    for name in ("total", "length"):
        assert getattr(ORDERED, name)(table[0]) == pytest.approx(getattr(PLAIN, name)(table[0]), rel=1e-12)


@pytest.mark.parametrize("rank", range(1, 7))
def test_equations_that_have_a_solution_are_solved_also_where_they_are_too_few(rank):
    half = drawn(6, rank)
    matrix = half @ half.T
    right = matrix @ drawn(6)
    for how in (PLAIN, ORDERED):
        np.testing.assert_allclose(matrix @ how.solve(matrix, right), right, rtol=1e-9, atol=1e-9)


def test_a_system_of_zeros_is_solved_by_zero():
    np.testing.assert_array_equal(ORDERED.solve(np.zeros((3, 3)), np.ones(3)), np.zeros(3))


@pytest.mark.parametrize(("n", "d"), [(5, 9), (9, 5), (80, 200), (80, 20), (7, 1)])
def test_points_have_the_inner_products(n, d):
    rows = drawn(n, d)
    rows[n // 2] = rows[0]
    rows[1] = 0.0
    lengths = np.linalg.norm(rows, axis=1)
    rows /= np.where(lengths > 0, lengths, 1.0)[:, None]
    gram = rows @ rows.T
    gram[n // 2] = gram[0]  # equal rows have equal products
    gram[:, n // 2] = gram[:, 0]
    for how in (PLAIN, ORDERED):
        points = how.points(gram)
        np.testing.assert_allclose(points @ points.T, gram, atol=1e-12)
    assert points.shape[1] <= min(n, d)


def test_points_that_are_all_zero_have_one_coordinate():
    for how in (PLAIN, ORDERED):
        np.testing.assert_array_equal(how.points(np.zeros((4, 4))), np.zeros((4, 1)))
