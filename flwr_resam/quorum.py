"""How many faults a round must tolerate, from what came back."""

from __future__ import annotations

from .rule import Aggregator


def effective_faults(
    aggregator: Aggregator, *, asked: int, valid: int, malformed: int, f: int
) -> int | None:
    """Return the f of this round, or None where the round must be skipped.

    A malformed reply is a proven fault that is already out, so f falls by one for each. Silent
    nodes (asked, nothing came) are taken for honest ones with a bad connection as long as the
    rule admits the rest with that f. Where it does not, they count against f, as in the paper,
    where a node that stays silent is a faulty one. More silent nodes than f can't all be
    faulty ones, so then nothing is known of the rest and the round is skipped.

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
    if aggregator.admits(valid, remaining):
        return remaining
    silent = asked - valid - malformed
    if silent > remaining or not aggregator.admits(valid, remaining - silent):
        return None
    return remaining - silent
