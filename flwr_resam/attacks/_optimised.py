"""The optimised attacks: the factor that hurts the defender's own rule most."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import LARGEST, requirement
from ..rule import Aggregator, Round
from .attack import Attack

_COARSE = 2.0 ** np.arange(-3, 8)
_FINE = 10
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class KnowsRule(Attack):
    """An attack that runs the defender's rule, F, itself.

    Of a rule with memory it keeps a state of its own, which it brings from round to round as
    the defender does. The defender's own state is never touched. A rule that draws at random is
    run with one draw, which is not the defender's.

    Parameters
    ----------
    aggregator : Aggregator
        F. An experiment fills in its own.
    f : int, optional
        The faults that the defender tolerates; as many as there are Byzantine rows unless given.
    """

    aggregator: Aggregator | None = None
    f: int | None = None
    knowledge: ClassVar[str] = "knows the rule"

    def against(self, aggregator: Aggregator, f: int) -> Attack:
        """Fill in the rule and the faults that it tolerates, where they are not given."""
        if self.aggregator is not None:
            return self
        return replace(self, aggregator=aggregator, f=f if self.f is None else self.f)

    def check(self, honest: int, count: int) -> None:
        """Raise also where no rule is given, or the rule does not admit so many rows."""
        super().check(honest, count)
        self._rule().check(honest + count, count if self.f is None else self.f)

    def _rule(self) -> Aggregator:
        if not isinstance(self.aggregator, Aggregator):
            raise requirement(
                "aggregator", f"be the defender's rule for `{self.name}`", repr(self.aggregator),
                f"Write {type(self).__name__}(aggregator=MDA()), say",
            )
        return self.aggregator


@dataclass(frozen=True)
class Optimised(KnowsRule):
    """Every Byzantine worker sends ``mu + t v``, t the factor that moves the rule most.

    ``t = argmax ||F(x_1, ..., x_h, mu + t v, ..., mu + t v) - mu||``, by a line search: t in
    1/8, 1/4, ..., 128, then golden section between the neighbours of the best of these. 22
    calls of F in all. The states that F has after trials are dropped.
    """

    @abstractmethod
    def direction(self, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """v, shape (d,)."""

    def start(self) -> Any:
        """The rule's state before the first round."""
        return self._rule().start()

    def _step(
        self, honest: NDArray[np.float64], count: int, state: Any, at: Round
    ) -> tuple[NDArray[np.float64], Any]:
        rule = self._rule()
        f = count if self.f is None else self.f
        mean, direction = honest.mean(axis=0), self.direction(honest)
        rows = np.vstack([honest, np.tile(mean, (count, 1))])
        draw = int(at.random().integers(2**32))
        memory = rule.start() if state is None else state

        def aggregate(factor: float) -> Any:
            rows[len(honest) :] = np.clip(mean + factor * direction, -LARGEST, LARGEST)
            again = replace(at, generator=np.random.default_rng(draw))
            return rule.step(rows, f=f, state=memory, at=again)

        def damage(factor: float) -> float:
            return float(np.linalg.norm(aggregate(factor).vector - mean))

        kept = aggregate(_line_search(damage)).state
        return rows[len(honest) :], kept


def _line_search(score: Callable[[float], float]) -> float:
    """The factor of the largest score found; of equal ones, the smallest tried first."""
    scores = [score(factor) for factor in _COARSE]
    best = int(np.argmax(scores))
    found, highest = float(_COARSE[best]), scores[best]
    low = float(_COARSE[max(0, best - 1)])
    high = float(_COARSE[min(len(_COARSE) - 1, best + 1)])
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = score(left), score(right)
    for _ in range(_FINE - 2):
        for factor, value in ((left, at_left), (right, at_right)):
            if value > highest:
                found, highest = factor, value
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = score(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = score(right)
    for factor, value in ((left, at_left), (right, at_right)):
        if value > highest:
            found, highest = factor, value
    return found
