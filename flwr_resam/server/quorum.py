"""How many faults a round tolerates, from what came back, and what has to be true for that."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import NOT_FINITE, TOO_LARGE
from ..rule import Aggregator
from .gate import Rejection


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

    It is the largest k <= f that the rule admits for the rows that came, for to tolerate more costs
    no safety; and the round is skipped where k is below the faults that can be among these rows.

    Of the n nodes asked at most f are faulty: that is all that is known beforehand. v of them gave
    a row, m a *malformed* reply, which an honest node does not send unless its app is another, and
    s = n - v - m were *silent*: nothing came, or the SuperLink or the node itself said that it
    failed, as an honest one may. Silence can be read in two ways: the silent may be honest and
    slow, so that all faulty nodes are among those that answered; or, as in the paper, a node that
    gives no row is a faulty one.

    ==========================  ======  ==========================================================
    what came                   the f   because
    ==========================  ======  ==========================================================
    k = f (n > 2f: v > 2f)      f       of the rows no more than f are faulty, whatever the
                                        malformed and the silent are
    m <= f, k >= f - m          k       the malformed are faulty and are out; at most f - m are
                                        among the rows, whatever the silent are
    m + s <= f,                 k       safe only if at least f - m - k of the silent are faulty
    f - m > k >= f - m - s              (`silent_faults_assumed`), as they are in the paper's
                                        reading: whoever calls says so in the log
    m <= f < m + s, k < f - m   skip    not all that gave no row can be faulty, so some honest
                                        ones are silent, perhaps all of the silent
    m > f, k < f                skip    some of the malformed are honest, with an old app, say; so
                                        to be malformed proves nothing, and perhaps all are
    m + s <= f, k < f - m - s   skip    even with all of them faulty, the rest can't be outvoted
    v = 0, or there is no k     skip    there is nothing to aggregate
    ==========================  ======  ==========================================================

    With n > 2f a round is safe in both readings where m <= f and n > 2f + s - m, or else where
    n > 2f + s + m: s slow nodes cost safety unless n > 2f + s. In the second line of the table m
    honest nodes with an old app cost it, too.

    A rule with another need (n >= 4f + 3) has another k and the same table. A rule may admit f and
    not f - 1 (buckets are larger for fewer faults, and may be too few); k is then f.

    Parameters
    ----------
    aggregator : Aggregator
        The rule, which says what n and f it admits.
    asked, valid, malformed : int
        How many nodes should have answered, gave a row, and gave what no honest node sends.
    f : int
        `num_malicious_nodes`.

    Examples
    --------
    >>> from flwr_resam.aggregators import MDA
    >>> effective_faults(MDA(), asked=15, valid=12, malformed=3, f=5)
    5
    >>> effective_faults(MDA(), asked=15, valid=10, malformed=5, f=5)
    4
    >>> print(effective_faults(MDA(), asked=15, valid=9, malformed=6, f=5))
    None
    >>> effective_faults(MDA(), asked=15, valid=12, malformed=0, f=5)
    5
    >>> effective_faults(MDA(), asked=15, valid=10, malformed=0, f=5)
    4
    >>> print(effective_faults(MDA(), asked=15, valid=9, malformed=0, f=5))
    None
    """
    if valid == 0:
        return None
    found = next((k for k in range(f, -1, -1) if aggregator.admits(valid, k)), None)
    if found is None:
        return None
    missing = asked - valid
    least = f - missing if missing <= f else f - malformed if malformed <= f else f
    return found if found >= least else None


def silent_faults_assumed(found: int, *, malformed: int, f: int) -> int:
    """How many of the silent nodes must be faulty for the f of a round to be safe; 0 for no matter.

    Parameters
    ----------
    found : int
        What `effective_faults` returned.
    malformed, f : int
        What it was given.

    Examples
    --------
    15 nodes of which up to 5 are faulty, 5 silent: the f of the round is 4.

    >>> silent_faults_assumed(4, malformed=0, f=5)
    1
    >>> silent_faults_assumed(4, malformed=5, f=5)
    0
    """
    return max(0, f - malformed - found)
