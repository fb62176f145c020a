"""Which float arrays of a model are statistics of the data rather than parameters.

The running mean and variance of a normalisation layer are such buffers: training does not move
them along a gradient, it sets them to what the last batches had. Momentum does them harm. With
``u = c (r - v)``, where r is the value sent, v that of the data and c the share of the way that
local training goes, ``r <- r - m / (1 - beta^k)`` is a spring: with c = 1 and beta = 0.9 it
swings past v by 0.6 of the distance and rings for some forty rounds (with beta = 0.99 by 0.66,
and for more than three hundred), and a variance on its way down from 1 passes below zero.
Without momentum, ``r <- r - u`` goes straight to v.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..errors import requirement

_TAIL = r"(:\d+)?['\"\])]*([./](raw_)?value)?$"  # of Keras 2, of paths as text, of Flax's nnx
_CONVENTIONS = re.compile(
    r"(^|[^A-Za-z0-9])(running_(mean|var|std)|moving_(mean|var|variance|stddev))" + _TAIL
    + r"|(^|[^A-Za-z0-9_])batch_stats($|[^A-Za-z0-9_])"
)
_NNX = re.compile(r"(?P<stem>.*[^A-Za-z0-9_])(?P<what>mean|var)(?P<tail>" + _TAIL[:-1] + r")$")


def buffer_names(names: Iterable[str], buffers: Collection[str] | None = None) -> frozenset[str]:
    """Return which of the names are buffers.

    Parameters
    ----------
    names : iterable of str
        The arrays of a model.
    buffers : collection of str, optional
        The buffers among them. None goes by the names that frameworks give: PyTorch's
        ``running_mean`` and ``running_var``, Keras' ``moving_mean`` and ``moving_variance``,
        whatever Flax's linen holds under ``batch_stats``, and the ``mean`` and ``var`` that
        nnx has beside a ``scale`` or ``bias``; in paths with dots, slashes or brackets.

    Raises
    ------
    ValueError, TypeError
        If ``buffers`` holds what is no name of an array: what is meant to be a buffer would take
        momentum.

    Examples
    --------
    >>> sorted(buffer_names(["0.weight", "1.running_var", "bn/moving_mean", "running_total"]))
    ['1.running_var', 'bn/moving_mean']
    >>> sorted(buffer_names(["0", "1", "2"], buffers=["2"]))
    ['2']
    """
    names = list(names)
    if buffers is None:
        return frozenset(name for name in names if _CONVENTIONS.search(name)) | _of_nnx(names)
    known, chosen = frozenset(names), checked_buffers(buffers) or frozenset()
    if chosen - known:
        raise requirement(
            "buffers", "be names of the model's arrays", f"`{sorted(chosen - known)[0]}`",
            f"Choose among {', '.join(sorted(known)[:20])}",
        )
    return chosen


def _of_nnx(names: Collection[str]) -> frozenset[str]:
    """The statistics of a normalisation layer, which nnx calls mean and var, by its neighbours."""
    known = frozenset(names)
    found = set()
    for match in filter(None, map(_NNX.match, known)):
        stem, tail = match["stem"], match["tail"]
        pair = {f"{stem}mean{tail}", f"{stem}var{tail}"}
        if pair <= known and known & {f"{stem}scale{tail}", f"{stem}bias{tail}"}:
            found |= pair
    return frozenset(found)


def checked_buffers(buffers: Collection[str] | None) -> frozenset[str] | None:
    """Several names, or None; a single string is several letters."""
    if buffers is None:
        return None
    if isinstance(buffers, str) or not all(isinstance(name, str) for name in buffers):
        raise requirement(
            "buffers", "be a list of the names of arrays", repr(buffers),
            'Write buffers=["2", "3"]', error=TypeError,
        )
    return frozenset(buffers)
