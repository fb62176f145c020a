"""Decoys: a few rows far out, so that the others look near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import check_positive, check_whole
from ..rows.sums import mean_and_deviation
from ..rule import Round
from ._directions import spread, unit
from .attack import MemorylessAttack


@dataclass(frozen=True)
class Decoys(MemorylessAttack):
    """Byzantine workers send ``mu - near s u``, and a few of them ``mu - far s u``, as decoys.

    s is ``||sigma||``, about what an honest row is off the mean mu, and u is mu at length one.
    The decoys shift the mean and the spread of all rows so far that to a rule which filters by
    these the other Byzantine rows look nearer than the honest ones. A single Byzantine worker
    sends the near row.

    Needs two honest rows. Complexity O(h d). Ours: the liars at two scales that `Sever` falls to
    where it drops several rows in one pass.

    Parameters
    ----------
    near, far : float (default: 30.0, 3000.0)
        In units of the honest spread.
    decoys : int (default: 1)
        How many rows lie far out, at most all but one.

    Examples
    --------
    >>> import numpy as np
    >>> Decoys(near=1.0, far=10.0)(np.array([[1.0], [1.0], [4.0]]), 3).round(3)
    array([[  0.268],
           [  0.268],
           [-15.321]])
    """

    near: float = 30.0
    far: float = 3000.0
    decoys: int = 1
    name: ClassVar[str] = "decoys"
    honest_needed: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse scales and a number that make no decoy."""
        check_positive("near", self.near, "Use 30")
        check_positive("far", self.far, "Use 3000")
        check_whole("decoys", self.decoys, "Use 1")

    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """The near rows, then the decoys."""
        mean, sigma = mean_and_deviation(honest)
        scales = np.full(count, self.near)
        scales[count - min(self.decoys, max(count - 1, 0)) :] = self.far
        return np.asarray(mean - np.outer(scales * spread(sigma), unit(mean)))
