"""Lambda and kappa: the two measures of how far a rule can be bent, and what one says of the other.

For every S of n - f rows with mean mu and diameter D::

    ||F - mu||   <= lambda D                                    (resilient averaging, 2022)
    ||F - mu||^2 <= kappa (1 / |S|) sum_{i in S} ||x_i - mu||^2   (robust averaging, 2023)

The proofs are in docs/theory.md. None stands for "nothing is proven", infinity for "none exists".
"""

from __future__ import annotations

import math


def lambda_from_kappa(kappa: float, n: int, f: int) -> float:
    """The lambda that a kappa implies: ``sqrt(kappa (n - f - 1) / (2 (n - f)))``.

    Since ``sum_S ||x_i - mu||^2 = sum_{i < j in S} ||x_i - x_j||^2 / |S|``.

    Examples
    --------
    >>> lambda_from_kappa(8.0, n=6, f=2)
    1.7320508075688772
    """
    return math.sqrt(kappa * (n - f - 1) / (2 * (n - f)))


def kappa_from_lambda(value: float, n: int, f: int) -> float:
    """The kappa that a lambda implies: ``2 (n - f) lambda^2``.

    Since ``||x_i - x_j||^2 <= 2 ||x_i - mu||^2 + 2 ||x_j - mu||^2``.

    Examples
    --------
    >>> kappa_from_lambda(0.5, n=15, f=5)
    5.0
    """
    return 2.0 * (n - f) * value**2


def least(*values: float | None) -> float | None:
    """The least of several bounds, of which some may not be proven.

    Examples
    --------
    >>> least(None, 2.0, 1.5), least(None)
    (1.5, None)
    """
    return min((value for value in values if value is not None), default=None)


def near_centre(kappa: float, n: int, f: int) -> float:
    """Kappa of the mean of the n - f values nearest a centre of that kappa.

    ``4 f / (n - f) (1 + kappa)``, coordinate by coordinate.

    Examples
    --------
    >>> near_centre(1.0, n=6, f=2)
    4.0
    """
    return 4.0 * f / (n - f) * (1.0 + kappa)
