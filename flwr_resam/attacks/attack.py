"""What an attack is: honest rows in, Byzantine rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement
from ..rule import Round


class Attack(ABC):
    """A function of the honest rows, seen all at once: the paper's omniscient adversary."""

    name: ClassVar[str]
    honest_needed: ClassVar[int] = 1

    def __call__(
        self, honest: NDArray[Any], count: int, *, round: Round | None = None
    ) -> NDArray[Any]:
        """Return what ``count`` Byzantine workers send.

        Parameters
        ----------
        honest : (h, d) array
            The rows of the honest workers.
        count : int
            How many Byzantine rows to make.
        round : Round, optional
            The round, for attacks that change over time or draw at random.

        Returns
        -------
        (count, d) array
            In the dtype of ``honest``.
        """
        honest = np.asarray(honest)
        if honest.ndim != 2:
            raise requirement(
                "honest", "be a 2-d array, one honest row a worker",
                f"{honest.ndim} dimension(s)", "Stack the flattened updates",
            )
        self.check(len(honest), count)
        rows = self.rows(honest.astype(np.float64), count, round or Round())
        limit = np.finfo(honest.dtype).max if np.issubdtype(honest.dtype, np.floating) else np.inf
        return np.clip(rows, -limit, limit).astype(honest.dtype)

    def check(self, honest: int, count: int) -> None:
        """Raise a ValueError unless so many honest and Byzantine workers suffice."""
        if honest < self.honest_needed:
            raise requirement(
                "honest", f"hold at least {self.honest_needed} row(s) for `{self.name}`",
                f"{honest}", "Make more nodes honest",
            )
        if count < 0:
            raise requirement("count", "be at least 0", count, "Give the number of rows to make")

    @abstractmethod
    def rows(
        self, honest: NDArray[np.float64], count: int, round: Round
    ) -> NDArray[np.float64]:
        """The (count, d) Byzantine rows."""

    def __str__(self) -> str:
        """The attack as run-configs name it."""
        arguments = ", ".join(
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        )
        return f"{self.name}({arguments})" if arguments else self.name
