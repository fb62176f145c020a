"""Arrays that a user's own rule or attack made: real numbers, in the shape that is asked for.

Compiled loops trust the lengths that they are told, and read beyond the rows where these are
wrong. Only the form is looked at, never the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import requirement


def shaped(
    parameter: str, values: object, *shapes: tuple[int, ...], cure: str, of: object = None
) -> NDArray[Any]:
    """Return ``values`` as an array of one of the shapes, or raise a TypeError: code is at fault.

    ``of`` is the rule or the attack that gave them, where it is known.

    Examples
    --------
    >>> shaped("weights", [0.5, 0.5], (2,), cure="Give one a row")
    array([0.5, 0.5])
    >>> shaped("weights", np.ones(3), (2,), cure="Give one a row")
    Traceback (most recent call last):
    ...
    TypeError: `weights` must be real numbers of shape (2,). Found float64 of shape (3,). Give \
one a row.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # a device's tensor, rows of several lengths
        array = None
    if array is not None and array.dtype.kind in "biuf" and array.shape in shapes:
        return array
    whose = "" if of is None else f" in `{of}`"
    raise requirement(
        parameter, f"be real numbers of shape {' or '.join(map(str, shapes))}{whose}",
        form(values), cure, error=TypeError,
    )


def form(values: object) -> str:
    """What an error says of a result that can't be used.

    Examples
    --------
    >>> form(np.ones((1, 2))), form(None)
    ('float64 of shape (1, 2)', 'NoneType')
    """
    shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    if shape is None or dtype is None:
        return type(values).__name__
    return f"{dtype} of shape {tuple(shape)}"
