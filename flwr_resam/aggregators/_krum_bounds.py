"""Lambda and kappa of the rows of least Krum score: what the rules of Krum's family share."""

from __future__ import annotations

import math


def krum_lambda(n: int, f: int, m: int, others: int) -> float:
    """Lambda of the mean of the m rows whose ``others`` nearest other rows are nearest.

    With h = n - f a single row has ``r = 1 - 1/h + sqrt(others / (others - f + 1))``; of m rows at
    most b = min(f, m) are faulty, and the g = m - b others are a part of S, whose mean lies within
    (h - g) / h of its diameter of the mean: ``(g (h - g) / h + b r) / m``.

    Examples
    --------
    >>> [round(krum_lambda(n=15, f=5, m=m, others=8), 3) for m in (1, 8)]
    [2.314, 1.709]
    """
    h, b = n - f, min(f, m)
    g = m - b
    row = 1.0 - 1.0 / h + math.sqrt(others / (others - f + 1))
    return (g * (h - g) / h + b * row) / m


def krum_kappa(n: int, f: int, m: int, others: int) -> float:
    """Kappa of the same.

    With h = n - f, q = others - f + 1, ``B = 2 h others / ((h - 1) q)`` and ``C = (h - q) / q`` it
    is ``(sqrt(B) + sqrt(C))^2``; for m > 1 also the largest over b <= min(f, m) of
    ``((sqrt(g (h - g)) + sqrt(b m B) + b sqrt(C)) / m)^2``, g = m - b, where that is less.

    Examples
    --------
    >>> krum_kappa(n=15, f=5, m=1, others=9)
    9.0
    """
    h, q = n - f, others - f + 1
    if h == 1:
        return 0.0
    score, shift = math.sqrt(2.0 * h * others / ((h - 1) * q)), math.sqrt((h - q) / q)
    split = max(
        math.sqrt((m - b) * (h - m + b)) + math.sqrt(b * m) * score + b * shift
        for b in range(min(f, m) + 1)
    )
    return min(score + shift, split / m) ** 2
