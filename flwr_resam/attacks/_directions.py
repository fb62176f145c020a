"""Which way attacks push off the honest mean: the perturbations of Shejwalkar and Houmansadr."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..registry import unknown_name

STD, SIGN, UNIT = DIRECTIONS = ("std", "sign", "unit")


def check_direction(direction: str) -> None:
    """Raise a ValueError for a name that is no direction's."""
    if direction not in DIRECTIONS:
        raise unknown_name(direction, DIRECTIONS, "direction")


def way(
    direction: str, mean: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The v of rows ``mu - gamma v``: sigma, the signs of mu, or mu at length one.

    Zeros where mu or sigma is.

    Examples
    --------
    >>> mean, sigma = np.array([3.0, -4.0]), np.array([0.5, 0.1])
    >>> [way(direction, mean, sigma).tolist() for direction in DIRECTIONS]
    [[0.5, 0.1], [1.0, -1.0], [0.6, -0.8]]
    """
    if direction == STD:
        return sigma
    if direction == SIGN:
        return np.sign(mean)
    return unit(mean)


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector at length one; zeros where it is zero.

    Examples
    --------
    >>> unit(np.array([0.0, -1e-300])), unit(np.zeros(1))
    (array([ 0., -1.]), array([0.]))
    """
    largest = np.abs(vector).max(initial=0.0)
    if largest == 0.0:
        return np.zeros(len(vector))
    scaled = vector / largest
    return np.asarray(scaled / np.linalg.norm(scaled))


def spread(sigma: NDArray[np.float64]) -> float:
    """How far honest rows lie from their mean: ``||sigma||``, without losing what is small."""
    largest = float(np.abs(sigma).max(initial=0.0))
    return 0.0 if largest == 0.0 else largest * float(np.linalg.norm(sigma / largest))
