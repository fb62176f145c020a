"""How many faults a round must tolerate, from what came back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ..errors import NOT_FINITE, TOO_LARGE
from ..rule import Aggregator

if TYPE_CHECKING:
    from .intake import Rejection


class QuorumLostError(RuntimeError):
    """Too many rounds in a row, or all of a run, had too few valid replies to aggregate.

    Attributes
    ----------
    rejections : tuple of Rejection
        Those of the last round: whose reply was rejected, and why.
    """

    def __init__(self, message: str, rejections: Sequence[Rejection] = ()) -> None:
        super().__init__(message)
        self.rejections = tuple(rejections)

    @property
    def diverged(self) -> bool:
        """Whether nodes had no updates in range any more, as where a model is led astray."""
        signs = (NOT_FINITE, TOO_LARGE)
        return any(sign in each.reason for each in self.rejections for sign in signs)


def effective_faults(
    aggregator: Aggregator, *, asked: int, valid: int, malformed: int, f: int
) -> int | None:
    """Return the f of this round, or None where the round must be skipped.

    Of the n nodes asked at most f are faulty: that is all that is known beforehand. A reply is
    valid, or *malformed* (no honest program sends it), or *silent*: nothing came, or the
    SuperLink or the node itself said that it failed, as an honest one may. Let m be the valid
    rows and s = n - m - malformed the silent nodes. With the need n > 2f of most rules:

    ===========================================  =============  ==================================
    what came                                    f of the round  because
    ===========================================  =============  ==================================
    all n valid                                  f              nothing new is known
    malformed <= f, m > 2 (f - malformed)        f - malformed  each is a fault, and is out: at
                                                                most the others are among the rows
    malformed > f, m >= 1                        0              the bound f was wrong, and of the
                                                                rows no fault is known; f = 0 is
                                                                all that it still says (logged)
    m > 2f, any s                                f              the silent may all be honest, so
                                                                all f faults may be among the rows:
                                                                the strongest assumption that the
                                                                rule admits costs no safety
    m <= 2f, s <= f, m > 2 (f - s)               f - s          the rows can't outvote f faults;
                                                                so the silent count as faults, as
                                                                in the paper, where a worker that
                                                                sends nothing is a faulty one
    m <= 2f, s > f                               skip           not all of the silent can be faults:
                                                                there were honest ones, perhaps
                                                                only honest ones, and f faults
                                                                would rule the rows
    m <= 2f, s <= f, m <= 2 (f - s)              skip           even with all silent nodes faulty
                                                                the rest can't be outvoted
    m = 0                                        skip           there is nothing to aggregate
    ===========================================  =============  ==================================

    With malformed and silent nodes together, the rows read with f - malformed in place of f. A
    rule with another need (n >= 4f + 3) has that in place of m > 2f. Where a rule admits a larger
    number of faults and not this one (buckets are larger for fewer faults, and may be too few),
    the least that it admits, up to f, is taken: to tolerate more costs no safety.

    Parameters
    ----------
    aggregator : Aggregator
        The rule, which says what n and f it admits.
    asked, valid, malformed : int
        How many nodes should have answered, gave a row, and proved themselves faulty.
    f : int
        `num_malicious_nodes`.

    Examples
    --------
    >>> from flwr_resam.aggregators import MDA
    >>> effective_faults(MDA(), asked=15, valid=14, malformed=1, f=5)
    4
    >>> effective_faults(MDA(), asked=15, valid=12, malformed=0, f=5)
    5
    >>> effective_faults(MDA(), asked=15, valid=13, malformed=0, f=7)
    5
    >>> print(effective_faults(MDA(), asked=15, valid=7, malformed=0, f=5))
    None
    >>> print(effective_faults(MDA(), asked=15, valid=0, malformed=3, f=5))
    None
    """
    if valid == 0:
        return None
    remaining = max(0, f - malformed)
    silent = asked - valid - malformed
    least = remaining if silent > remaining else remaining - silent
    candidates = chain(range(remaining, f + 1), range(least, remaining))
    return next((number for number in candidates if aggregator.admits(valid, number)), None)
