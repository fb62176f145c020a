"""Covariances of rows, seen through their inner products: what the spectral rules share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
