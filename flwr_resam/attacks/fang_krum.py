"""Fang's attack on Krum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..rule import Round
from .attack import MemorylessAttack

_HALVINGS = 20
_BISECTIONS = 20


@dataclass(frozen=True)
class FangKrum(MemorylessAttack):
    """Every Byzantine worker sends ``-t sign(mu)``, t the largest found that Krum chooses.

    Krum is that of 2017: the row of least sum of squared distances to its n - f - 2 nearest
    others. t starts at the paper's upper bound, ``sqrt(s / ((n - 2f - 1) d)) + r / sqrt(d)``, with
    s the least sum of squared distances of an honest row to its n - f - 2 nearest honest ones, and
    r the largest honest norm. It is halved until a Byzantine row is chosen, 20 times at most; then
    it is bisected between that and the last that was not, where the paper stops. All Byzantine
    rows are equal, where the paper lets them differ by a small distance.

    Complexity O(h^2 d + 40 n^2 log n). Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to
    Byzantine-Robust Federated Learning", 2020: the attack with full knowledge, for updates in place
    of models, so that the model sent lies at the origin.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Krum
    >>> honest = np.array([[1.0, 0.0], [1.5, 0.5], [0.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    >>> rows = FangKrum()(honest, 2)
    >>> bool((Krum()(np.vstack([honest, rows]), f=2) == rows[0]).all() and (rows[0] < 0.0).all())
    True
    """

    name: ClassVar[str] = "fang-krum"

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """``-t sign(mu)``, for all."""
        signs = np.sign(honest.mean(axis=0))
        scale = np.abs(honest).max(initial=0.0)
        width = float(signs @ signs)
        if scale == 0.0 or width == 0.0 or count == 0:
            return np.zeros((1, honest.shape[1]))
        scaled = honest / scale
        table = _Scores(scaled, signs, count)
        # Twice the bound was never tried, and the bound may be chosen: bisect from there, too.
        high = 2.0 * table.bound(width)
        low = high / 2.0
        for _ in range(_HALVINGS):
            if table.chosen(low):
                break
            low, high = low / 2.0, low
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            low, high = (middle, high) if table.chosen(middle) else (low, middle)
        return np.asarray(-scale * low * signs[None])


class _Scores:
    """Krum's scores with f rows ``-t s`` beside the honest ones, for any t."""

    def __init__(self, honest: NDArray[np.float64], signs: NDArray[np.float64], f: int) -> None:
        gram = honest @ honest.T
        self.norms = np.diagonal(gram).copy()
        self.apart = np.maximum(self.norms[:, None] + self.norms[None, :] - 2.0 * gram, 0.0)
        np.fill_diagonal(self.apart, np.inf)  # no row is its own neighbour
        self.along, self.square, self.f = honest @ signs, float(signs @ signs), f
        self.neighbours = max(1, len(honest) - 2)

    def bound(self, width: float) -> float:
        """The paper's upper bound of t."""
        least = np.sort(self.apart, axis=1)[:, : min(self.neighbours, len(self.norms) - 1)]
        room = max(1, len(self.norms) - self.f - 1) * width
        return float(
            np.sqrt(least.sum(axis=1).min() / room) + np.sqrt(self.norms.max() / width)
        )

    def chosen(self, t: float) -> bool:
        """Whether Krum takes a Byzantine row; of equal scores an honest one wins."""
        far = np.maximum(self.norms + 2.0 * t * self.along + t * t * self.square, 0.0)
        every = np.hstack([self.apart, np.repeat(far[:, None], self.f, axis=1)])
        honest = np.sort(every, axis=1)[:, : self.neighbours].sum(axis=1)
        own = np.sort(np.concatenate([np.zeros(self.f - 1), far]))[: self.neighbours].sum()
        return bool(own < honest.min())
