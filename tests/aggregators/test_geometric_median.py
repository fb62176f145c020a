"""The geometric median, by its optimality condition in extended precision."""

import numpy as np
import pytest

from flwr_resam.aggregators import GeometricMedian

rng = np.random.default_rng(0)


def error(rows, y):
    """How far y lies from the median: zero at a row that is one, else a Newton step's length.

    A step's length bounds nothing far from the optimum, but where it is 1e-10 the strictly
    convex sum has its optimum that near.
    """
    x = rows.astype(np.longdouble)
    for row in x:
        distances = np.sqrt(((x - row) ** 2).sum(axis=1))
        on = distances == 0
        pull = ((x[~on] - row) / distances[~on, None]).sum(axis=0)
        if np.sqrt((pull**2).sum()) <= on.sum():
            return float(np.sqrt(((row - y) ** 2).sum()))
    distances = np.sqrt(((x - y) ** 2).sum(axis=1))
    assert distances.min() > 0, "the answer is a row, and no row is the median"
    units = (x - y) / distances[:, None]
    hessian = (1 / distances).sum() * np.eye(x.shape[1]) - (units / distances[:, None]).T @ units
    scale = float(1 / distances.max() + (1 / distances).sum())
    step = np.linalg.solve((hessian / scale).astype(float), units.sum(axis=0).astype(float))
    return float(np.linalg.norm(step) / scale)


def gaussian(n, d):
    return rng.standard_normal((n, d))


def with_giants(rows, size):
    rows = rows.copy()
    rows[:4] = size * rng.standard_normal(rows[:4].shape)
    return rows


def angle(theta):
    return np.array([[0.0, 0.0], [1.0, 0.0], [np.cos(theta), np.sin(theta)]])


CROSS = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
NEAR = gaussian(9, 3)
NEAR[1:3] = NEAR[0] + np.array([[1e-9], [-1e-9]])

CASES = {
    "gaussian": (gaussian(15, 3), 1.0),
    "far from the origin": (1000 + 1e-3 * gaussian(9, 3), 1e-3),
    "giants": (with_giants(gaussian(9, 3), 1e30), 1.0),
    "giants far from the origin": (with_giants(1000 + 1e-3 * gaussian(9, 3), 1e30), 1e-3),
    "giants of 1e139": (with_giants(gaussian(9, 3), 1e139), 1.0),
    "tiny": (1e-140 * gaussian(9, 3), 1e-140),
    "tiny with giants": (with_giants(1e-140 * gaussian(9, 3), 1e30), 1e-140),
    "a row is the median": (CROSS, 1.0),
    "a row, just so": (np.vstack([CROSS, [[5.0, 5.0]]]), 1.0),
    "beside a row": (np.vstack([CROSS, [[5.0, 5.0], [3.0, 3.1]]]), 1.0),
    "slow for Weiszfeld": (angle(np.arccos(-0.5) - 1e-6), 1.0),
    "barely a row": (angle(np.arccos(-0.5) + 1e-6), 1.0),
    "copies": (np.repeat(gaussian(4, 3), [3, 3, 2, 1], axis=0), 1.0),
    "near-copies": (NEAR, 1.0),
    "nearly on a line": (np.stack([np.arange(6.0), 1e-2 * rng.standard_normal(6)], axis=1), 1.0),
}


both_ways = pytest.mark.parametrize("reproducible", [False, True])


@both_ways
@pytest.mark.parametrize("name", CASES)
def test_the_point_of_least_summed_distance_is_found(name, reproducible):
    rows, spread = CASES[name]
    y = GeometricMedian()(rows, f=1, reproducible=reproducible)
    rounding = 4 * np.finfo(float).eps * np.linalg.norm(y)
    assert error(rows, y) <= 1e-10 * spread + rounding


@both_ways
def test_of_a_segment_of_medians_the_middle_of_its_rows_is_taken(reproducible):
    line = np.array([[0.0], [1.0], [3.0], [10.0]])

    def median(rows):
        return GeometricMedian()(rows, f=1, reproducible=reproducible)

    assert median(line) == [2.0]
    assert median(line[::-1]) == [2.0]
    slanted = line @ np.array([[1.0, 2.0, -2.0]]) + 5.0
    np.testing.assert_allclose(median(slanted), [7.0, 9.0, 1.0], rtol=1e-14)


@both_ways
def test_newton_needs_few_steps(monkeypatch, reproducible):
    from flwr_resam.aggregators import geometric_median as module

    monkeypatch.setattr(module, "_STEPS", 12)
    for n, d in [(25, 5), (100, 300), (60, 2)]:
        rows = np.random.default_rng(n).standard_normal((n, d))
        y = GeometricMedian()(rows, f=n // 2 - 1, reproducible=reproducible)
        assert error(rows, y) <= 1e-10


@both_ways
@pytest.mark.parametrize("seed", [8, 12, 44, 46, 48])
def test_rows_that_coincide_up_to_rounding_do_not_hold_the_search(seed, reproducible):
    """Three rows lie at one point and a fourth close by; four others far off pull harder."""
    draw = np.random.default_rng(seed)
    point = 5.0 * draw.standard_normal(8)
    rows = np.concatenate([
        3.0 * point + 1e-3 * draw.standard_normal((4, 8)),
        point + 1e-4 * draw.standard_normal((1, 8)),
        np.tile(point, (3, 1)),
    ])[draw.permutation(8)]
    away = rows - GeometricMedian()(rows, f=3, reproducible=reproducible)
    distances = np.linalg.norm(away, axis=1)
    on = distances <= 1e-10
    pull = np.linalg.norm((away[~on] / distances[~on, None]).sum(axis=0))
    assert pull <= on.sum() + 1e-6
