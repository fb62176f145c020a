"""The step of the model: from the aggregate to the next record, without a vector in between."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from ..errors import LARGEST
from ..optimizers import Descent, Optimizer
from ..rows.threads import in_order, threads_for
from ..wire.layout import Entry, Layout, fitting

_CHUNK = 1 << 16
_STRAIGHT = Descent()


@dataclass(frozen=True)
class _Step:
    """How the coordinates of an entry move."""

    rate: float
    decay: float
    optimizer: Optimizer
    moments: dict[str, NDArray[Any]]
    number: int

    def taken(
        self, theta: NDArray[np.float64], direction: NDArray[np.float64], part: slice
    ) -> NDArray[np.float64]:
        """The next theta of a chunk, written over it; the moments of the chunk are the next ones.

        What would leave the range of their dtype stops at its end.
        """
        before = {name: each[part].astype(np.float64) for name, each in self.moments.items()}
        way, after = self.optimizer.step(direction, before, self.number)
        for name, values in after.items():
            moment = self.moments[name]
            limit = _limit(moment.dtype)
            moment[part] = np.clip(values, -limit, limit)
        theta *= 1.0 - self.rate * self.decay
        theta -= self.rate * way
        return theta


def descend(
    layout: Layout, model: ArrayRecord, direction: NDArray[Any], rate: float, decay: float,
    optimizer: Optimizer = _STRAIGHT, memory: dict[str, Any] | None = None,
) -> ArrayRecord:
    """``theta <- (1 - gamma wd) theta - gamma D``, in float64, back in the model's dtypes.

    What would leave the range of rows stops at its end.

    Parameters
    ----------
    layout : Layout
        Of the model; integer entries keep their value.
    model : ArrayRecord
        theta.
    direction : (d,) array
        R, of which the optimizer makes D. Not modified.
    rate, decay : float
        gamma and wd. For buffers gamma is 1 and wd is 0, and D is R: they go straight to what the
        data say.
    optimizer : Optimizer (default: Descent())
    memory : dict, optional
        As its ``start`` makes it. Is changed in place; left out, it is forgotten.

    Returns
    -------
    ArrayRecord
        Its bytes are all the memory that is taken, but for a few chunks a thread.
    """
    if memory is None:
        memory = optimizer.start(layout.learnt, layout.dtype)
    memory["steps"] += 1
    arrays: dict[str, Array] = {}
    for entry in layout.entries:
        if entry.offset is None:
            arrays[entry.name] = model[entry.name]
            continue
        old = model[entry.name]
        theta = entry.view(old.data)
        place = slice(entry.offset, entry.offset + entry.size)
        part = direction[place]
        step = _Step(1.0, 0.0, _STRAIGHT, {}, 1)
        if not entry.buffer:
            moments = {name: memory[name][place] for name in optimizer.moments}
            step = _Step(rate, decay, optimizer, moments, memory["steps"])
        # Frozen, or a constant: nobody's loss keeps it from shrinking.
        if decay and not any(each.any() for each in (part, *step.moments.values())):
            arrays[entry.name] = old
            continue
        data = _moved(entry, theta, part, step, layout.dtype)
        arrays[entry.name] = Array(str(entry.dtype), entry.shape, old.stype, data)
    return ArrayRecord(arrays)


def sunk(layout: Layout, before: ArrayRecord, after: ArrayRecord) -> list[str]:
    """The vectors that were positive and are not any more, as variances never are.

    Examples
    --------
    >>> before, after = (ArrayRecord({"v": Array(np.array(v))}) for v in ([1.0, 2.0], [1.0, -0.1]))
    >>> sunk(Layout.of(before), before, after)
    ['v']
    """
    return [
        entry.name for entry in layout.parameters
        if len(entry.shape) == 1 and entry.size > 1 and not entry.buffer
        and entry.view(after[entry.name].data).min() < 0 < entry.view(before[entry.name].data).min()
    ]


def size_of(vector: NDArray[Any]) -> float:
    """The norm of a vector in float64; NaN if it or its square is not finite.

    Examples
    --------
    >>> size_of(np.array([3.0, 4.0])), size_of(np.array([np.inf]))
    (5.0, nan)
    """

    def squared(start: int) -> float:
        part = vector[start : start + _CHUNK].astype(np.float64)
        with np.errstate(over="ignore"):
            return float(np.square(part, out=part).sum())

    threads = threads_for(2 * len(vector))
    total = sum(in_order(squared, range(0, len(vector), _CHUNK), threads))
    return math.sqrt(total) if math.isfinite(total) else math.nan


def _moved(
    entry: Entry, theta: NDArray[Any], direction: NDArray[Any], step: _Step,
    through: np.dtype[Any],
) -> bytes:
    """The npy file of an entry after the step, written in place."""
    header = entry.headers[0]
    file = io.BytesIO()
    total = len(header) + entry.size * entry.dtype.itemsize
    file.seek(total)
    file.write(b"\0")  # all of the space at once, since what grows is copied
    file.seek(0)
    file.write(header)
    with file.getbuffer() as buffer:
        out = buffer[len(header) : total]
        _write(out, entry, theta, direction, step, through)
        out.release()
    file.truncate(total)
    return file.getvalue()  # no copy: the bytes are the file's own


def _write(
    buffer: memoryview, entry: Entry, theta: NDArray[Any], direction: NDArray[Any],
    step: _Step, through: np.dtype[Any],
) -> None:
    """Fill the payload chunk by chunk."""
    out = np.frombuffer(buffer, entry.dtype)
    limit = _limit(through)  # so that every node can send what it learns

    def move(start: int) -> None:
        part = slice(start, start + _CHUNK)
        moved = step.taken(theta[part].astype(np.float64), direction[part].astype(np.float64), part)
        np.clip(moved, -limit, limit, out=moved)
        out[part] = fitting(moved.astype(through, copy=False), entry.dtype)

    threads = threads_for(2 * entry.size)
    for _ in in_order(move, range(0, entry.size, _CHUNK), threads):
        pass


def _limit(dtype: np.dtype[Any]) -> float:
    """The largest number of a dtype that is in the range of rows."""
    return min(float(np.finfo(dtype).max), LARGEST)
