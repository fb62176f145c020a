"""Covariances of rows, seen through their inner products: what the spectral rules share."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ..rows.threads import one_blas_thread

_FEW = 512  # rows, up to which they are decomposed
_STEPS = 200
_EACH = 5  # steps, after which it is asked whether they are enough
_RESIDUAL = 1e-7  # of the eigenvalue


def centred(
    gram: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Inner products about the (weighted) mean of the points, from those about any point.

    Parameters
    ----------
    gram : (..., n, n) float64
        One table or a stack of them.
    weights : (n,) float64, optional
        Not all zero; equal ones if left out.

    Examples
    --------
    >>> centred(np.array([[0.0, 0.0], [0.0, 4.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    n = gram.shape[-1]
    share = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
    inner = gram @ share
    mean = (inner @ share)[..., None, None]
    return np.asarray(gram - inner[..., :, None] - inner[..., None, :] + mean)


def top_direction(
    gram: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[float, NDArray[np.float64]]:
    """The largest eigenvalue of a covariance and each point's projection on its direction.

    Parameters
    ----------
    gram : (n, n) float64
        Inner products about the (weighted) mean.
    weights : (n,) float64, optional
        How much each point counts; one each if left out.

    Returns
    -------
    float
        The top eigenvalue of ``sum_i w_i y_i y_i^T`` for the centred points y_i.
    (n,) float64
        ``<y_i, v>`` for the unit eigenvector v; zeros where all points coincide.
    """
    root = np.ones(len(gram)) if weights is None else np.sqrt(weights)
    values, vectors = np.linalg.eigh(root[:, None] * gram * root[None, :])
    value = max(float(values[-1]), 0.0)
    if value == 0.0:
        return 0.0, np.zeros(len(gram))
    # v = sum_j root_j u_j y_j / sqrt(value)
    return value, gram @ (root * vectors[:, -1]) / np.sqrt(value)


class Directions:
    """The top directions of one table of rows as their weights change, each found from the last.

    Of few rows by `top_direction`. Of many by Lanczos' method, which takes some ten products with
    the table where a decomposition takes hundreds: to a residual of 1e-7 of the eigenvalue, and by
    the decomposition where that is not reached. It starts from the last direction and from one
    that is drawn, by the table's own bits, so that nobody can send rows that it does not see.

    Parameters
    ----------
    gram : (n, n) float64
        Inner products about any point.

    Examples
    --------
    >>> rows = np.array([[0.0, 1.0], [0.0, -1.0], [5.0, 0.0], [-5.0, 0.0]])
    >>> value, projections = Directions(rows @ rows.T).top(np.ones(4))
    >>> round(value, 9), abs(projections).round(9).tolist()
    (50.0, [0.0, 0.0, 5.0, 5.0])
    """

    def __init__(self, gram: NDArray[np.float64]) -> None:
        self._gram = gram
        self._last: NDArray[np.float64] | None = None

    def top(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """As `top_direction` of the table about the weighted mean; rows without weight count 0."""
        with one_blas_thread:  # several would add up in another order, and wait for each other
            return self._decomposed(weights) if len(weights) <= _FEW else self._found(weights)

    def _found(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        root, total = np.sqrt(weights), weights.sum()

        def projected(x: NDArray[np.float64]) -> NDArray[np.float64]:
            """Inner products of the centred rows with ``sum_i root_i x_i`` of them."""
            z = root * x
            inner = self._gram @ (z - weights * (z.sum() / total))
            return np.asarray(inner - weights @ inner / total)

        found = _lanczos(lambda x: root * projected(x), self._start(root))
        if found is None:
            return self._decomposed(weights)
        value, vector = found
        self._last = vector
        if value <= 0.0:
            return 0.0, np.zeros(len(weights))
        return value, np.where(weights > 0.0, projected(vector), 0.0) / np.sqrt(value)

    def _decomposed(
        self, weights: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        # Rows of weight 0 may be giants, beside which the others would lose their digits.
        there = np.flatnonzero(weights)
        own = weights[there]
        value, projections = top_direction(centred(self._gram[np.ix_(there, there)], own), own)
        found = np.zeros(len(weights))
        found[there] = projections
        return value, found

    def _start(self, root: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._last is None:
            seed = int.from_bytes(blake2b(self._gram.tobytes(), digest_size=8).digest())
            self._drawn = np.random.default_rng(seed).standard_normal(len(root))
            return np.asarray(self._drawn * (root > 0.0))
        drawn = self._drawn * (root > 0.0)
        return np.asarray(self._last * (root > 0.0) + 0.01 * drawn / np.linalg.norm(drawn))


def _lanczos(
    times: Callable[[NDArray[np.float64]], NDArray[np.float64]], start: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]] | None:
    """The largest eigenvalue of a symmetric operator and its vector; None if that takes long."""
    size = np.linalg.norm(start)
    if size == 0.0:
        return 0.0, start
    basis = np.empty((_STEPS + 1, len(start)))
    basis[0] = start / size
    table = np.zeros((_STEPS + 1, _STEPS + 1))
    for step in range(_STEPS):
        new = times(basis[step])
        known = basis[: step + 1]
        for _ in range(2):  # the second takes off what rounding left of the first
            share = known @ new
            new -= share @ known
            table[step, : step + 1] += share
        left = float(np.linalg.norm(new))
        table[step, step + 1] = left
        if step % _EACH == _EACH - 1 or left == 0.0:
            square = table[: step + 1, : step + 1]
            values, vectors = np.linalg.eigh(0.5 * (square + square.T))
            if left * abs(vectors[-1, -1]) <= _RESIDUAL * abs(values[-1]):
                return float(values[-1]), np.asarray(vectors[:, -1] @ known)
        basis[step + 1] = new / left
    return None
