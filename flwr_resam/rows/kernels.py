"""Compiled loops for wide blocks, used where Numba is installed (the extra `speed`).

Rows are given as one line of memory, in which row i begins at ``i * step``. Each loop gives what
the NumPy code that it stands for gives: order statistics bit for bit, sums of products to the
last digits of float64. The machine code is kept in Numba's cache, so that it is compiled once for
an installation, not once for a run.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_WIDE = 512  # columns that are read at a time: short pieces of many rows are slow to fetch
_TILE = 64  # columns that are sorted at a time: the rows of a tile fit in the first-level cache
_DEEP = 128  # the same for inner products
_LONG = 4096  # the same for weighted sums
_RUN = 2048  # the columns whose squares are added halves upon halves
_SIGNS = np.int32(31)
_FLIP = np.int32(0x7FFFFFFF)


@numba.njit(nogil=True, cache=True)
def _load(keys: Any, step: int, start: int, stop: int, tiles: Any) -> None:
    """Fill tiles with float32 values, given and kept as integers in the same order.

    With the bits below the sign flipped where it is set, integers are in the order of the
    floats, and integers are compared many at a time.
    """
    for i in range(tiles.shape[1]):
        row = keys[i * step + start : i * step + stop]
        for first in range(0, len(row), _TILE):
            piece, line = row[first : first + _TILE], tiles[first // _TILE, i]
            for t in range(len(piece)):
                key = piece[t]
                line[t] = key ^ ((key >> _SIGNS) & _FLIP)


@numba.njit(nogil=True, cache=True)
def _sort(tile: Any, comparators: Any) -> None:
    """Sort the columns of a tile and turn its integers back into the bits of floats."""
    for c in range(len(comparators)):
        low, high = tile[comparators[c, 0]], tile[comparators[c, 1]]
        for t in range(_TILE):
            a, b = low[t], high[t]
            low[t] = min(a, b)
            high[t] = max(a, b)
    for i in range(len(tile)):
        line = tile[i]
        for t in range(_TILE):
            key = line[t]
            line[t] = key ^ ((key >> _SIGNS) & _FLIP)


@numba.njit(nogil=True, cache=True)
def _sum(values: Any, first: int, end: int, total: Any) -> None:
    for t in range(_TILE):
        total[t] = values[first, t]
    for rank in range(first + 1, end):
        for t in range(_TILE):
            total[t] += values[rank, t]


@numba.njit(nogil=True, cache=True)
def mean_between(
    keys: Any, step: int, n: int, comparators: Any, first: int, end: int, out: Any
) -> None:
    """Mean of the ranks ``first .. end - 1`` of each column."""
    _means(keys, step, n, comparators, first, end, 0, out)


@numba.njit(nogil=True, cache=True)
def mean_around(
    keys: Any, step: int, n: int, comparators: Any, first: int, end: int, k: int, out: Any
) -> None:
    """Mean of the k values nearest to the mean of the ranks ``first .. end - 1``."""
    _means(keys, step, n, comparators, first, end, k, out)


@numba.njit(nogil=True, cache=True)
def _means(
    keys: Any, step: int, n: int, comparators: Any, first: int, end: int, k: int, out: Any
) -> None:
    """The loop of both: the mean of the ranks where k is 0, else of the k values around it."""
    width = len(out)
    tiles = np.zeros((_WIDE // _TILE, n, _TILE), np.int32)
    total = np.empty(_TILE)
    for start in range(0, width, _WIDE):
        stop = min(start + _WIDE, width)
        _load(keys, step, start, stop, tiles)
        for place in range(start, stop, _TILE):
            tile = tiles[(place - start) // _TILE]
            _sort(tile, comparators)
            _sum(tile.view(np.float32), first, end, total)
            if k > 0:
                _sum_nearest(tile, tile.view(np.float32), total, end - first, k)
            count = k if k > 0 else end - first
            for t in range(min(_TILE, stop - place)):
                out[place + t] = total[t] / count


@numba.njit(nogil=True, cache=True)
def _sum_nearest(bits: Any, values: Any, total: Any, count: int, k: int) -> None:
    """The sum of the k values nearest to ``total / count``, into ``total``."""
    n = len(values)
    for t in range(_TILE):
        total[t] = 2.0 * (total[t] / count)
    # Row k + i becomes what the window holds in place of row i: k + i if it is nearer.
    for i in range(n - k):
        leaves, enters = values[i], values[k + i]
        stays, into = bits[i], bits[k + i]
        for t in range(_TILE):
            if not np.float64(leaves[t]) + np.float64(enters[t]) < total[t]:
                into[t] = stays[t]
    total[:] = 0.0
    for r in range(k):
        row = values[r + (n - 1 - r) // k * k]
        for t in range(_TILE):
            total[t] += row[t]


@numba.njit(nogil=True, cache=True)
def moments(line: Any, step: int, n: int, mean: Any, deviation: Any) -> None:
    """Mean and sample standard deviation of each column."""
    for start in range(0, len(mean), _WIDE):
        stop = min(start + _WIDE, len(mean))
        total, squares = mean[start:stop], deviation[start:stop]
        total[:] = 0.0
        squares[:] = 0.0
        for i in range(n):
            row = line[i * step + start : i * step + stop]
            for t in range(len(row)):
                total[t] += row[t]
        for t in range(len(total)):
            total[t] /= n
        for i in range(n):
            row = line[i * step + start : i * step + stop]
            for t in range(len(row)):
                far = row[t] - total[t]
                squares[t] += far * far
        for t in range(len(squares)):
            squares[t] = np.sqrt(squares[t] / (n - 1))


@numba.njit(nogil=True, cache=True)
def squared_distance(row: Any, vector: Any) -> Any:
    """``||x - v||^2``, in float64."""
    totals = np.zeros(_TILE)  # independent sums are added to many at a time
    for start in range(0, len(row), _TILE):
        x, v = row[start : start + _TILE], vector[start : start + _TILE]
        for t in range(len(x)):
            far = np.float64(x[t]) - np.float64(v[t])
            totals[t] += far * far
    return totals.sum()


@numba.njit(nogil=True, cache=True)
def weighted_sum(weights: Any, line: Any, step: int, out: Any) -> None:
    """``weights @ rows``, added up row by row."""
    n, width = len(weights), len(out)
    total = np.empty(_LONG)
    for start in range(0, width, _LONG):
        stop = min(start + _LONG, width)
        total[:] = 0.0
        i = 0
        while i + 4 <= n:  # four rows at a time: the sums are loaded and stored less often
            a, b = i * step + start, i * step + stop
            r0, r1 = line[a:b], line[a + step : b + step]
            r2, r3 = line[a + 2 * step : b + 2 * step], line[a + 3 * step : b + 3 * step]
            w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
            for t in range(len(r0)):
                total[t] = (((total[t] + w0 * r0[t]) + w1 * r1[t]) + w2 * r2[t]) + w3 * r3[t]
            i += 4
        while i < n:
            row, weight = line[i * step + start : i * step + stop], weights[i]
            for t in range(len(row)):
                total[t] += weight * row[t]
            i += 1
        for t in range(stop - start):
            out[start + t] = total[t]


@numba.njit(nogil=True, cache=True)
def mix(
    line: Any, step: int, n: int, starts: Any, places: Any, values: Any, out: Any
) -> None:
    """Row i of ``out`` is the sum of ``values[k] * row places[k]`` over its entries, in order."""
    height, width = out.shape
    tile, total = np.zeros((n, _DEEP)), np.empty(_DEEP)
    for start in range(0, width, _DEEP):
        stop = min(start + _DEEP, width)
        for j in range(n):
            row, kept = line[j * step + start : j * step + stop], tile[j]
            for t in range(len(row)):
                kept[t] = row[t]
        for i in range(height):
            total[:] = 0.0
            k, end = starts[i], starts[i + 1]
            while k + 4 <= end:
                r0, r1, r2, r3 = tile[places[k]], tile[places[k + 1]], tile[places[k + 2]], tile[
                    places[k + 3]]
                w0, w1, w2, w3 = values[k], values[k + 1], values[k + 2], values[k + 3]
                for t in range(_DEEP):
                    total[t] = (((total[t] + w0 * r0[t]) + w1 * r1[t]) + w2 * r2[t]) + w3 * r3[t]
                k += 4
            while k < end:
                row, weight = tile[places[k]], values[k]
                for t in range(_DEEP):
                    total[t] += weight * row[t]
                k += 1
            mixed = out[i, start:stop]
            for t in range(len(mixed)):
                mixed[t] = total[t]


@numba.njit(nogil=True, cache=True)
def squared_lengths(line: Any, step: int, factors: Any, point: Any, out: Any) -> None:
    """The sum of ``(factor_i x_i - v)**2`` over each run of columns, halves upon halves."""
    runs, height = out.shape
    half = _RUN // 2
    sums = np.zeros(half)
    for run in range(runs):
        start = run * _RUN
        stop = min(start + _RUN, len(point))
        middle = min(start + half, stop)
        for i in range(height):
            x, v = line[i * step + start : i * step + middle], point[start:middle]
            factor = factors[i]
            if stop - start < _RUN:
                sums[:] = 0.0
            for t in range(len(v)):
                far = factor * x[t] - v[t]
                sums[t] = far * far
            x, v = line[i * step + middle : i * step + stop], point[middle:stop]
            for t in range(len(v)):
                far = factor * x[t] - v[t]
                sums[t] += far * far
            left = half // 2
            while left:
                low, high = sums[:left], sums[left : 2 * left]
                for t in range(left):
                    low[t] += high[t]
                left //= 2
            out[run, i] = sums[0]


@numba.njit(nogil=True, cache=True)
def inner_products(values: Any, step: int, n: int, centre: Any, out: Any) -> None:
    """``<p_i - c, p_j - c>`` of the rows and the origin: the lower triangle of ``out``.

    ``out`` has as many rows as `padded` says; those past the origin's are of no use.
    """
    width, height = len(centre), len(out)
    tiles = np.zeros((_WIDE // _DEEP, height, _DEEP))
    out[:] = 0.0
    for start in range(0, width, _WIDE):
        stop = min(start + _WIDE, width)
        if stop - start < _WIDE:
            tiles[:] = 0.0
        middle = centre[start:stop]
        for first in range(0, len(middle), _DEEP):
            piece, last = middle[first : first + _DEEP], tiles[first // _DEEP, n]
            for t in range(len(piece)):
                last[t] = -np.float64(piece[t])
        for i in range(n):
            row = values[i * step + start : i * step + stop]
            for first in range(0, len(row), _DEEP):
                piece = row[first : first + _DEEP]
                line, last = tiles[first // _DEEP, i], tiles[first // _DEEP, n]
                for t in range(len(piece)):
                    line[t] = np.float64(piece[t]) + last[t]
        for tile in range(len(tiles)):
            _add_products(tiles[tile], out)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_products(tile: Any, out: Any) -> None:
    """Add the products of the tile's rows to the lower triangle, three by three."""
    height = len(out)
    for i in range(0, height, 3):
        x0, x1, x2 = tile[i], tile[i + 1], tile[i + 2]
        for j in range(0, i + 1, 3):
            y0, y1, y2 = tile[j], tile[j + 1], tile[j + 2]
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = 0.0
            for t in range(_DEEP):
                a0, a1, a2, b0, b1, b2 = x0[t], x1[t], x2[t], y0[t], y1[t], y2[t]
                s00 += a0 * b0
                s01 += a0 * b1
                s02 += a0 * b2
                s10 += a1 * b0
                s11 += a1 * b1
                s12 += a1 * b2
                s20 += a2 * b0
                s21 += a2 * b1
                s22 += a2 * b2
            out[i, j] += s00
            out[i, j + 1] += s01
            out[i, j + 2] += s02
            out[i + 1, j] += s10
            out[i + 1, j + 1] += s11
            out[i + 1, j + 2] += s12
            out[i + 2, j] += s20
            out[i + 2, j + 1] += s21
            out[i + 2, j + 2] += s22


def padded(points: int) -> int:
    """Rows of the table that `inner_products` writes for so many points."""
    return -(-points // 3) * 3
