"""What an attack is: honest rows in, Byzantine rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import NOT_FINITE, out_of_range, requirement
from ..rows.shaped import form, shaped
from ..rows.threads import in_order, threads_for
from ..rule import Aggregator, Round
from ..spelling import Named, name_of

_COLUMNS = 1 << 16  # that a thread takes at a time


class Attack(Named, ABC):
    """A function of the honest rows to the rows that Byzantine workers send.

    What an attack remembers from round to round is a value that goes in and comes out of
    `step`, as with rules.

    Attributes
    ----------
    name : str
        As run-configs write it.
    knowledge : str
        What it takes to do it: "omniscient" attacks see all honest rows; "knows the rule" ones
        run the defender's rule on them as well; "alone" ones need no more than what one device
        has itself, its own honest row, so they also run on a device.
    honest_needed : int
        The least number of honest rows.
    finite : bool
        Whether the rows are finite, whatever the honest ones are.
    columnwise : bool
        Whether each coordinate of the rows depends on that coordinate alone, and on no memory
        and no draw: such rows are made some coordinates at a time, of honest rows in the dtype
        that they came in.
    """

    knowledge: ClassVar[str] = "omniscient"
    honest_needed: ClassVar[int] = 1
    finite: ClassVar[bool] = True
    columnwise: ClassVar[bool] = False

    def __call__(
        self, honest: NDArray[Any], count: int, *, at: Round | None = None
    ) -> NDArray[Any]:
        """Return what ``count`` Byzantine workers send, without memory of other rounds.

        Parameters
        ----------
        honest : (h, d) array
            The rows of the honest workers.
        count : int
            How many Byzantine rows to make.
        at : Round, optional
            The round, for attacks that change over time or draw at random. Its nodes, where
            known, are those of the honest rows and then the Byzantine ones.

        Returns
        -------
        (count, d) array
            In the dtype of ``honest``; of whole numbers in float64.
        """
        return self.step(honest, count, state=self.start(), at=at)[0].copy()

    def start(self) -> Any:
        """The state before the first round."""
        return None

    def step(
        self, honest: NDArray[Any], count: int, *, state: Any = None, at: Round | None = None
    ) -> tuple[NDArray[Any], Any]:
        """Return one round's rows, and the state that the next round's step takes.

        Rows that are equal may be one row in memory, which can't be written to.
        """
        honest = np.asarray(honest)
        if honest.ndim != 2:
            raise requirement(
                "honest", "be a 2-d array, one honest row a worker",
                f"{honest.ndim} dimension(s)", "Stack the flattened updates",
            )
        if honest.dtype.kind != "f":
            honest = honest.astype(np.float64)
        self.check(len(honest), count)
        if not self.columnwise:
            rows, state = self._made(honest, count, state, at or Round())
            return _for_each(rows, count), state

        def make(start: int) -> NDArray[Any]:
            part = honest[:, start : start + _COLUMNS]
            return self._made(part, count, state, at or Round())[0]

        starts = range(0, max(1, honest.shape[1]), _COLUMNS)
        parts = in_order(make, starts, threads_for(honest.size))
        return _for_each(np.concatenate(list(parts), axis=1), count), state

    def _made(
        self, honest: NDArray[Any], count: int, state: Any, at: Round
    ) -> tuple[NDArray[Any], Any]:
        """Rows made in float64, clipped to what the dtype of the honest ones can hold."""
        given = honest if self.columnwise else honest.astype(np.float64)
        with np.errstate(over="ignore"):  # what leaves the range of float64 is clipped, too
            made = self._step(given, count, state, at)
        if not (isinstance(made, tuple) and len(made) == 2):
            raise requirement(
                "_step", f"return the rows and the next state in `{self}`", form(made),
                "Write `return rows, state`", error=TypeError,
            )
        shapes = dict.fromkeys([(count, honest.shape[1]), (1, honest.shape[1])])
        rows = shaped("rows", made[0], *shapes, of=self, cure="Give `count` rows, or one for all")
        if self.finite:
            limit = np.finfo(honest.dtype).max
            rows = np.clip(rows, -limit, limit)
            if np.isnan(rows).any() and out_of_range(honest) is None:
                raise requirement(
                    "rows", f"be finite in `{self}`", NOT_FINITE,
                    "Mend it, or write `finite: ClassVar[bool] = False` in its class",
                )
        return rows.astype(honest.dtype), made[1]

    def against(self, aggregator: Aggregator, f: int) -> Attack:
        """Return the attack on this defender; most attacks don't ask who it is."""
        return self

    def check(self, honest: int, count: int) -> None:
        """Raise a ValueError unless so many honest and Byzantine workers suffice."""
        if honest < self.honest_needed:
            raise requirement(
                "honest", f"hold at least {self.honest_needed} row(s) for `{name_of(type(self))}`",
                f"{honest}", "Make more nodes honest",
            )
        if count < 0:
            raise requirement("count", "be at least 0", count, "Give the number of rows to make")

    @abstractmethod
    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], Any]: ...


class MemorylessAttack(Attack):
    """An attack that looks at the present round only."""

    @abstractmethod
    def rows(
        self, honest: NDArray[np.float64], count: int, at: Round
    ) -> NDArray[np.float64]:
        """The (count, d) Byzantine rows, or (1, d): the row that all of them send."""

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], Any]:
        return self.rows(honest, count, at), None


def _for_each(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """The rows of ``count`` workers, where one row stands for all: it is not copied."""
    return np.broadcast_to(rows, (count, rows.shape[1])) if len(rows) == 1 else rows


def in_turn(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Byzantine worker i takes row i, from the first again when they run out."""
    return rows[np.arange(count) % len(rows)]
