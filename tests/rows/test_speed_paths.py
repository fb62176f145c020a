"""One result, however it was computed: any number of threads, compiled loops or NumPy, any width."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.parse import parse_rule
from flwr_resam.rows import jit as compiled
from flwr_resam.rows import order
from flwr_resam.rows import source as blocks
from flwr_resam.rows import sums as moments
from flwr_resam.rows.network import order_rows
from flwr_resam.rows.source import Segments
from flwr_resam.rows.sums import distances
from flwr_resam.rows.threads import _blas, in_order
from flwr_resam.rows.updates import Updates
from tests.rules import make

CHAINS = ["nnm | cwtm", "nnm | gm", "bucketing(s=2) | meamed", "clipping(radius=5.0) | cwmed"]
COORDINATE = {"cwmed", "cwtm", "meamed", "phocas", "signmajority", "bulyan"}


@pytest.fixture(scope="module")
def rows():
    matrix = np.random.default_rng(0).normal(size=(11, 96_000)).astype(np.float32)
    matrix[:2] += 3.0
    return matrix


@pytest.fixture
def plain(monkeypatch):
    """NumPy alone, as without the extra `speed`."""
    monkeypatch.setattr(compiled, "_kernels", lambda: None)


@pytest.mark.parametrize("text", [*sorted(AGGREGATORS), *CHAINS])
def test_the_bits_do_not_depend_on_the_number_of_threads(rows, monkeypatch, text):
    rule = make(text) if text in AGGREGATORS else parse_rule(text)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(blocks, "cores", lambda count=count: count)
        found.append(rule(rows, f=2))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("text", [*sorted(AGGREGATORS), *CHAINS])
def test_numpy_and_compiled_loops_agree(rows, monkeypatch, text):
    pytest.importorskip("numba")
    rule = make(text) if text in AGGREGATORS else parse_rule(text)
    found = rule(rows, f=2)
    monkeypatch.setattr(compiled, "_kernels", lambda: None)
    if text in COORDINATE:
        np.testing.assert_array_equal(found, rule(rows, f=2))
    else:
        np.testing.assert_allclose(found, rule(rows, f=2), rtol=1e-6, atol=1e-9)


def awkward(n, width, seed=0):
    """Ties, both zeros, giants, denormals."""
    generator = np.random.default_rng(seed)
    values = np.array([0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38, 1e-45, -1e-45, 1.5, 2.5], np.float32)
    block = generator.choice(values, (n, width))
    return np.where(generator.random((n, width)) < 0.5, block, generator.normal(size=(n, width)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 25, 40, 64, 65, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_order_statistics_of_wide_blocks_are_those_of_a_sort(n, dtype, plain):
    block = awkward(n, 1100).astype(dtype)
    ordered = np.sort(block, axis=0)
    f = (n - 1) // 2
    found = order.mean_between(block, f, n - f)
    exact = ordered[f : n - f].astype(np.longdouble).mean(axis=0)
    np.testing.assert_allclose(found, exact.astype(float), rtol=1e-12, atol=1e-300)
    if n <= 64:
        row = order_rows(block, tuple(range(n)))
        np.testing.assert_array_equal(np.stack([row(rank) for rank in range(n)]), ordered)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 25, 100])
def test_compiled_order_statistics_are_those_of_numpy(n, monkeypatch):
    pytest.importorskip("numba")
    block = awkward(n, 65_600).astype(np.float32)
    assert compiled.kernels_for(block) is not None
    cases = [
        (order.mean_between, 0, n), (order.mean_between, (n - 1) // 2, n // 2 + 1),
        *[(order.mean_around_median, k) for k in {1, max(1, n // 3), max(1, n - 2), n}],
        (order.mean_around_trimmed_mean, (n - 1) // 3, n - (n - 1) // 3),
    ]
    found = [function(block, *arguments) for function, *arguments in cases]
    monkeypatch.setattr(compiled, "_kernels", lambda: None)
    for result, (function, *arguments) in zip(found, cases, strict=True):
        np.testing.assert_array_equal(result, function(block, *arguments))


def test_a_compiled_table_is_that_of_numpy(monkeypatch):
    pytest.importorskip("numba")
    block = np.random.default_rng(1).normal(size=(10, 20_000)).astype(np.float32)
    block[:3] *= 1e30
    found = Updates(block).geometry().gram
    monkeypatch.setattr(compiled, "_kernels", lambda: None)
    np.testing.assert_allclose(found, Updates(block).geometry().gram, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3, 8200, 70_001])
def test_moments_are_those_of_numpy(monkeypatch, dtype, width):
    block = np.random.default_rng(2).normal(1e3, 1e-2, size=(10, width)).astype(dtype)
    exact = block.astype(np.longdouble)
    for kernels in (compiled._kernels(), None):
        monkeypatch.setattr(compiled, "_kernels", lambda kernels=kernels: kernels)
        mean, deviation = moments.mean_and_deviation(block)
        np.testing.assert_allclose(mean, exact.mean(axis=0).astype(float), rtol=1e-14)
        expected = exact.std(axis=0, ddof=1).astype(float)
        np.testing.assert_allclose(deviation, expected, rtol=1e-9)
        part = moments.mean_and_deviation(block[:, 1:])
        np.testing.assert_allclose(part[1], deviation[1:], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 1000, 65_536, 200_003])
def test_distances_are_those_of_numpy(monkeypatch, dtype, width):
    generator = np.random.default_rng(3)
    values, base = generator.normal(size=(2, 9, width)).astype(dtype)
    values[0] *= 1e18
    vector = generator.normal(size=width).astype(dtype)
    half = width // 2
    rows = [Segments([row[:half], row[half:]]) for row in values[:5]]
    rows += [Segments([row], [one]) for row, one in zip(values[5:], base[5:], strict=True)]
    dense = np.concatenate([values[:5], base[5:] - values[5:]]).astype(np.longdouble)
    expected = np.sqrt(((dense - vector) ** 2).sum(axis=1)).astype(float)
    for kernels in (compiled._kernels(), None):
        monkeypatch.setattr(compiled, "_kernels", lambda kernels=kernels: kernels)
        np.testing.assert_allclose(distances(rows, vector), expected, rtol=1e-12)


def test_small_models_and_those_without_numba_never_import_it(monkeypatch):
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "flwr_resam.rows.kernels", None)
    compiled._kernels.cache_clear()
    try:
        assert compiled.kernels_for(np.ones((10, 100_000), np.float32)) is None
        assert Updates(np.ones((10, 100_000), np.float32)).geometry().n == 10
    finally:
        compiled._kernels.cache_clear()


def test_an_error_in_a_thread_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [3, 2, 1, 0, 1, 2], threads=3))


def test_a_consumer_that_stops_early_leaves_no_thread_at_work():
    results = in_order(abs, range(1000), threads=2)
    assert next(results) == 0
    results.close()


def test_callers_in_several_threads_leave_blas_as_it_was():
    def blas():
        return [lib["num_threads"] for lib in _blas().info() if lib["user_api"] == "blas"]

    before = blas()
    first, second = in_order(abs, [1, 2], threads=1), in_order(abs, [3, 4], threads=1)
    assert (next(first), next(second)) == (1, 3)
    assert list(first) == [2]
    assert set(blas()) == {1}
    assert list(second) == [4]
    assert blas() == before


def test_the_settings_of_mypy_are_for_modules_that_exist():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    overrides = tomllib.loads(text)["tool"]["mypy"]["overrides"]
    own = [m for o in overrides for m in o["module"] if m.startswith("flwr_resam")]
    assert own
    assert all(importlib.util.find_spec(module) for module in own)
