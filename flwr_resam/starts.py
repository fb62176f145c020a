"""Where the worst rows of a rule are looked for: honest rows of a structure, liars along a line.

Bounds are met by few shapes: rows that are equally far apart, columns of zeros and ones whose
distances agree, rows on two points; and liars that all lie in one direction, just this side of
where the rule gives them up. Each family here is such a shape with one length left free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

_RAY = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 2.8, 4.0, 6.0, 10.0, 30.0, 1e5)
_LEVELS = (-1e5, -6.0, -3.0, -1.5, -0.7, 0.3, 0.7, 1.5, 2.5, 4.0, 7.0, 1e5)
_SWAPS = 1500


@dataclass(frozen=True)
class Family:
    """Honest rows, and f liars that a single length places.

    Attributes
    ----------
    honest : (n - f, d) float64
    liars : callable
        The (f, d) liars at a length.
    lengths : tuple of float
        Ascending, to be tried; between two of them the worst is then sought.
    """

    honest: Rows
    liars: Callable[[float], Rows]
    lengths: tuple[float, ...]

    def rows(self, length: float) -> Rows:
        """The honest rows and, behind them, the liars."""
        return np.concatenate([self.honest, self.liars(length)])


def families(n: int, f: int, d: int, generator: np.random.Generator) -> Iterator[Family]:
    """The families of n rows of which the last f lie, those that differ most first.

    Examples
    --------
    >>> first = next(families(5, 2, 3, np.random.default_rng(0)))
    >>> first.rows(7.0)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.],
           [7., 7., 7.],
           [7., 7., 7.]])
    """
    h = n - f
    shapes = [simplex(h, d)]
    ones = sorted({min(j, h - j) for j in (f, h // 2, 2) if min(j, h - j) > 1})
    shapes += [code(h, d, j, generator) for j in ones]
    shapes += [two_points(h, d, j, generator) for j in sorted({1, f, h // 2}) if 0 < j < h]
    # Of each shape one family at a time, so that a search that ends early has seen all shapes.
    left = [_of_shape(honest, f, generator) for honest in shapes]
    while left:
        for shape in left.copy():
            family = next(shape, None)
            if family is None:
                left.remove(shape)
            else:
                yield family


def _of_shape(honest: Rows, f: int, generator: np.random.Generator) -> Iterator[Family]:
    h, d = honest.shape
    ones = np.ones((f, d))
    yield Family(honest, lambda length: length * ones, _LEVELS)
    mean = honest.mean(axis=0)
    size = float(np.linalg.norm(honest - mean, axis=1).max()) or 1.0
    # The rows that a liar hides behind: as few as a score must count, or a part of them.
    for part in dict.fromkeys(max(1, min(h, k)) for k in (h - f, h - f - 1, h // 2, 1)):
        centre = honest[:part].mean(axis=0)
        away = centre - mean
        length = float(np.linalg.norm(away))
        if length <= 1e-9 * size:
            away = generator.standard_normal(d)
            length = float(np.linalg.norm(away))
        unit = size * away / length
        yield Family(honest, _ray(centre, unit, f), _RAY)
        if f > 1:
            yield Family(honest, _two_scales(centre, unit, f), _RAY)


def _ray(centre: Rows, unit: Rows, f: int) -> Callable[[float], Rows]:
    return lambda length: np.tile(centre + length * unit, (f, 1))


def _two_scales(centre: Rows, unit: Rows, f: int) -> Callable[[float], Rows]:
    """All at one point but the last, which lies a hundred times as far."""

    def liars(length: float) -> Rows:
        rows = np.tile(centre + length * unit, (f, 1))
        rows[-1] = centre + 100.0 * length * unit
        return rows

    return liars


def simplex(h: int, d: int) -> Rows:
    """The first h unit vectors, which are equally far apart; zero where there are no more.

    Examples
    --------
    >>> simplex(3, 2)
    array([[1., 0.],
           [0., 1.],
           [0., 0.]])
    """
    return np.eye(h, d)


def code(h: int, d: int, ones: int, generator: np.random.Generator) -> Rows:
    """Zeros and ones, so many ones a column, with rows nearly equally far apart.

    From random columns, a one and a zero of a column change places where that brings the rows'
    distances closer to each other.
    """
    rows = np.zeros((h, d))
    for each in range(d):
        rows[generator.choice(h, size=ones, replace=False), each] = 1.0
    apart = (rows[:, None, :] != rows[None, :, :]).sum(axis=2)
    for _ in range(_SWAPS):
        column = rows[:, generator.integers(d)]
        one = generator.choice(np.flatnonzero(column))
        zero = generator.choice(np.flatnonzero(column == 0.0))
        # Rows but these two come nearer to one of them and farther from the other, by one.
        change = np.where(column == 1.0, 1, -1)
        change[[one, zero]] = 0
        before = (apart[one] ** 2).sum() + (apart[zero] ** 2).sum()
        after = ((apart[one] + change) ** 2).sum() + ((apart[zero] - change) ** 2).sum()
        if after <= before:
            column[[one, zero]] = 0.0, 1.0
            apart[one] += change
            apart[zero] -= change
            apart[:, one], apart[:, zero] = apart[one], apart[zero]
    return rows


def two_points(h: int, d: int, first: int, generator: np.random.Generator) -> Rows:
    """So many rows at the origin and the others at one point, at distance sqrt(d)."""
    rows = np.ones((h, d)) * np.sign(generator.standard_normal(d))
    rows[:first] = 0.0
    return rows
