"""Geometries that make a search for the smallest diameter slow, and how long MDA takes on them.

    python -m benchmarks.mda --n 200 --f 99

prints the seconds, and the factor of the certificate where the search was cut short.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flwr_resam.aggregators._diameter import smallest_diameter

Matrix = NDArray[np.float64]
Geometry = Callable[[int, np.random.Generator], Matrix]
"""The table of squared distances of so many rows."""
Edges = Callable[[int, np.random.Generator], Iterable[Any]]
"""The pairs of a graph on so many rows."""


def squared_distances(points: Matrix) -> Matrix:
    """The n x n table of ``||x_i - x_j||**2``."""
    gram = points @ points.T
    diagonal = np.diagonal(gram)
    squared: Matrix = np.maximum(diagonal[:, None] + diagonal[None, :] - gram - gram.T, 0.0)
    np.fill_diagonal(squared, 0.0)
    return squared


def _gaussian(d: int) -> Geometry:
    return lambda n, rng: squared_distances(rng.standard_normal((n, d)))


def _sphere(d: int) -> Geometry:
    def build(n: int, rng: np.random.Generator) -> Matrix:
        points = rng.standard_normal((n, d))
        return squared_distances(points / np.linalg.norm(points, axis=1)[:, None])

    return build


def _circle(n: int, _rng: np.random.Generator) -> Matrix:
    angle = 2.0 * np.pi * np.arange(n | 1) / (n | 1)
    return squared_distances(np.stack([np.cos(angle), np.sin(angle)], axis=1)[:n])


def _grid(d: int) -> Geometry:
    def build(n: int, _rng: np.random.Generator) -> Matrix:
        side = int(np.ceil(n ** (1.0 / d)))
        axes = np.meshgrid(*[np.arange(float(side))] * d)
        return squared_distances(np.stack([axis.ravel() for axis in axes], axis=1)[:n])

    return build


def _hypercube(n: int, rng: np.random.Generator) -> Matrix:
    return squared_distances(rng.integers(0, 2, (n, 100)).astype(float))


def _clusters(apart: float) -> Geometry:
    def build(n: int, rng: np.random.Generator) -> Matrix:
        points = rng.standard_normal((n, 50))
        points[: n // 2, 0] += apart
        return squared_distances(points)

    return build


def _shell(share: float, d: int) -> Geometry:
    """A shell of rows around a core: the search has to choose within the shell."""

    def build(n: int, rng: np.random.Generator) -> Matrix:
        points = rng.standard_normal((n, d))
        points /= np.linalg.norm(points, axis=1)[:, None]
        points[int(share * n) :] *= 0.1
        return squared_distances(points)

    return build


def _graph(edges: Edges) -> Geometry:
    """Nearly a simplex, where the pairs of a graph lie slightly farther apart."""

    def build(n: int, rng: np.random.Generator) -> Matrix:
        joined = np.zeros((n, n), dtype=bool)
        for i, j in edges(n, rng):
            joined[i, j] = joined[j, i] = i != j
        noise = np.triu(rng.uniform(0.0, 1e-3, (n, n)), 1)
        squared = 1.0 + noise + noise.T + 0.05 * joined
        np.fill_diagonal(squared, 0.0)
        return squared

    return build


def _cycles(length: int) -> Edges:
    return lambda n, _rng: [
        (start + i, start + (i + 1) % length)
        for start in range(0, n - length + 1, length)
        for i in range(length)
    ]


def _joined_triangles(n: int, rng: np.random.Generator) -> Iterable[Any]:
    return [*_cycles(3)(n, rng), *rng.integers(0, n, (n // 2, 2))]


def _bipartite(n: int, rng: np.random.Generator) -> Iterable[Any]:
    return [(i, j) for i in range(n // 2) for j in range(n // 2, n) if rng.random() < 5 / n]


def _sparse(degree: int) -> Edges:
    return lambda n, rng: rng.integers(0, n, (n * degree // 2, 2))


GEOMETRIES: dict[str, Geometry] = {
    **{f"gaussian, d = {d}": _gaussian(d) for d in (1, 2, 3, 10, 1000)},
    **{f"sphere, d = {d}": _sphere(d) for d in (3, 10, 1000)},
    "circle": _circle,
    **{f"grid, d = {d}": _grid(d) for d in (2, 3)},
    "hypercube": _hypercube,
    "simplex": lambda n, _rng: squared_distances(np.eye(n)),
    **{f"two clusters {apart} apart": _clusters(apart) for apart in (5, 20)},
    **{f"odd cycles of {length}": _graph(_cycles(length)) for length in (3, 5, 7)},
    "joined triangles": _graph(_joined_triangles),
    "bipartite": _graph(_bipartite),
    **{f"random graph of degree {degree}": _graph(_sparse(degree)) for degree in (2, 3, 4, 6, 12)},
    "shell of 95 %, d = 4": _shell(0.95, 4),
    "shell of 75 %, d = 4": _shell(0.75, 4),
    "shell of 75 %, d = 200": _shell(0.75, 200),
}


def main() -> None:
    """Time every geometry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--f", type=int, default=99)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name, build in GEOMETRIES.items():
        squared = build(given.n, np.random.default_rng(given.seed))
        start = time.process_time()
        subset = smallest_diameter(squared, given.n - given.f)
        seconds = time.process_time() - start
        print(f"{name:28s} {seconds:6.3f} s  factor {subset.factor:.4f}")


if __name__ == "__main__":
    main()
