"""The search behind MDA, against listing every subset and every cover."""

import itertools

import numpy as np
import pytest

from benchmarks.mda import GEOMETRIES, squared_distances
from flwr_resam.aggregators import MDA
from flwr_resam.aggregators import _diameter as module
from flwr_resam.aggregators._diameter import smallest_diameter
from flwr_resam.aggregators._vertex_cover import CoverSearch, SearchExhausted, cover_bound
from flwr_resam.preaggregators import NNM


def listed(squared, m):
    """(least squared diameter, least sum at that diameter, first rows of that sum)."""
    return min(
        (squared[np.ix_(rows, rows)].max(), squared[np.ix_(rows, rows)].sum(), rows)
        for rows in itertools.combinations(range(len(squared)), m)
    )


def points(rng, kind, n, d):
    if kind == "gaussian":
        return rng.standard_normal((n, d))
    if kind == "lattice":
        return rng.integers(0, 4, (n, d)).astype(float)
    return np.repeat(rng.standard_normal((n, d)), 2, axis=0)[:n]


@pytest.mark.parametrize("kind", ["gaussian", "lattice", "twins"])
@pytest.mark.parametrize("tie_nodes", [0, 4, 150])
def test_no_subset_has_a_smaller_diameter(kind, tie_nodes):
    rng = np.random.default_rng(0)
    for _ in range(120):
        n, d = int(rng.integers(1, 11)), int(rng.integers(1, 4))
        m = int(rng.integers(1, n + 1))
        squared = squared_distances(points(rng, kind, n, d))
        found = smallest_diameter(squared, m, tie_nodes=tie_nodes)
        least, total, rows = listed(squared, m)
        assert found.factor == 1.0
        assert len(found.rows) == m == len(set(found.rows))
        assert found.rows == sorted(found.rows)
        assert squared[np.ix_(found.rows, found.rows)].max() == least
        if kind == "gaussian" and tie_nodes == 150:
            assert found.rows == list(rows)
        elif tie_nodes == 150:
            assert squared[np.ix_(found.rows, found.rows)].sum() >= total - 1e-9


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize(("n", "f"), [(13, 6), (12, 3)])
def test_no_subset_has_a_smaller_diameter_on_slow_geometries(name, n, f):
    squared = GEOMETRIES[name](n, np.random.default_rng(1))
    found = smallest_diameter(squared, n - f)
    best = min(
        squared[np.ix_(rows, rows)].max() for rows in itertools.combinations(range(n), n - f)
    )
    assert found.factor == 1.0
    assert squared[np.ix_(found.rows, found.rows)].max() == best


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name != "shell of 75 %, d = 200"])
def test_large_searches_come_to_an_end(name):
    squared = GEOMETRIES[name](100, np.random.default_rng(2))
    assert smallest_diameter(squared, 51, tie_nodes=0).factor == 1.0


def test_of_several_subsets_the_tightest_is_taken():
    # {0, 1, 2} and {1, 2, 3} have diameter 4; the second is tighter.
    squared = squared_distances(np.array([[0.0], [1.0], [4.0], [5.0]]))
    assert smallest_diameter(squared, 3).rows == [0, 1, 2]  # equal sums: row order
    squared = squared_distances(np.array([[0.0], [2.0], [4.0], [4.5], [6.0]]))
    assert smallest_diameter(squared, 4).rows == [1, 2, 3, 4]
    assert smallest_diameter(squared, 3).rows == [2, 3, 4]


@pytest.mark.parametrize("kind", ["gaussian", "lattice", "twins"])
def test_the_least_sum_is_that_of_all_subsets_unless_two_rows_are_free(kind):
    rng = np.random.default_rng(5)
    given_up = 0
    for _ in range(150):
        n = int(rng.integers(3, 10))
        m = int(rng.integers(2, n))
        squared = squared_distances(points(rng, kind, n, 2))
        limit = listed(squared, min(n, m + int(rng.integers(3))))[0]
        found = module._least_sum(squared, module._farther_than(squared, limit), n - m, 10**6)
        free = m + 2 <= n and listed(squared, m + 2)[0] <= limit
        assert (found is None) == free
        given_up += free
        if found is None:
            continue
        sums = {
            rows: squared[np.ix_(rows, rows)].sum()
            for rows in itertools.combinations(range(n), m)
            if squared[np.ix_(rows, rows)].max() <= limit
        }
        assert sums[tuple(found)] == pytest.approx(min(sums.values()), rel=1e-12)
        if kind == "gaussian":
            assert tuple(found) == min(sums, key=sums.__getitem__)
    assert 10 < given_up < 100


