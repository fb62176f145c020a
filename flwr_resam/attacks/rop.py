"""Relocated orthogonal perturbation: the attack on centred clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import LARGEST, check_finite, requirement
from ..rows.sums import mean_and_deviation
from ..rule import Round
from ._directions import spread, unit
from ._optimised import KnowsRule


@dataclass(frozen=True)
class ROP(KnowsRule):
    """Every Byzantine worker sends ``a + z ||sigma|| p``: near the last output, across its way.

    With v the rule's last output and mu the honest mean: the place ``a = pi v + (1 - pi) mu``, the
    reference ``r = lam v + (1 - lam) mu``, and ``p = cos(angle) r / ||r|| + sin(angle) q / ||q||``,
    where q is what of the vector of ones is orthogonal to r. Rows about v are what centred
    clipping does not clip, and q hardly changes from round to round, so that the shifts add up.
    In the first round v is mu.

    z is in units of the honest spread, where the paper takes a length of its own, for the radius of
    the clipping. The attack follows the rule itself to know v.

    Needs two honest rows and a rule that admits all rows. Complexity that of the rule; memory that
    of the rule, and one vector. Ozfatura, Ozfatura, Kupcu, Gunduz, "Byzantines Can Also Learn From
    History: Fall of Centered Clipping in Federated Learning", 2024.

    Parameters
    ----------
    z : float (default: 1.0)
        The length of the perturbation.
    angle : float (default: 90.0)
        To the reference, in degrees; 180 is straight against it.
    pi, lam : float (default: 1.0, 0.9)
        Between 0, the honest mean, and 1, the last output.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr_resam.aggregators import Mean
    >>> honest = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> ROP(Mean())(honest, 1).round(3)
    array([[2.   , 1.414]])
    """

    z: float = 1.0
    angle: float = 90.0
    pi: float = 1.0
    lam: float = 0.9
    name: ClassVar[str] = "rop"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse numbers that make no row."""
        check_finite("z", self.z)
        check_finite("angle", self.angle)
        for parameter in ("pi", "lam"):
            value = getattr(self, parameter)
            if not 0.0 <= value <= 1.0:
                raise requirement(parameter, "be between 0 and 1", value, "Use 1.0, say")

    def start(self) -> Any:
        """The rule's state, and no output yet."""
        return {"rule": self._rule().start(), "last": None}

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], Any]:
        rule = self._rule()
        mean, sigma = mean_and_deviation(honest)
        state = self.start() if state is None else state
        last = state["last"]
        if last is None or len(last) != len(mean):
            state, last = self.start(), mean
        ahead = unit(self.lam * last + (1.0 - self.lam) * mean)
        across = np.ones(len(mean)) - ahead.sum() * ahead
        if np.linalg.norm(across) < 1e-9 * math.sqrt(max(1, len(mean))):
            across = np.zeros(len(mean))  # nothing is orthogonal to it among these two
        turn = math.radians(self.angle)
        off = math.cos(turn) * ahead + math.sin(turn) * unit(across)
        place = self.pi * last + (1.0 - self.pi) * mean
        row = np.clip(place + self.z * spread(sigma) * off, -LARGEST, LARGEST)
        rows = np.tile(row, (count, 1))
        own = replace(at, generator=np.random.default_rng(int(at.random().integers(2**32))))
        done = rule.step(
            np.vstack([honest, rows]), f=count if self.f is None else self.f,
            state=state["rule"], at=own,
        )
        return rows, {"rule": done.state, "last": np.asarray(done.vector)}
