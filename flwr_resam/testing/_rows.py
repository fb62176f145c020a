"""Rows to try rules with: honest ones, and what faulty nodes might send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]

SIZES = ((1, 0), (3, 1), (5, 2), (7, 1), (8, 3), (11, 2))
"""The n and f that rules are tried with, as far as they admit them."""


def draw(n: int, d: int, seed: int = 0, dtype: Any = np.float64) -> Rows:
    """Rows without ties."""
    return np.random.default_rng([seed, n, d]).normal(size=(n, d)).astype(dtype)


def diameter(rows: Rows) -> float:
    """The largest distance between two rows."""
    return max(
        (float(np.linalg.norm(a - b)) for i, a in enumerate(rows) for b in rows[:i]), default=0.0
    )


def faulty_rows(honest: Rows, f: int, generator: np.random.Generator) -> Iterator[Rows]:
    """Rows that f faulty nodes might send: alone and in concert, near and far."""
    d = honest.shape[1]
    mean, deviation = honest.mean(axis=0), honest.std(axis=0) + 0.1
    for size in (0.5, 3.0, 1e3, 1e8, 1e30):
        yield generator.normal(size=(f, d)) * size
        yield np.tile(mean + size * deviation, (f, 1))
        yield np.tile(-size * mean, (f, 1))
        yield mean + size * deviation * np.arange(1, f + 1)[:, None]
    yield np.tile(honest[0], (f, 1))
    yield np.zeros((f, d))