def test_of_equal_sums_the_first_rows_are_taken():
    # The sides of a square: with a corner of each diagonal dropped, no row is left to decide on.
    squared = squared_distances(np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    assert module._least_sum(squared, module._farther_than(squared, 1.0), 2, 100) == [0, 2]


def test_the_least_sum_is_given_up_past_the_nodes():
    squared = squared_distances(np.arange(3.0)[:, None])
    graph = module._farther_than(squared, 4.0)  # no edge: one node
    assert module._least_sum(squared, graph, 0, 1) == [0, 1, 2]
    assert module._least_sum(squared, graph, 0, 0) is None
    graph = module._farther_than(squared, 1.0)  # one edge: either end is dropped
    assert module._least_sum(squared, graph, 1, 3) == [0, 1]
    assert module._least_sum(squared, graph, 1, 2) is None


def test_past_the_tie_nodes_the_first_rows_are_taken():
    rng = np.random.default_rng(3)
    for _ in range(60):
        n = int(rng.integers(4, 10))
        m = n // 2 + 1
        squared = squared_distances(rng.integers(0, 3, (n, 2)).astype(float))
        kept = smallest_diameter(squared, m).rows
        graph = module._farther_than(squared, squared[np.ix_(kept, kept)].max())
        least = listed(squared, m)[0]
        first = next(
            rows for rows in itertools.combinations(range(n), m)
            if squared[np.ix_(rows, rows)].max() == least
        )
        assert module._first_in_order(graph, kept, n - m, 1000) == list(first)


def test_a_search_cut_short_gives_a_certificate():
    rng = np.random.default_rng(4)
    cut = 0
    for _ in range(100):
        n = int(rng.integers(5, 12))
        m = n // 2 + 1
        squared = squared_distances(rng.standard_normal((n, 3)))
        found = smallest_diameter(squared, m, nodes=0)
        least = listed(squared, m)[0]
        true = np.sqrt(squared[np.ix_(found.rows, found.rows)].max() / least)
        assert true <= found.factor * (1 + 1e-12) <= 2.0 + 1e-9
        cut += found.factor > 1.0
    assert cut > 30


def test_a_rule_says_that_its_search_was_cut_short(monkeypatch):
    rows = np.random.default_rng(5).standard_normal((9, 3))
    exact = MDA().step(rows, f=4)
    assert exact.note is None
    monkeypatch.setattr(
        "flwr_resam.aggregators.mda.smallest_diameter",
        lambda squared, m: smallest_diameter(squared, m, nodes=0),
    )
    done = MDA().step(rows, f=4)
    assert "cut short" in done.note
    assert "cut short" in (NNM() | MDA()).step(rows, f=4).note
    # lambda = (1 + c) f / (n - f) with c <= 2
    kept = np.ones(9, dtype=bool)
    for drop in itertools.combinations(range(9), 4):
        kept[:] = True
        kept[list(drop)] = False
        diam = np.sqrt(squared_distances(rows[kept]).max())
        assert np.linalg.norm(done.vector - rows[kept].mean(axis=0)) <= 3 * 4 / 5 * diam


def test_covers_against_listing_them():
    rng = np.random.default_rng(6)
    for _ in range(400):
        n = int(rng.integers(1, 11))
        edges = [(i, j) for i in range(n) for j in range(i) if rng.random() < rng.uniform(0, 0.7)]
        graph = [0] * n
        for i, j in edges:
            graph[i] |= 1 << j
            graph[j] |= 1 << i
        least = next(
            size for size in range(n + 1) for cover in itertools.combinations(range(n), size)
            if all(i in cover or j in cover for i, j in edges)
        )
        everyone = (1 << n) - 1
        assert cover_bound(graph, everyone) <= least
        cover = CoverSearch(nodes=1000).cover(graph, everyone, least)
        assert cover.bit_count() <= least
        assert all((cover >> i | cover >> j) & 1 for i, j in edges)
        if least:
            assert CoverSearch(nodes=1000).cover(graph, everyone, least - 1) is None


def test_a_hard_search_ends_at_its_nodes():
    squared = GEOMETRIES["shell of 75 %, d = 200"](200, np.random.default_rng(7))
    found = smallest_diameter(squared, 101, nodes=100, tie_nodes=0)
    assert 1.0 < found.factor < 1.2
    with pytest.raises(SearchExhausted):
        CoverSearch(nodes=0).cover([0b10, 0b01], 0b11, 1)
